"""Runs of weights alone: the same samples, classes and start for others, in a tenth of the bytes."""

import json
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

from igan_tf import load_run
from igan_tf.errors import ConfigError
from igan_tf.evaluation.settings import EvaluationSettings
from igan_tf.experiments import runs
from igan_tf.experiments.sampling import sample_run
from igan_tf.experiments.scoring import evaluate
from igan_tf.experiments.weights import export_weights
from igan_tf.training import CheckpointError, Checkpoints
from tests.command_line import outcome_of
from tests.experiments.digits_runs import train


@pytest.fixture(scope="module")
def averaging(tmp_path_factory):
    """A run whose samples come from averaged weights, with virtual batch normalization."""
    folder = tmp_path_factory.mktemp("averaging") / "run"
    train(folder, generator_average_decay=0.5, generator_norm="virtual", network="mnist", precision="mixed_bfloat16")
    return folder


def bytes_of(folder):
    return sum(path.stat().st_size for path in (folder / "checkpoints").glob("step-*4/*"))


def test_samples_and_errors_are_the_runs(averaging, tmp_path):
    done = export_weights(str(averaging), str(tmp_path / "weights"))
    assert done["step"] == 4 and done["weights"] == "generator, discriminator"
    model, run = load_run(tmp_path / "weights"), load_run(averaging)
    # Half precision keeps 11 bits; what the run itself computes in bfloat16 has 8, of images in [0, 1].
    np.testing.assert_allclose(model.generate(20, seed=3), run.generate(20, seed=3), atol=0.03)
    assert np.abs(model.generate(20, seed=3) - run.generate(20, seed=3, averaged=False)).max() > 0.1
    # The averages start from the weights.
    assert int(model.generator_average.count) == int(model.discriminator_average.count) == 1
    errors = runs.test_errors(tmp_path / "weights")
    assert errors["test_error"] == errors["averaged_test_error"]
    # Of 599 images, after two epochs, near ties fall to either side in bfloat16: five of them were seen to.
    assert errors["test_error"] == pytest.approx(runs.test_errors(averaging)["averaged_test_error"], abs=0.02)
    # Adam's two slots, the average, and half of each number.
    assert bytes_of(tmp_path / "weights") < 0.16 * bytes_of(averaging)


def test_of_paths_only_names_stay(tmp_path):
    """Of data, labels and classifiers of one's own: settings that need them stay what they are."""
    labels = tmp_path / "labels.csv"
    labels.write_text("".join(f"{index},{index % 10}\n" for index in range(50)))
    for number in range(40):
        image = np.full((8, 8), 6 * number, "uint8")
        (tmp_path / "photos" / f"{number % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "photos" / f"{number % 2}" / f"{number}.png")
    small = {"batch_size": 10, "initialization_examples": 0, "epochs": 1}
    for name, settings in {
        "labels": {"label_file": str(labels), "labels": 0, "epochs": 1},
        "photos": {"dataset": "folder", "data_dir": str(tmp_path / "photos"), "image_size": "8", "labels": 4, **small},
    }.items():
        train(tmp_path / "runs" / name, **settings)
        export_weights(str(tmp_path / "runs" / name), str(tmp_path / f"{name}_weights"))
        flags = (tmp_path / f"{name}_weights" / "flags.cfg").read_text()
        position = Checkpoints(tmp_path / f"{name}_weights" / "checkpoints").load_newest().position
        assert str(tmp_path) not in flags + json.dumps(position)
        assert f"={name}" in flags and load_run(tmp_path / f"{name}_weights").generate(1, seed=0).shape[1:3] == (8, 8)


def test_a_generator_alone_samples_and_says_what_it_lacks(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export_weights(str(finished), "weights", generator_only=True)
    model = load_run("weights")
    np.testing.assert_allclose(model.generate(5, seed=0), load_run(finished).generate(5, seed=0), atol=0.01)
    export_weights("weights", "again", generator_only=True)
    np.testing.assert_array_equal(load_run("again").generate(5, seed=0), model.generate(5, seed=0))
    for use in (
        lambda: model.discriminator,
        lambda: runs.test_errors("weights"),
        lambda: sample_run("weights", "sevens.npz", 3, 0, sample_class=7),
        lambda: train(tmp_path / "other", init_from=str(tmp_path / "weights")),
        lambda: export_weights("weights", "whole"),
    ):
        with pytest.raises(ConfigError, match=r"weights` holds the weights of its generator alone$"):
            use()
    settings = EvaluationSettings(source="weights", classifier="domain", generated_training_data=True)
    with pytest.raises(ConfigError, match=r"^`source=weights` holds the weights of its generator alone$"):
        evaluate(settings)


def test_a_forged_discriminator_that_is_not_held_is_not_built(finished, tmp_path):
    """It would be of gigabytes: nothing compares it with arrays."""
    export_weights(str(finished), str(tmp_path / "weights"), generator_only=True)
    model = load_run(tmp_path / "weights")
    assert not isinstance(model, keras.Model) and set(vars(model)) == {
        *("generator", "latent_range", "variable_dtype", "_run_dir")
    }
    checkpoints = Checkpoints(tmp_path / "weights" / "checkpoints")
    arrays, position, _ = checkpoints.load_newest()
    for forged in (["discriminator"], [], ["generator", "generator"]):
        checkpoints.save(4, arrays, {**position, "weights_of": forged})
        with pytest.raises(CheckpointError):
            load_run(tmp_path / "weights")


def test_what_half_precision_cannot_hold_is_refused(finished, tmp_path):
    run_dir = shutil.copytree(finished, tmp_path / "run")
    checkpoints = Checkpoints(run_dir / "checkpoints")
    arrays, position, _ = checkpoints.load_newest()
    arrays["generator/000"][0, 0] = 1e5
    checkpoints.save(4, arrays, position)
    with pytest.raises(ConfigError, match=r"a weight of 100000 is more than half precision has numbers for"):
        export_weights(str(run_dir), str(tmp_path / "weights"))
    assert not (tmp_path / "weights").exists()


def test_another_training_starts_from_them_and_none_continues_them(finished, tmp_path):
    export_weights(str(finished), str(tmp_path / "weights"))
    still = {"discriminator_learning_rate": 0.0, "generator_learning_rate": 0.0, "epochs": 1}
    train(tmp_path / "run", init_from=str(tmp_path / "weights"), **still)
    arrays = Checkpoints(tmp_path / "weights" / "checkpoints").load_newest().arrays
    begun = Checkpoints(tmp_path / "run" / "checkpoints").load_newest().arrays
    assert {array.dtype.name for array in arrays.values()} == {"float16"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(begun[name], array)
    with pytest.raises(ConfigError, match=r"stays as it is; `init_from=.*weights` starts a training with its weights"):
        train(tmp_path / "weights", epochs=3)
    assert sorted(path.name for path in (tmp_path / "weights").iterdir()) == ["checkpoints", "flags.cfg"]


def test_what_techniques_remember_starts_from_the_weights(tmp_path):
    train(tmp_path / "run", historical_averaging=0.1, epochs=1)
    export_weights(str(tmp_path / "run"), str(tmp_path / "weights"))
    model = load_run(tmp_path / "weights")
    [technique] = model.techniques
    means = technique.state_groups()["discriminator_history"]
    for mean, variable in zip(means, model.discriminator.trainable_variables):
        np.testing.assert_array_equal(mean.numpy(), variable.numpy())


def test_what_is_no_new_folder_is_refused(finished, tmp_path):
    for output in ("", str(tmp_path), "pretrained:mine"):
        with pytest.raises(ConfigError, match=f"must name a folder that is not there yet. Received: output={output}$"):
            export_weights(str(finished), output)
    with pytest.raises(ConfigError, match="`output` must not lie in `run_dir`"):
        export_weights(str(finished), f"{finished}/checkpoints/step-000000099")


def test_the_command(finished, tmp_path, capsys):
    done = outcome_of(
        ["--mode=export", f"--run_dir={finished}", f"--output={tmp_path}/weights", "--generator_only"],
        lambda: capsys.readouterr().out,
    )
    assert done.code == 0 and "weights: generator" in done.text, done.text
    assert (tmp_path / "weights" / "flags.cfg").is_file()
