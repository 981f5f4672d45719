"""Interval timer."""

import time


class Timer:
    """Says when an interval has passed since it last said so.

    Args:
        minutes: The interval; 0: never.
    """

    def __init__(self, minutes: float) -> None:
        self._seconds = 60 * minutes
        self._last = time.monotonic()

    def due(self) -> bool:
        now = time.monotonic()
        if not self._seconds or now - self._last < self._seconds:
            return False
        self._last = now
        return True
