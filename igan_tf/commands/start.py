"""What commands do before and after their work: TensorFlow without its notices, errors as one sentence."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING

from igan_tf.errors import InputError

if TYPE_CHECKING:
    from igan_tf.commands.flags import CommandLine

# What TensorFlow writes to stderr when it is imported, whatever its log level: that it logs, that oneDNN is on, that
# there is no CUDA. Warnings and errors start with another letter.
_NOTICE = re.compile(
    rb"I0000 |WARNING: All log messages before absl::InitializeLog|To enable the following instructions"
)


@contextlib.contextmanager
def ending_in_one_sentence(line: CommandLine, names: Mapping[str, str] | None = None) -> Iterator[None]:
    """In this scope an error of the user's ends the program with its message, and Ctrl-C without one.

    Args:
        line: Its flags stand in the message for the arguments of the library.
        names: As of `CommandLine.in_flags`.
    """
    try:
        yield
    except InputError as error:
        sys.exit(f"igan_tf: {line.in_flags(error, names)}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        # `--help | head`: nobody reads on, and Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)


def collect_garbage_rarely() -> None:
    """Widens the thresholds of Python's garbage collector.

    Modules and graphs are objects by the hundred thousand that stay. At Python's own thresholds it looks through them
    again and again: a fifth of TensorFlow's import and a tenth of tracing.
    """
    gc.set_threshold(20_000, 20, 20)


def import_tensorflow() -> ModuleType:
    """Imports TensorFlow and returns it; what it prints meanwhile comes through, but for its start-up notices.

    It takes seconds, in which Ctrl-C just ends the program.

    Raises:
        InputError: where KERAS_BACKEND names another backend; that of keras.json does not count.
    """
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise InputError(
            f"the commands need Keras on TensorFlow: unset KERAS_BACKEND. Received: KERAS_BACKEND={backend}"
        )
    collect_garbage_rarely()
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 2)
        try:
            import tensorflow
        finally:
            signal.signal(signal.SIGINT, on_interrupt)
            os.dup2(stderr, 2)
            os.close(stderr)
            printed.seek(0)
            for line in printed:
                if not _NOTICE.match(line):
                    os.write(2, line)
    return tensorflow


def report(line: str) -> None:
    """Prints a line at once."""
    print(line, flush=True)
