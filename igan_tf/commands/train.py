"""The command line: `python -m igan_tf.main --dataset=... --flagfile=run_configs/....cfg`."""

import os
import signal
import sys

# TensorFlow's start-up notices would bury this program's own lines. Python exceptions still show.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import app, flags, logging

from igan_tf.commands.flags import in_flags
from igan_tf.experiments import config as settings

FLAGS = flags.FLAGS

flags.DEFINE_enum("mode", "train", settings.MODES, "train; evaluate a run's test error; or sample images from a run.")
flags.DEFINE_string("run_dir", "", "Folder of the run; by default runs/<dataset>. An interrupted run in it continues.")
flags.DEFINE_integer("num_samples", 100, "Images that --mode=sample draws.", lower_bound=1)
flags.DEFINE_string("output", "samples.npz", "What --mode=sample writes: an .npz of all, a .png grid, or FOLDER/.")
flags.DEFINE_enum("format", None, ("png", "npz"), "Files of --output=FOLDER/: a .png an image, or .npz of 1,000 each.")
settings.define_flags()


def main(argv):
    """Runs one mode; errors of the user's end it with one message."""
    import tensorflow as tf

    from igan_tf.errors import DataError, EvaluationError
    from igan_tf.experiments import experiment
    from igan_tf.experiments.sampling import sample_run
    from igan_tf.training import CheckpointError, NonFiniteLossError
    from igan_tf.training.distribution import ClusterError
    from igan_tf.training.trainer import Interrupted, WorkerLostError

    logging.set_verbosity(logging.WARNING)
    try:
        if len(argv) > 1:
            raise settings.ConfigError(f"unknown argument: {argv[1]}")
        config = settings.config_from_flags(FLAGS)
        run_dir = FLAGS.run_dir or f"runs/{config.dataset}"
        if FLAGS.mode == "train":
            _describe(config, run_dir)
            result = experiment.train(config, run_dir, _report)
        elif FLAGS.mode == "evaluate":
            given = {"data_dir": config.data_dir} if FLAGS["data_dir"].present else {}
            result = experiment.evaluate_run(run_dir, **given)
        else:
            result = sample_run(run_dir, FLAGS.output, FLAGS.num_samples, config.seed, FLAGS.format, _report)
        for name, value in result.items():
            _report(f"{name}: {value}")
    except (
        settings.ConfigError,
        DataError,
        CheckpointError,
        ClusterError,
        EvaluationError,
        NonFiniteLossError,
        WorkerLostError,
    ) as error:
        sys.exit(f"igan_tf: {in_flags(error, FLAGS)}")
    except OSError as error:
        # A full disk, above all: what stands is whole.
        sys.exit(f"igan_tf: --run_dir={run_dir}: {error}")
    except tf.errors.ResourceExhaustedError as error:
        sys.exit(
            f"igan_tf: not enough memory with --batch_size={config.batch_size}; smaller batches or narrower networks "
            f"need less. What stands in the run directory is whole ({error.message.splitlines()[0]})"
        )
    except Interrupted as error:
        print(f"igan_tf: {error}; saved, the same command continues", file=sys.stderr)
        sys.exit(128 + error.signum)
    except KeyboardInterrupt:
        # Outside of the training loop: there is nothing to save.
        sys.exit(128 + signal.SIGINT)


def _describe(config, run_dir):
    """The devices and every setting."""
    import tensorflow as tf

    from igan_tf.training import distribution

    worker = distribution.this_worker()
    if worker.count > 1:
        _report(f"worker {worker.index} of the {worker.count} in TF_CONFIG, waiting for the others")
    # Several workers: before TensorFlow looks for devices.
    strategy = distribution.build_strategy(config.strategy)
    devices = ", ".join(device.name for device in tf.config.list_logical_devices())
    _report(
        f"devices: {devices}; strategy: {config.strategy}, replicas: {strategy.num_replicas_in_sync}; "
        f"XLA: {config.jit_compile}; run directory: {run_dir}"
    )
    _report("settings: " + " ".join(config.as_flags()))


def _report(line):
    print(line, flush=True)


def run(arguments):
    """Runs the command line, `arguments` without the program's name."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        arguments = settings.expand_flagfiles(arguments)
    except settings.ConfigError as error:
        sys.exit(f"igan_tf: {error}")
    app.run(main, argv=[sys.argv[0], *arguments])
