"""Groups of connections to one server whose heads or bodies never end, while somebody takes part in the study."""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from tests.soak import Soak
from tests.turing_test.served import Server, make_study, of_patience
from tests.turing_test.test_serving import UNENDING

_IN_A_GROUP = 50
_PATIENCE = 1
# After the answer to a first request the server waits anew; the rest is for a machine with other work.
_LIMIT = 2 * _PATIENCE + 2


def _connections(server: Server, generator: np.random.Generator, opened: contextlib.ExitStack) -> dict:
    """The bytes that each new connection has yet to send, one at a time, without an end to its request."""
    trickles = {}
    for _ in range(_IN_A_GROUP):
        name = generator.choice(list(UNENDING))
        path = generator.choice(["/answer", "/state", "/", server.path(server.study_link) + "/enrol"])
        first, trickle = (text.format(path=path, address=server.address).encode() for text in UNENDING[name])
        connection = opened.enter_context(socket.create_connection(("127.0.0.1", server.port), 10))
        connection.sendall(first[: generator.integers(1, len(first) + 1)] if first else b"")
        trickles[connection] = iter(trickle)
    return trickles


def _wait_until_closed(trickles: dict, deadline: float) -> None:
    while trickles:
        assert time.monotonic() < deadline, f"{len(trickles)} of {_IN_A_GROUP} connections are still open"
        for connection in select.select(list(trickles), [], [], 0.1)[0]:
            # What answers a first request is read and forgotten.
            with contextlib.suppress(ConnectionError):
                if connection.recv(65536):
                    continue
            del trickles[connection]
        for connection, trickle in trickles.items():
            # It may be closed just now.
            with contextlib.suppress(ConnectionError):
                connection.sendall(bytes(itertools.islice(trickle, 1)))


def run(numbers: Iterable[int], folder: Path) -> Iterator[tuple[int, str]]:
    make_study(folder / "study", count=200, trials=100)
    with Server(folder / "study", before=of_patience(_PATIENCE)) as server:
        client = server.client().enrol()
        for number in numbers:
            with contextlib.ExitStack() as opened:
                start = time.monotonic()
                trickles = _connections(server, np.random.default_rng([number, 23]), opened)
                # Its own connection has been idle for too long.
                client.close()
                answered = client.state()["answered"]
                assert client.answer(client.state()["trial"], "real")["state"]["answered"] == answered + 1
                assert time.monotonic() - start < 5, "others waited"
                _wait_until_closed(trickles, time.monotonic() + _LIMIT)
            assert server.process.poll() is None
            yield number, f"all {_IN_A_GROUP} closed"


SOAK = Soak(
    about=f"{_IN_A_GROUP} connections have requests that never end: all are closed in time, and others are served.",
    count=40,
    run=run,
)
