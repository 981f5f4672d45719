"""Whole grids on the digits, in processes of their own."""

import csv
import json
import os
import re
import shutil
import signal
import time
import types

import numpy as np
import pytest
import tensorflow as tf

from igan_tf.commands import tables
from igan_tf.data import load_data
from igan_tf.errors import ConfigError
from igan_tf.experiments import run_directory, runs
from igan_tf.experiments.configs import build_config
from igan_tf.tables import grid
from igan_tf.tables.ensembles import Ensembles
from igan_tf.tables.error_grid import ErrorGrid
from igan_tf.tables.grid import Run
from igan_tf.tables.published import TABLES
from tests import processes
from tests.command_line import assert_same_run, events, result

RUN_FLAGS = ["--batch_size=400", "--initialization_examples=50", "--nosupervised_baseline"]
NAMES = [
    f"labels-{labels}_subset-{subset}_seed-1"
    for labels, subsets in ((20, 1), (50, 2))
    for subset in range(1, subsets + 1)
]


def arguments(folder, *more):
    own = ["--table=digits", "--labels=20,50", "--subsets=1,2", f"--output_dir={folder}", *more]
    return [*own, "--", *RUN_FLAGS]


def run(folder, *more):
    return processes.run("igan_tf.tables", arguments(folder, *more), folder.parent)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables") / "table"
    done = run(folder, "--epochs=2", "--parallel=2")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder.parent / "output").write_text(done.stdout)
    return folder


def test_every_run_is_a_normal_run_directory(finished):
    for name in NAMES:
        assert result(finished / name)["epochs"] == 2
        assert (finished / name / "flags.cfg").is_file() and (finished / f"{name}.log").is_file()
        assert any("hparams" in tag for _, tag in events(finished / name))
    assert [result(finished / name)["seed_data"] for name in NAMES] == [1, 1, 2]
    assert [result(finished / name)["labels"] for name in NAMES] == [20, 50, 50]


def test_the_table_is_printed_and_written(finished):
    table = (finished / "table.md").read_text()
    assert (finished.parent / "output").read_text().endswith(table + "\n")
    errors = [result(finished / name)["averaged_test_error"] * 100 for name in NAMES]
    single = next(line for line in table.splitlines() if line.startswith("| one model, here"))
    two = errors[1:]
    assert single == (
        f"| one model, here | {errors[0]:.2f} (1 of 1) | {np.mean(two):.2f} +- {np.std(two, ddof=1):.2f} (2 of 2) |"
    )
    assert "2 epochs, 3 of 3 runs done" in table and "paper" not in table.split("|", 1)[1]
    with open(finished / "runs.csv", newline="") as file:
        assert [row["run"] for row in csv.DictReader(file)] == NAMES


def test_an_ensemble_averages_probabilities(finished):
    data = load_data(build_config(dataset="digits"))
    mean = 0
    for name in NAMES[1:]:
        model = runs.load_run(finished / name)
        # In batches of the training's size, as everything that is evaluated.
        logits = np.concatenate(
            [model.averaged_logits(data.test_images[:400]), model.averaged_logits(data.test_images[400:])]
        )
        exponentials = np.exp(logits.astype("float64"))
        mean = mean + exponentials / exponentials.sum(1, keepdims=True)
    error = np.mean(mean.argmax(1) != data.test_labels)
    line = next(
        line for line in (finished / "table.md").read_text().splitlines() if line.startswith("| ensemble, here")
    )
    assert line == f"| ensemble, here |  | {error * 100:.2f} (of 2 models) |"


def test_the_seeds_of_each_subset_are_an_ensemble(tmp_path):
    table, config = TABLES["digits"], build_config(dataset="digits")
    grid = ErrorGrid(table, tmp_path, lambda flagfile, *flags: config, [20], [3], seeds=2)
    grid._ensembles = types.SimpleNamespace(has=lambda run: run is not grid.runs[-1])
    # One model is no ensemble.
    assert grid._groups(grid.runs) == [grid.runs[:2], grid.runs[2:4]]


def test_a_table_of_any_number_of_runs_is_refused(tmp_path):
    def read(flagfile, *flags):
        raise AssertionError("a run's settings were read")

    with pytest.raises(ConfigError, match=r"must make at most 10000 runs\. Received: subsets=5001 seeds=2"):
        ErrorGrid(TABLES["digits"], tmp_path, read, [20], [5001], seeds=2)


def test_again_nothing_is_trained(finished):
    before = {name: (finished / name / "result.json").stat().st_mtime_ns for name in NAMES}
    done = run(finished, "--epochs=2")
    assert done.returncode == 0 and "started" not in done.stdout
    assert before == {name: (finished / name / "result.json").stat().st_mtime_ns for name in NAMES}


def wait_for(condition, process):
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("signum", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_stopped_and_continued_it_ends_the_same(tmp_path, finished, signum):
    folder = tmp_path / "table"
    # The first run is through; the second is at work when the signal comes.
    shutil.copytree(finished / NAMES[0], folder / NAMES[0])
    process = processes.Program("igan_tf.tables", arguments(folder, "--epochs=2"), tmp_path)
    wait_for(lambda: (folder / NAMES[1] / ".lock").exists(), process)
    process.send_signal(signum)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == (-signum if signum == signal.SIGKILL else 128 + signum), errors
    if signum == signal.SIGTERM:
        assert "stopped by SIGTERM; saved, the same command continues" in errors and "Traceback" not in errors
    # No run outlives the command: its lock is free. After SIGKILL the kernel tells the run, which takes a moment.
    wait_until_free(folder / NAMES[1])
    assert not (folder / NAMES[2]).exists()
    done = run(folder, "--epochs=2")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in NAMES:
        assert_same_run(folder / name, finished / name)
    assert figures(folder) == figures(finished)


def figures(folder):
    """The table's rows; the caption has times."""
    return [line for line in (folder / "table.md").read_text().splitlines() if line.startswith("|")]


def wait_until_free(run_dir):
    deadline = time.monotonic() + 120
    while True:
        try:
            with run_directory.sole_trainer(run_dir):
                return
        except ConfigError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.slow
def test_a_failed_run_is_reported_and_does_not_stop_the_rest(tmp_path):
    folder = tmp_path / "table"
    with run_directory.sole_trainer(folder / NAMES[1]):
        done = run(folder, "--epochs=1", "--parallel=3")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"{NAMES[1]}: exit code 1" in done.stderr and "in use by another training process" in done.stderr
    assert [(folder / name / "result.json").exists() for name in NAMES] == [True, False, True]
    assert "2 of 3 runs done" in (folder / "table.md").read_text()
    # Again, it is tried again.
    done = run(folder, "--epochs=1")
    assert done.returncode == 0 and "3 of 3 runs done" in done.stdout


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            ["--labels=20,many"],
            "--labels must be whole numbers from 1 to 999999999 with commas. Received: --labels=many",
        ),
        (["--subsets=0"], "--subsets must be whole numbers from 1 to 999999999 with commas. Received: --subsets=0"),
        (["--subsets=1,2,3"], "or as many as there are columns, 2. Received: --subsets=1,2,3"),
        (
            ["--labels=25", "--subsets=1"],
            "--labels must be a multiple of the 10 classes, such as 20; 0 trains without classes. Received: --lab",
        ),
        (
            ["--labels=0", "--subsets=1"],
            "--labels must be whole numbers from 1 to 999999999 with commas. Received: --labels=0",
        ),
        (
            ["--num_samples=100"],
            "--num_samples is for --table=inception_score or --table=ablation_small. Received: --num_samples=100",
        ),
        (["--table=inception_score"], "--labels is for --table=digits or --table=mnist or"),
        (["--table=imagenet"], "imagenet"),
        (["--seeds=0"], "--seeds=0"),
        (["--num_samples=9"], "--num_samples must be at least 10"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(tmp_path, monkeypatch, capsys, more, words):
    monkeypatch.setattr(grid, "train", lambda *given: pytest.fail("runs were started"))
    with pytest.raises(SystemExit) as caught:
        tables.run(arguments(tmp_path / "table", *more))
    assert words in f"{capsys.readouterr()}{caught.value.code}" and caught.value.code not in (0, None)
    assert not (tmp_path / "table").exists()


def test_a_damaged_finished_run_is_reported_and_left_out(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "table")
    shutil.rmtree(folder / NAMES[1] / "checkpoints")
    shutil.rmtree(folder / "probabilities")
    done = run(folder, "--epochs=2")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert NAMES[1] in done.stderr and "step-000000004 is not there" in done.stderr
    # One model is no ensemble.
    assert not any(line.startswith("| ensemble, here") for line in figures(folder))


def test_probabilities_are_of_the_weights_that_are_there(finished, tmp_path):
    """A run that was deleted and trained anew under its name has other weights after as many steps."""
    folder = shutil.copytree(finished, tmp_path / "table")
    runs = [Run(name, run_directory.read_config(folder / name), folder) for name in NAMES]
    ensembles = Ensembles(folder, runs[0].config)
    before = ensembles.probabilities(runs[1])
    shutil.rmtree(folder / NAMES[1])
    shutil.copytree(folder / NAMES[2], folder / NAMES[1])
    np.testing.assert_array_equal(ensembles.probabilities(runs[1]), ensembles.probabilities(runs[2]))
    assert np.any(ensembles.probabilities(runs[1]) != before)


def test_forged_probabilities_are_computed_anew(finished, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "table")
    run = Run(NAMES[1], run_directory.read_config(folder / NAMES[1]), folder)
    ensembles = Ensembles(folder, run.config)
    before, path = ensembles.probabilities(run), folder / "probabilities" / f"{run.name}.npz"
    with np.load(path) as file:
        key = file["key"]
    for forged in (np.full(before.shape, np.nan), before[:, :-1], before.astype("float16"), np.full((3, 3), None)):
        np.savez(path, key=key, probabilities=forged)
        np.testing.assert_array_equal(ensembles.probabilities(run), before)
        assert re.search(rf"^{path} is damaged: .*; computed anew$", capsys.readouterr().out, re.MULTILINE)
    ensembles.probabilities(run)
    assert "anew" not in capsys.readouterr().out


def test_other_settings_than_a_runs_are_refused_before_anything_starts(finished, tmp_path):
    more = [*arguments(finished, "--epochs=2", "--subsets=3"), "--beta_1=0.9"]
    done = processes.run("igan_tf.tables", more, tmp_path)
    assert done.returncode == 1
    assert re.search(r"--beta_1: the run was started with 0\.5, now 0\.9", done.stderr)
    assert not (finished / "labels-20_subset-2_seed-1").exists()
    assert os.path.exists(finished / NAMES[0])


def test_the_memory_of_gpus_is_settled_before_tensorflow_looks_for_them(tmp_path, monkeypatch):
    called = []
    physical, logical = tf.config.list_physical_devices, tf.config.list_logical_devices

    def looked_for(kind=None):
        called.append("looked for")
        return logical(kind)

    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind=None: ["GPU:0"] if kind == "GPU" else physical(kind)
    )
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda *arguments: called.append(arguments))
    monkeypatch.setattr(tf.config, "list_logical_devices", looked_for)
    monkeypatch.setattr(grid, "train", lambda *arguments: {})
    tables.run(arguments(tmp_path / "table"))
    assert called[0] == ("GPU:0", True) and set(called[1:]) == {"looked for"}


def test_a_classifier_that_cannot_be_is_refused_before_anything_starts(tmp_path):
    own = ["--table=ablation_small", "--classifier_path=w", f"--output_dir={tmp_path}/table"]
    done = processes.run("igan_tf.tables", own, tmp_path)
    assert done.returncode == 1 and "--classifier_path goes with" in done.stderr and "Traceback" not in done.stderr, (
        done.stderr
    )
    assert not (tmp_path / "table").exists()


@pytest.mark.slow
def test_the_small_ablation(real_data_dir, tmp_path):
    """Every row trains, is scored against the test images, and is not done again."""
    own = ["--table=ablation_small", "--seeds=1", "--num_samples=500", "--epochs=1", f"--output_dir={tmp_path}/table"]
    own += [f"--data_dir={real_data_dir}/tfds", "--", "--train_images=2000", "--network_width=0.25"]
    for times in (1, 0):
        done = processes.run("igan_tf.tables", own, tmp_path, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count(": started") == 6 * times
    text = (tmp_path / "table" / "table.md").read_text()
    assert "6 of 6 runs done" in text and "domain(mnist)" in text
    with open(tmp_path / "table" / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["inception_score"]) >= 1 and float(row["frechet_distance"]) > 0 for row in rows)
    assert len({row["frechet_distance"] for row in rows}) == 6
    records = [json.loads(path.read_text())["record"] for path in (tmp_path / "table" / "scores").iterdir()]
    # One network scores samples and real images.
    assert len(records) == 7 and len({record["classifier"]["sha256"] for record in records}) == 1
    assert 0 < records[0]["classifier"]["test_error"] < 0.1
