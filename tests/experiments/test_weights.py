"""Runs of weights alone: the same samples, classes and start for others, in a tenth of the bytes."""

import json

import numpy as np
import pytest

from igan_tf import load_run
from igan_tf.errors import ConfigError
from igan_tf.experiments import runs
from igan_tf.experiments.run_directory import read_config
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
    errors = runs.test_errors(tmp_path / "weights")
    assert errors["test_error"] == errors["averaged_test_error"]
    assert errors["test_error"] == pytest.approx(runs.test_errors(averaging)["averaged_test_error"], abs=0.006)
    # Adam's two slots, the average, and half of each number.
    assert bytes_of(tmp_path / "weights") < 0.16 * bytes_of(averaging)


def test_nothing_tells_of_the_machine(finished, tmp_path):
    config = read_config(finished)
    assert config.network == "auto"
    labels = tmp_path / "labels.csv"
    labels.write_text("".join(f"{index},{index % 10}\n" for index in range(50)))
    train(tmp_path / "run", label_file=str(labels), epochs=1)
    export_weights(str(tmp_path / "run"), str(tmp_path / "weights"))
    position = Checkpoints(tmp_path / "weights" / "checkpoints").load_newest().position
    assert str(tmp_path) not in (tmp_path / "weights" / "flags.cfg").read_text() + json.dumps(position)


def test_a_generator_alone_samples_and_says_what_it_lacks(finished, tmp_path):
    export_weights(str(finished), str(tmp_path / "weights"), generator_only=True)
    model = load_run(tmp_path / "weights")
    np.testing.assert_allclose(model.generate(5, seed=0), load_run(finished).generate(5, seed=0), atol=0.01)
    for use in (lambda: model.discriminator.summary(), lambda: runs.test_errors(tmp_path / "weights")):
        with pytest.raises(ConfigError, match="weights` holds the weights of its generator alone"):
            use()
    with pytest.raises(CheckpointError, match="discriminator/001: not in the checkpoint"):
        train(tmp_path / "other", init_from=str(tmp_path / "weights"))


def test_another_training_starts_from_them_and_none_continues_them(finished, tmp_path):
    export_weights(str(finished), str(tmp_path / "weights"))
    still = {"discriminator_learning_rate": 0.0, "generator_learning_rate": 0.0, "epochs": 1}
    train(tmp_path / "run", init_from=str(tmp_path / "weights"), **still)
    arrays = Checkpoints(tmp_path / "weights" / "checkpoints").load_newest().arrays
    begun = Checkpoints(tmp_path / "run" / "checkpoints").load_newest().arrays
    assert {array.dtype.name for array in arrays.values()} == {"float16"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(begun[name], array)
    with pytest.raises(CheckpointError, match="holds weights alone, from which no training continues"):
        train(tmp_path / "weights", epochs=3)


def test_what_is_no_new_folder_is_refused(finished, tmp_path):
    (tmp_path / "file").write_text("")
    for output in ("", str(tmp_path), str(tmp_path / "file")):
        with pytest.raises(ConfigError, match=f"`output` must name a new folder. Received: output={output}$"):
            export_weights(str(finished), output)


def test_the_command(finished, tmp_path, capsys):
    done = outcome_of(
        ["--mode=export", f"--run_dir={finished}", f"--output={tmp_path}/weights", "--generator_only"],
        lambda: capsys.readouterr().out,
    )
    assert done.code == 0 and "weights: generator" in done.text, done.text
    assert (tmp_path / "weights" / "flags.cfg").is_file()
