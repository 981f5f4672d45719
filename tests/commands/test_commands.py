"""What all commands have in common: one way in, help, refusals, and errors that name flags."""

import dataclasses
import re
import subprocess
import sys

import pytest

import igan_tf
from igan_tf import commands
from igan_tf.commands.flags import CommandLine, in_flags
from igan_tf.errors import ConfigError
from igan_tf.settings import Settings, setting
from tests.command_line import environment

# Every command's help, then a wrong flag of each, then a right command line, where neither TensorFlow nor Keras can be
# imported.
WITHOUT_TENSORFLOW = """
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = None
from igan_tf import commands
for name in commands.COMMANDS:
    for flag in ("--help", "--nosuchflag=1"):
        try:
            commands.main([name, flag])
        except SystemExit as end:
            print(f"<{name} {flag} {end.code}>")
commands.main(["train", "--dataset=digits", "--run_dir=run"])
"""


@dataclasses.dataclass(frozen=True)
class Some(Settings):
    topic = "Some things"

    height: int = setting(3, "How high; `width` says how wide.", low=1, high=5)
    width: float = setting(0.5, "How wide.", above=0)
    kind: str = setting("a", "Which.", choices=("a", "b"))
    fast: bool = setting(False, "Whether to hurry.")


def test_help_and_refusals_need_no_tensorflow(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "igan_tf: keras, which igan_tf requires, is not installed\n")
    assert list(tmp_path.iterdir()) == []
    for name in commands.COMMANDS:
        assert f"<{name} --help 0>" in done.stdout
        assert re.search(rf"<{name} --nosuchflag=1 igan_tf[\w.]*: Unknown command line flag 'nosuchflag'", done.stdout)
    # TensorFlow's and absl's own flags are nobody's business.
    for foreign in ("--verbosity", "--alsologtostderr", "--tfhub", "--xml_output"):
        assert foreign not in done.stdout


def test_every_command_is_listed_and_an_unknown_one_gets_a_suggestion(capsys):
    commands.main(["--help"])
    listed = capsys.readouterr().out
    assert all(re.search(rf"^  {name} ", listed, re.MULTILINE) for name in commands.COMMANDS)
    commands.main(["--version"])
    assert capsys.readouterr().out == f"igan_tf {igan_tf.__version__}\n"
    with pytest.raises(SystemExit, match=r"unknown command 'evalute'\. Did you mean: evaluate\?"):
        commands.main(["evalute"])


def test_ctrl_c_ends_a_command_of_either_name_with_its_own_message():
    program = """
import signal
from igan_tf import commands
from igan_tf.commands import evaluate
from igan_tf.commands.start import import_tensorflow

def interrupted():
    import_tensorflow()
    raise KeyboardInterrupt

evaluate.import_tensorflow = interrupted
try:
    commands.main(["evaluate", "--source=noise:8x8x3"])
finally:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment()
    )
    assert (done.returncode, done.stderr) == (130, "")


def line_of(*arguments, takes_words=False):
    line = CommandLine("program", "Does something.", takes_words)
    line.add_settings(Some)
    return line, line.parse(arguments)


def test_a_command_line_is_its_settings():
    line, others = line_of("--height=4", "--fast", "--", "more", "--height=9", takes_words=True)
    assert line.read(Some) == Some(height=4, fast=True) and others == ["more", "--height=9"]
    assert line.given == {"height", "fast"} and line.width == 0.5
    # Given, though at its default.
    assert line_of("--kind=a")[0].given == {"kind"}


def test_help_tells_each_flags_topic_default_and_bounds():
    shown = line_of()[0].help().splitlines()
    start = shown.index("Some things:")
    assert shown[start + 1 :][:8] == [
        "  --height=3",
        "      How high; --width says how wide. At least 1, at most 5.",
        "  --width=0.5",
        "      How wide. Above 0.",
        "  --kind=a",
        "      Which. One of a, b.",
        "  --[no]fast, off by default",
        "      Whether to hurry.",
    ]


@pytest.mark.parametrize(
    ("command", "flags", "others"),
    [
        ("sample", {"run_dir", "output", "nearest", "num_samples", "seed", "data_dir"}, {"epochs", "walk_steps"}),
        ("test", {"run_dir", "data_dir"}, {"epochs", "seed", "output", "num_samples"}),
        ("export", {"run_dir", "output", "generator_only"}, {"seed", "nearest"}),
        ("train", {"run_dir", "epochs", "seed", "data_dir"}, set()),
    ],
)
def test_the_help_of_a_command_shows_the_flags_that_it_takes(capfd, command, flags, others):
    with pytest.raises(SystemExit):
        commands.main([command, "--help"])
    shown = set(re.findall(r"^  --(?:\[no\])?(\w+)", capfd.readouterr().out, re.MULTILINE))
    assert flags <= shown and not others & shown


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--hight=3", "Did you mean: height"),
        ("--height=three", "--height=three"),
        ("word", "unknown argument: word"),
        ("--undefok=nosuch", "unknown flag: --undefok=nosuch"),
        ("--height", "height"),
    ],
)
def test_what_is_no_flag_is_refused(argument, message):
    with pytest.raises(ConfigError, match=message):
        line_of(argument)


def test_words_are_refused_where_a_command_takes_none():
    with pytest.raises(ConfigError, match="unknown argument: more"):
        line_of("--height=4", "--", "more")


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("`height` must be at most 5. Received: height=6", "--height must be at most 5. Received: --height=6"),
        (
            "`kind=b` needs `width`. Received: width=0 fast=True",
            "--kind=b needs --width. Received: --width=0 --fast=True",
        ),
        ("`depth` must be 1. Received: depth=2", "`depth` must be 1. Received: depth=2"),
        ("`size` must be 1. Received: size=2", "--height must be 1. Received: --height=2"),
        ("nothing of height=3 before. Received: a/height=3", "nothing of height=3 before. Received: a/height=3"),
    ],
)
def test_arguments_become_flags(message, shown):
    line, _ = line_of()
    assert line.in_flags(ConfigError(message), {"size": "height"}) == shown
    assert in_flags(message, ["height", "width", "kind", "fast"], {"size": "height"}) == shown
