"""What command lines share: flags made of settings, help by topic, and errors that name flags.

Each command has a `CommandLine` with absl flags of its own, apart from those of absl and TensorFlow. Nothing here
imports TensorFlow: help and refusals come at once.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from absl import flags

from igan_tf.errors import QUOTED_ARGUMENT, RECEIVED_ARGUMENT, ConfigError
from igan_tf.settings import Settings

SettingsT = TypeVar("SettingsT", bound=Settings)

_DEFINE: Mapping[type, Callable[..., Any]] = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
}
_HELP = ("--help", "-help", "-h", "--helpshort", "--helpfull")


class _OptionalInteger(flags.ArgumentParser):
    """A whole number, or `none`."""

    def parse(self, argument: Any) -> int | None:
        return None if argument in (None, "none") else int(argument)


class CommandLine:
    """The flags of one command.

    Args:
        program: How it is called, for its help.
        description: One or two sentences.
    """

    def __init__(self, program: str, description: str):
        self.program = program
        self.description = description
        self.flag_values = flags.FlagValues()
        # Topic -> flag -> its line of help, in the order of definition.
        self._topics: dict[str, dict[str, str]] = {}

    def add_settings(self, settings: type[Settings]) -> None:
        """Defines a flag of each field of `settings`; a field's topic is the `topic` of the class that states it."""
        define(self.flag_values, settings)
        for field in dataclasses.fields(settings):  # type: ignore[arg-type]
            text = f"{field.metadata['help']} {limits_in_words(field)}".strip()
            self._topics.setdefault(topic_of(settings, field.name), {})[field.name] = text

    def parse(self, arguments: Sequence[str]) -> None:
        """Takes the command line's arguments without the program's name; ends the program after `--help`.

        Raises:
            ConfigError: for an argument that is no flag of this command, or a value that is not of its type.
        """
        if any(argument in _HELP for argument in arguments):
            print(self.help())
            sys.exit(0)
        if ignoring := [argument for argument in arguments if re.match("--?undefok", argument)]:
            raise ConfigError(f"unknown flag: {ignoring[0]}")
        try:
            _, *others = self.flag_values([self.program, *arguments])
        except flags.Error as error:
            raise ConfigError(str(error)) from error
        if others:
            raise ConfigError(f"unknown argument: {others[0]}")

    def read(self, settings: type[SettingsT]) -> SettingsT:
        """The settings that the flags describe."""
        return read(self.flag_values, settings)

    def in_flags(self, error: BaseException, names: Mapping[str, str] = {}) -> str:
        """An error's message with this command's flags in it: see `in_flags`."""
        return in_flags(error, list(self.flag_values), names)

    def help(self) -> str:
        """Every flag by topic, with default and bounds."""
        width = min(shutil.get_terminal_size((100, 24)).columns, 120)
        lines = [self.program, *textwrap.wrap(self.description, width), ""]
        for topic, entries in self._topics.items():
            lines.append(f"{topic}:")
            for name, help_text in entries.items():
                lines.append(f"  {_shown(name, self.flag_values[name])}")
                text = in_flags(help_text, list(self.flag_values))
                lines += textwrap.wrap(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
            lines.append("")
        return "\n".join(lines)


def topic_of(settings: type[Settings], name: str) -> str:
    """The topic of the class that states the field `name`."""
    for base in settings.__mro__:
        if name in vars(base).get("__annotations__", ()):
            return getattr(base, "topic", base.__name__)
    raise KeyError(name)


def limits_in_words(field: dataclasses.Field) -> str:
    """The choices or bounds of a field, as a sentence."""
    limits = field.metadata
    if limits["choices"]:
        return f"One of {', '.join(limits['choices'])}."
    if limits["above"] is not None:
        low = f"above {limits['above']:g}"
    else:
        low = "" if limits["low"] is None else f"at least {limits['low']:g}"
    high = "" if limits["high"] is None else f"at most {limits['high']:.10g}"
    words = ", ".join(filter(None, (low, high)))
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def define(flag_values: flags.FlagValues, settings: type[Settings]) -> None:
    """Defines one flag for each field of `settings`, its default the field's."""
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        name, default, help_text = field.name, field.default, field.metadata["help"]
        if field.metadata["optional"]:
            flags.DEFINE(_OptionalInteger(), name, default, help_text, flag_values=flag_values)
        else:
            _DEFINE[type(default)](name, default, help_text, flag_values=flag_values)


def read(flag_values: flags.FlagValues, settings: type[SettingsT]) -> SettingsT:
    """The settings that the flags describe."""
    names = [field.name for field in dataclasses.fields(settings)]  # type: ignore[arg-type]
    return settings(**{name: flag_values[name].value for name in names})


def in_flags(error: BaseException | str, flag_names: Collection[str], names: Mapping[str, str] = {}) -> str:
    """A message of the library's in the words of a command: arguments become the flags of the same, or another, name.

    "`splits` must be at most 10. Received: splits=20" becomes "--splits must be at most 10. Received: --splits=20".

    Args:
        error: The error, or its message.
        flag_names: The command's flags.
        names: Flags, without dashes, by argument, where they have another name.
    """

    def quoted(match: re.Match) -> str:
        flag = names.get(match[1], match[1])
        return f"--{flag}{match[2] or ''}" if flag in flag_names else match[0]

    def received(match: re.Match) -> str:
        flag = names.get(match[1], match[1])
        return f"--{flag}" if flag in flag_names else match[0]

    text = QUOTED_ARGUMENT.sub(quoted, str(error))
    head, mark, tail = text.partition("Received: ")
    return head + mark + (RECEIVED_ARGUMENT.sub(received, tail) if mark else "")


def _shown(name: str, flag: flags.Flag) -> str:
    if isinstance(flag.default, bool):
        return f"--{name}" if flag.default else f"--[no]{name}"
    return f"--{name}={'' if flag.default is None else flag.default}"
