"""A run of the digits to damage: trained once in a process's life, in two epochs of two steps."""

import contextlib
import functools
import io
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import igan_tf.main
from tests.command_line import FLAGS

FINISHED = [*FLAGS, "--epochs=2"]


def run_command(arguments: Sequence[str]) -> tuple[int, str]:
    """Exit status and output of `python -m igan_tf.main`, in this process."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            igan_tf.main.run(list(arguments))
        except SystemExit as end:
            if isinstance(end.code, str):
                return 1, f"{printed.getvalue()}{end.code}\n"
            return end.code or 0, printed.getvalue()
    return 0, printed.getvalue()


@functools.cache
def _run() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="igan_tf-soak-run-"))
    status, text = run_command([*FINISHED, f"--run_dir={folder}/run"])
    assert status == 0, text
    return folder / "run"


def copy_of_run(path: Path) -> Path:
    return shutil.copytree(_run(), path)
