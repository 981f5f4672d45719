"""A run directory from Python: its networks with their weights, and what is refused."""

import random
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from igan_tf import load_run
from igan_tf.data import load_data
from igan_tf.errors import ConfigError
from igan_tf.experiments import experiment
from igan_tf.experiments.configs import build_config
from igan_tf.training import CheckpointError, Checkpoints
from tests.command_line import result
from tests.experiments.digits_runs import SETTINGS, train


def test_loading_touches_no_random_state_of_the_process(finished):
    def drawn():
        return random.random(), np.random.random(), float(tf.random.uniform(())), float(keras.random.uniform(()))

    keras.utils.set_random_seed(3)
    expected = drawn()
    keras.utils.set_random_seed(3)
    load_run(finished)
    assert drawn() == expected


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


def test_networks_of_terabytes_are_refused_before_they_are_built(tmp_path, finished):
    run_dir = shutil.copytree(finished, tmp_path / "run")
    checkpoints = Checkpoints(run_dir / "checkpoints")
    arrays, position, _ = checkpoints.load_newest()
    identity = {**position["identity"], "image_shape": [16_384, 16_384, 3]}
    checkpoints.save(checkpoints.steps()[-1], arrays, {**position, "identity": identity})
    with pytest.raises(
        CheckpointError, match=r"(?s)is of another network:.* in the checkpoint, .*805306368.* in the ne"
    ):
        load_run(run_dir)


def test_a_whole_run_may_be_a_link(finished, tmp_path):
    (tmp_path / "linked").symlink_to(finished)
    assert load_run(tmp_path / "linked").generate(1, seed=0).shape == (1, 8, 8, 1)


def test_load_run_has_the_networks_with_their_weights(finished):
    data = load_data(build_config(dataset="digits"))
    run = load_run(finished)
    assert run.name == load_run(finished).name == "semi_supervised_gan"
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
