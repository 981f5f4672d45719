"""Hostile requests over raw sockets: none makes the server fail, none is executed, none reads outside."""

import json
import socket
import sqlite3
import threading
from urllib.parse import quote

import pytest

from igan_tf.turing_test.storage import FILE
from tests.turing_test.served import Server, make_study, served

MARK = "<script>alert('x')</script>"
SQL = "' OR '1'='1'; DROP TABLE answers; --"
# No answer of the server may hold any of these: the system's accounts, the study's file, its program.
SECRETS = (b"root:", b"SQLite format 3", b"def build_app", b"CREATE TABLE", MARK.encode())
TRAVERSALS = [
    up * 6 + target
    for target in ("etc/passwd", "study.sqlite3", "server.py")
    for up in (
        *("../", "..\\", "..%2f", "%2e%2e/", "%2e%2e%2f", "%252e%252e%252f", "..%5c", "%c0%ae%c0%ae/", "..%c0%af"),
        *("....//", "..;/", "%uff0e%uff0e/", ".%00./", "%e2%80%ae../", "//", "./"),
    )
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / "study"
    # The mark in the researcher's own words: they, too, are text and nothing else.
    make_study(folder, title=f"A {MARK} study", consent=f"I agree {MARK}", generated=("a", "b"))
    # Its log tells of malformed requests, so that what stands on stderr is no error of its own.
    with Server(folder) as server:
        server.study_dir = folder
        server.annotator = server.client().enrol()
        server.annotator.answer(server.annotator.state()["trial"], "real")
        yield server


def raw(server, data, timeout=30):
    """Everything that the server says to these bytes before it closes, or before `timeout` passes in silence."""
    with socket.create_connection(("127.0.0.1", server.port), timeout) as connection:
        connection.sendall(data)
        received = b""
        try:
            while piece := connection.recv(65536):
                received += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return received


def request(server, method, target, headers=(), body=b"", host=None):
    """One request as bytes, whatever they may be."""
    target = target if isinstance(target, bytes) else target.encode()
    lines = [b"%s %s HTTP/1.1" % (method.encode(), target), b"Host: " + (host or server.address).encode()]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in headers]
    if body and not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in headers):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"Connection: close", b"", b""]) + body


def own_headers(server, **changes):
    """The headers of an annotator's own answer, with `changes`; None leaves one out."""
    client = server.annotator
    headers = {
        "Origin": server.origin,
        "Cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items()),
        "X-Form-Token": client.form_token,
        "Content-Type": "application/json",
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    return [(name, value) for name, value in headers.items() if value is not None]


def answer_body(server, **changes):
    fields = {"trial": server.annotator.state()["trial"], "choice": "real", "response_ms": 400, **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def hostile_requests(server):
    """(what it is, the bytes, the statuses that are right)."""
    study, results = server.path(server.study_link), server.path(server.results_link)
    refused = {400, 403, 404, 405, 413, 414, 421, 431}
    for path in TRAVERSALS:
        for base in ("/static/", "/image/", f"{results}/"):
            yield f"traversal {base}{path}", request(server, "GET", base + path, own_headers(server)), refused
    for path in (
        "/etc/passwd",
        "/study.sqlite3",
        "/study/",
        "/results/",
        "/results",
        f"/results{study[6:]}",
        "/.git/config",
    ):
        yield f"path {path}", request(server, "GET", path), {404}
    yield "absolute target", request(server, "GET", "http://example.org/static/../../etc/passwd"), refused
    yield "results by the study's secret", request(server, "GET", f"/results/{study.split('/')[-1]}"), {404}
    # Foreign pages.
    for origin in ("http://evil.example", "null", "", None, f"{server.origin}.evil.example", server.origin + "/"):
        yield f"answer from {origin}", answer(server, own_headers(server, Origin=origin)), {403}
        form = request(
            server, "POST", f"{study}/enrol", [("Origin", origin)] if origin is not None else [], b"consent=yes"
        )
        yield f"enrolment from {origin}", form, {403}
    for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1", f"{server.address}, evil.example", ""):
        yield f"host {host!r}", request(server, "GET", study, host=host or " "), {400, 421}
    yield "two hosts", request(server, "GET", study, [("Host", "evil.example")]), {400, 421}
    # Missing and wrong tokens.
    for token in (None, "", "0" * 64, MARK, SQL, "é"):
        yield f"form token {token!r}", answer(server, own_headers(server, X_Form_Token=token)), {403}
    for cookie in (None, "", SQL, MARK, "annotator_=x; a=b", "=;=;;", "annotator=" + "x" * 5000):
        yield f"cookie {cookie!r}", answer(server, own_headers(server, Cookie=cookie)), {403}
    # Script and SQL in every field, and what is no answer at all.
    for text in (MARK, SQL, "\x00", "\ud800", "real\n", "REAL", "é" * 300, "", " "):
        for field in ("trial", "choice", "response_ms"):
            body = answer_body(server, **{field: text})
            yield f"{field}={text!r}", answer(server, own_headers(server), body), {400, 404}
        for page in ("/image/", "/study/", "/resume/", "/results/", "/static/", "/"):
            path = page + quote(text, errors="surrogatepass")
            yield (
                f"path {path}",
                request(server, "GET", path, own_headers(server)),
                {200, 404} if path == "/" else {404},
            )
        form = (
            f"number={quote(text, errors='surrogatepass')}&form_token={quote(text, errors='surrogatepass')}&consent=yes"
        )
        headers = [("Origin", server.origin), ("Cookie", f"visit={quote(text, errors='surrogatepass')}")]
        yield f"form {text!r}", request(server, "POST", f"{study}/enrol", headers, form.encode()), {400, 403}
    for value in (None, True, 1.5, -1, 10**9, 10**400, [], {}, "400"):
        yield f"response_ms={value}", answer(server, own_headers(server), answer_body(server, response_ms=value)), {400}
    for body in (
        b"[]",
        b"{}",
        b"null",
        b"3",
        b'"x"',
        b"{",
        b"\xff\xfe",
        b"\xc3\x28",
        b"[" * 4000,
        b'{"a":' * 800,
        b"\x00",
    ):
        yield f"body {body[:8]!r}", answer(server, own_headers(server), body), {400}
    yield (
        "bad UTF-8 in the form",
        request(server, "POST", f"{study}/enrol", [("Origin", server.origin)], b"a=\xff&b=%ff"),
        {400},
    )
    yield "many fields", request(server, "POST", f"{study}/enrol", [("Origin", server.origin)], b"a=1&" * 900), {400}
    # Oversized.
    for size in (5_000, 1_000_000):
        yield f"{size} bytes", answer(server, own_headers(server), b"x" * size), {413}
    yield "promised bytes", request(server, "POST", "/answer", own_headers(server, Content_Length=10**12)), {413}
    chunked = own_headers(server, Transfer_Encoding="chunked")
    chunks = b"".join(b"400\r\n" + b"x" * 1024 + b"\r\n" for _ in range(50)) + b"0\r\n\r\n"
    yield "chunks without end", request(server, "POST", "/answer", chunked, chunks), {413}
    yield "long header", request(server, "GET", "/", [("X", "x" * 50_000)]), {200, 400, 431}
    yield "long path", request(server, "GET", "/" + "x" * 50_000), {400, 404, 414, 431}
    # Malformed HTTP.
    for data in (
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\nConnection: close\r\n\r\n",
        b"\xff" * 200 + b"\r\n\r\n",
    ):
        yield f"bytes {data[:6]!r}", data, {400, 421, 505}
    for length in ("-1", "x", "1, 2"):
        yield (
            f"length {length}",
            request(server, "POST", "/answer", own_headers(server, Content_Length=length)),
            {400, 413},
        )
    smuggled = own_headers(server, Content_Length=4, Transfer_Encoding="chunked")
    yield (
        "length and chunks",
        request(server, "POST", "/answer", smuggled, b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
        {400, 413},
    )
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "CONNECT", "POST"):
        yield f"{method} /state", request(server, method, "/state", own_headers(server)), {400, 404, 405}
        if method != "POST":
            yield f"{method} /answer", request(server, method, "/answer", own_headers(server)), {400, 404, 405}
    yield "GET /answer", request(server, "GET", "/answer", own_headers(server)), {405}
    # Replayed and out of order.
    state = server.annotator.state()
    yield "out of order", answer(server, own_headers(server), answer_body(server, trial=state["next"])), {409}
    yield "nobody's trial", answer(server, own_headers(server), answer_body(server, trial="A" * 22)), {404}


def answer(server, headers, body=None):
    return request(server, "POST", "/answer", headers, answer_body(server) if body is None else body)


def stored(server):
    with sqlite3.connect(server.study_dir / FILE) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        tables = ("study", "sources", "items", "annotators", "trials", "answers")
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}


def test_two_hundred_hostile_requests(server):
    before = stored(server)
    cases = list(hostile_requests(server))
    assert len(cases) >= 200
    wrong = []
    for name, data, statuses in cases:
        received = raw(server, data)
        status = int(received.split(b" ", 2)[1]) if received.startswith(b"HTTP/1.1 ") else None
        # A closed connection without a word is an answer, too, to what is no HTTP.
        if (status is not None and status not in statuses) or any(secret in received for secret in SECRETS):
            wrong.append((name, status, received[:200]))
    assert not wrong, "\n".join(map(repr, wrong))
    assert server.process.poll() is None
    assert stored(server) == before


def test_text_is_shown_as_text(server):
    client = server.client()
    for path in (client.study_path, server.path(server.results_link)):
        page = client.get(path).body.decode()
        assert MARK not in page and "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page


def test_a_replayed_answer_changes_nothing(server):
    client = server.client().enrol()
    token = client.state()["trial"]
    data = request(
        server,
        "POST",
        "/answer",
        [*headers_of(client)],
        json.dumps({"trial": token, "choice": "real", "response_ms": 1}).encode(),
    )
    first = raw(server, data)
    before = stored(server)
    assert all(raw(server, data).split(b"\r\n\r\n")[1] == first.split(b"\r\n\r\n")[1] for _ in range(5))
    assert stored(server) == before


def headers_of(client):
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    return [("Origin", client.origin), ("Cookie", cookies), ("X-Form-Token", client.form_token)]


def test_slow_bodies_hold_up_nobody(tmp_path, monkeypatch):
    """Twenty bodies that never end; others are served meanwhile, and the slow ones are told to stop."""
    make_study(tmp_path / "study")
    with served(tmp_path / "study") as server:
        client = server.client().enrol()
        slow = []
        for _ in range(20):
            connection = socket.create_connection(("127.0.0.1", server.port), 60)
            connection.sendall(
                request(server, "POST", "/answer", [*headers_of(client), ("Content-Length", "50")])[:-2] + b"\r\n{"
            )
            slow.append(connection)
        other = server.client().enrol()
        assert len(other.answer_all(lambda token: "real")) == 14
        statuses = [connection.recv(65536).split(b" ")[1] for connection in slow]
        assert statuses == [b"408"] * 20
        for connection in slow:
            connection.close()
        assert client.state()["answered"] == 0


def test_a_flood_is_slowed_down(tmp_path):
    make_study(tmp_path / "study")
    with served(tmp_path / "study") as server:
        client = server.client().enrol()
        token = client.state()["trial"]
        replies, lock = [], threading.Lock()

        def flood():
            other = server.client()
            other.cookies, other.form_token = client.cookies, client.form_token
            for _ in range(60):
                reply = other.send_answer(token, "real")
                with lock:
                    replies.append(reply)
            other.close()

        threads = [threading.Thread(target=flood) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {reply.status for reply in replies} <= {200, 429}
        refused = [reply for reply in replies if reply.status == 429]
        assert refused and all(int(reply.header("retry-after")) >= 1 for reply in refused)
        # Others are not.
        other = server.client().enrol()
        other.answer(other.state()["trial"], "real")
