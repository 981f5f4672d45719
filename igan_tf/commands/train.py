"""Training, and what comes of it: `python -m igan_tf.main`, `igan-tf train`, `igan-tf test`, `igan-tf sample`."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from igan_tf.commands.flags import CommandLine, add_configs
from igan_tf.commands.start import ending_in_one_sentence, import_tensorflow, report
from igan_tf.errors import ConfigError
from igan_tf.experiments.configs import (
    FLAGS_FILE,
    RunConfig,
    SemiSupervisedConfig,
    build_config,
    flag_line,
    setting_fields,
)
from igan_tf.settings import MANY, Settings, refuse_unused, setting

MODES = ("train", "evaluate", "sample", "interpolate", "sweep", "export")
_OF_SAMPLES = ("mode=sample",)
_OF_WEIGHTS = ("mode=export",)
_OF_WALKS = ("mode=interpolate", "mode=sweep")


@dataclasses.dataclass(frozen=True)
class TaskSettings(Settings):
    """What is done, and in which run directory."""

    topic = "What to do"

    mode: str = setting(
        "train",
        "Train; evaluate test errors; sample images; interpolate between random latents, a walk in each row; sweep one "
        "coordinate of a latent in each row; or export the weights, as a small run directory to hand on.",
        choices=MODES,
    )
    run_dir: str = setting(
        "",
        "Folder of the run; empty: runs/ and the data set's name. A run in it continues. pretrained:NAME: one of the "
        "package's own.",
        path=True,
    )


@dataclasses.dataclass(frozen=True)
class SampleSettings(Settings):
    """Which samples are drawn, and where they go."""

    topic = "Sampling"

    num_samples: int = setting(100, "Images that are drawn.", low=1, high=MANY, used_with=(*_OF_SAMPLES, *_OF_WALKS))
    output: str = setting(
        "",
        "What `mode=sample` writes: an .npz of all, a .png grid, or FOLDER/; of walks a .png or a .gif; of weights a "
        "new folder. Empty: samples.npz, interpolate.png, sweep.png.",
        path=True,
        used_with=(*_OF_SAMPLES, *_OF_WALKS, *_OF_WEIGHTS),
    )
    format: str = setting(
        "",
        "Files in `output=FOLDER/`: a png an image, or npz of 1,000 each; empty: png.",
        choices=("", "png", "npz"),
        used_with=_OF_SAMPLES,
    )
    nearest: bool = setting(
        False, "Put each sample's nearest training image beside it, in a .png grid.", used_with=_OF_SAMPLES
    )
    latents: str = setting(
        "", "An .npy of latents, (N, latent size), of each of which an image is made.", path=True, used_with=_OF_SAMPLES
    )
    sample_class: int | None = setting(
        None,
        "Keep samples that the run's discriminator takes for this class, numbered as the labels; none: all.",
        low=0,
        high=MANY,
        optional=True,
        kind=int,
        used_with=_OF_SAMPLES,
    )
    generator_only: bool = setting(False, "Leave the discriminator's weights out.", used_with=_OF_WEIGHTS)
    walk_steps: int = setting(10, "Images of each walk.", low=2, high=1000, used_with=_OF_WALKS)


@dataclasses.dataclass(frozen=True)
class CommandSettings(TaskSettings, SampleSettings):
    """The command's own flags, beside those of the runs' configs."""

    def check(self) -> None:
        super().check()
        if self.latents and self.sample_class is not None:
            raise ConfigError(
                "`latents` and `sample_class` exclude each other. "
                f"Received: latents={self.latents} sample_class={self.sample_class}"
            )

    @property
    def output_path(self) -> str:
        """Where images go."""
        return self.output or ("samples.npz" if self.mode == "sample" else f"{self.mode}.png")


def command_line(mode: str = "train") -> CommandLine:
    """The command's flags: its own, then every recipe's settings; the help of another mode shows those that it uses."""
    line = CommandLine(
        "igan-tf train | test | sample | export",
        "Trains one of the paper's GANs, tests a run, samples images, or exports weights."
        + ("" if mode == "train" else f" With `mode={mode}`:"),
    )
    line.add_settings(CommandSettings)
    add_configs(line)
    line.shown = None if mode == "train" else _flags_of(mode) - {"mode"}
    return line


def _flags_of(mode: str) -> set[str]:
    """The flags that a mode other than training may use."""
    uses = {field.name: field.metadata["used_with"] for field in dataclasses.fields(CommandSettings)}
    own = {name for name, modes in uses.items() if not modes or f"mode={mode}" in modes}
    return own | {"dataset", "data_dir"} | (set() if mode in ("evaluate", "export") else {"seed"})


def run(arguments: Sequence[str]) -> None:
    """Runs the command line, `arguments` without the program's name; errors of the user's end it with one message."""
    modes = [word.removeprefix("--mode=") for word in arguments if word.startswith("--mode=")]
    line = command_line(modes[-1] if modes else "train")
    # Ctrl-C outside of the training loop: there is nothing to save.
    with ending_in_one_sentence(line):
        line.parse(arguments)
        settings, config = line.read(CommandSettings), config_of(line)
        _refuse_unused(line, settings, config)
        _run(settings, config)


def config_of(line: CommandLine) -> RunConfig:
    """The config that the given flags describe."""
    given = {name: line.flag_values[name].value for name in setting_fields() if name in line.given}
    return build_config(recipe=line.recipe, **given)


def _refuse_unused(line: CommandLine, settings: CommandSettings, config: RunConfig) -> None:
    """Raises a ConfigError for a flag that was typed and that the mode, or the config, does not use.

    What a flag file says is about the run, which may be sampled and tested by the same file.
    """
    refuse_unused(settings, line.typed)
    if settings.latents and "num_samples" in line.typed:
        raise ConfigError(
            "`num_samples` is as many as `latents` has: leave it out. "
            f"Received: num_samples={settings.num_samples} latents={settings.latents}"
        )
    if settings.mode == "train":
        # A run that was begun when they passed is continued by its own command.
        if not (Path(settings.run_dir) / FLAGS_FILE).exists():
            refuse_unused(config, line.typed)
        if isinstance(config, SemiSupervisedConfig) and config.label_file and config.balance is None:
            for name in sorted(line.typed & {"labels", "seed_data"}):
                raise ConfigError(
                    f"`{name}` draws from `label_file` with `balance` or without, and neither was given: all its lines "
                    f"are used. Received: {name}={getattr(config, name)} label_file={config.label_file}"
                )
        return
    # A data set's name leads to the folder.
    unused = {"dataset"} if settings.run_dir else set()
    unused |= set() if settings.mode == "evaluate" or settings.nearest else {"data_dir"}
    for name in sorted(line.typed - (_flags_of(settings.mode) - unused)):
        purpose = "`mode=train`, `mode=evaluate` and `nearest`" if name == "data_dir" else "`mode=train`"
        place = f" run_dir={settings.run_dir}" if name == "dataset" else ""
        raise ConfigError(
            f"`{name}` is for {purpose}. Received: {name}={getattr(line, name)} mode={settings.mode}{place}"
        )


def _run(settings: CommandSettings, config: RunConfig) -> None:
    import_tensorflow()

    from igan_tf.experiments import runs, training_runs
    from igan_tf.experiments.sampling import sample_run, walk
    from igan_tf.experiments.weights import export_weights
    from igan_tf.training.cluster import WorkerLostError, this_worker
    from igan_tf.training.interruption import Interrupted
    from igan_tf.training.trainer import NonFiniteLossError

    run_dir = settings.run_dir or f"runs/{config.dataset}"
    if settings.mode != "train" and not settings.run_dir and not Path(run_dir).is_dir():
        raise ConfigError(
            f"`run_dir={run_dir}` is not the directory of a run: it does not exist; name yours with `run_dir`"
        )
    try:
        if settings.mode == "train":
            _describe(config, run_dir)
            result = training_runs.train(config, run_dir, report)
        elif settings.mode == "evaluate":
            result = runs.test_errors(run_dir, config.data_dir)
        elif settings.mode == "export":
            result = export_weights(run_dir, settings.output, settings.generator_only)
        elif settings.mode != "sample":
            result = walk(
                run_dir, settings.output_path, settings.mode, settings.num_samples, settings.walk_steps, config.seed
            )
        else:
            result = sample_run(
                run_dir,
                settings.output_path,
                settings.num_samples,
                config.seed,
                settings.format or None,
                report,
                nearest=settings.nearest,
                data_dir=config.data_dir,
                latents=settings.latents,
                sample_class=settings.sample_class,
            )
        draws = result.pop("draws", [])
        first_draw = result.get("seed_data", 1)
        for number, draw in enumerate(draws, start=first_draw):
            report(f"draw {number}: " + ", ".join(f"{name} {_shown(draw[name])}" for name in _errors(draw)))
        for name, value in result.items():
            mean = f", the mean of {len(draws)} draws" if draws and name in _errors(result) else ""
            report(f"{name}: {_shown(value)}{mean}")
        if settings.mode == "train" and this_worker().is_chief:
            _say_what_next(run_dir, f"draw-{first_draw}" if draws else "", config)
    except NonFiniteLossError as error:
        sys.exit(f"igan_tf: {error}")
    except WorkerLostError as error:
        print(f"igan_tf: {error}", file=sys.stderr, flush=True)
        # Without the end of TensorFlow, which would wait for the lost worker.
        os._exit(1)
    except BrokenPipeError:
        raise
    except OSError as error:
        # A full disk, above all: what stands is whole.
        sys.exit(f"igan_tf: --run_dir={run_dir}: {error}")
    except Interrupted as error:
        print(f"igan_tf: {error}", file=sys.stderr)
        sys.exit(128 + error.signum)


def _errors(result: dict[str, Any]) -> list[str]:
    return [name for name in result if name.endswith("test_error")]


def _shown(value: Any) -> str:
    """A result as a line of the terminal has it; the best score says where it was reached."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _say_what_next(run_dir: str, draw: str, config: RunConfig) -> None:
    """Prints where samples and curves of a finished training are, and the commands that take it on."""
    from igan_tf.experiments.recipes import recipe_of

    report(f"curves: tensorboard --logdir={shlex.quote(run_dir)}")
    if recipe_of(config).generates:
        one = shlex.quote(os.path.join(run_dir, draw) if draw else run_dir)
        # ImageNet's thousand classes are the default classifier's own.
        classifier = "" if config.dataset == "imagenet" else " --classifier=domain"
        report(f"sample grids: {one}/samples; more samples: igan-tf sample --run_dir={one} --output=samples.png")
        # The small network of `domain` learns classes, which one's own images may lack.
        labelled = getattr(config, "labelled", False) or getattr(config, "use_labels", False)
        if config.dataset == "folder" and not labelled:
            return
        # Of one's own images there are few: against so few, scores of 50,000 samples are refused.
        few = " --num_samples=1000" if config.dataset == "folder" else ""
        report(f"scores: igan-tf evaluate --source={one}{classifier} --reference=run:data{few}")


def _describe(config: RunConfig, run_dir: str) -> None:
    """Prints the devices and what is not at its default."""
    import tensorflow as tf

    from igan_tf.training.cluster import this_worker
    from igan_tf.training.distribution import strategy_of

    worker = this_worker()
    if worker.count > 1:
        report(f"worker {worker.index} of the {worker.count} in TF_CONFIG")
    # Several workers: before TensorFlow looks for devices.
    strategy = strategy_of(config, report)
    devices = ", ".join(device.name for device in tf.config.list_logical_devices())
    report(
        f"devices: {devices}; strategy: {config.strategy}, replicas: {strategy.num_replicas_in_sync}; "
        f"XLA: {config.jit_compile}; run directory: {run_dir}"
    )
    changed = [flag_line(name, value) for name, value in config.changed().items()]
    report(f"recipe {config.recipe}, all settings in flags.cfg; not at their defaults: {' '.join(changed) or 'none'}")
