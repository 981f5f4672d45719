"""Which steps TensorBoard's profiler records; imports TensorFlow when it does, for the commands' sake."""

from __future__ import annotations

from pathlib import Path


def first_and_last(text: str) -> tuple[int, int] | None:
    """The steps of "first,last", or None where the text is no such pair with 1 <= first <= last."""
    first, comma, last = text.partition(",")
    if not (comma and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        return None
    return int(first), int(last)


class ProfiledSteps:
    """Starts and stops the profiler around some steps; its records are for TensorBoard's "Profile".

    Args:
        text: "first,last", both included; empty: none.
        folder: Where the records go.
    """

    def __init__(self, text: str, folder: Path) -> None:
        self._steps = first_and_last(text)
        self._folder = folder
        self._running = False

    def before(self, step: int) -> None:
        """To be called before each step with its number, from 1."""
        if self._steps is None:
            return
        if self._running and step > self._steps[1]:
            self.close()
        elif step == self._steps[0]:
            import tensorflow as tf

            tf.profiler.experimental.start(str(self._folder))
            self._running = True

    def close(self) -> None:
        """To be called after the last step, whatever ends the training."""
        if self._running:
            import tensorflow as tf

            self._running = False
            tf.profiler.experimental.stop()
