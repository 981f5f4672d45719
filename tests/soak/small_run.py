"""A run of the digits to damage: trained once in a process's life, in two epochs of two steps."""

import contextlib
import functools
import io
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.command_line import FLAGS, Outcome, outcome_of

_FINISHED = [*FLAGS, "--epochs=2"]
_ACTIONS = {"again": _FINISHED, "test": ["--mode=evaluate"], "sample": ["--mode=sample", "--num_samples=4"]}


def _run_command(arguments: Sequence[str]) -> Outcome:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        return outcome_of(arguments, printed.getvalue)


@functools.cache
def _run() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="igan_tf-soak-run-"))
    done = _run_command([*_FINISHED, f"--run_dir={folder}/run"])
    assert done.code == 0, done.text
    return folder / "run"


def copy_of_run(path: Path) -> Path:
    return shutil.copytree(_run(), path)


def use(run_dir: Path, number: int) -> tuple[str, int, str]:
    """Calls the run again, tests or samples it, as `number` says: (what was done, exit status, output)."""
    action = list(_ACTIONS)[number % len(_ACTIONS)]
    output = [f"--output={run_dir.parent}/samples.png"] if action == "sample" else []
    done = _run_command([*_ACTIONS[action], *output, f"--run_dir={run_dir}"])
    assert "Traceback" not in done.text and "unexpected" not in done.text, f"{action}: {done.text[:2000]}"
    return action, done.code, done.text
