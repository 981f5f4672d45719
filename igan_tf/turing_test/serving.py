"""A study's socket and its server."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn

import uvicorn

from igan_tf.turing_test.server import build_app
from igan_tf.turing_test.settings import StudyError
from igan_tf.turing_test.storage import Storage


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
        raise StudyError(f"`host={host}` `port={port}` cannot be served on: {error}") from error
    return listener


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
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        # Links hold secrets: they go into no log.
        access_log=False,
        server_header=False,
        proxy_headers=proxied,
        h11_max_incomplete_event_size=16_384,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    _Server(config, lambda: started(study, origins[0])).run(sockets=[listener])


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
