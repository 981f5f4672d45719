"""Run directories with damage of any kind, continued, tested and sampled."""

import os
import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.soak import Soak
from tests.soak.small_run import copy_of_run, use


def _flip(path: Path, generator: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    path.write_bytes(content)


def _cut(path: Path, generator: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: generator.randrange(len(content))])


def _garbage_before(path: Path, generator: random.Random) -> None:
    path.write_bytes(generator.randbytes(7) + path.read_bytes())


def _garbage_behind(path: Path, generator: random.Random) -> None:
    path.write_bytes(path.read_bytes() + generator.randbytes(7))


def _garbage_within(path: Path, generator: random.Random) -> None:
    content = path.read_bytes()
    at = generator.randrange(len(content))
    path.write_bytes(content[:at] + generator.randbytes(40) + content[at + 40 :])


def _empty(path: Path, generator: random.Random) -> None:
    path.write_bytes(b"")


def _remove(path: Path, generator: random.Random) -> None:
    path.unlink()


def _folder(path: Path, generator: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path, generator: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _endless(path: Path, generator: random.Random) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


_DAMAGES: tuple[Callable[[Path, random.Random], None], ...] = (
    *(_flip, _cut, _garbage_before, _garbage_behind, _garbage_within, _empty, _remove, _folder, _pipe, _endless),
)


def _contents(folder: Path) -> dict[Path, bytes]:
    paths = sorted(folder.rglob("*"))
    return {path: path.read_bytes() for path in paths if path.is_file() and "/dev" not in str(path.resolve())[:4]}


def _run(numbers: Iterable[int], folder: Path) -> Iterator[tuple[int, str]]:
    for number in numbers:
        generator = random.Random(number)
        run_dir = copy_of_run(folder / f"run-{number}")
        files = sorted(path for path in run_dir.rglob("*") if path.is_file() and path.name != ".lock")
        damaged = generator.choice(files)
        damage = _DAMAGES[number % len(_DAMAGES)]
        damage(damaged, generator)
        kept = _contents(run_dir)
        action, status, text = use(run_dir, number // len(_DAMAGES))
        what = f"{damage.__name__[1:]} {damaged.relative_to(run_dir)}, {action}: {text}"
        if status:
            # A sentence that names something of the run, and nothing has changed.
            assert status == 1 and str(run_dir) in text, what
            now = _contents(run_dir)
            changed = [str(path) for path, content in kept.items() if now.get(path) != content]
            assert [path for path in changed if not path.endswith(".lock")] == [], f"{changed} {what}"
        shutil.rmtree(run_dir)
        yield number, f"{action}: {'refused' if status else 'done'}"


SOAK = Soak(
    about="One file of a finished run is damaged, missing, no file or endless; the run is called again, tested or "
    "sampled: one sentence and nothing changed, or done with what is whole.",
    count=300,
    run=_run,
)
