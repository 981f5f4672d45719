"""Scores of images, with their protocol: `python -m igan_tf.evaluate --source=... --classifier=... --output=FILE`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

# TensorFlow's start-up notices would bury this program's own lines. Python exceptions still show.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from igan_tf.commands.flags import CommandLine
from igan_tf.errors import EvaluationError, InputError
from igan_tf.evaluation.settings import EvaluationSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluates; errors of the user's end it with one message."""
    command = CommandLine("python -m igan_tf.evaluate", "Scores images and writes the figures with their protocol.")
    command.add_settings(EvaluationSettings)
    try:
        command.parse(sys.argv[1:] if argv is None else argv)
        settings = command.read(EvaluationSettings)
        if not settings.output:
            raise EvaluationError("`output` must be a file. Received: output=")
        # With TensorFlow: not for the help's or a wrong setting's sake.
        from igan_tf.experiments.scoring import evaluate

        evaluate(settings, _report)
    except InputError as error:
        sys.exit(f"igan_tf: {command.in_flags(error)}")
    _report(f"written to {settings.output}")


def _report(line: str) -> None:
    print(line, flush=True)
