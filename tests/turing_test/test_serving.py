"""Connections whose requests never end are closed, and honest slow ones are not."""

import socket
import time

import pytest

from igan_tf.turing_test.serving import PATIENCE_SECONDS
from tests.turing_test.served import Server, make_study, of_patience

PATIENCE = 1


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving") / "study"
    make_study(folder)
    with Server(folder, before=of_patience(PATIENCE)) as server:
        yield server
        assert server.stop() == (130, "")


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), 10)


def seconds_until_closed(connection, trickle=b""):
    """How long it takes the server to close, to which a byte of `trickle` is sent every tenth of a second."""
    start = time.monotonic()
    connection.settimeout(0.1)
    bytes_left = iter(trickle)
    while time.monotonic() - start < 10:
        try:
            if not connection.recv(65536):
                break
        except TimeoutError:
            try:
                connection.sendall(bytes([next(bytes_left)]))
            except StopIteration:
                pass
            except OSError:
                break
        except OSError:
            break
    connection.close()
    return time.monotonic() - start


def test_twenty_seconds_unless_told_otherwise():
    assert PATIENCE_SECONDS == 20


HEAD = "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 500\r\n"
UNENDING = {
    "no byte": ("", ""),
    "half a line": ("GET /sta", ""),
    "a head without its end": (HEAD, ""),
    "a head that trickles": (HEAD, "X: " + "x" * 200),
    "a body without its end": (HEAD + "\r\n{{", ""),
    "a body that trickles after its answer": (HEAD + "\r\n{{", "x" * 200),
    "a second head that trickles": ("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n", HEAD + "X: " + "x" * 200),
    "chunks that trickle": ("POST {path} HTTP/1.1\r\nHost: {address}\r\nTransfer-Encoding: chunked\r\n\r\n", "1" * 200),
}


@pytest.mark.parametrize("path", ["/state", "/answer"])
@pytest.mark.parametrize("name", UNENDING)
def test_requests_that_never_end_are_closed(server, name, path):
    first, trickle = (text.format(path=path, address=server.address).encode() for text in UNENDING[name])
    connection = connect(server)
    connection.sendall(first)
    # A second head begins when the answer to the first request is there.
    assert seconds_until_closed(connection, trickle) < 2 * PATIENCE + 1


def test_a_body_that_is_no_http_leaves_no_traceback(tmp_path):
    make_study(tmp_path / "study")
    with Server(tmp_path / "study") as server:
        head = f"POST {{}} HTTP/1.1\r\nHost: {server.address}\r\nTransfer-Encoding: chunked\r\n\r\n"
        for path in ("/state", "/answer", f"{server.path(server.study_link)}/enrol"):
            for pause in (0, 0.3):
                connection = connect(server)
                connection.sendall(head.format(path).encode())
                time.sleep(pause)
                connection.sendall(b"no length\r\n")
                assert connection.recv(65536)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 403", b"HTTP/1.1 405")
                assert seconds_until_closed(connection) < 5
        code, errors = server.stop()
    assert code == 130 and set(errors.splitlines()) == {"WARNING:  Invalid HTTP request received."}


def test_a_request_in_pieces_is_served(server):
    connection = connect(server)
    for _ in range(3):
        for piece in (b"GET / HT", b"TP/1.1\r\nHost: ", server.address.encode(), b"\r\n\r\n"):
            time.sleep(PATIENCE / 6)
            connection.sendall(piece)
        received = b""
        while not received.endswith(b"</html>"):
            received += connection.recv(65536)
        assert received.startswith(b"HTTP/1.1 200")
    connection.close()


def test_a_client_that_goes_on_keeps_its_connection(server):
    client = server.client().enrol()
    address = client._connection.sock.getsockname()
    for _ in range(4):
        time.sleep(PATIENCE / 2)
        assert client.get("/state").status == 200
    assert client._connection.sock.getsockname() == address
    client.close()
