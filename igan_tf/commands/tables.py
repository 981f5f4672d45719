"""The paper's tables: `python -m igan_tf.tables --table=mnist --labels=100 --subsets=10 [-- flags of every run]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from igan_tf.commands.flags import CommandLine, expand_flagfiles
from igan_tf.commands.start import ending_in_one_sentence, import_tensorflow
from igan_tf.errors import ConfigError
from igan_tf.experiments.configs import RunConfig, config_from_lines
from igan_tf.experiments.run_configs import find_config
from igan_tf.tables.published import TABLES, ErrorTable

if TYPE_CHECKING:
    from igan_tf.tables.error_grid import ErrorGrid
    from igan_tf.tables.score_grid import ScoreGrid


def command_line() -> CommandLine:
    """The command's flags."""
    line = CommandLine(
        "python -m igan_tf.tables [-- flags of every run]",
        "Makes one of the paper's tables from a grid of training runs; stopped and called again, it continues.",
        takes_words=True,
    )
    table, errors, scores = "The table", "Error tables", "Tables of scores"
    line.add(table, "table", "", "Which of the paper's tables.", f"One of {', '.join(TABLES)}.")
    line.add(table, "data_dir", "", "Folder of the TFDS data.")
    line.add(table, "output_dir", "", "Folder of the runs and the table; empty: tables/ and the table's name.")
    line.add(table, "epochs", 0, "Epochs of every run; 0: the flag file's.", "At least 0.")
    line.add(table, "parallel", 1, "Runs that train at once.", "At least 1.")
    line.add(errors, "labels", "", "Columns: numbers of labels in all, with commas; empty: the paper's.")
    line.add(errors, "subsets", "10", "Labelled subsets, --seed_data 1, 2, ...: one number, or one for each column.")
    seeds = "Models of each subset (of several, ensembles) or row, --seed 1, 2, ...; not given: the table's own."
    line.add(table, "seeds", 0, seeds, "At least 1.")
    line.add(scores, "classifier", "", "What scores samples, as of evaluate; empty: the table's own.")
    line.add(scores, "classifier_path", "", "Its weights, where they are not to be fetched.")
    line.add(
        scores, "num_samples", 0, "Samples of each run that are scored; not given: the table's own.", "At least 10."
    )
    return line


def run(arguments: Sequence[str]) -> None:
    """Trains what is missing and writes the table; a failed run makes the exit code 1."""
    line = command_line()
    with ending_in_one_sentence(line):
        run_flags = line.parse(arguments)
        _check(line)
        failed = _make(line, run_flags)
    if failed:
        sys.exit("igan_tf: these runs failed; the same command tries them again:\n  " + "\n  ".join(failed))


def _check(line: CommandLine) -> None:
    """Refuses what can be refused before anything is loaded."""
    if line.table not in TABLES:
        raise ConfigError(f"`table` must be one of {', '.join(TABLES)}. Received: table={line.table}")
    for name, low in (("epochs", 0), ("parallel", 1), ("seeds", 1), ("num_samples", 10)):
        value = getattr(line, name)
        if value < low and name in line.given:
            raise ConfigError(f"`{name}` must be at least {low}. Received: {name}={value}")
    is_errors = isinstance(TABLES[line.table], ErrorTable)
    foreign = ("classifier", "classifier_path", "num_samples") if is_errors else ("labels", "subsets")
    for name in foreign:
        if name in line.given:
            raise ConfigError(f"`{name}` does not go with `table={line.table}`. Received: {name}={getattr(line, name)}")


def _make(line: CommandLine, run_flags: Sequence[str]) -> list[str]:
    """Runs the grid; returns a line for each failed run."""
    tf = import_tensorflow()

    from igan_tf.experiments import experiment, run_directory
    from igan_tf.experiments.recipes import recipe_of
    from igan_tf.tables import grid
    from igan_tf.training.interruption import Interrupted

    folder = Path(line.output_dir or f"tables/{line.table}")
    table_grid = _grid_of(line, folder, run_flags)
    # All that can be refused is, before the first run starts.
    config = table_grid.runs[0].config
    data = recipe_of(config).load_data()
    for run in table_grid.runs:
        experiment.check_against_data(run.config, data)
        run_directory.refuse_other_settings(run.run_dir, experiment.resolved(run.config))
    for device in tf.config.list_physical_devices("GPU"):
        # What this process classifies must leave the runs their memory.
        tf.config.experimental.set_memory_growth(device, True)
    try:
        with run_directory.sole_trainer(folder):
            failed = grid.train(table_grid.runs, line.parallel, lambda run: table_grid.write())
            print(table_grid.write())
            failed |= table_grid.unusable
    except Interrupted as error:
        print(f"igan_tf: {error}; saved, the same command continues", file=sys.stderr)
        sys.exit(128 + error.signum)
    return [f"{name}: {reason}" for name, reason in failed.items()]


def _grid_of(line: CommandLine, folder: Path, run_flags: Sequence[str]) -> ErrorGrid | ScoreGrid:
    def read(flagfile: str, *own: str) -> RunConfig:
        lines = [f"--flagfile={find_config(flagfile)}", *run_flags, *own]
        lines += [f"--epochs={line.epochs}"] if line.epochs else []
        lines += [f"--data_dir={line.data_dir}"] if line.data_dir else []
        return config_from_lines(expand_flagfiles(lines)).with_absolute_paths()

    table = TABLES[line.table]
    if isinstance(table, ErrorTable):
        from igan_tf.tables.error_grid import ErrorGrid

        return ErrorGrid(table, folder, read, _numbers(line, "labels"), _numbers(line, "subsets"), line.seeds or 1)
    from igan_tf.evaluation.classifiers import load_classifier
    from igan_tf.tables.score_grid import ScoreGrid

    # Fetched or refused now, not after days of training; `domain` is trained on the data when it is used.
    classifier = line.classifier or table.classifier
    if classifier != "domain":
        load_classifier(classifier, path=line.classifier_path)
    num_samples, seeds = line.num_samples or table.num_samples, line.seeds or table.seeds
    return ScoreGrid(table, folder, read, classifier, line.classifier_path, num_samples, seeds)


def _numbers(line: CommandLine, name: str) -> list[int]:
    """The whole numbers of a flag, from 1."""
    texts = [text for text in getattr(line, name).split(",") if text]
    for text in texts:
        if not (text.isdecimal() and int(text) >= 1):
            raise ConfigError(f"`{name}` must be whole numbers from 1 with commas. Received: {name}={text}")
    return [int(text) for text in texts]
