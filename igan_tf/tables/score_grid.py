"""Inception Scores by technique left out: the six runs of that table, and their scores."""

import json

from igan_tf.commands.evaluate import evaluate
from igan_tf.commands.evaluate_options import parser
from igan_tf.errors import ConfigError, EvaluationError
from igan_tf.tables import report
from igan_tf.tables.grid import Run
from igan_tf.training import CheckpointError, Checkpoints


class ScoreGrid:
    """The grid of a `ScoreTable`.

    Args:
        table: The `ScoreTable`.
        folder: Of the runs, the scores and the table.
        read: Function of a flag file's name in `run_configs/` and further flags to the run's `Config`.
        classifier: As `--classifier` of `igan_tf.evaluate`.
        classifier_path: As `--classifier_path`.
        num_samples: Samples of each run that are scored.
    """

    def __init__(self, table, folder, read, classifier, classifier_path, num_samples):
        self._table, self._folder = table, folder
        self._scored = {"classifier": classifier, "classifier_path": classifier_path, "num_samples": num_samples}
        # Runs that are finished, but whose weights cannot be used, and why.
        self.unusable = {}
        self.runs = [Run(row.flagfile.removesuffix(".cfg"), read(row.flagfile), folder) for row in table.rows]

    def write(self):
        """Scores the finished runs, writes the table; returns its Markdown."""
        records = []
        for run in self.runs:
            try:
                records.append(self._record(run) if run.result() is not None else None)
            except (CheckpointError, ConfigError, EvaluationError) as error:
                # One damaged run must not take the others' table with it.
                self.unusable[run.name] = str(error)
                records.append(None)
        return report.write_score_table(self._folder, self._table, self.runs, records)

    def _record(self, run):
        """The record of `igan_tf.evaluate` on a run's last weights; computed once."""
        path = self._folder / "scores" / f"{run.name}.json"
        step = run.result()["steps"]
        checkpoints = Checkpoints(run.run_dir / "checkpoints")
        request = {**self._scored, "weights": checkpoints.digest(step)}
        if path.exists():
            saved = json.loads(path.read_text(encoding="utf-8"))
            if saved["request"] == request:
                return saved["record"]
        own_output = path.with_suffix(".evaluate.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = [f"--{name}={value}" for name, value in self._scored.items()]
        arguments = parser().parse_args([f"--source={checkpoints.path(step)}", f"--output={own_output}", *flags])
        record = evaluate(arguments)
        report.write_json(path, {"request": request, "record": record})
        return record
