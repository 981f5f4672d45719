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
import numbers
from collections.abc import Sequence
from typing import Any

from igan_tf.errors import ConfigError, InputError

GREATEST_SEED = 2**31 - 1


def setting(
    default: Any,
    help_text: str,
    *,
    choices: Sequence[str] | None = None,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    path: bool = False,
    optional: bool = False,
    **more: Any,
) -> Any:
    """A field of a `Settings` dataclass.

    Args:
        default: The default; its type is the setting's.
        help_text: What the setting means; other settings in backticks.
        choices: The values allowed.
        low, high: Bounds, included.
        above: A bound, excluded.
        path: Whether the value is a path of the file system.
        optional: Whether None is allowed, which command lines spell `none`.
        **more: Other metadata of the field.
    """
    limits = {"choices": choices, "low": low, "high": high, "above": above, "optional": optional}
    return dataclasses.field(default=default, metadata={"help": help_text, **limits, "path": path, **more})


class Settings:
    """Base of frozen dataclasses whose fields are `setting`s; refuses values out of bounds.

    A subclass checks combinations in `check`, and names its own kind of error as `Error`.

    Raises:
        InputError: of the kind `Error`, with the field's name and the value received.
    """

    Error: type[InputError] = ConfigError

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            check_setting(field, getattr(self, field.name), self.Error)
        self.check()

    def check(self) -> None:
        """Refuses combinations of settings that cannot be."""


def fields_of(settings: Any) -> list[dataclasses.Field]:
    """The fields of a `Settings` dataclass in the order of its bases, which `dataclasses.fields` reverses."""
    fields = {field.name: field for field in dataclasses.fields(settings)}
    bases = (settings if isinstance(settings, type) else type(settings)).__mro__
    names = [name for base in bases for name in vars(base).get("__annotations__", ()) if name in fields]
    return [fields[name] for name in dict.fromkeys(names)]


def check_setting(field: dataclasses.Field, value: Any, error: type[InputError] = ConfigError) -> None:
    """Raises `error` where `value` is not one that `field` allows."""
    name, limits = field.name, field.metadata
    received = f"Received: {name}={value}"
    if value is None and limits["optional"]:
        return
    if limits["choices"] and value not in limits["choices"]:
        raise error(f"`{name}` must be one of {', '.join(limits['choices'])}. {received}")
    if type(field.default) is int and (isinstance(value, bool) or not isinstance(value, numbers.Integral)):
        raise error(f"`{name}` must be a whole number. {received}")
    if isinstance(value, float) and not math.isfinite(value):
        raise error(f"`{name}` must be a finite number. {received}")
    if limits["low"] is not None and not value >= limits["low"]:
        raise error(f"`{name}` must be at least {limits['low']}. {received}")
    if limits["above"] is not None and not value > limits["above"]:
        raise error(f"`{name}` must be above {limits['above']}. {received}")
    if limits["high"] is not None and not value <= limits["high"]:
        raise error(f"`{name}` must be at most {limits['high']}. {received}")
