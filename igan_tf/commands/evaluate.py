"""Scores of images, with their protocol: `python -m igan_tf.evaluate --source=... --classifier=... --output=FILE`."""

from __future__ import annotations

from collections.abc import Sequence

from igan_tf.commands.flags import CommandLine
from igan_tf.commands.start import ending_in_one_sentence, import_tensorflow, report
from igan_tf.errors import EvaluationError
from igan_tf.evaluation.settings import EvaluationSettings


def run(arguments: Sequence[str]) -> None:
    """Evaluates; errors of the user's end it with one message."""
    line = CommandLine("igan-tf evaluate", "Scores images and writes the figures with their protocol.")
    line.add_settings(EvaluationSettings)
    with ending_in_one_sentence(line):
        line.parse(arguments)
        settings = line.read(EvaluationSettings)
        if not settings.output:
            raise EvaluationError("`output` must be a file. Received: output=")
        # Once the settings are known to be right.
        import_tensorflow()

        from igan_tf.experiments.scoring import evaluate

        evaluate(settings, report, line.typed)
    report(f"written to {settings.output}")
