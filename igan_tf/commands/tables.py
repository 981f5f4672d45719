"""The command line: `python -m igan_tf.tables --table=mnist --labels=100 --subsets=10 [-- flags of every run]`."""

import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import flags, logging

from igan_tf.commands.flags import in_flags
from igan_tf.experiments import config as settings
from igan_tf.tables.published import TABLES, ErrorTable

FLAGS = flags.FLAGS
CONFIG_DIR = Path(__file__).parents[2] / "run_configs"

flags.DEFINE_enum("table", None, list(TABLES), "Which of the paper's tables.", required=True)
flags.DEFINE_list("labels", [], "Columns: numbers of labels in all; by default the paper's.")
flags.DEFINE_list("subsets", ["10"], "Labelled subsets, --seed_data 1, 2, ...: one number, or one for each column.")
flags.DEFINE_integer(
    "seeds", 1, "Models of each subset: --seed 1, 2, ...; with several, ensembles are a subset's.", lower_bound=1
)
flags.DEFINE_integer("epochs", 0, "Epochs of every run; 0: the flag file's.", lower_bound=0)
flags.DEFINE_integer("parallel", 1, "Runs that train at once.", lower_bound=1)
flags.DEFINE_string("classifier", "inception", "What scores samples: see python -m igan_tf.evaluate --help.")
flags.DEFINE_string("classifier_path", "", "Its weights, where they are not to be fetched.")
flags.DEFINE_integer("num_samples", 50000, "Samples of each run that are scored.", lower_bound=10)
flags.DEFINE_string("data_dir", "", "Folder of the TFDS data.")
flags.DEFINE_string("output_dir", "", "Folder of the runs and the table; by default tables/<table>.")


def main(argv):
    """Trains what is missing and writes the table; a failed run makes the exit code 1."""
    from igan_tf.errors import DataError, EvaluationError
    from igan_tf.training import CheckpointError
    from igan_tf.training.trainer import Interrupted

    logging.set_verbosity(logging.WARNING)
    try:
        failed = make_table(TABLES[FLAGS.table], Path(FLAGS.output_dir or f"tables/{FLAGS.table}"), argv[1:])
    except (settings.ConfigError, DataError, CheckpointError, EvaluationError) as error:
        sys.exit(f"igan_tf.tables: {in_flags(error, FLAGS)}")
    except Interrupted as error:
        print(f"igan_tf.tables: {error}; saved, the same command continues", file=sys.stderr)
        sys.exit(128 + error.signum)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    if failed:
        sys.exit("igan_tf.tables: these runs failed; the same command tries them again:\n  " + "\n  ".join(failed))


def make_table(table, folder, run_flags):
    """Runs the grid; returns a line for each failed run."""
    import tensorflow as tf

    from igan_tf.data import load_data
    from igan_tf.experiments import experiment
    from igan_tf.tables import grid

    table_grid = _grid_of(table, folder, run_flags)
    # All that can be refused is, before the first run starts.
    data = load_data(table_grid.runs[0].config)
    for run in table_grid.runs:
        experiment.check_against_data(run.config, data)
        experiment.refuse_other_settings(run.run_dir, run.config)
    for device in tf.config.list_physical_devices("GPU"):
        # What this process classifies must leave the runs their memory.
        tf.config.experimental.set_memory_growth(device, True)
    with experiment.sole_trainer(folder):
        failed = grid.train(table_grid.runs, FLAGS.parallel, lambda run: table_grid.write())
        print(table_grid.write())
        failed |= table_grid.unusable
    return [f"{name}: {reason}" for name, reason in failed.items()]


def _grid_of(table, folder, run_flags):
    def read(flagfile, *own):
        lines = [f"--flagfile={CONFIG_DIR / flagfile}", *run_flags, *own]
        lines += [f"--epochs={FLAGS.epochs}"] if FLAGS.epochs else []
        lines += [f"--data_dir={FLAGS.data_dir}"] if FLAGS.data_dir else []
        return settings.config_from_lines(settings.expand_flagfiles(lines)).with_absolute_paths()

    if isinstance(table, ErrorTable):
        from igan_tf.tables.error_grid import ErrorGrid

        _refuse("an error table", "classifier", "classifier_path", "num_samples")
        numbers = _numbers("labels", lowest=1), _numbers("subsets", lowest=1)
        return ErrorGrid(table, folder, read, *numbers, FLAGS.seeds)
    from igan_tf.evaluation.classifiers import load_classifier
    from igan_tf.tables.score_grid import ScoreGrid

    _refuse("--table=inception_score", "labels", "subsets", "seeds")
    # Fetched or refused now, not after days of training; `domain` is trained on the data when it is used.
    if FLAGS.classifier != "domain":
        load_classifier(FLAGS.classifier, path=FLAGS.classifier_path)
    return ScoreGrid(table, folder, read, FLAGS.classifier, FLAGS.classifier_path, FLAGS.num_samples)


def _refuse(table, *names):
    """Raises a ConfigError for flags that this kind of table does not have."""
    for name in names:
        if FLAGS[name].present:
            raise settings.ConfigError(f"--{name} does not go with {table}. Received: --{name}={FLAGS[name].value}")


def _numbers(name, lowest):
    """The whole numbers of a list flag."""
    for text in FLAGS[name].value:
        if not (text.isdecimal() and int(text) >= lowest):
            raise settings.ConfigError(
                f"--{name} must be whole numbers from {lowest} with commas. Received: --{name}={text}"
            )
    return [int(text) for text in FLAGS[name].value]
