"""What a run of the digits can be: its labels, techniques, precision, devices and seeds; training from Python."""

import concurrent.futures
import contextlib
import os
import shutil
import signal

import keras
import numpy as np
import pytest

import igan_tf
from igan_tf import load_run
from igan_tf.data import SemiSupervisedBatches, load_data
from igan_tf.errors import ConfigError
from igan_tf.experiments import run_directory
from igan_tf.experiments.recipes import recipe_of
from igan_tf.experiments.run_directory import read_config
from igan_tf.experiments.weights import export_weights
from igan_tf.networks.registry import DISCRIMINATOR_WEIGHT_NORMS, NETWORKS, register
from igan_tf.training import CheckpointError, Checkpoints, distribution
from igan_tf.training.interruption import Interrupted
from tests.command_line import assert_same_run, events, metrics, result
from tests.experiments.digits_runs import damaged_copy, train


def test_training_from_python_is_the_commands(finished, tmp_path):
    (tmp_path / "some.cfg").write_text("--dataset=digits\n--labels=20\n--batch_size=400\n--epochs=2\n")
    lines = []
    returned = igan_tf.train(
        tmp_path / "some.cfg", tmp_path / "run", lines.append, labels=50, initialization_examples=50
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
    with pytest.raises(ConfigError, match=r"`run_dir` must not lie in `data_dir`, .*run_dir=.*photos/run"):
        igan_tf.train("digits", tmp_path / "photos" / "run", dataset="folder", data_dir=tmp_path / "photos")
    assert not (tmp_path / "other").exists() and not (tmp_path / "photos").exists()


def test_a_run_that_starts_from_another_by_a_relative_path_goes_on_and_is_read(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "first")
    monkeypatch.chdir(tmp_path)
    begun = train("second", init_from="first", epochs=1)
    assert train("second", init_from="first", epochs=1) == begun
    monkeypatch.chdir("/")
    place = tmp_path / "second"
    assert read_config(place).init_from == str(tmp_path / "first")
    assert load_run(place).generate(2, seed=0).shape == (2, 8, 8, 1)
    assert train(place, init_from=str(tmp_path / "first"), epochs=2)["epochs"] == 2
    with pytest.raises(ConfigError, match="init_from: the run was started with"):
        train(place, init_from="first", epochs=2)


def test_a_signal_at_a_draws_end_stops_the_draws_that_would_follow(tmp_path):
    def report(line):
        if line.startswith("epoch 1/1"):
            os.kill(os.getpid(), signal.SIGTERM)

    settings = {"labels": 20, "epochs": 1, "label_draws": 2}
    for draws in (1, 2):
        # The second time nothing follows: the training ends as it would without the signal.
        with pytest.raises(Interrupted) if draws == 1 else contextlib.nullcontext():
            train(tmp_path, report, **settings)
        assert [path.parent.name for path in sorted(tmp_path.glob("draw-*/result.json"))] == ["draw-1", "draw-2"][
            :draws
        ]
    assert len(result(tmp_path)["draws"]) == 2


def test_the_result_is_written_before_other_workers_end(tmp_path, monkeypatch):
    written = []

    @contextlib.contextmanager
    def together():
        yield
        written.append(result(tmp_path))

    monkeypatch.setattr(distribution, "together", together)
    assert train(tmp_path, epochs=1) == result(tmp_path) == written[0]


def test_outside_of_the_main_thread(tmp_path):
    """As in a notebook's or a web page's, where Python handles no signals."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert pool.submit(train, tmp_path, epochs=1).result()["epochs"] == 1


def test_a_run_starts_from_anothers_weights(finished, tmp_path):
    """A step at the rate 0 leaves them as they are; averages and optimizers know nothing of the other run."""
    lines = []
    still = {"discriminator_learning_rate": 0.0, "generator_learning_rate": 0.0, "epochs": 1}
    still |= {"historical_averaging": 0.1}
    train(tmp_path / "run", lines.append, init_from=str(finished), average_debias=True, **still)
    newest = Checkpoints(finished / "checkpoints").load_newest()
    assert f"weights of step 4 of {finished}, SHA-256 {newest.sha256[:16]}" in lines
    begun = Checkpoints(tmp_path / "run" / "checkpoints").load_newest().arrays
    for name, array in newest.arrays.items():
        if name.startswith(("generator/", "discriminator/")):
            np.testing.assert_array_equal(begun[name], array)
    # The history begins with these weights, not with those that the networks were built with.
    terms = [value for line in metrics(tmp_path / "run") for name, value in line.items() if "history" in name]
    assert terms and max(terms) < 1e-9
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


def test_weights_that_no_training_starts_from_are_refused_before_anything_trains(finished, tmp_path):
    export_weights(str(finished), str(tmp_path / "gen"), generator_only=True)
    several = {"label_draws": 2, "supervised_baseline": True}
    with pytest.raises(ConfigError, match=rf"^`init_from={tmp_path}/gen` holds the weights of its generator alone$"):
        train(tmp_path / "run", init_from=str(tmp_path / "gen"), **several)
    with pytest.raises(CheckpointError, match=rf"^`init_from={finished}` is of another network:\n"):
        train(tmp_path / "run", init_from=str(finished), network_width=2.0, **several)
    assert not (tmp_path / "run").exists()


def test_label_draws_and_the_supervised_baseline(tmp_path):
    returned = train(tmp_path, labels=20, epochs=1, label_draws=2, supervised_baseline=True, early_sample_steps=1)
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
        # Its generator is not trained.
        assert (folder / "samples" / "step-00000001.png").exists() and not (folder / "supervised" / "samples").exists()
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


# Networks of one's own.


def small_generator(image_shape, width=1.0):
    latents = keras.Input((20,))
    hidden = keras.layers.Dense(int(16 * width), activation="relu")(latents)
    pixels = keras.layers.Dense(int(np.prod(image_shape)), activation="sigmoid")(hidden)
    return keras.Model(latents, keras.layers.Reshape(image_shape)(pixels))


def small_discriminator(image_shape, num_outputs):
    images = keras.Input(image_shape)
    features = keras.layers.Dense(16, activation="relu")(keras.layers.Flatten()(images))
    return keras.Model(images, {"logits": keras.layers.Dense(num_outputs)(features), "features": features})


@pytest.fixture
def registered():
    yield register
    for name in [name for name, network in NETWORKS.items() if network.builders]:
        del NETWORKS[name]


def test_networks_of_ones_own(tmp_path, registered):
    registered("mine", small_generator, small_discriminator, latent_range=(-1.0, 1.0))
    train(tmp_path / "whole", network="mine", network_width=2.0)
    train(damaged_copy(tmp_path / "whole", tmp_path / "run"), network="mine", network_width=2.0)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    run = load_run(tmp_path / "run")
    assert run.latent_range == (-1.0, 1.0) and run.generator.layers[1].units == 32
    assert run.generate(3, seed=0).shape == (3, 8, 8, 1)
    # Another process has to register them, too.
    del NETWORKS["mine"]
    with pytest.raises(ConfigError, match=r"`network` must be one of auto, digits, .*Received: network=mine"):
        load_run(tmp_path / "run")


def test_what_ones_own_networks_do_not_take_is_refused(tmp_path, registered):
    registered("mine", small_generator, small_discriminator)
    for name, value in (("generator_norm", "virtual"), ("minibatch_discrimination", True)):
        with pytest.raises(ConfigError, match=f"`network=mine` has no such setting. Received: {name}={value}"):
            train(tmp_path / "run", network="mine", **{name: value})
    registered("flat", lambda image_shape: small_generator((1, 1, 1)), small_discriminator)
    with pytest.raises(ConfigError, match=r"`network=flat` must give .* the shape \(8, 8, 1\). Received: \(1, 1, 1\)"):
        train(tmp_path / "run", network="flat")
    for output in (lambda outputs: outputs["logits"], lambda outputs: {**outputs, "logits": outputs["features"]}):

        def build(image_shape, num_outputs, output=output):
            model = small_discriminator(image_shape, num_outputs)
            return keras.Model(model.input, output(model.output))

        registered("odd", small_generator, build)
        with pytest.raises(ConfigError, match=r"`network=odd` must give a dict of 'logits', \(N, 10\), and 'features'"):
            train(tmp_path / "run", network="odd")

    def narrow(image_shape, num_outputs):
        images = keras.Input(image_shape)
        features = keras.layers.Dense(16, dtype="bfloat16")(keras.layers.Flatten()(images))
        return keras.Model(images, {"logits": keras.layers.Dense(num_outputs)(features), "features": features})

    registered("narrow", small_generator, narrow)
    with pytest.raises(ConfigError, match=r"`network=narrow` must have variables of types .* Received: bfloat16$"):
        train(tmp_path / "run", network="narrow")
    with pytest.raises(ConfigError, match=r"must not be that of this package's own networks\. Received: name=mnist"):
        registered("mnist", small_generator, small_discriminator)
    assert not (tmp_path / "run").exists()
