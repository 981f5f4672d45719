"""Settings as the fields of dataclasses: default, meaning and bounds of each stated once, in the field.

```python
@dataclasses.dataclass(frozen=True)
class StudySettings(Settings):
    trials: int = setting(100, "Answers of each annotator.", low=2, high=5000)
```

Commands make their flags of these fields (`igan_tf.commands.flags`).
"""

import dataclasses
import math
import operator
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from igan_tf.errors import ConfigError, InputError
from igan_tf.files import json_files

GREATEST_SEED = 2**31 - 1
# Of counts that nothing else bounds: images, examples, steps, epochs.
MANY = 10**9
# The most bytes that file systems take in a name, and systems in a path.
_LONGEST_NAME, _LONGEST_PATH = 255, 4095
_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", tuple: "array"}
# Limits of a setting, in words, and what must hold of a value and its limit.
_BOUNDS = (("low", "at least", operator.ge), ("above", "above", operator.gt), ("high", "at most", operator.le))
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", tuple: "several texts"}


def setting(
    default: Any,
    help_text: str,
    *,
    choices: Collection[str] | None = None,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    path: bool = False,
    optional: bool = False,
    kind: type | None = None,
    used_with: Sequence[str] = (),
    **more: Any,
) -> Any:
    """A field of a `Settings` dataclass.

    Args:
        default: The default.
        help_text: What the setting means; other settings in backticks.
        choices: The values allowed.
        low, high: Bounds, included.
        above: A bound, excluded.
        path: Whether the value is, or may be, a path of the file system.
        optional: Whether None is allowed, which command lines spell `none`.
        kind: The setting's type; None: that of the default.
        used_with: Other settings, of which one is needed for this one to have an effect: `name` for any value but 0,
            false or empty, `name=value` for one.
        **more: Other metadata of the field.
    """
    limits = {"choices": choices, "low": low, "high": high, "above": above, "optional": optional, "path": path}
    kinds = {"kind": kind or type(default), "used_with": tuple(used_with)}
    return dataclasses.field(default=default, metadata={"help": help_text, **limits, **kinds, **more})


class Settings:
    """Base of frozen dataclasses whose fields are `setting`s; refuses values of another type or out of bounds.

    NumPy's scalars, and `Path`s where a path is meant, become what they stand for. A subclass
    checks combinations in `check`, and names its own kind of error as `Error`.

    Raises:
        InputError: of the kind `Error`, with the field's name and the value received.
    """

    Error: type[InputError] = ConfigError
    # By name: `used_with` of inherited fields whose own class states none.
    inherited_used_with: ClassVar[Mapping[str, Sequence[str]]] = {}

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, field.name, as_setting(field, getattr(self, field.name), self.Error))
        self.check()

    def check(self) -> None:
        """Refuses combinations of settings that cannot be."""


def fields_of(settings: Any) -> list[dataclasses.Field]:
    """The fields of a `Settings` dataclass in the order of its bases, which `dataclasses.fields` reverses."""
    fields = {field.name: field for field in dataclasses.fields(settings)}
    bases = (settings if isinstance(settings, type) else type(settings)).__mro__
    names = [name for base in bases for name in vars(base).get("__annotations__", ()) if name in fields]
    return [fields[name] for name in dict.fromkeys(names)]


def schemas_of(settings: type[Settings]) -> dict[str, json_files.Schema]:
    """What each of the settings must be where they are read back from JSON."""
    return {field.name: _schema_of(field.metadata) for field in fields_of(settings)}


def _schema_of(limits: Mapping[str, Any]) -> json_files.Schema:
    bounds = {"minimum": limits["low"], "exclusiveMinimum": limits["above"], "maximum": limits["high"]}
    schema = {
        "type": _JSON_TYPES[limits["kind"]],
        **{name: bound for name, bound in bounds.items() if bound is not None},
        **({"enum": list(limits["choices"])} if limits["choices"] else {}),
    }
    return json_files.optional(schema) if limits["optional"] else schema


def refuse_unused(settings: Settings, given: Collection[str]) -> None:
    """Raises the settings' kind of error where one of the settings named in `given` has no effect beside the others."""
    for field in fields_of(settings):
        needed = field.metadata["used_with"] or settings.inherited_used_with.get(field.name, ())
        if field.name not in given or not needed or any(_holds(settings, need) for need in needed):
            continue
        names = dict.fromkeys([field.name, *(need.partition("=")[0] for need in needed)])
        received = " ".join(f"{name}={getattr(settings, name)}" for name in names)
        purpose = " or ".join(f"`{need}`" for need in needed)
        raise settings.Error(f"`{field.name}` is for {purpose}. Received: {received}")


def _holds(settings: Settings, need: str) -> bool:
    name, equals, value = need.partition("=")
    return str(getattr(settings, name)) == value if equals else bool(getattr(settings, name))


def as_setting(field: dataclasses.Field, value: Any, error: type[InputError] = ConfigError) -> Any:
    """The value of a setting in the setting's own type.

    Raises:
        InputError: of the kind `error`, where `field` does not allow the value.
    """
    name, limits = field.name, field.metadata
    kind = limits["kind"]
    if isinstance(value, np.generic):
        value = value.item()
    if limits["path"] and isinstance(value, os.PathLike):
        value = os.fspath(value)
    if kind is tuple and isinstance(value, list):
        value = tuple(value)
    received = f"Received: {name}={_shown(value)}"
    if value is None and limits["optional"]:
        return None
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole if kind is int else isinstance(value, kind) or (kind is float and whole)):
        expected = f"one of {', '.join(limits['choices'])}" if limits["choices"] else _KINDS[kind]
        raise error(f"`{name}` must be {expected}. {received}")
    if limits["choices"] and value not in limits["choices"]:
        raise error(f"`{name}` must be one of {', '.join(filter(None, limits['choices']))}. {received}")
    if kind is float:
        value = _as_float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise error(f"`{name}` must be a finite number. {received}")
    for limit, words, holds in _BOUNDS:
        if limits[limit] is not None and not holds(value, limits[limit]):
            raise error(f"`{name}` must be {words} {limits[limit]}. {received}")
    for text in value if kind is tuple else [value] if kind is str else []:
        if problem := _problem_of(text, limits["path"], named=kind is tuple):
            raise error(f"`{name}` must {problem}. {received}")
    return value


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _problem_of(text: Any, is_path: bool, named: bool) -> str:
    """What a text, or a path, must be instead; empty where nothing is wrong. `named`: the path as name=path."""
    try:
        text.encode()
    except (AttributeError, UnicodeEncodeError):
        return "be text that UTF-8 can hold"
    if not is_path:
        return ""
    if "\0" in text or len((text + ".").splitlines()) > 1:
        return "be a path in one line"
    # An object store has limits of its own.
    if "://" in text:
        return ""
    path = text.partition("=")[2] if named else text
    if max(len(name.encode()) for name in path.split("/")) > _LONGEST_NAME or len(path.encode()) > _LONGEST_PATH:
        return f"have names of at most {_LONGEST_NAME} bytes, {_LONGEST_PATH} in all"
    return ""


def _shown(value: Any) -> str:
    """A value as messages have it: in one line; numbers of thousands of digits, which Python does not print, cut."""
    if isinstance(value, str):
        return value if value.isprintable() else repr(value)
    return hex(value)[:20] + "..." if isinstance(value, int) and value.bit_length() > 1000 else str(value)
