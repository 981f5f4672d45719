"""Weights that come with the package: run directories of weights alone, each with its `MODEL_CARD.md`."""

from __future__ import annotations

from pathlib import Path

from igan_tf.errors import ConfigError
from igan_tf.files import StrPath

PREFIX = "pretrained:"


def names() -> list[str]:
    """The names that `igan_tf.load_pretrained` takes."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/flags.cfg"))


def run_folder(run_dir: StrPath) -> Path:
    """The folder of a run directory, which may be `pretrained:NAME`.

    Raises:
        ConfigError: for a name that there is not.
    """
    if not is_pretrained(run_dir):
        return Path(run_dir)
    name = str(run_dir).removeprefix(PREFIX).rstrip("/")
    if name not in names():
        there = ", ".join(f"{PREFIX}{name}" for name in names())
        raise ConfigError(f"{run_dir}: the package has no such weights. It has {there}")
    return Path(__file__).parent / name


def is_pretrained(run_dir: StrPath) -> bool:
    """Whether a run directory is named as `pretrained:NAME`.

    A `Path` is a folder, whatever its name: that of `./pretrained:NAME` has lost the `./`.
    """
    return isinstance(run_dir, str) and run_dir.startswith(PREFIX)
