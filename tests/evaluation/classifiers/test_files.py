"""Fetching from a server on this machine: whole or not at all, and of the digest that was asked for."""

import concurrent.futures
import hashlib
import http.server
import threading
import time
from pathlib import Path

import pytest

from igan_tf.errors import EvaluationError
from igan_tf.evaluation.classifiers.files import cache_folder, checked_copy, digest_of, fetch

CONTENT = bytes(range(256)) * 9000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    requests = []  # noqa: RUF012 - one list for all, which the test reads.

    def do_GET(self):
        Handler.requests.append(self.path)
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path != "/without_length":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if self.path == "/slow":
            time.sleep(0.2)
        self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path == "/truncated" else CONTENT)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    Handler.requests.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache" / "weights.bin"


def names(path):
    return sorted(file.name for file in path.parent.iterdir()) if path.parent.exists() else []


def test_fetched_once_and_its_digest_recorded(server, path):
    lines = []
    assert fetch(f"{server}/weights", path, report=lines.append) == DIGEST
    assert path.read_bytes() == CONTENT
    assert (path.parent / "weights.bin.sha256").read_text() == f"{DIGEST}  weights.bin\n"
    assert lines[0] == f"fetching {server}/weights to {path}" and DIGEST in lines[1]
    # The second time nothing is asked of the server, and the digest is compared.
    assert fetch(f"{server}/weights", path, DIGEST.upper(), lines.append) == DIGEST
    assert Handler.requests == ["/weights"] and len(lines) == 2
    assert names(path) == ["weights.bin", "weights.bin.sha256"]


def test_without_an_announced_length(server, path):
    assert fetch(f"{server}/without_length", path, report=str) == DIGEST


def test_a_truncated_file_leaves_nothing(server, path):
    with pytest.raises(EvaluationError, match=f"{server}/truncated (was cut short|cannot be fetched)"):
        fetch(f"{server}/truncated", path, report=str)
    assert names(path) == []
    # And a later attempt is not misled.
    assert fetch(f"{server}/weights", path, report=str) == DIGEST


def test_a_wrong_digest_leaves_nothing(server, path):
    with pytest.raises(EvaluationError) as caught:
        fetch(f"{server}/weights", path, "ab" * 32, str)
    assert f"which is {DIGEST}. Received: sha256={'ab' * 32}" in str(caught.value)
    assert names(path) == []


def test_no_such_page_and_no_such_server(server, path):
    with pytest.raises(EvaluationError, match=r"/missing cannot be fetched to .*404.*; `path` takes a file"):
        fetch(f"{server}/missing", path, report=str)
    with pytest.raises(EvaluationError, match=r"cannot be fetched"):
        fetch("http://127.0.0.1:9/weights", path, report=str)
    assert names(path) == []


def test_an_altered_file_is_refused(server, path):
    fetch(f"{server}/weights", path, report=str)
    content = bytearray(CONTENT)
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(EvaluationError, match=r"weights.bin was altered since it was fetched"):
        fetch(f"{server}/weights", path, report=str)


def test_what_the_check_refuses_is_not_kept(server, path):
    seen = []

    def refuse(file):
        seen.append((file, Path(file).read_bytes()))
        raise EvaluationError("a page of the server's own")

    with pytest.raises(EvaluationError, match=r"^a page of the server's own$"):
        fetch(f"{server}/without_length", path, report=str, check=refuse)
    ((file, content),) = seen
    # Whole, but not yet under its name.
    assert content == CONTENT and file != str(path) and names(path) == []
    assert fetch(f"{server}/without_length", path, report=str, check=lambda file: None) == DIGEST


def test_a_damaged_record_is_refused(server, path):
    fetch(f"{server}/weights", path, report=str)
    record = path.parent / "weights.bin.sha256"
    content = bytearray(record.read_bytes())
    content[3] ^= 0xFF
    for damaged in (content, b""):
        record.write_bytes(damaged)
        with pytest.raises(EvaluationError, match=r"weights.bin was altered since .* weights.bin.sha256 says"):
            fetch(f"{server}/weights", path, report=str)
    record.unlink()
    record.mkdir()
    with pytest.raises(EvaluationError, match=f"the digest {record} cannot be read"):
        fetch(f"{server}/weights", path, report=str)


def test_a_file_without_its_record_is_fetched_anew(server, path):
    path.parent.mkdir()
    path.write_bytes(b"half of something")
    assert fetch(f"{server}/weights", path, report=str) == DIGEST
    assert path.read_bytes() == CONTENT


def test_of_several_at_once_one_fetches(server, path):
    start = threading.Barrier(4)

    def fetch_it(_):
        start.wait()
        return fetch(f"{server}/slow", path, report=str)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(fetch_it, range(4))) == [DIGEST] * 4
    assert Handler.requests == ["/slow"] and names(path) == ["weights.bin", "weights.bin.sha256"]


def test_a_file_that_is_not_there(path):
    with pytest.raises(EvaluationError, match=f"^{path} cannot be read"):
        digest_of(path)


def test_a_cache_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EvaluationError, match=r"cannot be fetched to"):
        fetch(f"{server}/weights", tmp_path / "file" / "weights.bin", report=str)


def test_what_was_checked_is_what_is_loaded(path, monkeypatch):
    """Exchanged after its digest was taken, a file is not read again under its name."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"checked")
    with checked_copy(path, hashlib.sha256(b"checked").hexdigest()) as (copy, digest):
        path.write_bytes(b"another")
        assert copy.read_bytes() == b"checked" and digest == hashlib.sha256(b"checked").hexdigest()
    with pytest.raises(EvaluationError, match=f"`sha256` must be the digest of {path}, which is"):
        checked_copy(path, "0" * 64).__enter__()


def test_a_folders_digest_depends_on_names_and_contents(tmp_path):
    def folder(name, files):
        for file, text in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(text)
        return digest_of(tmp_path / name)

    first = folder("a", {"x": "1", "sub/y": "2"})
    assert first == folder("b", {"sub/y": "2", "x": "1"})
    assert len({first, folder("c", {"x": "1", "sub/y": "3"}), folder("d", {"x": "1", "sub/z": "2"})}) == 3


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.delenv("IGAN_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "igan_tf"
    monkeypatch.setenv("IGAN_CACHE_DIR", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    assert cache_folder(tmp_path / "said") == tmp_path / "said"
