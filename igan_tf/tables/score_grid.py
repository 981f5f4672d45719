"""Scores by technique left out: the runs of such a table, and their scores."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from igan_tf.errors import InputError
from igan_tf.evaluation.settings import EvaluationSettings
from igan_tf.experiments.scoring import evaluate
from igan_tf.files import disk, json_files
from igan_tf.tables import report
from igan_tf.tables.grid import ReadConfig, Run
from igan_tf.tables.published import ScoreTable
from igan_tf.training.checkpoints import Checkpoints

_NUMBER, _ANY = json_files.NUMBER, True
# Of a record of scores, what a table takes from it.
_RECORD = json_files.record(
    {
        "num_samples": json_files.WHOLE,
        "inception_score": json_files.record(
            {"mean": _NUMBER, "std": _NUMBER, "splits": json_files.WHOLE}, others=_ANY
        ),
        "classifier": json_files.record(
            {"name": json_files.TEXT, "sha256": json_files.TEXT},
            {"test_error": json_files.decimal(0, 1)},
            others=_ANY,
        ),
    },
    {"frechet_distance": _NUMBER},
    others=_ANY,
)
_SAVED = json_files.record({"request": json_files.record({}, others=_ANY), "record": _RECORD})


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
            # The first seed's is called alike whatever their number.
            name = row.run or row.flagfile.removesuffix(".cfg")
            names = [name, *(f"{name}_seed-{seed}" for seed in range(2, seeds + 1))]
            flags = [[], *([f"--seed={seed}"] for seed in range(2, seeds + 1))]
            self._cells.append(
                [Run(run, read(row.flagfile, *row.flags, *own), folder) for run, own in zip(names, flags)]
            )
        self.runs = list(itertools.chain.from_iterable(self._cells))
        if table.reference:
            self._scored |= {"reference": table.reference, "data_dir": self.runs[0].config.data_dir}
            if classifier == "domain":
                # One network for all: trained on the whole data set, whatever part of it the runs have.
                self._scored["dataset"] = table.reference.partition(":")[0]
        # Refuses what does not go together now, not after the first run.
        self._settings(str(folder))

    def write(self) -> str:
        """Scores the finished runs, writes the table; returns its Markdown."""
        records: dict[str, dict[str, Any]] = {}
        for run in self.runs:
            try:
                if result := run.result():
                    checkpoints = Checkpoints(run.run_dir / "checkpoints")
                    weights, place = checkpoints.digest(result["steps"]), checkpoints.path(result["steps"])
                    records[run.name] = self._record(run.name, self._settings(str(place)), weights)
            except InputError as error:
                # The table of the others is written nonetheless.
                self.unusable[run.name] = str(error)
        real = None
        if self._table.reference and records:
            # All of them.
            real = self._record("real", self._settings(self._table.reference, reference="", num_samples=0))
        return report.write_score_table(self._folder, self._table, self._cells, records, real)

    def _settings(self, source: str, **changes: Any) -> EvaluationSettings:
        return EvaluationSettings(source=source, output="", **{**self._scored, **changes})

    def _record(self, name: str, settings: EvaluationSettings, weights: str = "") -> dict[str, Any]:
        """The record of scores of images; computed once for these settings and weights, wherever the data lie."""
        path = self._folder / "scores" / f"{name}.json"
        request = {key: getattr(settings, key) for key in self._scored if key != "data_dir"} | {"weights": weights}
        try:
            saved = json_files.read(path, _SAVED)
            if saved["request"] == request:
                return saved["record"]
        except FileNotFoundError:
            pass
        except (disk.UnusableFile, json_files.DamagedFile) as error:
            print(f"{error}; computed anew")
        disk.make_folder(path.parent, parents=True)
        record = evaluate(settings)
        report.write_json(path, {"request": request, "record": record})
        return record
