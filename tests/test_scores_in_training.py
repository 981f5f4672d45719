"""Scores in the package's own runs: recorded, resumed bit for bit, and marking the best checkpoint."""

import json
import os
import shutil
import signal

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("training needs the TensorFlow backend", allow_module_level=True)

from igan_tf import experiment
from igan_tf.config import Config, ConfigError
from igan_tf.data import load_data
from igan_tf.evaluation import EvaluationError, frechet_distance, inception_score, load_classifier
from igan_tf.evaluation.images import chosen_indices
from igan_tf.training import Checkpoints, Trainer
from igan_tf.training.trainer import Interrupted
from tests.command_line import assert_same_run, events, metrics, result, run_here

SETTINGS = {
    "dataset": "digits", "labels": 50, "batch_size": 400, "initialization_examples": 50, "epochs": 4,
    "score_epochs": 2, "score_samples": 60, "checkpoint_epochs": 4,
}  # fmt: skip
SUFFIX = "domain_digits_n60"
KEYS = {
    f"{name}_{SUFFIX}"
    for name in (
        "inception_score",
        "inception_deviation",
        "real_inception_score",
        "frechet_distance",
        "kernel_distance",
    )
}


@pytest.fixture(autouse=True)
def _cache(digits_cache, monkeypatch):
    monkeypatch.setenv("IGAN_CACHE_DIR", str(digits_cache))


def train(run_dir, report=lambda line: None, **changes):
    return experiment.train(Config(**{**SETTINGS, **changes}), run_dir, report)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, digits_cache):
    before = os.environ.get("IGAN_CACHE_DIR")
    os.environ["IGAN_CACHE_DIR"] = str(digits_cache)
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(folder)
    os.environ.pop("IGAN_CACHE_DIR")
    if before is not None:
        os.environ["IGAN_CACHE_DIR"] = before
    return folder


def test_scored_epochs_have_figures_everywhere(finished):
    lines = metrics(finished)
    assert [bool(KEYS & set(line)) for line in lines] == [False, True, False, True]
    assert set(lines[3]) >= KEYS
    for key in KEYS:
        assert {step for step, tag in events(finished) if tag == key} == {4, 8}
    protocol = json.loads((finished / "score_protocol.json").read_text())
    assert protocol["classifier"]["name"] == "domain(digits)" and len(protocol["classifier"]["sha256"]) == 64
    assert protocol["num_samples"] == 60 and protocol["splits"] == 10 and protocol["reference"] == ["digits", "test"]
    found = result(finished)
    assert {key: found[key] for key in KEYS} == {key: lines[3][key] for key in KEYS}


def test_figures_are_those_of_the_functions(finished, digits_cache):
    data = load_data(Config(dataset="digits"))
    classifier = load_classifier("domain", data=data, data_name="digits", cache_dir=digits_cache)
    fake = classifier(experiment.load_run(finished).generate(60, 0))
    real = classifier(data.test_images[chosen_indices(599, 60, 0)])
    line = metrics(finished)[-1]
    assert line[f"inception_score_{SUFFIX}"] == pytest.approx(inception_score(fake.values)[0], rel=1e-6)
    assert line[f"real_inception_score_{SUFFIX}"] == pytest.approx(inception_score(real.values)[0], rel=1e-6)
    expected = frechet_distance(fake.features, real.features)
    assert line[f"frechet_distance_{SUFFIX}"] == pytest.approx(expected, rel=1e-5)


def test_a_run_without_scores_trains_to_the_same_bits(tmp_path, finished):
    train(tmp_path / "run", score_epochs=0)
    (arrays, _), (others, _) = (Checkpoints(folder / "checkpoints").load(8) for folder in (finished, tmp_path / "run"))
    assert all(array.tobytes() == others[name].tobytes() for name, array in arrays.items())
    assert not KEYS & set(metrics(tmp_path / "run")[-1]) and "best_score" not in result(tmp_path / "run")
    assert not (tmp_path / "run" / "score_protocol.json").exists()


@pytest.mark.parametrize("step", [4, 6], ids=["scored_edge", "other_edge"])
def test_stopped_and_continued_is_bit_equal(tmp_path, finished, monkeypatch, step):
    original = Trainer._make_train_function

    def make_train_function(self):
        function = original(self)

        def run(*arguments):
            if self.step + 1 == step:
                os.kill(os.getpid(), signal.SIGTERM)
            return function(*arguments)

        return run

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_make_train_function", make_train_function)
        with pytest.raises(Interrupted):
            train(tmp_path / "run")
    train(tmp_path / "run")
    assert_same_run(tmp_path / "run", finished)


def test_a_scored_epoch_is_checkpointed_and_the_best_stays(tmp_path, monkeypatch):
    """The best of four scored epochs is the first: pruning keeps it, beside the last two and the lowest error."""
    from igan_tf.evaluation.callback import PeriodicScores

    scores = iter([5.0, 3.0, 4.0, 2.0])

    def scored(self):
        return {f"inception_score_{self.suffix}": next(scores), f"inception_deviation_{self.suffix}": 0.1}

    monkeypatch.setattr(PeriodicScores, "__call__", scored)
    train(tmp_path, score_epochs=1)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    _, position = checkpoints.load_newest()
    assert position["best_score"] == {"step": 2, "name": f"inception_score_{SUFFIX}", "value": 5.0}
    assert set(checkpoints.steps()) == {2, 6, 8, position["best"]["step"]}
    assert result(tmp_path)["best_score"] == position["best_score"]


def test_the_supervised_baseline_is_not_scored(tmp_path):
    train(tmp_path, epochs=2, supervised_baseline=True)
    assert set(metrics(tmp_path)[-1]) >= KEYS
    assert not KEYS & set(metrics(tmp_path / "supervised")[-1])


def test_the_last_epoch_is_scored_whatever_its_number(tmp_path):
    train(tmp_path, epochs=3, score_epochs=2)
    assert [bool(KEYS & set(line)) for line in metrics(tmp_path)] == [False, True, True]


def test_more_scores_may_be_asked_for_on_resuming(tmp_path, finished):
    run_dir = shutil.copytree(finished, tmp_path / "run")
    train(run_dir, epochs=5, score_epochs=1)
    assert set(metrics(run_dir)[4]) >= KEYS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score_epochs": -1}, r"--score_epochs must be at least 0. Received: --score_epochs=-1"),
        ({"score_samples": 19}, r"--score_samples must be at least 20. Received: --score_samples=19"),
        ({"score_classifier": "own.keras"}, r"--score_classifier must be one of inception, .*=own.keras"),
    ],
)
def test_wrong_settings(changes, message):
    with pytest.raises(ConfigError, match=message):
        Config(**{**SETTINGS, **changes})


def test_a_classifier_that_is_not_there_ends_the_run_before_it_begins(tmp_path, capfd):
    with pytest.raises(EvaluationError, match=r"none.tflite cannot be read"):
        train(tmp_path / "run", score_classifier="none.tflite")
    assert not list((tmp_path / "run").glob("[!.]*"))
    outcome = run_here(
        capfd, "--dataset=digits", "--labels=50", "--score_epochs=1", "--score_classifier=none.tflite",
        f"--run_dir={tmp_path / 'other'}",
    )  # fmt: skip
    assert outcome.code == 1 and "none.tflite cannot be read" in outcome.text and "Traceback" not in outcome.text


def test_images_without_classes_have_no_domain(tmp_path):
    from PIL import Image

    for index in range(30):
        pixels = np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype="uint8")
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{index}.png")
    with pytest.raises(EvaluationError, match=r"--classifier=domain needs labelled training images"):
        train(
            tmp_path / "run", dataset="folder", data_dir=str(tmp_path / "images"), labels=0, batch_size=10, image_size=8
        )
