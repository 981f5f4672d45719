"""What command lines share: flags made of settings, help by topic, and errors that name flags.

Each command has a `CommandLine` with absl flags of its own, apart from those of absl and TensorFlow. Nothing here
imports TensorFlow: help and refusals come at once.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from absl import flags

from igan_tf.errors import ConfigError, replace_arguments
from igan_tf.experiments.configs import CONFIGS, RecipeSettings, recipes_with
from igan_tf.experiments.run_configs import expand_flagfiles
from igan_tf.settings import Settings, fields_of

SettingsT = TypeVar("SettingsT", bound=Settings)

_DEFINE: Mapping[type, Callable[..., Any]] = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
    tuple: flags.DEFINE_multi_string,
}
_SWITCHED = {None: "neither", True: "on", False: "off"}
_HELP = ("--help", "-help", "-h", "--helpshort", "--helpfull")


class _Optional(flags.ArgumentParser):
    """What another parser takes, or `none`."""

    def __init__(self, parser: flags.ArgumentParser) -> None:
        self._parser = parser
        self.syntactic_help = parser.syntactic_help

    def parse(self, argument: Any) -> Any:
        return None if argument in (None, "none") else self._parser.parse(argument)


class CommandLine:
    """The flags of one command.

    Args:
        program: How it is called, for its help.
        description: One or two sentences.
        takes_words: Whether words may follow `--`.
    """

    def __init__(self, program: str, description: str, takes_words: bool = False) -> None:
        self.program = program
        self.description = description
        self.takes_words = takes_words
        # The flags that the help shows; None: all.
        self.shown: set[str] | None = None
        self.flag_values = flags.FlagValues()
        # The flags that the user typed, whatever their values: not those that a flag file has.
        self.typed: set[str] = set()
        # Topic -> flag -> its line of help, in the order of definition.
        self._topics: dict[str, dict[str, str]] = {}
        self._paths: list[str] = []

    def add_settings(self, settings: type[Settings], note: Callable[[str], str] = lambda name: "") -> None:
        """Defines a flag of each field of `settings`; a field that has its flag already shares it.

        Args:
            settings: The dataclass. A field's topic is the `topic` of the class that states it.
            note: What else the help says of a flag.
        """
        for field in fields_of(settings):
            if field.name not in self.flag_values:
                words = [field.metadata["help"], limits_in_words(field), note(field.name)]
                _define(self.flag_values, field)
                if field.metadata["path"]:
                    self._paths.append(field.name)
                self._topics.setdefault(topic_of(settings, field.name), {})[field.name] = " ".join(filter(None, words))

    def parse(self, arguments: Sequence[str]) -> list[str]:
        """Takes the command line's arguments without the program's name; returns the words behind `--`.

        Ends the program after `--help`. A path that begins with `~` starts from the user's home, as in a shell.

        Raises:
            ConfigError: for what is no flag of this command or not of its type, and for words that it does not take.
        """
        if any(argument in _HELP for argument in arguments[: _end_of_flags(arguments)]):
            print(self.help(), flush=True)
            sys.exit(0)
        end = _end_of_flags(arguments)
        words = list(arguments[end + 1 :])
        self._parse(expand_flagfiles(arguments[:end], read=False))
        self.typed = self.given
        self.flag_values.unparse_flags()
        self._parse(expand_flagfiles(arguments[:end]))
        for name in self._paths:
            self.flag_values[name].value = _from_home(self.flag_values[name].value)
        if words and not self.takes_words:
            raise ConfigError(f"unknown argument: {words[0]}")
        return words

    def _parse(self, arguments: Sequence[str]) -> None:
        if ignoring := [argument for argument in arguments if re.match("--?undefok", argument)]:
            raise ConfigError(f"unknown flag: {ignoring[0]}")
        try:
            _, *others = self.flag_values(["igan_tf", *arguments])
        except flags.Error as error:  # its message names the flag and, where unknown, those that it may be
            words = re.sub(r"invalid literal for int\(\) with base 10: .*", "it must be a whole number", str(error))
            raise ConfigError(re.sub("could not convert string to float: .*", "it must be a number", words)) from error
        if others:
            raise ConfigError(f"unknown argument: {others[0]}")

    @property
    def given(self) -> set[str]:
        """The flags that stood on the command line or in a flag file, whatever their values."""
        return {name for name in self.flag_values if self.flag_values[name].present}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self.flag_values:
            raise AttributeError(name)
        return self.flag_values[name].value

    def read(self, settings: type[SettingsT]) -> SettingsT:
        """The settings that the flags describe."""
        return settings(**{field.name: self.flag_values[field.name].value for field in fields_of(settings)})

    def in_flags(self, error: BaseException, names: Mapping[str, str] | None = None) -> str:
        """An error's message with this command's flags in it: see `in_flags`."""
        return in_flags(error, list(self.flag_values), names or {})

    def help(self) -> str:
        """Every flag by topic, with default and bounds."""
        width = min(shutil.get_terminal_size((100, 24)).columns, 120)
        names = list(self.flag_values)
        lines = [f"{self.program}", *textwrap.wrap(in_flags(self.description, names), width), ""]
        for topic, entries in self._topics.items():
            entries = {name: text for name, text in entries.items() if self.shown is None or name in self.shown}
            if not entries:
                continue
            lines.append(f"{topic}:")
            for name, help_text in entries.items():
                text = in_flags(help_text, names)
                lines.append(f"  {_shown(name, self.flag_values[name])}")
                lines += textwrap.wrap(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
            lines.append("")
        lines.append(
            "--flagfile=FILE reads flags from a file, a line each; one named in a file is looked for beside it."
        )
        return "\n".join(lines)


def add_configs(line: CommandLine) -> None:
    """Defines the flags that describe a run's config."""
    line.add_settings(RecipeSettings)
    for config in CONFIGS.values():
        line.add_settings(config, note=_of_one_recipe)


def _of_one_recipe(name: str) -> str:
    recipes = recipes_with(name)
    return "" if len(recipes) == len(CONFIGS) else f"Of `recipe={recipes[0]}`."


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
        return f"One of {', '.join(filter(None, limits['choices']))}."
    if limits["above"] is not None:
        low = f"above {limits['above']:g}"
    else:
        low = "" if limits["low"] is None else f"at least {limits['low']:g}"
    if limits["high"] is None:
        return f"{low[:1].upper()}{low[1:]}." if low else ""
    high = f"at most {limits['high']:.10g}"
    return f"{low[:1].upper()}{low[1:]}, {high}." if low else f"{high.capitalize()}."


def _define(flag_values: flags.FlagValues, field: dataclasses.Field) -> None:
    name, default, help_text = field.name, field.default, field.metadata["help"]
    _DEFINE[field.metadata["kind"]](name, default, help_text, flag_values=flag_values)
    if field.metadata["optional"]:
        flag_values[name].parser = _Optional(flag_values[name].parser)


def _from_home(value: Any) -> Any:
    """A path, or the path of each name=path, with the user's home in the place of a `~` at its beginning."""
    if isinstance(value, str):
        return os.path.expanduser(value)
    split = [text.partition("=") for text in value]
    return [name + equals + os.path.expanduser(path) for name, equals, path in split]


def in_flags(error: BaseException | str, flag_names: Collection[str], names: Mapping[str, str] = {}) -> str:
    """A message of the library's in the words of a command: arguments become the flags of the same, or another, name.

    "`splits` must be at most 10. Received: splits=20" becomes "--splits must be at most 10. Received: --splits=20".

    Args:
        error: The error, or its message.
        flag_names: The command's flags.
        names: Flags, without dashes, by argument, where they have another name.
    """
    text = str(error)

    def quoted(match: re.Match) -> str:
        flag = names.get(match[1], match[1])
        return f"--{flag}{match[2] or ''}" if flag in flag_names else match[0]

    def received(match: re.Match) -> str:
        flag = names.get(match[1], match[1])
        return f"--{flag}" if flag in flag_names else match[0]

    return replace_arguments(text, quoted, received)


def _end_of_flags(arguments: Sequence[str]) -> int:
    return arguments.index("--") if "--" in arguments else len(arguments)


def _shown(name: str, flag: flags.Flag) -> str:
    if flag.boolean:
        return f"--[no]{name}, {_SWITCHED[flag.default]} by default"
    return f"--{name}={'' if flag.default is None else flag.default}"
