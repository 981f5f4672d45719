"""Scores by technique left out: the runs of such a table, and their scores."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from igan_tf.errors import InputError
from igan_tf.evaluation.settings import EvaluationSettings
from igan_tf.experiments.scoring import evaluate
from igan_tf.tables import report
from igan_tf.tables.grid import ReadConfig, Run
from igan_tf.tables.published import ScoreTable
from igan_tf.training.checkpoints import Checkpoints


class ScoreGrid:
    """The grid of a `ScoreTable`.

    Args:
        table: The `ScoreTable`.
        folder: Of the runs, the scores and the table.
        read: Function of a flag file's name in `run_configs/` and further flags to the run's `RunConfig`.
        classifier, classifier_path: As of `EvaluationSettings`.
        num_samples: Samples of each run that are scored.
        seeds: Runs of each row.
    """

    def __init__(
        self,
        table: ScoreTable,
        folder: Path,
        read: ReadConfig,
        classifier: str,
        classifier_path: str,
        num_samples: int,
        seeds: int,
    ) -> None:
        self._table, self._folder = table, folder
        self._scored: dict[str, Any] = {
            "classifier": classifier,
            "classifier_path": classifier_path,
            "num_samples": num_samples,
        }
        # Finished runs whose weights cannot be used, and why.
        self.unusable: dict[str, str] = {}
        self._cells: list[list[Run]] = []
        for row in table.rows:
            name = row.run or row.flagfile.removesuffix(".cfg")
            # One run a row has the flag file's own seed.
            several = [(f"{name}_seed-{seed}", [f"--seed={seed}"]) for seed in range(1, seeds + 1)]
            self._cells.append(
                [
                    Run(run, read(row.flagfile, *row.flags, *flags), folder)
                    for run, flags in (several if seeds > 1 else [(name, [])])
                ]
            )
        self.runs = list(itertools.chain.from_iterable(self._cells))
        if table.reference:
            self._scored |= {"reference": table.reference, "data_dir": self.runs[0].config.data_dir}

    def write(self) -> str:
        """Scores the finished runs, writes the table; returns its Markdown."""
        records: dict[str, dict[str, Any]] = {}
        for run in self.runs:
            try:
                if result := run.result():
                    checkpoints = Checkpoints(run.run_dir / "checkpoints")
                    weights, place = checkpoints.digest(result["steps"]), checkpoints.path(result["steps"])
                    records[run.name] = self._record(run.name, str(place), {"weights": weights})
            except InputError as error:
                # The table of the others is written nonetheless.
                self.unusable[run.name] = str(error)
        reference = self._table.reference
        real = None
        if reference and records:
            # The network `domain` is the data set's.
            own = {"dataset": reference.partition(":")[0]} if self._scored["classifier"] == "domain" else {}
            settings = {**self._scored, **own, "reference": ""}
            real = self._record("real", reference, {}, settings)
        return report.write_score_table(self._folder, self._table, self._cells, records, real)

    def _record(
        self, name: str, source: str, identity: dict[str, str], settings: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The record of scores of images; computed once for what `identity` and the settings say."""
        path = self._folder / "scores" / f"{name}.json"
        settings = settings or self._scored
        request = {**settings, **identity}
        if path.exists():
            saved = json.loads(path.read_text(encoding="utf-8"))
            if saved["request"] == request:
                return saved["record"]
        path.parent.mkdir(parents=True, exist_ok=True)
        record = evaluate(EvaluationSettings(source=source, output="", **settings))
        report.write_json(path, {"request": request, "record": record})
        return record
