"""Whole runs on the digits: nothing lost wherever they stop, and what one has of them from Python."""

import os
import shutil
import signal
import time

import keras
import numpy as np
import pytest

import igan_tf
from igan_tf import load_run
from igan_tf.data import SemiSupervisedBatches, load_data
from igan_tf.errors import ConfigError
from igan_tf.experiments import experiment, run_directory, training_runs
from igan_tf.experiments.configs import build_config
from igan_tf.experiments.recipes import recipe, recipe_of
from igan_tf.experiments.run_directory import read_config
from igan_tf.networks.registry import DISCRIMINATOR_WEIGHT_NORMS
from igan_tf.training import CheckpointError, Checkpoints
from igan_tf.training.interruption import Interrupted
from igan_tf.training.train_function import TrainFunction
from tests.command_line import FLAGS, assert_same_run, events, metrics, result, run_process
from tests.processes import Program

# Two epochs of two steps.
SETTINGS = {"dataset": "digits", "labels": 50, "batch_size": 400, "initialization_examples": 50, "epochs": 2}


def train(run_dir, report=lambda line: None, **changes):
    return training_runs.train(build_config(**{**SETTINGS, **changes}), run_dir, report)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An uninterrupted run; a test that changes it copies it first."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(folder)
    return folder


@pytest.fixture
def signal_at(monkeypatch):
    """Sends this process a SIGTERM as a step begins; -1: none."""
    original = TrainFunction.__call__
    at = {"step": -1}

    def run(self, batch, step, stop):
        if step + 1 == at["step"]:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, step, stop)

    monkeypatch.setattr(TrainFunction, "__call__", run)
    return lambda step: at.update(step=step)


def damaged_copy(run_dir, folder):
    """A copy of a run of two epochs, its last checkpoint damaged: it continues from the first epoch's."""
    shutil.copytree(run_dir, folder)
    # What the continued run has to write anew.
    (folder / "result.json").unlink()
    (folder / "samples" / "epoch-0002.png").unlink()
    path = folder / "checkpoints" / "step-000000004" / "state.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return folder


# Nothing lost, in this process.


@pytest.mark.parametrize("step", [1, 2, 3, 4], ids=["first_step", "epochs_edge", "mid_epoch", "last_step"])
def test_stopped_and_continued_is_bit_equal(tmp_path, finished, signal_at, step):
    signal_at(step)
    with pytest.raises(Interrupted):
        train(tmp_path / "run")
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps()[-1] == step
    assert not (tmp_path / "run" / "result.json").exists()
    signal_at(-1)
    lines = []
    train(tmp_path / "run", lines.append)
    assert any(f"continuing after step {step}" in line for line in lines)
    assert_same_run(tmp_path / "run", finished)


def test_a_death_after_a_metrics_line_at_an_edge_leaves_no_second_line(tmp_path, finished, signal_at, monkeypatch):
    # A checkpoint stands at the last step of epoch 1; its line is written, then the process dies.
    signal_at(2)
    with pytest.raises(Interrupted):
        train(tmp_path / "run")
    signal_at(-1)

    class Died(BaseException):
        pass

    def die(*args, **kwargs):
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", die)
        with pytest.raises(Died):
            train(tmp_path / "run")
    assert len(metrics(tmp_path / "run")) == 1
    train(tmp_path / "run")
    assert_same_run(tmp_path / "run", finished)


def test_a_death_before_the_first_checkpoint_leaves_nothing_twice(tmp_path, finished, monkeypatch):
    class Died(BaseException):
        pass

    def die(*args, **kwargs):
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", die)
        with pytest.raises(Died):
            train(tmp_path / "run")
    assert len(metrics(tmp_path / "run")) == 1
    train(tmp_path / "run")
    assert_same_run(tmp_path / "run", finished)


def test_a_damaged_newest_checkpoint_is_named_and_the_end_is_the_same(tmp_path, finished):
    run_dir = damaged_copy(finished, tmp_path / "run")
    lines = []
    train(run_dir, lines.append)
    assert any("step-000000004 is damaged" in line and "the one before" in line for line in lines)
    assert any("continuing after step 2" in line for line in lines)
    assert_same_run(run_dir, finished)


def test_more_epochs_continue_a_finished_run(tmp_path, finished):
    run_dir = shutil.copytree(finished, tmp_path / "run")
    assert train(run_dir, epochs=3)["steps"] == 6
    assert metrics(run_dir)[:2] == metrics(finished)
    assert [line["epoch"] for line in metrics(run_dir)] == [1, 2, 3]


def test_fewer_epochs_than_are_done_are_refused_and_nothing_is_written(tmp_path, finished):
    run_dir = shutil.copytree(finished, tmp_path / "run")
    for without_result in (False, True):
        if without_result:
            (run_dir / "result.json").unlink()
        with pytest.raises(ConfigError, match=r"`epochs` must be at least 2, .* Received: epochs=1"):
            train(run_dir, epochs=1)
        assert (run_dir / "flags.cfg").read_bytes() == (finished / "flags.cfg").read_bytes()
    # Of several draws, before the first.
    draws = tmp_path / "draws"
    shutil.copytree(finished, draws / "draw-1")
    with pytest.raises(ConfigError, match=r"`epochs` must be at least 2, .*draw-1`"):
        train(draws, epochs=1, label_draws=2)
    assert not (draws / "flags.cfg").exists()


def test_another_network_is_refused_even_where_the_flags_agree(tmp_path, finished):
    run_dir = shutil.copytree(finished, tmp_path / "run")
    flags = run_dir / "flags.cfg"
    flags.write_text(flags.read_text().replace("--network=auto", "--network=mnist"))
    with pytest.raises(CheckpointError, match="--network: the run was started with 'auto', now 'mnist'"):
        train(run_dir, network="mnist")
    with pytest.raises(CheckpointError, match=r"(?s)other settings than flags.cfg has:.*--network: .* now 'mnist'"):
        load_run(run_dir)
    checkpoints = Checkpoints(run_dir / "checkpoints")
    for step in checkpoints.steps():
        arrays, position, _ = checkpoints.load(step)
        checkpoints.save(step, arrays, {**position, "identity": {**position["identity"], "--network": "mnist"}})
    with pytest.raises(CheckpointError, match=r"(?s)is of another network:.*in the checkpoint"):
        load_run(run_dir)
    assert Checkpoints(run_dir / "checkpoints").steps() == [2, 4]


def test_without_its_flags_a_run_still_knows_its_settings(tmp_path, finished):
    run_dir = shutil.copytree(finished, tmp_path / "run")
    (run_dir / "flags.cfg").unlink()
    with pytest.raises(CheckpointError, match=r"(?s)other settings or data:.*--seed: .* 1, now 2"):
        train(run_dir, seed=2)
    assert not (run_dir / "flags.cfg").exists()
    train(run_dir)
    assert_same_run(run_dir, finished)
    assert (run_dir / "flags.cfg").read_bytes() == (finished / "flags.cfg").read_bytes()


def test_other_data_or_labels_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "labels.csv"
    path.write_text("".join(f"{index},{index % 3}\n" for index in range(30)))
    settings = {"label_file": str(path), "epochs": 1}
    train(tmp_path / "run", **settings)
    moved = path.rename(tmp_path / "moved.csv")
    train(tmp_path / "run", **{**settings, "label_file": str(moved)})
    moved.write_text(moved.read_text().replace("7,1", "7,2"))
    with pytest.raises(CheckpointError) as caught:
        train(tmp_path / "run", **{**settings, "label_file": str(moved)})
    assert "SHA-256 of the labelled examples" in str(caught.value) and "of the data" not in str(caught.value)

    def load_other_data(config, streamed):
        data = load_data(config, streamed)
        data.train_images[5, 0, 0, 0] += 1 / 16
        return data

    train(tmp_path / "digits", epochs=1)
    monkeypatch.setattr(recipe, "load_data", load_other_data)
    with pytest.raises(CheckpointError) as caught:
        train(tmp_path / "digits", epochs=1)
    assert "SHA-256 of the data" in str(caught.value) and "labelled" not in str(caught.value)


def test_flags_cfg_follows_what_may_change(tmp_path, finished):
    run_dir = shutil.copytree(finished, tmp_path / "run")
    train(run_dir, sample_epochs=7)
    assert run_directory.read_config(run_dir) == build_config(**SETTINGS, sample_epochs=7, noise="table")


# Nothing lost, in a process of its own.


def wait_for(condition, process, timeout=240):
    """Polls until `condition()` holds; fails if the process ends before."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_sigterm_and_sigkill(tmp_path):
    # So many epochs that the process is still at work when it is stopped after the second and the fifth.
    arguments = [*FLAGS, "--epochs=20", "--sample_epochs=10", "--histogram_epochs=5"]
    uninterrupted, run_dir = tmp_path / "uninterrupted", tmp_path / "run"
    done = run_process(*arguments, f"--run_dir={uninterrupted}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    def lines():
        path = run_dir / "metrics.jsonl"
        return path.read_text().count("\n") if path.exists() else 0

    for signum, after, code in ((signal.SIGKILL, 2, -signal.SIGKILL), (signal.SIGTERM, 5, 128 + signal.SIGTERM)):
        process = Program("igan_tf.main", [*arguments, f"--run_dir={run_dir}"], tmp_path)
        wait_for(lambda after=after: lines() >= after, process)
        process.send_signal(signum)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == code, errors
        assert not (run_dir / "result.json").exists()
        if signum == signal.SIGTERM:
            assert "stopped by SIGTERM; saved, the same command continues" in errors and "Traceback" not in errors
    done = run_process(*arguments, f"--run_dir={run_dir}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "continuing after step" in done.stdout
    assert_same_run(run_dir, uninterrupted)


@pytest.mark.slow
def test_three_passes_of_the_discriminator_are_the_same_again(tmp_path):
    """TensorFlow's optimizations of graphs would sum their gradients up in an order of its own, anew in each run."""
    lines = []
    for name in "abc":
        train(tmp_path / name, minibatch_discrimination=True, epochs=1)
        lines += metrics(tmp_path / name)
    assert lines[0] == lines[1] == lines[2]


# What is trained.


def test_another_run_is_refused_before_a_baseline_trains(finished, tmp_path):
    run_dir = shutil.copytree(finished, tmp_path / "run")
    (run_dir / "flags.cfg").unlink()
    with pytest.raises(CheckpointError, match="supervised_baseline: the run was started with False"):
        train(run_dir, supervised_baseline=True)
    assert not (run_dir / "supervised").exists()


@pytest.mark.parametrize("name", ["checkpoints", "samples", "supervised"])
def test_nothing_is_read_or_written_through_a_link_in_a_run(finished, tmp_path, name):
    run_dir, home = shutil.copytree(finished, tmp_path / "run"), tmp_path / "home"
    if (run_dir / name).exists():
        (run_dir / name).rename(home)
    else:
        home.mkdir()
    (run_dir / name).symlink_to(home)
    before = sorted(home.rglob("*"))
    for use in (lambda: train(run_dir, epochs=3), lambda: load_run(run_dir)):
        with pytest.raises(ConfigError, match=f"holds a link to a folder, {name}"):
            use()
    assert sorted(home.rglob("*")) == before


def test_training_from_python_is_the_commands(finished, tmp_path):
    (tmp_path / "some.cfg").write_text("--dataset=digits\n--labels=20\n--batch_size=400\n--epochs=2\n")
    lines = []
    returned = igan_tf.train(
        str(tmp_path / "some.cfg"), tmp_path / "run", lines.append, labels=50, initialization_examples=50
    )
    # Not the weights: what earlier tests have set for the process may change their last digits.
    positions = [Checkpoints(folder / "checkpoints").load_newest().position for folder in (tmp_path / "run", finished)]
    assert positions[0]["identity"] == positions[1]["identity"] and returned == result(tmp_path / "run")
    assert returned["averaged_test_error"] == pytest.approx(result(finished)["averaged_test_error"], abs=0.02)
    assert igan_tf.train(read_config(finished), tmp_path / "run", lines.append, epochs=3)["epochs"] == 3
    assert lines[-1].startswith("epoch 3/3  ")
    with pytest.raises(ConfigError, match="unknown setting 'epoch'"):
        igan_tf.train("digits", tmp_path / "other", epoch=1)
    with pytest.raises(ConfigError, match=r"`flagfile` must be the path of a flag file, or one of .*digits"):
        igan_tf.train("digit", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_run_starts_from_anothers_weights(finished, tmp_path):
    """A step at the rate 0 leaves them as they are; averages and optimizers know nothing of the other run."""
    lines = []
    still = {"discriminator_learning_rate": 0.0, "generator_learning_rate": 0.0, "epochs": 1}
    train(tmp_path / "run", lines.append, init_from=str(finished), average_debias=True, **still)
    newest = Checkpoints(finished / "checkpoints").load_newest()
    assert f"weights of step 4 of {finished}, SHA-256 {newest.sha256[:16]}" in lines
    begun = Checkpoints(tmp_path / "run" / "checkpoints").load_newest().arrays
    for name, array in newest.arrays.items():
        if name.startswith(("generator/", "discriminator/")):
            np.testing.assert_array_equal(begun[name], array)
    model = load_run(tmp_path / "run")
    averages = model.discriminator_average.values()
    for average, variable in zip(averages, model.discriminator.trainable_variables, strict=True):
        np.testing.assert_allclose(average, variable.numpy(), rtol=1e-5, atol=1e-8)
    assert int(model.discriminator_optimizer.iterations) == 2
    again = {**still, "epochs": 2, "init_from": str(tmp_path / "moved")}
    # Behind the augmentation, whose seed is one more variable, the same networks.
    train(tmp_path / "augmented", init_from=str(finished), augmentation="cutout", **still)
    augmented = Checkpoints(tmp_path / "augmented" / "checkpoints").load_newest().arrays
    for arrays in (begun, augmented):
        kernels = [arrays[name] for name in sorted(arrays) if name.startswith("discriminator/")]
        np.testing.assert_equal(kernels, [begun[name] for name in sorted(begun) if name.startswith("discriminator/")])
    with pytest.raises(ConfigError, match="init_from: the run was started with"):
        train(tmp_path / "run", **again)
    with pytest.raises(ConfigError, match=rf"`init_from={tmp_path}/moved` is not the directory of a run"):
        train(tmp_path / "new", **again)
    with pytest.raises(
        CheckpointError, match=rf"`init_from={finished}` is of another network:\n  .* in the checkpoint"
    ):
        train(tmp_path / "wider", init_from=str(finished), network_width=2.0)
    assert not (tmp_path / "new").exists() and not (tmp_path / "wider" / "metrics.jsonl").exists()


def test_a_whole_run_may_be_a_link(finished, tmp_path):
    (tmp_path / "linked").symlink_to(finished)
    assert load_run(tmp_path / "linked").generate(1, seed=0).shape == (1, 8, 8, 1)


def test_label_draws_and_the_supervised_baseline(tmp_path):
    returned = train(tmp_path, labels=20, epochs=1, label_draws=2, supervised_baseline=True)
    found = result(tmp_path)
    assert found == returned
    assert [draw["seed_data"] for draw in found["draws"]] == [1, 2]
    for name in ("test_error", "averaged_test_error", "supervised_test_error", "supervised_averaged_test_error"):
        errors = [draw[name] for draw in found["draws"]]
        assert found[name] == pytest.approx(np.mean(errors), abs=1e-12) and len(set(errors)) == 2
    assert (found["labels"], found["seed_data"], found["epochs"], found["steps"]) == (20, 1, 1, 2)
    for number, draw in enumerate(found["draws"], start=1):
        folder = tmp_path / f"draw-{number}"
        assert result(folder) == draw
        assert result(folder / "supervised")["test_error"] == draw["supervised_test_error"]
        assert set(metrics(folder / "supervised")[0]) == {
            *("epoch", "step", "discriminator_loss", "supervised_loss", "train_error"),
            *("test_error", "averaged_test_error"),
        }
    # The baseline starts from the same discriminator and sees the same labels.
    first, second = (load_data_batches(tmp_path / "draw-1" / name) for name in (".", "supervised"))
    np.testing.assert_array_equal(first.labelled_indices, second.labelled_indices)
    with pytest.raises(CheckpointError, match=r"holds no checkpoint; name the folder of a label draw: draw-1, draw-2$"):
        load_run(tmp_path)
    # A finished run of draws, started again, says the same.
    assert train(tmp_path, labels=20, epochs=1, label_draws=2, supervised_baseline=True) == found


def load_data_batches(run_dir):
    config = run_directory.read_config(run_dir)
    data = load_data(config)
    return SemiSupervisedBatches(data.train_images, *recipe_of(config).labelled_examples(data), 400, config.seed)


def test_a_label_file_replaces_the_subset(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("".join(f"{index},{index % 3}\n" for index in range(31)))
    assert train(tmp_path / "run", label_file=str(path), epochs=1)["labels"] == 31


def test_without_labels(tmp_path):
    found = train(tmp_path, labels=0, epochs=1)
    assert found["labels"] == 0 and "test_error" not in found
    line = metrics(tmp_path)[0]
    assert {"unlabelled_loss", "generated_loss", "generator_loss"} < set(line)
    assert not {"supervised_loss", "train_error", "test_error"} & set(line)
    assert load_run(tmp_path).generate(3, seed=0).shape == (3, 8, 8, 1)


def test_the_other_techniques(tmp_path):
    settings = {
        "generator_objective": "minimax",
        "historical_averaging": 0.1,
        "r1_penalty": 0.1,
        "augmentation": "color,translation,cutout",
        "label_smoothing": 0.1,
        "adam": "outside",
        "average_debias": False,
        "generator_steps": 2,
    }
    train(tmp_path / "whole", **settings)
    line = metrics(tmp_path / "whole")[-1]
    assert line["discriminator_history_loss"] > 0 and line["generator_history_loss"] > 0 and line["r1_loss"] > 0
    # Historical means and both optimizers are in the checkpoint.
    train(damaged_copy(tmp_path / "whole", tmp_path / "run"), **settings)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("weight_norm", DISCRIMINATOR_WEIGHT_NORMS[1:])
def test_other_normalizations_of_weights(tmp_path, finished, weight_norm):
    found = train(tmp_path / "run", discriminator_weight_norm=weight_norm)
    assert found["steps"] == 4 and found["averaged_test_error"] != result(finished)["averaged_test_error"]
    assert not any("scale" in tag for _, tag in events(tmp_path / "run"))
    load_run(tmp_path / "run")


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_runs_and_continues(tmp_path, precision):
    train(tmp_path / "whole", precision=precision)
    assert keras.config.dtype_policy().name == "float32"
    train(damaged_copy(tmp_path / "whole", tmp_path / "run"), precision=precision)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    run = load_run(tmp_path / "run")
    assert run.generate(2, seed=0).dtype == "float32"
    assert {weight.dtype for weight in run.discriminator.trainable_weights} == {"float32"}
    assert run.discriminator.compute_dtype == precision.removeprefix("mixed_")


def test_on_two_devices(tmp_path):
    # The batch is each replica's.
    two = {"strategy": "mirrored", "batch_size": 200}
    train(tmp_path / "whole", **two)
    train(damaged_copy(tmp_path / "whole", tmp_path / "run"), **two)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    assert load_run(tmp_path / "run").generate(2, seed=0).shape == (2, 8, 8, 1)


def test_seeds_matter(tmp_path, finished):
    train(tmp_path / "seed", seed=2, epochs=1)
    train(tmp_path / "seed_data", seed_data=2, epochs=1)
    lines = [metrics(folder)[0] for folder in (finished, tmp_path / "seed", tmp_path / "seed_data")]
    assert len({line["supervised_loss"] for line in lines}) == 3


# From Python.


def test_load_run_has_the_networks_with_their_weights(finished):
    data = load_data(build_config(dataset="digits"))
    run = load_run(finished)
    predicted = np.argmax(run.discriminator.predict(data.test_images, verbose=0)["logits"], axis=-1)
    assert np.mean(predicted != data.test_labels) == pytest.approx(result(finished)["test_error"], abs=1e-9)
    averaged = np.argmax(run.averaged_logits(data.test_images), axis=-1)
    assert np.mean(averaged != data.test_labels) == pytest.approx(result(finished)["averaged_test_error"], abs=1e-9)


def test_load_run_takes_the_checkpoint_before_a_damaged_one(tmp_path, finished, capsys):
    run_dir = shutil.copytree(finished, tmp_path / "run")
    (run_dir / "checkpoints" / "step-000000004" / "state.npz").unlink()
    before = load_run(run_dir).generate(2, seed=0)
    assert "step-000000004 is damaged" in capsys.readouterr().out
    assert not np.array_equal(before, load_run(finished).generate(2, seed=0))


def test_generate_is_a_function_of_the_seed(finished):
    run = load_run(finished)
    images = run.generate(130, seed=3)
    assert images.shape == (130, 8, 8, 1) and images.dtype == "float32"
    np.testing.assert_array_equal(images, load_run(finished).generate(130, seed=3))
    np.testing.assert_array_equal(images[:5], run.generate(5, seed=3))
    assert not np.array_equal(images[:100], run.generate(100, seed=4))
    assert not np.array_equal(images[:30], images[100:])


def test_the_generator_exports_alone(tmp_path, finished):
    generator = load_run(finished).generator
    generator.save(tmp_path / "generator.keras")
    latents = np.random.default_rng(0).random((5, 50), "float32")
    reloaded = keras.saving.load_model(tmp_path / "generator.keras")
    np.testing.assert_array_equal(reloaded(latents), generator(latents))


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(ConfigError, match=f"`run_dir={tmp_path}` is not the directory of a run"):
        load_run(tmp_path)
    experiment.save_config(tmp_path, build_config(**SETTINGS))
    with pytest.raises(CheckpointError, match=f"`run_dir={tmp_path}` holds no checkpoint$"):
        load_run(tmp_path)


def test_a_second_trainer_is_refused(tmp_path, finished):
    with (
        run_directory.sole_trainer(finished),
        pytest.raises(ConfigError, match=f"`run_dir={finished}` is in use by another training process"),
    ):
        train(finished)
    # Nor may one write what is inside: a draw's or the baseline's folder.
    inside = {"label_draws": 2, "supervised_baseline": True, "epochs": 1, "labels": 20}
    for part in ("draw-1", "draw-2/supervised"):
        with (
            run_directory.sole_trainer(tmp_path / part),
            pytest.raises(ConfigError, match=f"`run_dir={tmp_path}/{part}` is in use by another training process"),
        ):
            train(tmp_path, **inside)
    # And after the first has ended it is not.
    assert train(finished) == result(finished)


def test_nothing_stands_twice_on_tensorboard(finished):
    found = events(finished)
    assert len(found) == len(set(found)) and {step for step, _ in found} == {0, 2, 4}
