"""What commands do before and after their work: TensorFlow without its notices, errors as one sentence."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from types import ModuleType

# What TensorFlow writes to stderr when it is imported, whatever its log level: that it logs, that oneDNN is on, that
# there is no CUDA. Warnings and errors start with another letter.
_NOTICE = re.compile(
    rb"I0000 |WARNING: All log messages before absl::InitializeLog|To enable the following instructions"
)


def import_tensorflow() -> ModuleType:
    """Imports TensorFlow and returns it; what it prints meanwhile comes through, but for its start-up notices."""
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 2)
        try:
            import tensorflow
        finally:
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
