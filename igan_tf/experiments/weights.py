"""A run directory of weights alone, to hand on: a checkpoint without optimizers and averages, in half precision."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from igan_tf.errors import ConfigError
from igan_tf.experiments.configs import FLAGS_FILE, VERSION_LINE, as_lines
from igan_tf.experiments.run_directory import read_config
from igan_tf.experiments.runs import build_model, read_checkpoint
from igan_tf.files import disk, durable
from igan_tf.models.adversarial_model import named_variables
from igan_tf.pretrained import is_pretrained
from igan_tf.training.checkpoints import WEIGHTS_OF, Checkpoints, identity_of, state_of


def export_weights(run_dir: str, output: str, generator_only: bool = False) -> dict[str, Any]:
    """Everything that `--mode=export` does: the newest weights of a run, as a run directory without its training.

    Where the run keeps averages of its weights, from which it samples and classifies best, these take the weights'
    place. float16 keeps three digits of each, or what lies above 6e-8; loaded, they are float32 again, and the networks
    compute in float32.

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
    if not output or is_pretrained(output) or path.exists():
        raise ConfigError(f"`output` must name a folder that is not there yet. Received: output={output}")
    if path.resolve().is_relative_to(Path(run_dir).resolve()):
        raise ConfigError(f"`output` must not lie in `run_dir`. Received: output={output} run_dir={run_dir}")
    saved = read_checkpoint(run_dir)
    model = build_model(run_dir, saved)
    players = ["generator"] if generator_only else ["generator", "discriminator"]
    arrays: dict[str, np.ndarray] = {}
    for player in players:
        network, average = getattr(model, player), getattr(model, f"{player}_average", None)
        if average is not None and int(average.count.numpy()):
            for variable, value in zip(network.trainable_variables, average.values(), strict=True):
                variable.assign(value)
        arrays |= {name: _half(array) for name, array in state_of(named_variables({player: network.variables})).items()}
    # Of the machine's paths, the names alone.
    config = dataclasses.replace(read_config(run_dir).with_paths(lambda path: Path(path).name), precision="float32")
    identity = {**identity_of(saved.position, run_dir), **config.fixed()}
    position = {"step": saved.position["step"], "identity": identity, WEIGHTS_OF: players}
    try:
        disk.make_folder(path.absolute().parent, parents=True)
        with durable.durable_folder(path) as folder:
            Checkpoints(folder / "checkpoints").save(position["step"], arrays, position)
            durable.write_text(folder / FLAGS_FILE, "\n".join([VERSION_LINE, *as_lines(config)]) + "\n")
    except OSError as error:
        raise ConfigError(f"`output={output}` cannot be written: {error}") from error
    megabytes = round(sum(array.nbytes for array in arrays.values()) / 1e6, 2)
    return {"output": output, "step": position["step"], "weights": ", ".join(players), "megabytes": megabytes}


def _half(array: np.ndarray) -> np.ndarray:
    if array.dtype != "float32":
        return array
    if np.abs(array).max(initial=0) > np.finfo("float16").max:
        raise ConfigError(f"a weight of {np.abs(array).max():g} is more than half precision has numbers for")
    return array.astype("float16")
