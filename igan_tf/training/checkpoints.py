"""Checkpoints: every variable of a run in one file, its digest beside it, no code in either."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from igan_tf.errors import InputError
from igan_tf.files import StrPath, durable
from igan_tf.files.damage import UNREADABLE_ZIP
from igan_tf.files.digests import file_digest

if TYPE_CHECKING:
    import keras

_STATE = "state.npz"
_DIGEST = "state.sha256"
_POSITION = "position"


class CheckpointError(InputError):
    """No checkpoint can be used, or it is of another network; the message names the file and the difference."""


class Checkpoints:
    """The checkpoints of a run directory: `step-<n>/state.npz` with `state.sha256`.

    A checkpoint holds named arrays and a position, a JSON-serialisable dict. It is written into a temporary folder,
    synced, and renamed. The last `keep` stay, and the best.

    Args:
        folder: Where they lie; made when the first is saved.
        keep: How many of the latest stay.
        warn: Called with a line about each checkpoint that is damaged.
    """

    def __init__(self, folder: StrPath, keep: int = 2, warn: Callable[[str], Any] = print) -> None:
        self.folder = Path(folder)
        self.keep = keep
        self._warn = warn

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending."""
        if not self.folder.is_dir():
            return []
        names = (re.fullmatch(r"step-(\d+)", path.name) for path in self.folder.iterdir())
        return sorted(int(name[1]) for name in names if name)

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}"

    def save(
        self, step: int, arrays: Mapping[str, np.ndarray], position: dict[str, Any], best_steps: Sequence[int] = ()
    ) -> None:
        """Writes a checkpoint, then removes those that are neither among the last nor the best."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with durable.durable_folder(self.path(step)) as folder:
            # Not through memory: ImageNet's state is 1.7 GB.
            with durable.durable_file(folder / _STATE) as file:
                # To type checkers any of these names might be `allow_pickle`.
                about: dict[str, Any] = {_POSITION: np.frombuffer(json.dumps(position).encode(), "uint8")}
                state: Mapping[str, Any] = arrays
                np.savez(file, **about, **state)
            durable.write_text(folder / _DIGEST, f"{file_digest(folder / _STATE)}  {_STATE}\n")
        # Later ones are damaged ones that were passed over: they must not push out what is whole.
        for old in [earlier for earlier in self.steps() if earlier <= step][: -self.keep]:
            if old not in (*best_steps, step):
                shutil.rmtree(self.path(old))

    def digest(self, step: int) -> str:
        """The digest that a checkpoint should have: it names what is in it."""
        try:
            return (self.path(step) / _DIGEST).read_text(encoding="utf-8").split()[0]
        except (OSError, IndexError, UnicodeDecodeError) as error:
            raise CheckpointError(f"the checkpoint {self.path(step)} is damaged: {error}") from error

    def load(self, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Reads one checkpoint.

        Returns:
            Dict of arrays, and the position.

        Raises:
            CheckpointError: if a file is missing or differs from its digest.
        """
        path = self.path(step)
        digest = self.digest(step)
        try:
            found = file_digest(path / _STATE)
        except OSError as error:
            raise CheckpointError(f"the checkpoint {path} is damaged: {error}") from error
        if found != digest:
            raise CheckpointError(f"the checkpoint {path} is damaged: {_STATE} does not have the digest in {_DIGEST}")
        try:
            with np.load(path / _STATE, allow_pickle=False) as state:
                arrays = {name: state[name] for name in state.files}
        except UNREADABLE_ZIP as error:
            raise CheckpointError(f"the checkpoint {path} cannot be read: {error}") from error
        return arrays, json.loads(arrays.pop(_POSITION).tobytes())

    def load_newest(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Reads the newest checkpoint that is whole, naming each damaged one.

        Returns:
            Dict of arrays and position, or None where there has never been a checkpoint.

        Raises:
            CheckpointError: if there are checkpoints, but none is whole.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return self.load(step)
            except CheckpointError as error:
                self._warn(f"{error}; trying the one before")
        if steps:
            raise CheckpointError(f"no checkpoint in {self.folder} is whole; move the folder away to start anew")
        return None


def identity_of(position: Mapping[str, Any], where: StrPath) -> dict[str, Any]:
    """What a checkpoint's position says of its run.

    Raises:
        CheckpointError: for one that an early version wrote, without it.
    """
    if "identity" not in position:
        raise CheckpointError(f"{where} was written by an early version of igan_tf; name another folder to start anew")
    return position["identity"]


def differences(saved: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """Lines naming each entry in which two dicts depart from each other, of those that both have.

    Equal texts are equal: an earlier version saved `image_size` as a number.
    """
    return [
        f"{name}: the run was started with {saved[name]!r}, now {value!r}"
        for name, value in present.items()
        if name in saved and saved[name] != value and str(saved[name]) != str(value)
    ]


def state_of(named_variables: Mapping[str, keras.Variable]) -> dict[str, np.ndarray]:
    """The values of a dict of variables, as NumPy arrays."""
    return {name: np.asarray(variable.numpy()) for name, variable in named_variables.items()}


def restore_state(
    named_variables: Mapping[str, keras.Variable], arrays: Mapping[str, np.ndarray], where: StrPath
) -> None:
    """Gives variables their saved values.

    Raises:
        CheckpointError: that lists what is missing, left over or of another shape, before anything is assigned.
    """
    wrong = [f"{name}: not in the network" for name in sorted(set(arrays) - set(named_variables))]
    for name, variable in named_variables.items():
        if name not in arrays:
            wrong.append(f"{name}: not in the checkpoint")
        elif tuple(variable.shape) != arrays[name].shape:
            wrong.append(f"{name}: {arrays[name].shape} in the checkpoint, {tuple(variable.shape)} in the network")
    if wrong:
        shown = "\n  ".join(wrong[:10] + ([f"and {len(wrong) - 10} more"] if len(wrong) > 10 else []))
        raise CheckpointError(f"{where} is of another network:\n  {shown}")
    for name, variable in named_variables.items():
        variable.assign(arrays[name])
