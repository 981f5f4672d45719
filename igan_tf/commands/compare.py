"""Runs beside each other: `igan-tf compare RUN_DIR ... [--csv=FILE] [--figure=FILE]`."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
from collections.abc import Sequence
from pathlib import Path

from igan_tf.commands.flags import CommandLine
from igan_tf.commands.start import ending_in_one_sentence, import_tensorflow, report
from igan_tf.errors import ConfigError, renamed
from igan_tf.files import disk
from igan_tf.settings import Settings, refuse_unused, setting


@dataclasses.dataclass(frozen=True)
class ComparisonSettings(Settings):
    """What is made of the runs beside the table that is printed."""

    topic = "Comparing runs"

    csv: str = setting("", "Write the table to this file, too.", path=True)
    figure: str = setting("", "Draw a curve over the epochs, a line a run, into this .png, .svg or .pdf.", path=True)
    curve: str = setting(
        "",
        "What the figure shows, a name in metrics.jsonl; empty: the first of test error, scores and losses that every "
        "run has.",
        used_with=("figure",),
    )
    log_scale: bool = setting(False, "Whether the figure's scale is logarithmic.", used_with=("figure",))

    def check(self) -> None:
        for name, endings in (("csv", (".csv",)), ("figure", (".png", ".svg", ".pdf"))):
            path = Path(getattr(self, name))
            if not getattr(self, name):
                continue
            if path.suffix not in endings:
                raise ConfigError(f"`{name}` must end with {' or '.join(endings)}. Received: {name}={path}")
            if not disk.takes_file(path):
                raise ConfigError(f"`{name}` must be a file in a folder that can be written. Received: {name}={path}")
        if self.figure and not importlib.util.find_spec("matplotlib"):
            raise ConfigError(f"`figure` needs Matplotlib: pip install matplotlib. Received: figure={self.figure}")


def run(arguments: Sequence[str]) -> None:
    """Runs the command line: run directories, each RUN_DIR or NAME=RUN_DIR, and flags."""
    line = CommandLine(
        "igan-tf compare RUN_DIR ...",
        "Settings that differ between runs, beside their errors and scores. NAME=RUN_DIR gives a run another name.",
        takes_words=True,
    )
    line.add_settings(ComparisonSettings)
    with ending_in_one_sentence(line):
        words = list(itertools.takewhile(lambda argument: not argument.startswith("-"), arguments))
        words += line.parse(arguments[len(words) :])
        settings = line.read(ComparisonSettings)
        refuse_unused(settings, line.typed)
        if not words:
            raise ConfigError("name the run directories to compare: igan-tf compare runs/a runs/b")
        import_tensorflow()

        from igan_tf.tables import comparison

        with renamed(run_dir="RUN_DIR"):
            runs = comparison.read_runs(words)
        curve = comparison.curve_of(runs, settings.curve) if settings.figure else ""
        rows = comparison.compare(runs)
        report(comparison.in_columns(rows))
        if settings.csv:
            comparison.write_csv(settings.csv, rows)
            report(f"csv: {settings.csv}")
        if settings.figure:
            comparison.write_figure(settings.figure, runs, curve, settings.log_scale)
            report(f"figure: {settings.figure}, {curve}")
