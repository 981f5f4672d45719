"""Scores of images, with their protocol: `python -m igan_tf.evaluate --source=... --classifier=... --output=FILE`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from igan_tf.commands.flags import CommandLine
from igan_tf.commands.start import import_tensorflow, report
from igan_tf.errors import EvaluationError, InputError
from igan_tf.evaluation.settings import EvaluationSettings


def run(arguments: Sequence[str]) -> None:
    """Evaluates; errors of the user's end it with one message."""
    line = CommandLine("python -m igan_tf.evaluate", "Scores images and writes the figures with their protocol.")
    line.add_settings(EvaluationSettings)
    try:
        line.parse(arguments)
        settings = line.read(EvaluationSettings)
        if not settings.output:
            raise EvaluationError("`output` must be a file. Received: output=")
        # Not for the help's or a wrong setting's sake.
        import_tensorflow()

        from igan_tf.experiments.scoring import evaluate

        evaluate(settings, report)
    except InputError as error:
        sys.exit(f"igan_tf: {line.in_flags(error)}")
    report(f"written to {settings.output}")
