"""Settings as lines of text, `--name=value`: `flags.cfg` in a run directory, and those of earlier versions."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from igan_tf.errors import ConfigError

FLAGS_FILE = "flags.cfg"
VERSION_LINE = "# igan_tf run settings, version 2"
# Before there was a version line, flags.cfg held every setting of every recipe: those that the run's own recipe lacks
# stood at these defaults and meant nothing.
_FOREIGN_ONCE = {
    "imagenet": (
        *("--labels=100", "--label_file=", "--seed_data=1", "--train_images=0", "--network=auto"),
        *("--network_width=1.0", "--input_corruption=auto", "--initialization_examples=500"),
        *("--generator_objective=feature_matching", "--feature_matching_norm=l2", "--unlabelled_weight=1.0"),
        *("--generator_steps=1", "--average_decay=0.9999", "--average_debias", "--label_draws=1"),
        "--nosupervised_baseline",
    ),
    "semi_supervised": (
        *("--use_labels", "--noflip", "--gf_dim=64", "--df_dim=64", "--latent_size=8192"),
        *("--discriminator_norm=cross", "--feature_matching=0.0"),
    ),
}


def flag_line(name: str, value: Any) -> str:
    """One setting as a command line has it."""
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    if value is None:
        return f"--{name}=none"
    return f"--{name}={value}"


def without_foreign_settings(text: str) -> list[str]:
    """The lines of a flag file that say something: no comments and, of an early flags.cfg, no other recipe's settings.

    An early flags.cfg shows by holding all that only one recipe has, of either recipe, without a version line. With
    one, lines are as they were written: a path may end with a space.
    """
    lines = text.splitlines()
    if VERSION_LINE not in lines:
        lines = [line.strip() for line in lines]
    said = [line for line in lines if line.strip() and not line.strip().startswith(("#", "//"))]
    recipe = "imagenet" if "--dataset=imagenet" in said else "semi_supervised"
    names = {_name(line) for line in said}
    early = all(_name(line) in names for own in _FOREIGN_ONCE.values() for line in own)
    if VERSION_LINE in lines or not early:
        return said
    return [line for line in said if line not in _FOREIGN_ONCE[recipe]]


def parse_lines(lines: Iterable[str], fields: Mapping[str, dataclasses.Field]) -> dict[str, Any]:
    """The settings that lines state, by name; a later line replaces an earlier one.

    Args:
        lines: `--name=value`, `--name` or `--noname`, without comments.
        fields: The settings that there are, by name.

    Raises:
        ConfigError: for anything else, with the line.
    """
    settings = {}
    for line in lines:
        if not line.startswith("-"):
            raise ConfigError(f"unknown argument: {line}")
        name, equals, value = line.lstrip("-").partition("=")
        if not equals and name.startswith("no") and _is_bool(fields.get(name[2:])):
            name, value, equals = name[2:], "false", "="
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=3)
            raise ConfigError(f"unknown setting '{name}'." + (f" Did you mean: {', '.join(near)}?" if near else ""))
        if not equals and not _is_bool(fields[name]):
            raise ConfigError(f"`{name}` needs a value. Received: {line}")
        settings[name] = _value(name, value if equals else "true", fields[name])
    return settings


def _value(name: str, text: str, field: dataclasses.Field) -> Any:
    kind: Any = field.metadata["kind"]
    if field.metadata["optional"] and text == "none":
        return None
    if kind is bool:
        if text.lower() not in ("true", "false", "1", "0", "t", "f"):
            raise ConfigError(f"`{name}` must be true or false. Received: {name}={text}")
        return text.lower() in ("true", "1", "t")
    try:
        return kind(text)
    except ValueError:
        what = {int: "a whole number", float: "a number"}[kind]
        raise ConfigError(f"`{name}` must be {what}. Received: {name}={text}") from None


def _name(line: str) -> str:
    name = line.lstrip("-").partition("=")[0]
    return name[2:] if name in ("noflip", "nouse_labels", "noaverage_debias", "nosupervised_baseline") else name


def _is_bool(field: dataclasses.Field | None) -> bool:
    return field is not None and field.metadata["kind"] is bool
