"""Requests with something wrong in them, over raw sockets, to one server at which somebody takes part meanwhile."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np

from igan_tf.turing_test.storage import FILE
from tests.soak import Soak
from tests.turing_test.served import Client, Server, make_study, of_patience

STATUSES = {200, 303, 400, 403, 404, 405, 408, 409, 413, 421, 429}
# No answer of the server may hold any of these: the system's accounts, the study's file, its program, an error of it.
_SECRETS = (b"root:", b"SQLite format 3", b"def build_app", b"CREATE TABLE", b"Traceback")
_TEXTS = (
    *(
        "",
        " ",
        "\x00",
        "é",
        "\ud800",
        "\r\n\r\n",
        "%00",
        "%ff%fe",
        "%",
        "&",
        "=",
        ";",
        '"',
        "'",
        "{{7*7}}",
        "null",
        "-1",
    ),
    *("1e999", "9" * 400, "x" * 3000, "x" * 30_000, "[" * 2000, "' OR 1=1; --", "<script>alert(1)</script>"),
    *("../../../../etc/passwd", "..%2f..%2fstudy.sqlite3", "//evil.example/", "http://evil.example", "A" * 22),
)
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "get", "X", "")
_HEADERS = (
    *("Content-Length: 0", "Content-Length: 5", "Content-Length: -1", "Content-Length: 1000000000000"),
    *("Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked", "Expect: 100-continue", "Upgrade: websocket"),
    *("Connection: Upgrade", "Connection: keep-alive", "Host: evil.example", "Origin: http://evil.example"),
    *("Origin: null", "Cookie: a=b; a=c; =; \x00", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: evil.example"),
    *(
        "Range: bytes=0-",
        "Accept-Encoding: gzip",
        "Content-Type: text/xml",
        "If-Modified-Since: 0",
        " folded: yes",
        ":",
    ),
)

# Method, target, headers, body.
_Request: TypeAlias = tuple[str, str, list[str], str]


def _honest(server: Server, client: Client, generator: np.random.Generator) -> _Request:
    """A request as a browser sends it."""
    study, results = server.path(server.study_link), server.path(server.results_link)
    state = client.state()
    headers = [f"Host: {server.address}", f"Cookie: {client._cookie_header()}", "Connection: close"]
    if generator.random() < 0.4:
        body = json.dumps({"trial": state["trial"], "choice": "real", "response_ms": 400})
        headers += ["Content-Type: application/json", f"X-Form-Token: {client.form_token}"]
        return "POST", "/answer", [*headers, f"Origin: {server.origin}"], body
    if generator.random() < 0.2:
        body = "&".join(f"{name}={value}" for name, value in server.client().form().items())
        return "POST", f"{study}/enrol", [*headers, f"Origin: {server.origin}"], body
    targets = ("/", study, "/annotate", "/state", f"/image/{state['trial']}", client.resume_path, "/static/style.css")
    return "GET", str(generator.choice([*targets, *targets, results, f"{results}/report.json"])), headers, ""


def _pick(generator: np.random.Generator, choices: Iterable[str]) -> str:
    choices = list(choices)
    return choices[int(generator.integers(len(choices)))]


def _insert(text: str, generator: np.random.Generator) -> str:
    """One of the hostile texts in `text`, in place of what stood after it or not."""
    place = int(generator.integers(len(text) + 1))
    return text[:place] + _pick(generator, _TEXTS) + (text[place:] if generator.random() < 0.5 else "")


def _alter_header(headers: list[str], generator: np.random.Generator) -> list[str]:
    place = int(generator.integers(len(headers)))
    name, _, value = headers[place].partition(": ")
    altered = _pick(generator, ["", headers[place], f"{name}: {_insert(value, generator)}", _insert(name, generator)])
    return [*headers[:place], *filter(None, [altered]), *headers[place + (generator.random() < 0.7) :]]


_ALTERATIONS: tuple[Callable[[_Request, np.random.Generator], _Request], ...] = (
    lambda r, generator: (_pick(generator, _METHODS), *r[1:]),
    lambda r, generator: (r[0], _insert(r[1], generator), *r[2:]),
    lambda r, generator: (*r[:2], _alter_header(r[2], generator), r[3]),
    lambda r, generator: (*r[:2], [*r[2], _pick(generator, _HEADERS)], r[3]),
    lambda r, generator: (*r[:3], _insert(r[3], generator)),
    lambda r, generator: (*r[:3], re.sub(r"400|\"real\"|[A-Za-z0-9_-]{22}", lambda _: _pick(generator, _TEXTS), r[3])),
)


def _as_bytes(request: _Request, generator: np.random.Generator) -> bytes:
    """The bytes to send; of some a few bits flipped, or the end left out."""
    method, target, headers, body = request
    content = body.encode("utf-8", "surrogatepass")
    if content and not any(header.lower().startswith("content-length") for header in headers):
        headers = [*headers, f"Content-Length: {len(content)}"]
    head = "\r\n".join([f"{method} {target} HTTP/1.1", *headers, "", ""]).encode("utf-8", "surrogatepass")
    data = np.frombuffer(head + content, "uint8").copy()
    if generator.random() < 0.2:
        data[generator.integers(len(data), size=3)] ^= np.uint8(1) << generator.integers(8, size=3, dtype="uint8")
    return data.tobytes()[: int(generator.integers(len(data)))] if generator.random() < 0.05 else data.tobytes()


def _sent(server: Server, data: bytes) -> bytes:
    """What the server says before it closes the connection, which it does soon, come what may."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(data)
        while piece := connection.recv(65536):
            received += piece
    return received


def _stored(study: Path) -> set[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(study / FILE)) as connection:
        return set(connection.execute("SELECT token, choice FROM answers JOIN trials USING (annotator, position)"))


def run(numbers: Iterable[int], folder: Path) -> Iterator[tuple[int, str]]:
    study, numbers, acknowledged = folder / "study", list(numbers), set()
    make_study(study, count=700, trials=1000, block_size=100)
    with Server(study, before=of_patience(1)) as server:
        client = server.client().enrol()
        for number in numbers:
            generator = np.random.default_rng([number, 31])
            client.close()
            token = client.state()["trial"]
            acknowledged.add((token, client.answer(token, "real" if number % 3 else "generated")["choice"]))
            request = _honest(server, client, generator)
            for _ in range(int(generator.integers(1, 4))):
                request = _ALTERATIONS[int(generator.integers(len(_ALTERATIONS)))](request, generator)
            received = _sent(server, _as_bytes(request, generator))
            statuses = {int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", received)} - {100}
            assert statuses <= STATUSES, received[:500]
            assert not any(secret in received for secret in _SECRETS), received[:500]
            assert acknowledged <= _stored(study)
            if number == numbers[-1]:
                code, errors = server.stop()
                assert code == 130 and "Traceback" not in errors, errors
            yield number, str(min(statuses)) if statuses else "closed"


SOAK = Soak(
    about="A request has something wrong in it: the server refuses it, goes on, and keeps every answer acknowledged.",
    count=500,
    run=run,
)
