"""JSON that is read back: text of bounded size, checked against a declared schema before anything is taken from it.

A digest says that a file is as somebody wrote it, not that it holds what it should. Schemas are JSON Schema (draft
2020-12), put together of the pieces below.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from igan_tf.errors import InputError
from igan_tf.files import StrPath, disk

# What a schema is made of.
Schema = Mapping[str, Any]

ANYTHING: Schema = {}
NOTHING: Schema = {"not": {}}
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
# Steps, counts and seeds.
WHOLE: Schema = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
SHA256: Schema = {"type": "string", "pattern": r"^[0-9a-f]{64}\Z"}

_MOST_SHOWN = 200


class DamagedFile(InputError):
    """A file does not hold what it should; the message names it and the place."""


def record(
    required: Mapping[str, Schema], optional: Mapping[str, Schema] = {}, others: Schema | bool = False
) -> Schema:
    """The schema of an object.

    Args:
        required: Its entries.
        optional: Entries that it may have.
        others: What any other entry must be; False: there are none.
    """
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **optional},
        "additionalProperties": others,
    }


def listing(item: Schema, least: int = 0, most: int | None = None) -> Schema:
    """The schema of a list of `least` to `most` items."""
    return {"type": "array", "items": item, "minItems": least, **({} if most is None else {"maxItems": most})}


def matching(pattern: str) -> Schema:
    """The schema of text that a regular expression describes whole."""
    return {"type": "string", "pattern": rf"^(?:{pattern})\Z"}


def whole(least: int, most: int) -> Schema:
    """The schema of whole numbers of a range."""
    return {"type": "integer", "minimum": least, "maximum": most}


def decimal(least: float, most: float) -> Schema:
    """The schema of numbers of a range."""
    return {"type": "number", "minimum": least, "maximum": most}


def one_of(*values: Any) -> Schema:
    """The schema of these values."""
    return {"enum": list(values)}


def optional(schema: Schema) -> Schema:
    """The schema of what another describes, or null."""
    return {"anyOf": [{"type": "null"}, schema]}


def read(path: StrPath, schema: Schema, most_bytes: int = disk.SMALL, not_finite: bool = False) -> Any:
    """The content of a JSON file; arguments as of `parse`.

    Raises:
        DamagedFile, UnusableFile: where it is not JSON of the schema, no regular file or too large.
        OSError: where it cannot be read; FileNotFoundError where there is none.
    """
    return parse(disk.read_small(path, most_bytes), schema, path, not_finite)


def parse(data: bytes | str, schema: Schema, where: StrPath, not_finite: bool = False) -> Any:
    """The content of JSON text.

    Args:
        data: The text.
        schema: What it must be.
        where: What it was read from, for the message.
        not_finite: Whether numbers may be NaN or infinite, which JSON does not have and Python's does.

    Raises:
        DamagedFile: where it is not JSON of the schema.
    """
    try:
        content = json.loads(data, **({} if not_finite else _FINITE))
    # A RecursionError is of lists nested without end.
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"{where} is damaged: {error}") from error
    return check(content, schema, where)


def check(content: Any, schema: Schema, where: StrPath) -> Any:
    """Returns `content` if it is of the schema.

    Raises:
        DamagedFile: that says where and how it is not.
    """
    from jsonschema.exceptions import best_match

    try:
        error = best_match(_validator_class()(schema).iter_errors(content))
    # What is nested nearly too deep to be read is so to be shown.
    except RecursionError as too_deep:
        raise DamagedFile(f"{where} is damaged: it is nested too deep") from too_deep
    if error:
        message = error.message if len(error.message) <= _MOST_SHOWN else error.message[:_MOST_SHOWN] + "..."
        raise DamagedFile(f"{where} is damaged: {ascii(error.json_path)[1:-1]}: {message}")
    return content


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON's")


_FINITE: dict[str, Any] = {"parse_constant": _refuse, "parse_float": _finite}


@functools.cache
def _validator_class() -> Any:
    from jsonschema import Draft202012Validator, validators

    def is_whole(checker: Any, value: Any) -> bool:
        # To JSON Schema 1.0 is an integer, too.
        return isinstance(value, int) and not isinstance(value, bool)

    checker = Draft202012Validator.TYPE_CHECKER.redefine("integer", is_whole)
    return validators.extend(Draft202012Validator, type_checker=checker)
