"""Inception Scores by technique left out: the six runs of that table, and their scores."""

from __future__ import annotations

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
    """

    def __init__(
        self, table: ScoreTable, folder: Path, read: ReadConfig, classifier: str, classifier_path: str, num_samples: int
    ) -> None:
        self._table, self._folder = table, folder
        self._scored: dict[str, Any] = {
            "classifier": classifier,
            "classifier_path": classifier_path,
            "num_samples": num_samples,
        }
        # Finished runs whose weights cannot be used, and why.
        self.unusable: dict[str, str] = {}
        self.runs = [Run(row.flagfile.removesuffix(".cfg"), read(row.flagfile), folder) for row in table.rows]

    def write(self) -> str:
        """Scores the finished runs, writes the table; returns its Markdown."""
        records: list[dict[str, Any] | None] = []
        for run in self.runs:
            try:
                records.append(self._record(run) if run.result() is not None else None)
            except InputError as error:
                # The table of the others is written nonetheless.
                self.unusable[run.name] = str(error)
                records.append(None)
        return report.write_score_table(self._folder, self._table, self.runs, records)

    def _record(self, run: Run) -> dict[str, Any]:
        """The record of scores of a run's last weights; computed once."""
        path = self._folder / "scores" / f"{run.name}.json"
        result = run.result()
        assert result is not None
        step = result["steps"]
        checkpoints = Checkpoints(run.run_dir / "checkpoints")
        request = {**self._scored, "weights": checkpoints.digest(step)}
        if path.exists():
            saved = json.loads(path.read_text(encoding="utf-8"))
            if saved["request"] == request:
                return saved["record"]
        path.parent.mkdir(parents=True, exist_ok=True)
        record = evaluate(EvaluationSettings(source=str(checkpoints.path(step)), output="", **self._scored))
        report.write_json(path, {"request": request, "record": record})
        return record
