"""What the user gave and cannot be used: one kind of error, which a command prints as one sentence.

The library names arguments in backticks and what came as `name=value` after "Received:", as Keras does: "`splits` must
be at most 10. Received: splits=20". A command shows its own flags in their place (`igan_tf.commands.flags.in_flags`).
"""

import contextlib
import re
from collections.abc import Callable, Iterator

# Arguments in a message: `name` and `name=value` anywhere, and name= in what stands after "Received:".
QUOTED_ARGUMENT = re.compile(r"`([A-Za-z_]\w*)(=[^`]*)?`")
RECEIVED_ARGUMENT = re.compile(r"(?<![^\s(])([A-Za-z_]\w*)(?==)")


class InputError(ValueError):
    """An argument, a file or an environment cannot be used; the message names it and the value received."""

    @property
    def argument(self) -> str | None:
        """The argument that the message names first, or None."""
        named = QUOTED_ARGUMENT.search(str(self))
        return named[1] if named else None


class ConfigError(InputError):
    """A setting, or a combination of settings, cannot be used."""


class DataError(InputError):
    """Data is missing, damaged, or not what the arguments say."""


class EvaluationError(InputError):
    """A score cannot be computed from what was given."""


def counted(number: int, noun: str, form: str = "") -> str:
    """A number with its noun, as messages have it: "1 image", "2000 images", with "," for `form` "2,000 images"."""
    plural = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:{form}} {noun}{plural}"


def first_line(error: BaseException) -> str:
    """What an error says, without the lines below: of TensorFlow's, the graph's history."""
    return (getattr(error, "message", None) or str(error)).strip().split("\n")[0]


@contextlib.contextmanager
def prefixed(prefix: str, place: str = "") -> Iterator[None]:
    """Puts `prefix`, such as "`source=photos`", before the message of an `InputError` that is raised in the scope.

    A message that begins with `place`, such as "photos cannot be read", gets it instead: nothing is named twice.
    """
    try:
        yield
    except InputError as error:
        message = str(error)
        if place and re.match(rf"{re.escape(place)}[: ]", message):
            raise type(error)(f"{prefix}{message[len(place) :]}") from error
        raise type(error)(f"{prefix}: {message}") from error


@contextlib.contextmanager
def renamed(**names: str) -> Iterator[None]:
    """Errors raised within name the caller's arguments in place of those of the functions that it calls.

    ```python
    with renamed(path="weights"):
        read(weights)  # "`path` must be a file. Received: path=a" names `weights` and weights=a
    ```

    Args:
        **names: The caller's name of each argument.

    Raises:
        InputError: of the kind that was raised.
    """
    try:
        yield
    except InputError as error:
        text = replace_arguments(
            str(error),
            lambda found: f"`{names.get(found[1], found[1])}{found[2] or ''}`",
            lambda found: names.get(found[1], found[1]),
        )
        raise type(error)(text) from error


def replace_arguments(text: str, quoted: Callable[[re.Match], str], received: Callable[[re.Match], str]) -> str:
    """Replaces the arguments that a message names: those in backticks by `quoted`, what was received by `received`."""
    head, mark, tail = QUOTED_ARGUMENT.sub(quoted, text).partition("Received: ")
    return head + mark + RECEIVED_ARGUMENT.sub(received, tail)
