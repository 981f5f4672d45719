"""Files of weights: their digests, and how they are fetched.

Messages name the arguments of `load_classifier`, on whose behalf they are read.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from igan_tf.errors import EvaluationError
from igan_tf.files import copies, disk, durable, locks
from igan_tf.files.digests import file_digest

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 60
# What helps without a network.
ALREADY_HERE = "`path` takes a file that is already here"


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """Where fetched and trained weights are kept: `cache_dir`, IGAN_CACHE_DIR, or igan_tf in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache_dir or os.environ.get("IGAN_CACHE_DIR") or Path(home) / "igan_tf")


def digest_of(path: str | Path) -> str:
    """SHA-256, in hexadecimal, of a file; of a folder, that of the lines `<digest>  <relative path>` of its files.

    Raises:
        EvaluationError: where it is missing or cannot be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            lines = [f"{digest_of(file)}  {file.relative_to(path).as_posix()}\n" for file in files]
            return hashlib.sha256("".join(lines).encode()).hexdigest()
        return file_digest(path)
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read: {error}") from error


@contextlib.contextmanager
def checked_copy(path: str | Path, sha256: str = "") -> Iterator[tuple[Path, str]]:
    """Yields a copy of a file or folder that nobody else can change, and its digest.

    Whatever is asked of a file of others is asked of this copy, which then is what is loaded: under its name another
    file may stand by then.

    Raises:
        EvaluationError: where it is missing or cannot be read, or where its digest is not `sha256`, unless that is
            empty.
    """
    with contextlib.ExitStack() as stack:
        try:
            copy = stack.enter_context(copies.private_copy(path))
        except OSError as error:
            raise EvaluationError(f"{path} cannot be read: {error}") from error
        found = digest_of(copy)
        _refuse_other_digest(path, found, sha256)
        yield copy, found


def _refuse_other_digest(path: str | Path, found: str, sha256: str) -> None:
    if sha256 and found != sha256.lower():
        raise EvaluationError(f"`sha256` must be the digest of {path}, which is {found}. Received: sha256={sha256}")


def fetch(
    url: str,
    path: str | Path,
    sha256: str = "",
    report: Callable[[str], Any] = print,
    check: Callable[[str], Any] = lambda path: None,
) -> str:
    """Downloads a file unless it is there, and returns its digest.

    The file appears under its name once it is whole and checked, never before; beside it `<name>.sha256` records the
    digest of its first use, and a file that has another one later is refused. Of several processes one fetches, the
    others wait.

    Args:
        url: Where from.
        path: Where to.
        sha256: The digest that it must have; empty: any.
        report: Called with a line before the download and one after it.
        check: Called with the path of what was downloaded before it is kept. What it raises is passed on, and nothing
            kept: a server may answer with a page of its own in place of the file.

    Raises:
        EvaluationError: where it cannot be fetched, is cut short, or has another digest.
    """
    path = Path(path)
    record = path.with_name(path.name + ".sha256")
    # A cache that others fill need not be writable by this process.
    if path.exists() and record.exists():
        return _check_recorded(path, record, sha256)
    try:
        disk.make_folder(path.parent, parents=True)
        with locks.sole_maker(path, lambda: report(f"waiting for another process that fetches {path}")):
            if path.exists() and record.exists():
                return _check_recorded(path, record, sha256)
            report(f"fetching {url} to {path}")
            with durable.durable_file(path) as file:
                found = _download(url, file)
                if sha256 and found != sha256.lower():
                    raise EvaluationError(
                        f"`sha256` must be the digest of what {url} serves, which is {found}. Received: sha256={sha256}"
                    )
                file.flush()
                check(file.name)
            durable.write_text(record, f"{found}  {path.name}\n")
    except EvaluationError:
        raise
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise EvaluationError(f"{url} cannot be fetched to {path}: {error}; {ALREADY_HERE}") from error
    report(f"fetched; sha256 {found}")
    return found


def _check_recorded(path: Path, record: Path, sha256: str) -> str:
    """The digest of a file that was fetched before."""
    try:
        # A damaged record need not be text.
        recorded = disk.read_small(record).decode(errors="replace").split()[:1]
    except OSError as error:
        raise EvaluationError(f"the digest {record} cannot be read: {error}") from error
    found = digest_of(path)
    _refuse_other_digest(path, found, sha256)
    if recorded != [found]:
        raise EvaluationError(
            f"{path} was altered since it was fetched: its digest is {found}, {record.name} says "
            f"{' '.join(recorded) or 'nothing'}; delete both to fetch it again"
        )
    return found


def _download(url: str, file: BinaryIO) -> str:
    """Copies what `url` serves into `file` and returns its digest."""
    digest, received = hashlib.sha256(), 0
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
        announced = response.headers.get("Content-Length")
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            digest.update(chunk)
            received += len(chunk)
    if announced is not None and received != int(announced):
        raise EvaluationError(f"{url} was cut short: {received} bytes of {announced} arrived; nothing is kept")
    return digest.hexdigest()
