"""Test errors by number of labels: the runs of such a table, and the table of those that are finished."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

from igan_tf.errors import ConfigError
from igan_tf.tables import report
from igan_tf.tables.ensembles import Ensembles
from igan_tf.tables.grid import ReadConfig, Run
from igan_tf.tables.published import ErrorTable

_MOST_RUNS = 10_000


class ErrorGrid:
    """The grid of an `ErrorTable`.

    Args:
        table: The `ErrorTable`.
        folder: Of the runs and the table.
        read: Function of a flag file's name in `run_configs/` and further flags to the run's `RunConfig`.
        labels: Columns: numbers of labels; empty: the table's own.
        subsets: Labelled subsets: one number, or one for each column.
        seeds: Models of each subset.

    Raises:
        ConfigError: for another number of `subsets`, and for what a run's settings cannot be.
    """

    def __init__(
        self, table: ErrorTable, folder: Path, read: ReadConfig, labels: list[int], subsets: list[int], seeds: int
    ) -> None:
        labels = labels or list(table.labels)
        if len(subsets) not in (1, len(labels)):
            raise ConfigError(
                f"`subsets` must be one number, or as many as there are columns, {len(labels)}. "
                f"Received: subsets={','.join(map(str, subsets))}"
            )
        subsets = subsets * len(labels) if len(subsets) == 1 else subsets
        if sum(subsets) * seeds > _MOST_RUNS:
            raise ConfigError(
                f"`subsets` and `seeds` must make at most {_MOST_RUNS} runs. "
                f"Received: subsets={','.join(map(str, subsets))} seeds={seeds}"
            )
        self._table, self._folder, self._seeds = table, folder, seeds
        self._cells: dict[int, list[Run]] = {}
        for count, last in zip(labels, subsets):
            self._cells[count] = []
            for subset, seed in itertools.product(range(1, last + 1), range(1, seeds + 1)):
                flags = [f"--labels={count}", f"--seed_data={subset}", f"--seed={seed}", "--label_draws=1"]
                name = f"labels-{count}_subset-{subset}_seed-{seed}"
                self._cells[count].append(Run(name, read(table.flagfile, *flags), folder))
        self.runs = list(itertools.chain.from_iterable(self._cells.values()))

    @functools.cached_property
    def _ensembles(self) -> Ensembles:
        """Of this table; reads the test set once, when it is first written."""
        return Ensembles(self._folder, self.runs[0].config)

    @property
    def unusable(self) -> dict[str, str]:
        """Dict of the names of runs that are finished, but whose weights cannot be used, and why."""
        return self._ensembles.unusable

    def write(self) -> str:
        """Writes the table of the finished runs; returns its Markdown."""
        averaged = {
            labels: [(len(group), self._ensembles.error(group)) for group in self._groups(runs)]
            for labels, runs in self._cells.items()
        }
        return report.write_error_table(self._folder, self._table, self._cells, self._seeds, averaged)

    def _groups(self, runs: list[Run]) -> list[list[Run]]:
        """Finished runs that are averaged with each other: a subset's seeds, or one of each subset; two at least."""
        size = len(runs) if self._seeds == 1 else self._seeds
        groups = [runs[start : start + size] for start in range(0, len(runs), size)]
        finished = [[run for run in group if self._ensembles.has(run)] for group in groups]
        return [group for group in finished if len(group) > 1]
