"""The command line: `python -m igan_tf.tables --table=mnist --labels=100 --subsets=10 [-- flags of every run]`."""

import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import app, flags, logging

from igan_tf import config as settings
from igan_tf.tables.published import TABLES

FLAGS = flags.FLAGS
CONFIG_DIR = Path(__file__).parents[2] / "run_configs"

flags.DEFINE_enum("table", None, list(TABLES), "Which of the paper's tables.", required=True)
flags.DEFINE_list("labels", [], "Columns: numbers of labels in all; by default the paper's.")
flags.DEFINE_list("subsets", ["10"], "Labelled subsets, --seed_data 1, 2, ...: one number, or one for each column.")
flags.DEFINE_integer("seeds", 1, "Models of each subset: --seed 1, 2, ...; with several, ensembles are a subset's.")
flags.DEFINE_integer("epochs", 0, "Epochs of every run; 0: the flag file's.", lower_bound=0)
flags.DEFINE_integer("parallel", 1, "Runs that train at once.", lower_bound=1)
flags.DEFINE_string("data_dir", "", "Folder of the TFDS data.")
flags.DEFINE_string("output_dir", "", "Folder of the runs and the table; by default tables/<table>.")


def main(argv):
    """Trains what is missing and writes the table; a failed run makes the exit code 1."""
    from igan_tf.data import DataError
    from igan_tf.tables import grid
    from igan_tf.training import CheckpointError

    logging.set_verbosity(logging.WARNING)
    try:
        failed = make_table(TABLES[FLAGS.table], Path(FLAGS.output_dir or f"tables/{FLAGS.table}"), argv[1:])
    except (settings.ConfigError, DataError, CheckpointError) as error:
        sys.exit(f"igan_tf.tables: {error}")
    except grid.Stopped as error:
        print(f"igan_tf.tables: {error}; saved, the same command continues", file=sys.stderr)
        sys.exit(128 + error.signum)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    if failed:
        sys.exit("igan_tf.tables: these runs failed; the same command tries them again:\n  " + "\n  ".join(failed))


def make_table(table, folder, run_flags):
    """Runs the grid; returns a line for each failed run."""
    from igan_tf import experiment
    from igan_tf.data import load_data
    from igan_tf.tables import grid

    cells = error_cells(table, folder, run_flags)
    runs = [run for of_labels in cells.values() for run in of_labels]
    # All that can be refused is, before the first run starts.
    data = load_data(runs[0].config)
    for run in runs:
        experiment.check_against_data(run.config, data)
    grid.refuse_other_settings(runs)
    with experiment.sole_trainer(folder):
        failed = grid.train(runs, FLAGS.parallel, lambda run: _write(table, folder, cells))
        print(_write(table, folder, cells))
    return [f"{name}: {reason}" for name, reason in failed.items()]


def error_cells(table, folder, run_flags):
    """Dict of number of labels -> its runs."""
    from igan_tf.tables.grid import Run

    columns = _numbers("labels", lowest=0) or table.labels
    subsets = _numbers("subsets", lowest=1)
    if len(subsets) not in (1, len(columns)):
        raise settings.ConfigError(
            f"--subsets must be one number or one for each of the {len(columns)} columns. "
            f"Received: --subsets={','.join(FLAGS.subsets)}"
        )
    subsets = subsets * len(columns) if len(subsets) == 1 else subsets
    flagfile = CONFIG_DIR / table.flagfile
    cells = {}
    for labels, count in zip(columns, subsets):
        cells[labels] = []
        for subset in range(1, count + 1):
            for seed in range(1, FLAGS.seeds + 1):
                lines = [f"--labels={labels}", f"--seed_data={subset}", f"--seed={seed}", "--label_draws=1"]
                lines += [f"--epochs={FLAGS.epochs}"] if FLAGS.epochs else []
                lines += [f"--data_dir={Path(FLAGS.data_dir).absolute()}"] if FLAGS.data_dir else []
                config = settings.config_from_lines(
                    settings.expand_flagfiles([f"--flagfile={flagfile}", *run_flags, *lines])
                )
                cells[labels].append(Run(f"labels-{labels}_subset-{subset}_seed-{seed}", config, folder))
    return cells


def _numbers(name, lowest):
    """The whole numbers of a list flag."""
    for text in FLAGS[name].value:
        if not (text.isdecimal() and int(text) >= lowest):
            raise settings.ConfigError(
                f"--{name} must be whole numbers from {lowest} with commas. Received: --{name}={text}"
            )
    return [int(text) for text in FLAGS[name].value]


def _write(table, folder, cells):
    """The table of what is finished by now."""
    from igan_tf.tables import report
    from igan_tf.tables.ensembles import Ensembles

    runs = [run for of_labels in cells.values() for run in of_labels]
    ensembles = Ensembles(folder, runs)
    averages = {labels: ensembles.errors(_ensembles_of(of_labels)) for labels, of_labels in cells.items()}
    return report.write_error_table(folder, table, cells, FLAGS.seeds, averages)


def _ensembles_of(runs):
    """The finished runs that are averaged with each other: a subset's seeds, or one of each subset; two at least."""
    groups = [runs] if FLAGS.seeds == 1 else [runs[i : i + FLAGS.seeds] for i in range(0, len(runs), FLAGS.seeds)]
    groups = [[run for run in group if run.result() is not None] for group in groups]
    return [group for group in groups if len(group) > 1]


if __name__ == "__main__":
    app.run(main)
