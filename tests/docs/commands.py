"""Commands as the pages call them: accepted by the real flags, without their work, or run."""

import igan_tf.commands
from igan_tf.commands import evaluate, records, tables, train, turing_test

# What `python -m` names, and its `run(arguments)`.
MODULES = {
    "igan_tf": igan_tf.commands.main,
    "igan_tf.main": train.run,
    "igan_tf.evaluate": evaluate.run,
    "igan_tf.tables": tables.run,
    "igan_tf.turing_test": turing_test.run,
    "igan_tf.data.imagenet_records": records.run,
}


class Accepted(BaseException):
    """Raised in place of a command's work: its flags, their values and combinations have passed by then."""


def run(program, arguments):
    """Runs a command in this process; `program` as of `pages.command_of`."""
    MODULES[program.removeprefix("python -m ") if program != "igan-tf" else "igan_tf"](arguments)


def without_work(monkeypatch):
    """Lets every command end with `Accepted` where it would begin to work."""

    def accept(*arguments, **keywords):
        raise Accepted

    def accept_table(settings, run_flags):
        tables._check_run_flags(settings, run_flags)
        raise Accepted

    monkeypatch.setattr(train, "_run", accept)
    monkeypatch.setattr("igan_tf.experiments.scoring.evaluate", accept)
    for work in ("_make", "_print_commands"):
        monkeypatch.setattr(tables, work, accept_table, raising=False)
    monkeypatch.setattr("igan_tf.tables.comparison.read_runs", accept)
    monkeypatch.setattr("igan_tf.records.processes.start_fork_server", accept)
    for work in ("_serve", "_report"):
        monkeypatch.setattr(turing_test, work, accept)


def refusal(program, arguments):
    """Why the command refuses these arguments; empty where it accepts them. After `without_work`."""
    try:
        run(program, arguments)
    except Accepted:
        return ""
    except SystemExit as error:
        # After `--help`.
        return "" if error.code in (0, None) else str(error.code)
    except KeyError as error:
        return f"no module {error}"
    # The list of commands, of `igan-tf --help`.
    return "" if arguments in ([], ["--help"]) else "it ended without work"
