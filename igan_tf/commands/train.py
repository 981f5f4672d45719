"""Training, and what comes of it: `python -m igan_tf.main`, `igan-tf train`, `igan-tf test`, `igan-tf sample`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from igan_tf.commands.flags import CommandLine
from igan_tf.commands.start import ending_in_one_sentence, import_tensorflow, report
from igan_tf.errors import ConfigError
from igan_tf.experiments.configs import CONFIGS, RunConfig, build_config, flag_line, recipes_with, setting_fields

MODES = ("train", "evaluate", "sample")
_FORMATS = ("", "png", "npz")


def command_line() -> CommandLine:
    """The command's flags: its own, then every recipe's settings."""
    line = CommandLine("python -m igan_tf.main", "Trains one of the paper's GANs, tests a run, or samples images.")
    do, sampling = "What to do", "Sampling"
    line.add(do, "mode", "train", "Train; evaluate test errors; or sample images.", f"One of {', '.join(MODES)}.")
    line.add(do, "run_dir", "", "Folder of the run; empty: runs/ and the data set's name. A run in it continues.")
    line.add(do, "recipe", "", "Which GAN; empty: the data set's own.", f"One of {', '.join(CONFIGS)}.")
    line.add(sampling, "num_samples", 100, "Images that `mode=sample` draws.", "At least 1.")
    line.add(sampling, "output", "samples.npz", "What `mode=sample` writes: an .npz of all, a .png grid, or FOLDER/.")
    line.add(sampling, "format", "", "Files in `output=FOLDER/`: a png an image, or npz of 1,000 each; empty: png.")
    line.add(sampling, "nearest", False, "Put each sample's nearest training image beside it, in a .png grid.")
    for config in CONFIGS.values():
        line.add_settings(config, note=_of_one_recipe)
    return line


def _of_one_recipe(name: str) -> str:
    recipes = recipes_with(name)
    return "" if len(recipes) == len(CONFIGS) else f"Of `recipe={recipes[0]}`."


def run(arguments: Sequence[str]) -> None:
    """Runs the command line, `arguments` without the program's name; errors of the user's end it with one message."""
    line = command_line()
    # Ctrl-C outside of the training loop: there is nothing to save.
    with ending_in_one_sentence(line):
        line.parse(arguments)
        _check(line)
        _run(line, config_of(line))


def config_of(line: CommandLine) -> RunConfig:
    """The config that the given flags describe."""
    given = {name: line.flag_values[name].value for name in setting_fields() if name in line.given}
    return build_config(recipe=line.recipe, **given)


def _check(line: CommandLine) -> None:
    for name, choices in (("mode", MODES), ("format", _FORMATS)):
        value = line.flag_values[name].value
        if value not in choices:
            raise ConfigError(f"`{name}` must be one of {', '.join(filter(None, choices))}. Received: {name}={value}")
    if line.num_samples < 1:
        raise ConfigError(f"`num_samples` must be at least 1. Received: num_samples={line.num_samples}")


def _run(line: CommandLine, config: RunConfig) -> None:
    tf = import_tensorflow()

    from igan_tf.experiments import experiment, runs
    from igan_tf.experiments.sampling import sample_run
    from igan_tf.training.distribution import WorkerLostError
    from igan_tf.training.interruption import Interrupted
    from igan_tf.training.trainer import NonFiniteLossError

    run_dir = line.run_dir or f"runs/{config.dataset}"
    try:
        if line.mode == "train":
            _describe(config, run_dir)
            result = experiment.train(config, run_dir, report)
        elif line.mode == "evaluate":
            result = runs.test_errors(run_dir, config.data_dir)
        else:
            result = sample_run(
                run_dir,
                line.output,
                line.num_samples,
                config.seed,
                line.format or None,
                report,
                nearest=line.nearest,
                data_dir=config.data_dir,
            )
        for number, draw in enumerate(result.pop("draws", []), start=1):
            report(f"draw {number}: " + ", ".join(f"{name} {value}" for name, value in draw.items()))
        for name, value in result.items():
            report(f"{name}: {value}")
    except (NonFiniteLossError, WorkerLostError) as error:
        sys.exit(f"igan_tf: {error}")
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


def _describe(config: RunConfig, run_dir: str) -> None:
    """Prints the devices and what is not at its default."""
    import tensorflow as tf

    from igan_tf.training import distribution

    worker = distribution.this_worker()
    if worker.count > 1:
        report(f"worker {worker.index} of the {worker.count} in TF_CONFIG, waiting for the others")
    # Several workers: before TensorFlow looks for devices.
    strategy = distribution.build_strategy(config.strategy)
    devices = ", ".join(device.name for device in tf.config.list_logical_devices())
    report(
        f"devices: {devices}; strategy: {config.strategy}, replicas: {strategy.num_replicas_in_sync}; "
        f"XLA: {config.jit_compile}; run directory: {run_dir}"
    )
    changed = [flag_line(name, value) for name, value in config.changed().items()]
    report(f"recipe {config.recipe}, all settings in flags.cfg; not at their defaults: {' '.join(changed) or 'none'}")
