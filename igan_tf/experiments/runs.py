"""Back from a run directory to its networks and its test errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

from igan_tf.data import DATASETS, ImageData, ImageRecords
from igan_tf.errors import ConfigError, DataError, counted, renamed
from igan_tf.experiments.configs import FLAGS_FILE, SemiSupervisedConfig
from igan_tf.experiments.recipes import recipe_of
from igan_tf.experiments.run_directory import read_config
from igan_tf.files import StrPath, json_files
from igan_tf.models.adversarial_model import AdversarialModel, named_variables
from igan_tf.models.randomness import random_state_kept
from igan_tf.models.sampling import LatentSampling
from igan_tf.pretrained import PREFIX, run_folder
from igan_tf.training.checkpoints import (
    WEIGHTS_OF,
    CheckpointError,
    Checkpoints,
    Saved,
    differences,
    identity_of,
    refuse_other_networks,
    restore_state,
)
from igan_tf.training.run_log import read_metrics

_ALONE = "`run_dir={}` holds the weights of its generator alone"
# What networks are built from; the bounds are those of every position.
_NETWORKS = json_files.record(
    {"image_shape": json_files.ANYTHING, "num_classes": json_files.ANYTHING, "steps_per_epoch": json_files.ANYTHING},
    others=json_files.ANYTHING,
)


def test_errors(run_dir: StrPath, data_dir: str = "") -> dict[str, float]:
    """Test errors of a run directory's newest weights, of its data set.

    Args:
        run_dir: The run directory, or one draw's folder in it.
        data_dir: Where its data lies now; empty: where it lay.

    Raises:
        ConfigError: where it has no test error; it says why, and what it has.
        DataError: where its data are not as they were.
    """
    config = read_config(run_dir)
    config = dataclasses.replace(config, data_dir=data_dir or config.data_dir)
    reason = f"`dataset={config.dataset}` with `recipe={config.recipe}` has no labelled test set"
    if isinstance(config, SemiSupervisedConfig) and not config.labelled:
        reason = f"it was trained without labels, `labels={config.labels}`"
    else:
        recipe = recipe_of(config)
        if not (recipe.streams and DATASETS[config.dataset].streamed):
            saved = _with_discriminator(run_dir, read_checkpoint(run_dir))
            data = recipe.load_data()
            refuse_other_data(run_dir, data, saved)
            if errors := recipe.test_errors(build_model(run_dir, saved), data):
                return errors
    raise ConfigError(f"`run_dir={run_dir}` has no test error: {reason}. {_what_else(run_folder(run_dir))}")


def refuse_other_data(run_dir: StrPath, data: ImageData | ImageRecords, saved: Saved | None = None) -> None:
    """Raises a DataError where a run's data have changed since: it may have been trained on today's test images."""
    saved = saved or read_checkpoint(run_dir)
    trained_on, now = str(identity_of(saved.position, run_dir).get("SHA-256 of the data")), data.fingerprint()
    if trained_on != now:
        raise DataError(
            f"`run_dir={run_dir}` was trained on other data than there are now: {data.in_words()}. Their SHA-256 was "
            f"{trained_on[:16]}, and is {now[:16]}"
        )


def _what_else(run_dir: Path) -> str:
    """What a run has where it has no test error, as a sentence."""
    steps = Checkpoints(run_dir / "checkpoints").steps()
    weights = f"checkpoints of {counted(len(steps), 'step')}, the last {steps[-1]}" if steps else "no checkpoint"
    grids = counted(len(list((run_dir / "samples").glob("*.png"))), "grid")
    last = (read_metrics(run_dir / "metrics.jsonl") or [{}])[-1]
    losses = ", ".join(f"{name} {value:.4g}" for name, value in last.items() if name.endswith("_loss"))
    return (
        f"It has {weights}; {grids} in samples/; in metrics.jsonl {losses or 'no losses'}. `mode=sample` draws "
        "samples, and igan_tf.evaluate scores them"
    )


def load_run(run_dir: StrPath, step: int | None = None) -> AdversarialModel:
    """The model of a run directory with its newest weights: `.generator`, `.discriminator`, `.generate(n, seed)`.

    Needs no data. `run.generator.save("generator.keras")` exports the generator alone.

    Args:
        run_dir: The run directory, or one draw's folder in it.
        step: Whose checkpoint; None: the newest that is whole.

    Returns:
        The compiled `SemiSupervisedGAN` or `ImageNetGAN`.

    Raises:
        ConfigError, CheckpointError: with the file that is missing or damaged.
    """
    return load_checkpoint(run_dir, step)[0]


def load_pretrained(name: str) -> AdversarialModel:
    """A trained model that comes with the package.

    Each has a page of its own, `MODEL_CARD.md`, with the command that trained it, its scores and a grid of samples. The
    commands take it as a run directory: `igan-tf sample --run_dir=pretrained:digits`, and `pretrained:digits` as the
    source of `igan-tf evaluate`, as images of `igan-tf turing-test`, and as `--init_from`.

    Args:
        name: One of `igan_tf.pretrained.names()`.

    Returns:
        The model, as of `load_run`: `.generator`, `.generate(n, seed)` and, where the card says so, `.discriminator`.

    Raises:
        ConfigError: for a name that there is not.

    ```python
    samples = igan_tf.load_pretrained("digits").generate(16, seed=0)   # (16, 8, 8, 1), float32 in [0, 1]
    ```
    """
    return load_run(f"{PREFIX}{name}")


def _no_checkpoint(run_dir: StrPath) -> CheckpointError:
    """The error of a run without checkpoints, which names the folders of its label draws."""
    draws = sorted(path.parent.name for path in Path(run_dir).glob("draw-*/checkpoints"))
    remedy = f"; name the folder of a label draw: {', '.join(draws)}" if draws else ""
    return CheckpointError(f"`run_dir={run_dir}` holds no checkpoint{remedy}")


def read_checkpoint(run_dir: StrPath, step: int | None = None, warn: Callable[[str], Any] = print) -> Saved:
    """The checkpoint of a run that is to be used: all of it in memory, whatever a trainer removes meanwhile.

    Args:
        run_dir: The run directory, or one draw's folder in it.
        step: Whose checkpoint; None: the newest that is whole.
        warn: Called with a line about each checkpoint that is damaged.

    Raises:
        ConfigError, CheckpointError: with the file that is missing or damaged.
    """
    config = read_config(run_dir)
    checkpoints = Checkpoints(run_folder(run_dir) / "checkpoints", warn=warn)
    saved = checkpoints.load_newest() if step is None else checkpoints.load(step)
    if saved is None:
        raise _no_checkpoint(run_dir)
    where = checkpoints.path(saved.position["step"])
    if changed := differences(identity_of(saved.position, where), config.fixed()):
        raise CheckpointError(
            f"{where} was saved with other settings than {FLAGS_FILE} has:\n  " + "\n  ".join(changed)
        )
    if WEIGHTS_OF in saved.position:
        # In half precision, on the disk alone.
        halves = {name: array for name, array in saved.arrays.items() if array.dtype == "float16"}
        return saved._replace(arrays=saved.arrays | {name: array.astype("float32") for name, array in halves.items()})
    return saved


def _with_discriminator(run_dir: StrPath, saved: Saved) -> Saved:
    """The checkpoint. Raises a ConfigError where it holds the generator alone."""
    if saved.position.get(WEIGHTS_OF) == ["generator"]:
        raise ConfigError(_ALONE.format(run_dir))
    return saved


def load_checkpoint(run_dir: StrPath, step: int | None = None) -> tuple[AdversarialModel, dict[str, Any]]:
    """As `load_run`, and which checkpoint it is: (model, `{"step": its step, "sha256": its digest}`)."""
    saved = read_checkpoint(run_dir, step)
    model = build_model(run_dir, saved)
    return model, {"step": saved.position["step"], "sha256": saved.sha256}


def refuse_other_start(run_dir: StrPath, saved: Saved, build: Callable[[], AdversarialModel]) -> None:
    """Raises what `start_from` would of the weights' names and shapes, before a model is built that takes memory."""
    with random_state_kept(), tf.Graph().as_default():
        refuse_other_networks(*_of_both_networks(build(), run_dir, saved), f"`init_from={run_dir}`")


def start_from(model: AdversarialModel, run_dir: StrPath, saved: Saved) -> None:
    """Gives both networks of a model the weights of a run; optimizers and averages begin anew.

    Args:
        model: The compiled model.
        run_dir: The run directory, for messages.
        saved: Its checkpoint.

    Raises:
        CheckpointError: that lists which arrays have other shapes, before anything is assigned.
        ConfigError: where it holds the generator alone.
    """
    restore_state(*_of_both_networks(model, run_dir, saved), f"`init_from={run_dir}`")
    for technique in model.techniques:
        technique.restart(model)


def _of_both_networks(
    model: AdversarialModel, run_dir: StrPath, saved: Saved
) -> tuple[dict[str, keras.Variable], dict[str, np.ndarray]]:
    """The variables of both networks, and the arrays of a checkpoint by these variables' names."""
    with renamed(run_dir="init_from"):
        _with_discriminator(run_dir, saved)
    state, variables, arrays = model.state_variables(), {}, {}
    for player in ("generator/", "discriminator/"):
        ours, theirs = (sorted(name for name in named if name.startswith(player)) for named in (state, saved.arrays))
        # By their order: numbers count seeds of noise, too, of which one of the networks may have more.
        names = dict(zip(theirs, ours)) if len(ours) == len(theirs) else {}
        variables.update({name: state[name] for name in ours})
        arrays.update({names.get(name, name): saved.arrays[name] for name in theirs})
    return variables, arrays


def build_model(run_dir: StrPath, saved: Saved) -> Any:
    """The model of a run with the weights of a checkpoint, from `read_checkpoint`.

    Of a run of weights alone, averages and what techniques remember start from the weights; of one that holds the
    generator's alone, it is a `GeneratorAlone`.
    """
    where = f"{run_dir}, step {saved.position['step']}"
    identity = json_files.check(identity_of(saved.position, run_dir), _NETWORKS, where)
    recipe, players = recipe_of(read_config(run_dir)), saved.position.get(WEIGHTS_OF)

    def build() -> tuple[Any, dict[str, keras.Variable]]:
        image_shape = tuple(identity["image_shape"])
        if players == ["generator"]:
            with recipe.precision():
                alone = GeneratorAlone(recipe.build_generator(image_shape), recipe.latent_range, run_dir)
            return alone, named_variables({"generator": alone.generator.variables})
        model = recipe.build_model(image_shape, identity["num_classes"], identity["steps_per_epoch"])
        state = model.state_variables()
        return model, {name: v for name, v in state.items() if not players or name.partition("/")[0] in players}

    # In a graph, variables have shapes and take no memory: the settings of others can ask for more than there is.
    with random_state_kept(), tf.Graph().as_default():
        refuse_other_networks(build()[1], saved.arrays, where)
    with random_state_kept():
        model, held = build()
    restore_state(held, saved.arrays, where)
    if isinstance(model, AdversarialModel) and players:
        model.restart_averages()
        for technique in model.techniques:
            technique.restart(model)
    return model


class GeneratorAlone(LatentSampling):
    """A trained generator without its discriminator: samples are all that there is.

    Args:
        generator: The built network.
        latent_range: Bounds of the uniform distribution of z.
        run_dir: Where it comes from, for messages.

    Attributes:
        discriminator, num_classes, num_outputs: Raise a ConfigError.
    """

    def __init__(self, generator: keras.Model, latent_range: tuple[float, float], run_dir: StrPath) -> None:
        self.generator = generator
        self.latent_range = latent_range
        self.variable_dtype = generator.variable_dtype
        self._run_dir = run_dir

    @property
    def discriminator(self) -> NoReturn:
        raise ConfigError(_ALONE.format(self._run_dir))

    num_classes = num_outputs = discriminator
