"""What commands do before and after their work: TensorFlow without its notices, errors as one sentence."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import re
import shlex
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from igan_tf import __version__
from igan_tf.errors import InputError, first_line
from igan_tf.memory import keep_freed_memory

if TYPE_CHECKING:
    from igan_tf.commands.flags import CommandLine

# What TensorFlow writes to stderr when it is imported, whatever its log level: that it logs, that oneDNN is on, that
# there is no CUDA. Warnings and errors start with another letter.
_NOTICE = re.compile(
    rb"I0000 |WARNING: All log messages before absl::InitializeLog|To enable the following instructions"
)


@contextlib.contextmanager
def ending_in_one_sentence(line: CommandLine, names: Mapping[str, str] | None = None) -> Iterator[None]:
    """In this scope an error ends the program: one of the user's with its message, Ctrl-C without one.

    What the machine lacks, a package, space or memory, is said in one sentence, too. Anything else is a fault of this
    package or of a library: a file takes its traceback.

    Args:
        line: Its flags stand in the message for the arguments of the library.
        names: As of `CommandLine.in_flags`.
    """
    try:
        yield
    except InputError as error:
        sys.exit(_printable(f"igan_tf: {line.in_flags(error, names)}"))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        # `--help | head`: nobody reads on, and Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except Exception as error:
        lack = _lack_of_packages(error) or _lack_of_machine(error, line)
        sys.exit(_printable(f"igan_tf: {lack or _report_of(error)}"))


def _lack_of_packages(error: Exception) -> str:
    """That a package is not installed, as a sentence; empty for any other error, also of a package that is damaged."""
    if not isinstance(error, ModuleNotFoundError) or not error.name or "." in error.name:
        return ""
    return f"{error.name}, which igan_tf requires, is not installed"


def _lack_of_machine(error: Any, line: CommandLine) -> str:
    """What the machine could not do, as a sentence; empty where the error is of another kind."""
    tensorflow = sys.modules.get("tensorflow")
    exhausted = tensorflow and isinstance(error, tensorflow.errors.ResourceExhaustedError)
    # TensorFlow has one error for both.
    if exhausted and re.search("No space left|[Qq]uota exceeded|File too large", error.message):
        return f"the disk is full: {first_line(error)}. What was written before is whole"
    if exhausted or isinstance(error, MemoryError):
        remedy = ""
        # Samples and test errors have the batches of the run.
        if "batch_size" in line.flag_values and getattr(line, "mode", "train") == "train":
            remedy = f" with --batch_size={line.batch_size}; smaller batches or narrower networks need less"
        return f"not enough memory{remedy}. What was written before is whole ({first_line(error)})"
    return str(error) if isinstance(error, OSError) else ""


def _report_of(error: Exception) -> str:
    """Saves an error's traceback; says what it is and where that lies."""
    trace = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="igan_tf-", suffix=".txt", delete=False) as file:
            file.write(f"igan_tf {__version__}: {shlex.join(sys.argv)}\n\n{trace}")
        place = f"its traceback is in {file.name}"
    except OSError:
        place = f"its traceback:\n{trace}"
    return f"unexpected {type(error).__name__}, a fault of igan_tf or of a library that it uses: {error}; {place}"


def collect_garbage_rarely() -> None:
    """Widens the thresholds of Python's garbage collector.

    Modules and graphs are objects by the hundred thousand that stay. At Python's own thresholds it looks through them
    again and again: a fifth of TensorFlow's import and a tenth of tracing.
    """
    gc.set_threshold(20_000, 20, 20)


def use_onednn() -> None:
    """Has TensorFlow, which is yet to be imported, compute by oneDNN on every x86 processor; a user's choice stands.

    By itself it does so where there are vector instructions for neural networks, AVX-512's or AMX. On AVX2 alone steps
    are shorter by it, too (`docs/results/speed.md`).
    """
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


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
    # Kernels of a GPU are launched by a thread of their own, not by one that is busy with the input.
    os.environ.setdefault("TF_GPU_THREAD_MODE", "gpu_private")
    use_onednn()
    collect_garbage_rarely()
    if "tensorflow" not in sys.modules:
        _import_quietly()
    keep_freed_memory()
    return sys.modules["tensorflow"]


def _import_quietly() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        finally:
            signal.signal(signal.SIGINT, on_interrupt)
            os.dup2(stderr, 2)
            os.close(stderr)
            printed.seek(0)
            for line in printed:
                if not _NOTICE.match(line):
                    os.write(2, line)


def report(line: str) -> None:
    """Prints a line at once."""
    print(_printable(line), flush=True)


def _printable(text: str) -> str:
    """Text with its control characters written out: names of files and keys of others command no terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)
