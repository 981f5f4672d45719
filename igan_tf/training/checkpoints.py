"""Checkpoints: every variable of a run in one file, its digest beside it, no code in either."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from igan_tf.errors import InputError
from igan_tf.files import StrPath, disk, durable, json_files
from igan_tf.files.arrays import read_numbers
from igan_tf.files.digests import file_digest, open_file_digest
from igan_tf.files.json_files import ANYTHING, NOTHING, NUMBER, TEXT, WHOLE

if TYPE_CHECKING:
    import keras

_STATE = "state.npz"
_DIGEST = "state.sha256"
_POSITION = "position"
# In a position: the networks whose weights are all that the checkpoint holds; see `igan_tf.experiments.weights`.
WEIGHTS_OF = "weights_of"
_NAME = re.compile(r"step-(\d{9,18})")
_LISTINGS = 5

# What a trainer saves beside its arrays; see `Trainer.save`.
_POSITION_SCHEMA = json_files.record(
    {"step": WHOLE},
    {
        # Settings and data; see `Experiment`.
        "identity": json_files.record(
            {},
            {
                "image_shape": json_files.listing(json_files.whole(1, 2**14), 3, 3),
                "num_classes": json_files.whole(0, 2**20),
                "steps_per_epoch": json_files.whole(1, 2**53),
            },
            others={"type": ["string", "number", "boolean", "null", "array"]},
        ),
        "epoch": WHOLE,
        "step_in_epoch": WHOLE,
        # Neither of which is a loss.
        "sums": json_files.record({}, {"step": NOTHING, "epoch": NOTHING}, others=NUMBER),
        WEIGHTS_OF: json_files.one_of(["generator"], ["generator", "discriminator"]),
        "best": json_files.optional(json_files.record({"step": WHOLE, "averaged_test_error": NUMBER})),
        "best_score": json_files.optional(json_files.record({"step": WHOLE, "name": TEXT, "value": NUMBER})),
    },
)


# What a trainer takes up; networks alone need less.
_TAKEN_UP = json_files.record(
    {"step": ANYTHING, "epoch": ANYTHING, "step_in_epoch": ANYTHING, "sums": ANYTHING, "best": ANYTHING},
    others=ANYTHING,
)


class CheckpointError(InputError):
    """No checkpoint can be used, or it is of another network; the message names the file and the difference."""


class _Gone(CheckpointError):
    """A checkpoint was removed while, or before, it was read: its run has later ones."""


class Saved(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        arrays: By name.
        position: The dict that was saved with them.
        sha256: Of both: it names what is in the checkpoint.
    """

    arrays: dict[str, np.ndarray]
    position: dict[str, Any]
    sha256: str


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
        # Steps whose checkpoint was passed over.
        self._damaged: set[int] = set()

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending."""
        # Between two entries of one listing a trainer may remove what was to come, and add what would have come before.
        for _ in range(_LISTINGS):
            entries = self.folder.iterdir() if self.folder.is_dir() else ()
            steps = sorted(int(name[1]) for entry in entries if (name := _NAME.fullmatch(entry.name)))
            # Not under another name, such as one zero more, nor what a link leads to.
            if found := [step for step in steps if self.path(step).is_dir() and not self.path(step).is_symlink()]:
                return found
        return []

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}"

    def save(
        self, step: int, arrays: Mapping[str, np.ndarray], position: dict[str, Any], best_steps: Sequence[int] = ()
    ) -> None:
        """Writes a checkpoint, then removes those that are neither among the last nor the best."""
        disk.make_folder(self.folder, parents=True)
        with durable.durable_folder(self.path(step)) as folder:
            # Not through memory: ImageNet's state is 1.7 GB.
            with durable.durable_file(folder / _STATE) as file:
                # To type checkers any of these names might be `allow_pickle`.
                about: dict[str, Any] = {
                    _POSITION: np.frombuffer(json.dumps(position, allow_nan=False).encode(), "uint8")
                }
                state: Mapping[str, Any] = arrays
                np.savez(file, **about, **state)
            durable.write_text(folder / _DIGEST, f"{file_digest(folder / _STATE)}  {_STATE}\n")
        self._damaged.discard(step)
        steps = self.steps()
        # Damaged ones that were passed over, as all later ones are, must not push out what is whole.
        kept = [earlier for earlier in steps if earlier <= step and earlier not in self._damaged][-self.keep :]
        for old in [earlier for earlier in steps if earlier < kept[0]]:
            if old not in best_steps:
                durable.remove_folder(self.path(old))
        # A process that was killed while it wrote or removed one has left this; a run has one writer.
        for left in self.folder.glob(".step-*.tmp"):
            disk.remove(left)

    def digest(self, step: int) -> str:
        """The SHA-256 that a checkpoint should have: it names what is in it."""
        try:
            text = disk.read_small(self.path(step) / _DIGEST).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise self._unreadable(step, error) from error
        if not (line := re.fullmatch(rf"([0-9a-f]{{64}})(\s+{_STATE})?\s*", text)):
            raise CheckpointError(f"the checkpoint {self.path(step)} is damaged: {_DIGEST} holds no digest")
        return line[1]

    def load(self, step: int) -> Saved:
        """Reads one checkpoint.

        Raises:
            CheckpointError: if a file is missing or differs from its digest, or it is another step's.
        """
        path = self.path(step)
        digest = self.digest(step)
        try:
            # Once it is open, a trainer that removes it does not take it away.
            with disk.open_file(path / _STATE) as file:
                if open_file_digest(file) != digest:
                    raise CheckpointError(
                        f"the checkpoint {path} is damaged: {_STATE} does not have the digest in {_DIGEST}"
                    )
                arrays = read_numbers(file, path)
            about = arrays.pop(_POSITION, np.empty(0)).tobytes()
            if len(about) > disk.SMALL:
                raise json_files.DamagedFile(f"{path} is damaged: its position has {len(about)} bytes")
            position = json_files.parse(about, _POSITION_SCHEMA, path)
        except OSError as error:
            raise self._unreadable(step, error) from error
        except json_files.DamagedFile as error:
            raise CheckpointError(f"the checkpoint {error}") from error
        if position["step"] != step:
            raise CheckpointError(f"the checkpoint {path} is damaged: it is step {position['step']}'s")
        return Saved(arrays, position, digest)

    def _unreadable(self, step: int, error: Exception) -> CheckpointError:
        path = self.path(step)
        if isinstance(error, FileNotFoundError) and not path.is_dir():
            return _Gone(f"the checkpoint {path} is not there, or was removed while it was read")
        return CheckpointError(f"the checkpoint {path} is damaged: {error}")

    def load_newest(self) -> Saved | None:
        """Reads the newest checkpoint that is whole, naming each damaged one.

        One that a trainer removes meanwhile is none: it has saved later ones, which are looked for anew.

        Returns:
            The checkpoint, or None where there has never been one.

        Raises:
            CheckpointError: if there are checkpoints, but none is whole.
        """
        self._damaged.clear()
        while steps := [step for step in self.steps() if step not in self._damaged]:
            try:
                return self.load(steps[-1])
            except _Gone:
                continue
            except CheckpointError as error:
                self._damaged.add(steps[-1])
                self._warn(f"{error}; trying the one before")
        if self._damaged:
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


def check_taken_up(position: Mapping[str, Any], steps_per_epoch: int, where: StrPath) -> None:
    """Raises a DamagedFile or CheckpointError for a position that no trainer has saved."""
    json_files.check(position, _TAKEN_UP, where)
    if position["step_in_epoch"] > steps_per_epoch:
        raise CheckpointError(f"{where} is damaged: an epoch has no step {position['step_in_epoch']}")


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


def refuse_other_networks(
    named_variables: Mapping[str, keras.Variable], arrays: Mapping[str, np.ndarray], where: StrPath
) -> None:
    """Raises a CheckpointError that lists the arrays that are missing, left over or of another shape."""
    wrong = [f"{name}: not in the network" for name in sorted(set(arrays) - set(named_variables))]
    for name, variable in named_variables.items():
        if name not in arrays:
            wrong.append(f"{name}: not in the checkpoint")
        elif tuple(variable.shape) != arrays[name].shape:
            wrong.append(f"{name}: {arrays[name].shape} in the checkpoint, {tuple(variable.shape)} in the network")
    _refuse(wrong, where)


def restore_state(
    named_variables: Mapping[str, keras.Variable], arrays: Mapping[str, np.ndarray], where: StrPath
) -> None:
    """Gives variables their saved values.

    Raises:
        CheckpointError: that lists what is missing, left over, of another shape or type, or not finite, before
            anything is assigned.
    """
    refuse_other_networks(named_variables, arrays, where)
    wrong = []
    for name, variable in named_variables.items():
        if arrays[name].dtype != (dtype := np.asarray(variable.numpy()).dtype):
            wrong.append(f"{name}: {arrays[name].dtype} in the checkpoint, {dtype} in the network")
        elif not np.isfinite(arrays[name]).all():
            wrong.append(f"{name}: not finite")
    _refuse(wrong, where)
    for name, variable in named_variables.items():
        variable.assign(arrays[name])


def _refuse(wrong: list[str], where: StrPath) -> None:
    """Raises a CheckpointError where anything is wrong."""
    if wrong:
        shown = "\n  ".join(wrong[:10] + ([f"and {len(wrong) - 10} more"] if len(wrong) > 10 else []))
        raise CheckpointError(f"{where} is of another network:\n  {shown}")
