"""The paper's tables: `python -m igan_tf.tables --table=mnist --labels=100 --subsets=10 [-- flags of every run]`."""

from __future__ import annotations

import dataclasses
import functools
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from igan_tf.commands.flags import CommandLine, add_configs
from igan_tf.commands.start import ending_in_one_sentence, import_tensorflow
from igan_tf.commands.train import config_of
from igan_tf.errors import ConfigError
from igan_tf.experiments.configs import RunConfig, SemiSupervisedConfig, as_text
from igan_tf.experiments.run_configs import find_config
from igan_tf.settings import MANY, Settings, refuse_unused, setting
from igan_tf.tables.published import TABLES, ErrorTable

_ERROR_TABLES = tuple(f"table={name}" for name, table in TABLES.items() if isinstance(table, ErrorTable))
_SCORE_TABLES = tuple(f"table={name}" for name, table in TABLES.items() if not isinstance(table, ErrorTable))

if TYPE_CHECKING:
    from igan_tf.tables.error_grid import ErrorGrid
    from igan_tf.tables.score_grid import ScoreGrid


@dataclasses.dataclass(frozen=True)
class GridSettings(Settings):
    """Which table, and how its runs are made."""

    topic = "The table"

    table: str = setting("", "Which of the paper's tables.", choices=tuple(TABLES))
    data_dir: str = setting(
        "",
        "Folder of the TFDS data.",
        path=True,
        used_with=tuple(f"table={name}" for name in TABLES if name != "digits"),
    )
    output_dir: str = setting("", "Folder of the runs and the table; empty: tables/ and the table's name.", path=True)
    epochs: int = setting(0, "Epochs of every run; 0: the flag file's.", low=0, high=MANY)
    parallel: int = setting(1, "Runs that train at once.", low=1, high=1024)
    seeds: int | None = setting(
        None,
        "Models of each subset (of several, ensembles) or row, `seed` 1, 2, ...; none: the table's own.",
        low=1,
        high=1000,
        optional=True,
        kind=int,
    )
    print_commands: bool = setting(
        False,
        "Write each run's flag file and print one command a run, for a job array, in place of training. Afterwards the "
        "same command without this flag makes the table.",
    )


@dataclasses.dataclass(frozen=True)
class ErrorSettings(Settings):
    """What tables of errors have."""

    topic = "Error tables"

    labels: str = setting(
        "", "Columns: numbers of labels in all, with commas; empty: the paper's.", used_with=_ERROR_TABLES
    )
    subsets: str = setting(
        "10",
        "Labelled subsets, `seed_data` 1, 2, ...: one number, or one for each column.",
        used_with=_ERROR_TABLES,
    )

    def check(self) -> None:
        super().check()
        for name in ("labels", "subsets"):
            self.columns(name)

    def columns(self, name: str) -> list[int]:
        """The whole numbers of one of these settings, one for each column."""
        texts = [text for text in getattr(self, name).split(",") if text]
        for text in texts:
            if not (text.isdecimal() and len(text) < 10 and int(text) >= 1):
                raise ConfigError(
                    f"`{name}` must be whole numbers from 1 to 999999999 with commas. Received: {name}={text}"
                )
        return [int(text) for text in texts]


@dataclasses.dataclass(frozen=True)
class ScoreSettings(Settings):
    """What tables of scores have."""

    topic = "Tables of scores"

    classifier: str = setting(
        "", "What scores samples, as of evaluate; empty: the table's own.", path=True, used_with=_SCORE_TABLES
    )
    classifier_path: str = setting(
        "", "Its weights, where they are not to be fetched.", path=True, used_with=_SCORE_TABLES
    )
    num_samples: int | None = setting(
        None,
        "Samples of each run that are scored; none: the table's own.",
        low=10,
        high=10**7,
        optional=True,
        kind=int,
        used_with=_SCORE_TABLES,
    )


@dataclasses.dataclass(frozen=True)
class TableSettings(GridSettings, ErrorSettings, ScoreSettings):
    """The command's flags."""


def command_line() -> CommandLine:
    """The command's flags."""
    line = CommandLine(
        "python -m igan_tf.tables [-- flags of every run]",
        "Makes one of the paper's tables from a grid of training runs; stopped and called again, it continues.",
        takes_words=True,
    )
    line.add_settings(TableSettings)
    return line


def run(arguments: Sequence[str]) -> None:
    """Trains what is missing and writes the table; a failed run makes the exit code 1."""
    line = command_line()
    with ending_in_one_sentence(line):
        run_flags = line.parse(arguments)
        settings = line.read(TableSettings)
        refuse_unused(settings, line.typed)
        if settings.print_commands:
            for name in sorted(line.typed & {"parallel", "classifier", "classifier_path", "num_samples"}):
                raise ConfigError(
                    f"`{name}` is for training and scoring, and `print_commands` does neither. "
                    f"Received: {name}={getattr(settings, name)}"
                )
        _check_run_flags(settings, run_flags)
        failed = (_print_commands if settings.print_commands else _make)(settings, run_flags)
    if failed:
        sys.exit("igan_tf: these runs failed; the same command tries them again:\n  " + "\n  ".join(failed))


def _line_of_runs() -> CommandLine:
    """The flags of every run."""
    line = CommandLine("python -m igan_tf.tables ... --", "The flags of every run of the table.")
    add_configs(line)
    return line


def _read(settings: TableSettings, run_flags: Sequence[str], flagfile: str, *own: str) -> RunConfig:
    """The config of one run: a flag file's, with the flags of every run, the run's own, and the table's."""
    line = _line_of_runs()
    lines = [f"--flagfile={find_config(flagfile)}", *run_flags, *own]
    lines += [f"--epochs={settings.epochs}"] if settings.epochs else []
    lines += [f"--data_dir={settings.data_dir}"] if settings.data_dir else []
    line.parse(lines)
    return config_of(line).with_absolute_paths()


def _check_run_flags(settings: TableSettings, run_flags: Sequence[str]) -> None:
    """Refuses flags of every run that cannot be, that the table sets itself, and that no run uses."""
    line = _line_of_runs()
    with ending_in_one_sentence(line):
        line.parse(run_flags)
        table = TABLES[settings.table]
        own = {"label_draws", *(name for name in ("epochs", "data_dir") if getattr(settings, name))}
        if isinstance(table, ErrorTable):
            rows: list[tuple[str, ...]] = [(table.flagfile,)]
            own |= {"labels", "seed_data", "seed"}
        else:
            # The first has all the techniques that others leave out.
            rows = [(row.flagfile, *row.flags) for row in table.rows]
            own |= {"seed"} if (settings.seeds or table.seeds) > 1 else set()
        meant = [_read(settings, [], *row) for row in rows]
        own |= {name for name in ("dataset", "recipe") if getattr(line, name) != getattr(meant[0], name)}
        for name in sorted(own & line.typed):
            raise ConfigError(f"`{name}` of every run is set by the table itself: leave it out after --")
        read = [_read(settings, run_flags, *row) for row in rows]
        for name in sorted(line.given & set(meant[0].as_settings())):
            as_meant, as_read = ([getattr(config, name) for config in configs] for configs in (meant, read))
            if as_read != as_meant and (name == "dataset" or _undone(as_read, as_meant)):
                raise ConfigError(
                    f"`{name}` is what the table's rows are about: leave it out after --. Received: {name}={as_read[0]}"
                )
        # No table is of another recipe.
        first = cast(SemiSupervisedConfig, read[0])
        if isinstance(table, ErrorTable) and first.label_file and first.balance is None:
            raise ConfigError(
                "`label_file` without `balance` gives every column of the table the same labels. "
                f"Received: label_file={first.label_file}"
            )
        refuse_unused(first, line.typed)


def _undone(as_read: Sequence[Any], as_meant: Sequence[Any]) -> bool:
    """Whether a flag of every run takes away what tells a row from the first, or gives all what one row adds."""
    others = [(read, meant) for read, meant in zip(as_read, as_meant) if meant != as_meant[0]]
    return any(read != meant or read == as_read[0] or not as_meant[0] for read, meant in others)


def _make(settings: TableSettings, run_flags: Sequence[str]) -> list[str]:
    """Runs the grid; returns a line for each failed run."""
    import_tensorflow()

    from igan_tf.experiments import preflight, run_directory
    from igan_tf.experiments.recipes import recipe_of
    from igan_tf.tables import grid
    from igan_tf.training.distribution import let_gpu_memory_grow
    from igan_tf.training.interruption import Interrupted

    # What this process classifies must leave the runs their memory. Before TensorFlow looks for what it may use.
    let_gpu_memory_grow()
    folder = _folder(settings)
    table_grid = _grid_of(settings, folder, run_flags)
    # All that can be refused is, before the first run starts.
    config = table_grid.runs[0].config
    data = recipe_of(config).load_data()
    for run in table_grid.runs:
        preflight.check_against_data(run.config, data)
        run_directory.refuse_other_settings(run.run_dir, preflight.resolved(run.config))
    try:
        with run_directory.sole_trainer(folder):
            failed = grid.train(table_grid.runs, settings.parallel, lambda run: table_grid.write())
            print(table_grid.write())
            failed |= table_grid.unusable
    except Interrupted as error:
        print(f"igan_tf: {error}", file=sys.stderr)
        sys.exit(128 + error.signum)
    return [f"{name}: {reason}" for name, reason in failed.items()]


def _print_commands(settings: TableSettings, run_flags: Sequence[str]) -> list[str]:
    """Writes the flag file of each run, and prints the command that trains it; no run fails here."""
    import_tensorflow()

    from igan_tf.files import disk, durable

    folder = _folder(settings).absolute()
    runs = _grid_of(settings, folder, run_flags).runs
    disk.make_folder(folder, parents=True)
    for run in runs:
        # As a file: of the settings that a user types, each must have an effect.
        flagfile = folder / f"{run.name}.cfg"
        durable.write_text(flagfile, as_text(run.config))
        print(shlex.join(["igan-tf", "train", f"--flagfile={flagfile}", f"--run_dir={run.run_dir}"]))
    return []


def _folder(settings: TableSettings) -> Path:
    return Path(settings.output_dir or f"tables/{settings.table}")


def _grid_of(settings: TableSettings, folder: Path, run_flags: Sequence[str]) -> ErrorGrid | ScoreGrid:
    read = functools.partial(_read, settings, run_flags)
    table = TABLES[settings.table]
    if isinstance(table, ErrorTable):
        from igan_tf.tables.error_grid import ErrorGrid

        return ErrorGrid(
            table, folder, read, settings.columns("labels"), settings.columns("subsets"), settings.seeds or 1
        )
    from igan_tf.evaluation.classifiers import load_classifier
    from igan_tf.tables.score_grid import ScoreGrid

    # Fetched or refused now, not after days of training; `domain` is trained on the data when it is used.
    classifier = settings.classifier or table.classifier
    if classifier != "domain" and not settings.print_commands:
        load_classifier(classifier, path=settings.classifier_path)
    num_samples, seeds = settings.num_samples or table.num_samples, settings.seeds or table.seeds
    return ScoreGrid(table, folder, read, classifier, settings.classifier_path, num_samples, seeds)
