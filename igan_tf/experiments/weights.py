"""A run directory of weights alone, to hand on: a checkpoint without optimizers and averages, in half precision."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from igan_tf.errors import ConfigError
from igan_tf.experiments.run_directory import read_config, save_config
from igan_tf.experiments.runs import WEIGHTS_OF, build_model, read_checkpoint
from igan_tf.files import disk
from igan_tf.training.checkpoints import Checkpoints, identity_of, state_of


def export_weights(run_dir: str, output: str, generator_only: bool = False) -> dict[str, Any]:
    """Everything that `--mode=export` does: the newest weights of a run, as a run directory without its training.

    Where the run keeps averages of its weights, from which it samples and classifies best, these take the weights'
    place. float16 keeps three digits of each; loaded, they are float32 again.

    Args:
        run_dir: The run directory, or one draw's folder in it.
        output: The folder to be made.
        generator_only: Leave the discriminator out.

    Returns:
        Dict of what was written where.

    Raises:
        ConfigError, CheckpointError: of which each names the flag or file.
    """
    path = Path(output)
    if not output or (path.exists() and (not path.is_dir() or any(path.iterdir()))):
        raise ConfigError(f"`output` must name a new folder. Received: output={output}")
    saved = read_checkpoint(run_dir)
    model = build_model(run_dir, saved)
    players = ["generator"] if generator_only else ["generator", "discriminator"]
    for player in players:
        average = getattr(model, f"{player}_average", None)
        if average is not None and int(average.count.numpy()):
            for variable, value in zip(getattr(model, player).trainable_variables, average.values(), strict=True):
                variable.assign(value)
    kept = {name: v for name, v in model.state_variables().items() if name.partition("/")[0] in players}
    arrays = {name: _half(array) for name, array in state_of(kept).items()}
    # As the weights are used from now on; paths are of the machine on which the run was trained.
    config = read_config(run_dir)
    paths: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(config) if f.metadata["path"]}
    config = dataclasses.replace(config, generator_average_decay=0.0, precision="float32", **paths)
    identity = {**identity_of(saved.position, run_dir), **config.fixed()}
    position = {"step": saved.position["step"], "identity": identity, WEIGHTS_OF: players}
    try:
        disk.make_folder(path, parents=True)
        Checkpoints(path / "checkpoints").save(position["step"], arrays, position)
        # Last: with it the folder is a run.
        save_config(path, config)
    except OSError as error:
        raise ConfigError(f"`output={output}` cannot be written: {error}") from error
    megabytes = round(sum(array.nbytes for array in arrays.values()) / 1e6, 2)
    return {"output": output, "step": position["step"], "weights": ", ".join(players), "megabytes": megabytes}


def _half(array: np.ndarray) -> np.ndarray:
    return array.astype("float16") if array.dtype == "float32" else array
