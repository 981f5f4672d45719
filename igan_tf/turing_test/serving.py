"""A study's socket and its server."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from igan_tf.turing_test.server import build_app
from igan_tf.turing_test.settings import StudyError
from igan_tf.turing_test.storage import Storage

# How long a connection may leave a request unfinished, or have none.
PATIENCE_SECONDS = 20


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        StudyError: where the address cannot be served on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named asyncio sets TCP_NODELAY; without, every answer's body waits 40 ms for an ACK of its head.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise StudyError(
            f"`host={host}` `port={port}` cannot be served on: {error}; `port=0` takes a free one"
        ) from error
    return listener


def address_in_network() -> str:
    """This machine's address in its network, from which it would reach others; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # An address that RFC 5737 keeps for documents.
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            raise StudyError(
                "`host=0.0.0.0`: this machine has no address in a network; name the one to use. Received: host=0.0.0.0"
            ) from None


def serve(
    study: Storage,
    listener: socket.socket,
    origins: Sequence[str],
    proxied: bool,
    started: Callable[[Storage, str], Any],
) -> None:
    """Serves a study until a signal ends it, which comes out as a SystemExit.

    Args:
        study: A `Storage` opened with `serve=True`.
        listener: From `listen`.
        origins: The origins under which browsers reach the study; the first goes into links.
        proxied: Whether a proxy on this machine says where requests come from.
        started: Called with the study and the first origin once requests are answered.
    """
    config = uvicorn.Config(
        build_app(study, origins),
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        # Links hold secrets: they go into no log.
        access_log=False,
        server_header=False,
        proxy_headers=proxied,
        h11_max_incomplete_event_size=16_384,
        timeout_keep_alive=PATIENCE_SECONDS,
        timeout_graceful_shutdown=5,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    _Server(config, lambda: started(study, origins[0])).run(sockets=[listener])


class _Protocol(H11Protocol):
    """Uvicorn's protocol, which waits for the rest of a request no longer than for the next one.

    Where a body turns out to be no HTTP, Uvicorn itself answers, and then fails at the answer of the application.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_watching()

    def send_400_response(self, msg: str) -> None:
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def _watch(self) -> None:
        """Lets the time run, from the first byte on, while the client has not sent all of a head and its body."""
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._stop_watching()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.timeout_keep_alive, self.transport.abort)

    def _stop_watching(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Server(uvicorn.Server):
    """Uvicorn's server, which says when it has started."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], Any]) -> None:
        super().__init__(config)
        self._said = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._said()


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """Uvicorn ends in order on a signal, then sends itself the same one again."""
    raise SystemExit(128 + number)
