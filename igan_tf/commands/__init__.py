"""The command lines: `igan-tf COMMAND` and `python -m igan_tf COMMAND` call them by name.

The older `python -m igan_tf.main`, `.evaluate`, `.tables`, `.turing_test` and `.data.imagenet_records` are the same.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence

from igan_tf import __version__

# Command -> module with `run(arguments)`, arguments that come first, what it does.
COMMANDS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "train": ("igan_tf.commands.train", ("--mode=train",), "train a GAN, or continue"),
    "test": ("igan_tf.commands.train", ("--mode=evaluate",), "test errors of a run"),
    "sample": ("igan_tf.commands.train", ("--mode=sample",), "images of a run"),
    "export": ("igan_tf.commands.train", ("--mode=export",), "weights of a run, as a small run directory"),
    "evaluate": ("igan_tf.commands.evaluate", (), "scores of images: Inception Score, FID, KID, precision, ..."),
    "compare": ("igan_tf.commands.compare", (), "runs beside each other: settings that differ, errors, scores, curves"),
    "tables": ("igan_tf.commands.tables", (), "the paper's tables from grids of runs"),
    "records": ("igan_tf.commands.records", (), "images to sharded records"),
    "turing-test": ("igan_tf.commands.turing_test", (), "people telling real images from generated ones"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command that the first argument names."""
    name, *others = [*(sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    if name in ("--help", "-h", "help"):
        width = max(map(len, COMMANDS))
        print("igan-tf COMMAND [flags]; igan-tf COMMAND --help lists a command's flags\n")
        for command, (_, _, summary) in COMMANDS.items():
            print(f"  {command:{width}s}  {summary}")
        return
    if name in ("--version", "version"):
        print(f"igan_tf {__version__}")
        return
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean: {near[0]}?" if near else ""
        sys.exit(f"igan_tf: unknown command '{name}'.{hint} There are {', '.join(COMMANDS)}.")
    home, first, _ = COMMANDS[name]
    try:
        module = importlib.import_module(home)
    except ModuleNotFoundError as error:
        sys.exit(f"igan_tf: {name} needs all that igan_tf requires, and {error.name} is not installed")
    module.run([*first, *others])
