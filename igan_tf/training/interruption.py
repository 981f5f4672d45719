"""Signals that end a training after a step, with everything saved."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


class Interrupted(Exception):
    """SIGTERM or Ctrl-C, here or at another worker; what was trained is saved."""

    def __init__(self, signum: int, where: str = "; saved"):
        name = "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name
        super().__init__(f"stopped by {name}{where}, the same command continues")
        self.signum = signum


class StopRequest:
    """Which signal, if any, has asked this process to stop."""

    def __init__(self) -> None:
        self.signum: int | None = None

    def __bool__(self) -> bool:
        return self.signum is not None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """In this scope SIGTERM and Ctrl-C are noted; the second one of a kind acts as it would outside.

        Outside of the main thread, where Python lets no handler be set, they are not noted.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(signum: int, frame: FrameType | None) -> None:
            self.signum = signum
            signal.signal(signum, previous[signum])

        previous: dict[int, Any] = {signum: signal.signal(signum, note) for signum in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for signum, handler in previous.items():
                signal.signal(signum, handler)
