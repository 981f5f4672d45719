"""Hundreds of wrong command lines, made from the settings' own fields, in one process: each is refused by its flag."""

import itertools
import math

import pytest

from igan_tf.commands import COMMANDS, compare, evaluate, records, start, tables, train, turing_test
from igan_tf.commands import main as run_command
from igan_tf.errors import ConfigError
from igan_tf.evaluation.settings import EvaluationSettings
from igan_tf.experiments.configs import SemiSupervisedConfig, setting_fields
from igan_tf.records import processes
from igan_tf.records.settings import ConversionSettings, WorkSettings
from igan_tf.settings import fields_of
from igan_tf.turing_test.settings import StudySettings

DIGITS = "9" * 30
# A name, a path and lines that file systems or flags.cfg cannot hold, and bytes that are no UTF-8.
PATHS = ("n" * 256, "a/" * 2500, "a\nb", "a\0b", "a\x85b", "a\udcffb", "b\n")
# Command -> the settings that it has flags of, and a command line that nothing is wrong with.
LINES = {
    "train": ((train.CommandSettings, SemiSupervisedConfig), ["--dataset=digits", "--labels=50"]),
    "sample": ((train.SampleSettings,), ["--run_dir=run"]),
    "test": ((train.TaskSettings,), []),
    "export": ((train.TaskSettings,), ["--run_dir=run", "--output=weights"]),
    "evaluate": ((EvaluationSettings,), ["--source=noise:8x8x3", "--classifier=keras_inception_v3"]),
    "compare": ((compare.ComparisonSettings,), ["runs/a", "runs/b"]),
    "tables": ((tables.TableSettings,), ["--table=mnist"]),
    "records": (
        (records.PlaceSettings, ConversionSettings, WorkSettings),
        ["--source=photos", "--output_dir=records"],
    ),
    "turing-test": (
        (turing_test.CommandSettings, StudySettings),
        ["--study_dir=study", "--real=digits:test", "--generated=gan=run"],
    ),
}

# What settings are used with that holds in these command lines.
HOLDING = {
    "discriminator_weight_norm=weight",
    "encoding=jpeg",
    "generator_objective=feature_matching",
    "labels",
    "report=False",
    "table=mnist",
}


def wrong_values(field):
    """Texts that the flag of a field must refuse."""
    limits, kind = field.metadata, field.metadata["kind"]
    if limits["choices"]:
        yield "neither"
    if kind in (int, float):
        yield from ("many", "nan", "1e999", "-1e999", "")
        step = 1 if kind is int else 0.125
        if limits["low"] is not None:
            yield str(limits["low"] - step)
        if limits["above"] is not None:
            yield str(limits["above"])
        if limits["high"] is not None:
            yield str(limits["high"] + step)
    if kind is int:
        yield from (DIGITS, f"-{DIGITS}", "9" * 5000, "1.5")
    if kind is bool:
        yield "maybe"
    if limits["path"]:
        yield from (f"gan={path}" if kind is tuple else path for path in PATHS)


def all_fields(command):
    return list(itertools.chain.from_iterable(map(fields_of, LINES[command][0])))


def wrong(command):
    base = LINES[command][1]
    return [
        (command, [*base, f"--{field.name}={value}"], field.name)
        for field in all_fields(command)
        for value in wrong_values(field)
    ]


def unused():
    """Flags that the rest of the command line leaves without an effect, at their defaults: given is given."""
    for command in ("train", "compare", "records", "tables", "turing-test"):
        for field in all_fields(command):
            needed = field.metadata["used_with"]
            if needed and not HOLDING & set(needed):
                yield command, [*LINES[command][1], given(field)], field.name
    for flag, name in (
        ("labels=0", "seed_data"),
        ("discriminator_weight_norm=spectral", "initialization_examples"),
        ("generator_objective=minimax", "feature_matching_norm"),
    ):
        yield "train", ["--dataset=digits", f"--{flag}", given(setting_fields()[name])], name
    for name in ("label_smoothing", "generator_learning_rate"):
        alone = ["--dataset=digits", "--unlabelled_weight=0", "--generator_steps=0"]
        yield "train", [*alone, given(setting_fields()[name])], name
    yield "records", [*LINES["records"][1], "--encoding=raw", "--jpeg_quality=95"], "jpeg_quality"
    for name in ("tfds_split", "tfds_data_dir"):
        yield "records", [*LINES["records"][1], f"--{name}=x"], name
    for name in ("classifier", "classifier_path", "num_samples"):
        yield "tables", ["--table=mnist", f"--{name}=50"], name
    for name in ("labels", "subsets"):
        yield "tables", ["--table=ablation_small", f"--{name}=50"], name
    yield "tables", ["--table=digits", "--data_dir=d"], "data_dir"
    for name in ("parallel", "classifier", "classifier_path", "num_samples"):
        yield "tables", ["--table=ablation_small", "--print_commands", f"--{name}=50"], name
    for name in ("labels", "seed", "seed_data", "label_draws"):
        yield "tables", ["--table=mnist", "--", f"--{name}=10"], name
    yield "tables", ["--table=mnist", "--", "--dataset=digits"], "dataset"
    yield "tables", ["--table=mnist", "--", "--label_file=labels.txt"], "label_file"
    yield "tables", ["--table=ablation_small", "--", "--seed=2"], "seed"
    yield "tables", ["--table=ablation_small", "--", "--label_draws=2"], "label_draws"
    # What a row leaves out: given back to it, and taken from the first.
    yield "tables", ["--table=inception_score", "--", "--labels=1000"], "labels"
    yield "tables", ["--table=inception_score", "--", "--generator_norm=batch"], "generator_norm"
    yield "tables", ["--table=ablation_small", "--", "--label_smoothing=0"], "label_smoothing"
    yield "tables", ["--table=ablation_small", "--", "--historical_averaging=0.01"], "historical_averaging"
    yield "tables", ["--table=mnist", "--", "--recipe=imagenet"], "recipe"
    yield "tables", ["--table=mnist", "--", "--dataset=imagenet"], "dataset"
    yield "tables", ["--table=mnist", "--epochs=2", "--", "--epochs=3"], "epochs"
    for field in (*fields_of(StudySettings), *fields_of(turing_test.ServingSettings)):
        yield "turing-test", ["--study_dir=study", "--report", given(field)], field.name
    for name in ("real=digits:test", "generated=gan=run", "data_dir=d"):
        yield "turing-test", ["--study_dir=study", "--report", f"--{name}"], name.partition("=")[0]
    yield "turing-test", [*LINES["turing-test"][1], "--data_dir=d"], "data_dir"
    yield "turing-test", ["--study_dir=study", "--data_dir=d"], "data_dir"
    used = {"sample": ("seed", "dataset"), "test": ("data_dir", "dataset"), "export": ("dataset",)}
    for command, mode in (("sample", "sample"), ("test", "evaluate"), ("export", "export")):
        for field in setting_fields().values():
            # Settings of ImageNet's recipe do not go with the data set that is the default.
            recipe = ["--recipe=imagenet"] if field.name not in SemiSupervisedConfig.__dataclass_fields__ else []
            if field.name not in used[command] and not recipe:
                yield command, [given(field)], field.name
        yield command, ["--run_dir=run", "--dataset=mnist"], "dataset"
        yield "train", [f"--mode={mode}", "--epochs=5"], "epochs"
    for field in fields_of(train.SampleSettings):
        yield "test", [given(field)], field.name


def given(field):
    """The flag of a field with a value that it allows."""
    if field.metadata["kind"] is bool:
        return f"--{field.name}"
    return f"--{field.name}={'none' if field.default is None else field.default}"


def words():
    """Wrong settings of a table's runs."""
    return [
        ("tables", ["--table=mnist", "--", f"--{field.name}={value}"], field.name)
        for field in setting_fields().values()
        for value in itertools.islice(wrong_values(field), 2)
    ]


WRONG = [*itertools.chain.from_iterable(map(wrong, LINES)), *unused(), *words()]


def test_every_command_is_here():
    assert set(LINES) == set(COMMANDS) and len(WRONG) > 300


@pytest.fixture
def no_work(tmp_path, monkeypatch):
    """The current folder, empty, in which nothing may begin to work."""

    def work(*arguments, **more):
        raise AssertionError("work began")

    for module in (start, train, compare, evaluate, tables, turing_test):
        monkeypatch.setattr(module, "import_tensorflow", work)
    monkeypatch.setattr(processes, "start_fork_server", work)
    monkeypatch.setattr("igan_tf.turing_test.serving.listen", work)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", LINES)
def test_wrong_command_lines_are_refused_by_the_flags_name(no_work, command, capsys):
    badly = []
    for name, arguments, flag in WRONG:
        if name != command:
            continue
        try:
            run_command([name, *arguments])
            ended = "with success"
        except SystemExit as end:
            ended = end.code
        except Exception as error:
            ended = error
        if not (isinstance(ended, str) and f"--{flag}" in ended and len(ended.splitlines()) == 1):
            badly.append((arguments[-1][:80], repr(ended)[:200]))
        elif not ended.startswith("igan_tf: "):
            badly.append((arguments[-1][:80], ended[:200]))
    assert badly == []
    assert list(no_work.iterdir()) == [] and capsys.readouterr() == ("", "")


def test_every_whole_number_has_an_upper_bound():
    fields = [*itertools.chain.from_iterable(map(all_fields, LINES)), *setting_fields().values()]
    numbers = [field for field in fields if field.metadata["kind"] is int]
    assert numbers and [field.name for field in numbers if not (field.metadata["high"] or math.inf) < 2**32] == []


def test_given_latents_and_one_class_exclude_each_other():
    with pytest.raises(ConfigError, match=r"exclude each other\. Received: latents=z\.npy sample_class=3"):
        train.CommandSettings(mode="sample", run_dir="run", output="a.png", latents="z.npy", sample_class=3)
