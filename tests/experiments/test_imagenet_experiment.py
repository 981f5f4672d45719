"""Whole runs of the ImageNet recipe on a few small records."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from igan_tf import load_run
from igan_tf.errors import ConfigError, DataError
from igan_tf.experiments import experiment, runs, training_runs
from igan_tf.experiments.configs import build_config
from igan_tf.experiments.recipes import recipe_of
from igan_tf.training import Checkpoints
from igan_tf.training.cluster import ALONE
from tests.command_line import assert_same_run, environment, metrics, result, run_here
from tests.experiments.imagenet_runs import SETTINGS, as_arguments, make_records
from tests.records.record_sets import make_photos

# The command line on two logical CPUs, which `--strategy=mirrored` takes as it would take two GPUs.
TWO_DEVICES = """
import sys, tensorflow as tf
from igan_tf.main import run
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
run(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return make_records(tmp_path_factory.mktemp("records"))


def train(records, run_dir, report=lambda line: None, **changes):
    return training_runs.train(build_config(**{**SETTINGS, "data_dir": str(records), **changes}), run_dir, report)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, records):
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(records, folder, log_steps=1, early_sample_steps=2)
    return folder


def test_images_go_to_the_devices_as_bytes(records):
    recipe = recipe_of(build_config(**{**SETTINGS, "data_dir": str(records)}))
    (batch, *_) = recipe.make_batches(recipe.load_data(), 1, ALONE).epoch(0)
    assert batch["images"].dtype == "uint8" and batch["images"].shape == (2, 32, 32, 3)


def test_what_a_run_leaves(finished):
    epochs = [line for line in metrics(finished) if "epoch" in line]
    steps = [line for line in metrics(finished) if "epoch" not in line]
    assert [line["step"] for line in epochs] == [3, 6] and [line["step"] for line in steps] == [1, 2, 4, 5]
    assert {"discriminator_loss", "generator_loss", "class_loss", "error"} < set(epochs[0])
    assert {"step/discriminator_loss", "step/error", "step/running_error"} < set(steps[0])
    assert "running_error" not in epochs[0]
    # An epoch's losses are means over its steps.
    assert epochs[0]["class_loss"] != steps[1]["step/class_loss"]
    names = {path.name for path in (finished / "samples").iterdir()}
    assert names == {"step-00000002.png", "step-00000004.png", "epoch-0001.png", "epoch-0002.png"}
    assert result(finished)["steps"] == 6 and result(finished)["labels"] == 6


def test_the_run_in_python(finished):
    run = load_run(finished)
    assert run.name == load_run(finished).name == "image_net_gan"
    images = run.generate(5, seed=0)
    assert images.shape == (5, 32, 32, 3) and images.min() >= 0 and images.max() <= 1
    np.testing.assert_array_equal(images, run.generate(5, seed=0))
    with pytest.raises(ConfigError, match="has no test error: `dataset=imagenet` with `recipe=imagenet`"):
        runs.test_errors(finished)


@pytest.mark.parametrize(
    "changes",
    [
        {
            "generator_norm": "batch",
            "discriminator_norm": "batch",
            "minibatch_discrimination": False,
            "use_labels": False,
        },
        {"generator_norm": "none", "discriminator_norm": "none", "label_smoothing": 0.0},
        {"historical_averaging": 0.1, "feature_matching": 0.1, "precision": "mixed_bfloat16", "batch_size": 3},
    ],
    ids=["dcgan", "no_norms", "others"],
)
def test_every_technique_can_be_switched(tmp_path, records, changes):
    train(records, tmp_path, epochs=1, **changes)
    line = metrics(tmp_path)[0]
    assert ("class_loss" in line) == changes.get("use_labels", True)
    assert ("feature_matching_loss" in line) == ("feature_matching" in changes)
    assert ("generator_history_loss" in line) == ("historical_averaging" in changes)


def start_on_two_devices(records, run_dir, **changes):
    settings = {**SETTINGS, "strategy": "mirrored", "batch_size": 1, "data_dir": records, "run_dir": run_dir, **changes}
    return subprocess.Popen(
        [sys.executable, "-c", TWO_DEVICES, *as_arguments(**settings)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_killed_and_continued_on_two_replicas_is_bit_equal(tmp_path, records):
    epochs = 12
    whole = start_on_two_devices(records, tmp_path / "whole", epochs=epochs)
    killed = start_on_two_devices(records, tmp_path / "run", epochs=epochs)
    path, deadline = tmp_path / "run" / "metrics.jsonl", time.monotonic() + 240
    while not path.exists() or path.read_text().count("\n") < 2:
        assert killed.poll() is None, killed.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL and not (tmp_path / "run" / "result.json").exists()
    output, _ = whole.communicate(timeout=300)
    assert whole.returncode == 0 and "replicas: 2" in output, output
    continued = start_on_two_devices(records, tmp_path / "run", epochs=epochs)
    output, _ = continued.communicate(timeout=300)
    assert continued.returncode == 0 and "continuing after step" in output, output
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_stopped_inside_an_epoch_and_continued_is_the_same(tmp_path, records, finished, monkeypatch):
    """A checkpoint inside an epoch, after which the process goes on and dies: its records are not written twice."""
    original = experiment.Experiment._end_step

    def end_step(self, step, logs):
        original(self, step, logs)
        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(experiment.Experiment, "_end_step", end_step)
    with pytest.raises(BaseException, match="SIGTERM"):
        train(records, tmp_path, log_steps=1, early_sample_steps=2)
    monkeypatch.undo()
    train(records, tmp_path, log_steps=1, early_sample_steps=2)
    assert_same_run(tmp_path, finished)


def test_checkpoints_inside_an_epoch(tmp_path, records):
    """Every step takes longer than this interval."""
    saved = []
    save = Checkpoints.save

    class Noting(Checkpoints):
        def save(self, step, *arguments):
            saved.append(step)
            save(self, step, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "Checkpoints", Noting)
        train(records, tmp_path, epochs=1, checkpoint_minutes=1e-9)
    assert saved == [1, 2, 3]


@pytest.mark.parametrize("kind", ["missing", "unconverted", "foreign"])
def test_without_records_one_message_says_what_to_run(tmp_path, capfd, kind):
    folder = tmp_path / "data"
    if kind != "missing":
        folder.mkdir()
    if kind == "unconverted":
        make_photos(folder, images=1)
    if kind == "foreign":
        (folder / "train.tfrecord-00000-of-00001").write_bytes(b"not ours")
    settings = {**SETTINGS, "data_dir": folder, "run_dir": tmp_path / "run"}
    outcome = run_here(capfd, *as_arguments(**settings))
    assert outcome.code == 1 and "Traceback" not in outcome.text
    assert f"--data_dir={folder}: {folder} " in outcome.text
    assert (
        f"python -m igan_tf.data.imagenet_records --source=<class folders, tar or tfds:name> --output_dir={folder}"
        in (outcome.text)
    )
    assert not (tmp_path / "run").exists()


def test_without_a_folder_the_flag_is_named(tmp_path):
    with pytest.raises(DataError, match=r"`dataset=imagenet` needs `data_dir`, .* Received: data_dir=$"):
        train("", tmp_path / "run")


def test_records_of_another_size_are_refused(tmp_path, records):
    with pytest.raises(DataError, match=r"holds records of 32x32 images; .* Received: image_size=64"):
        train(records, tmp_path / "run", image_size=64)
    small = make_records(tmp_path, image_size=24)
    with pytest.raises(ConfigError, match=r"power of two .* Received: dataset=imagenet .* images of 24x24"):
        train(small, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"at most the number of training images, 6. Received: batch_size=7"):
        train(records, tmp_path / "run", batch_size=7)
    assert not (tmp_path / "run").exists()


def test_damage_after_opening_ends_the_run_by_name(tmp_path, finished, capfd):
    records = make_records(tmp_path)
    original = experiment.Experiment._open_log

    def damage(self, resumed):
        for path in records.glob("*.tfrecord*"):
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        return original(self, resumed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment.Experiment, "_open_log", damage)
        with pytest.raises(DataError, match=r"the data of step \d+ cannot be read: .*tfrecord"):
            train(records, tmp_path / "run", epochs=1)
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps() == []
