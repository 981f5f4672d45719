"""The report as the results page asks for it: drawn up off the server's own thread, once for each new answer."""

from __future__ import annotations

import asyncio

from igan_tf.turing_test import export, figures
from igan_tf.turing_test.report import Report
from igan_tf.turing_test.storage import Storage


class Results:
    """Report and files of a study that is going on, kept until there is another answer.

    Args:
        storage: The open study.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = asyncio.Lock()
        self._answers: tuple[int, int] | None = None
        self._report: Report | None = None
        self._texts: dict[str, str] = {}
        self._figures: dict[str, bytes] = {}

    async def report(self) -> Report:
        """The report of the answers so far."""
        async with self._lock:
            return await self._current()

    async def file(self, name: str) -> tuple[str | bytes, str, bool] | None:
        """(content, media type, whether to offer it for saving) of a file of the report; None for another name."""
        async with self._lock:
            report = await self._current()
            if name in self._texts:
                return self._texts[name], "application/json" if name.endswith(".json") else "text/csv", True
            figure = name.removesuffix(".png")
            if figure == name or figure not in figures.names(report):
                return None
            if figure not in self._figures:
                self._figures[figure] = await asyncio.to_thread(figures.draw, figure, report, self._storage)
            return self._figures[figure], "image/png", False

    async def _current(self) -> Report:
        answers = self._storage.num_answers(), self._storage.num_annotators()
        if answers != self._answers:
            self._report, self._texts = await asyncio.to_thread(export.texts, self._storage)
            self._answers, self._figures = answers, {}
        assert self._report is not None
        return self._report
