"""Scores in the package's own runs: recorded, resumed bit for bit, and marking the best checkpoint."""

import json
import os
import shutil
import signal

import keras
import numpy as np
import pytest
from PIL import Image

if keras.backend.backend() != "tensorflow":
    pytest.skip("training needs the TensorFlow backend", allow_module_level=True)

from igan_tf.data import load_data
from igan_tf.errors import ConfigError, EvaluationError
from igan_tf.evaluation import frechet_distance, inception_score, load_classifier
from igan_tf.evaluation.classifiers.files import digest_of
from igan_tf.evaluation.images import chosen_indices
from igan_tf.experiments import runs, training_runs
from igan_tf.experiments.configs import build_config
from igan_tf.training import Checkpoints
from igan_tf.training.run_log import read_metrics
from igan_tf.training.train_function import TrainFunction
from igan_tf.training.trainer import Interrupted
from tests.command_line import assert_same_run, events, metrics, result, run_here
from tests.evaluation.tflite_files import convert, network

SETTINGS = {
    "dataset": "digits", "labels": 50, "batch_size": 400, "initialization_examples": 50, "epochs": 4,
    "score_epochs": 2, "score_samples": 60, "checkpoint_epochs": 4,
}  # fmt: skip
KEYS = {"inception_score", "inception_deviation", "real_inception_score", "frechet_distance", "kernel_distance"}


@pytest.fixture(autouse=True)
def _cache(digits_cache, monkeypatch):
    monkeypatch.setenv("IGAN_CACHE_DIR", str(digits_cache))


def train(run_dir, report=lambda line: None, **changes):
    return training_runs.train(build_config(**{**SETTINGS, **changes}), run_dir, report)


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
        assert {step for step, tag in events(finished) if tag == f"score/{key}"} == {4, 8}
    protocol = json.loads((finished / "score_protocol.json").read_text())
    assert protocol["classifier"]["name"] == "domain(digits)" and len(protocol["classifier"]["sha256"]) == 64
    assert protocol["num_samples"] == 60 and protocol["splits"] == 10 and protocol["reference"] == ["digits", "test"]
    found = result(finished)
    assert {key: found[key] for key in KEYS} == {key: lines[3][key] for key in KEYS}


def test_figures_are_those_of_the_functions(finished, digits_cache):
    data = load_data(build_config(dataset="digits"))
    classifier = load_classifier("domain", data=data, data_name="digits", cache_dir=digits_cache)
    fake = classifier(runs.load_run(finished).generate(60, 0))
    real = classifier(data.test_images[chosen_indices(599, 60, 0)])
    line = metrics(finished)[-1]
    assert line["inception_score"] == pytest.approx(inception_score(fake.values)[0], rel=1e-6)
    assert line["real_inception_score"] == pytest.approx(inception_score(real.values)[0], rel=1e-6)
    expected = frechet_distance(fake.features, real.features)
    assert line["frechet_distance"] == pytest.approx(expected, rel=1e-5)


def test_a_run_without_scores_trains_to_the_same_bits(tmp_path, finished):
    train(tmp_path / "run", score_epochs=0)
    (arrays, *_), (others, *_) = (
        Checkpoints(folder / "checkpoints").load(8) for folder in (finished, tmp_path / "run")
    )
    assert all(array.tobytes() == others[name].tobytes() for name, array in arrays.items())
    assert not KEYS & set(metrics(tmp_path / "run")[-1]) and "best_score" not in result(tmp_path / "run")
    assert not (tmp_path / "run" / "score_protocol.json").exists()


@pytest.mark.parametrize("step", [4, 6], ids=["scored_edge", "other_edge"])
def test_stopped_and_continued_is_bit_equal(tmp_path, finished, monkeypatch, step):
    original = TrainFunction.__call__

    def run(self, batch, number, stop):
        if number + 1 == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, number, stop)

    with monkeypatch.context() as patch:
        patch.setattr(TrainFunction, "__call__", run)
        with pytest.raises(Interrupted):
            train(tmp_path / "run")
    train(tmp_path / "run")
    assert_same_run(tmp_path / "run", finished)


def test_a_scored_epoch_is_checkpointed_and_the_best_stays(tmp_path, monkeypatch):
    """The best of four scored epochs is the first: pruning keeps it, beside the last two and the lowest error."""
    from igan_tf.evaluation.callback import PeriodicScores

    scores = iter([5.0, 3.0, 4.0, 2.0])

    def scored(self):
        return {"inception_score": next(scores), "inception_deviation": 0.1}

    monkeypatch.setattr(PeriodicScores, "__call__", scored)
    train(tmp_path, score_epochs=1)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    _, position, _ = checkpoints.load_newest()
    assert position["best_score"] == {"step": 2, "name": "inception_score", "value": 5.0}
    assert set(checkpoints.steps()) == {2, 6, 8, position["best"]["step"]}
    assert result(tmp_path)["best_score"] == position["best_score"]


def test_a_run_of_version_0_1_is_continued(tmp_path, finished, monkeypatch):
    """Its names of scores carried the protocol: in its lines, and in the best score of its checkpoints."""
    run_dir = shutil.copytree(finished, tmp_path / "run")
    written = read_metrics(finished / "metrics.jsonl")
    early = [{f"{key}_domain_digits_n60" if key in KEYS else key: line[key] for key in line} for line in written]
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in early))
    checkpoints = Checkpoints(run_dir / "checkpoints")
    arrays, position, _ = checkpoints.load_newest()
    best = position["best_score"]
    position["best_score"] = {**best, "name": "inception_score_domain_digits_n60"}
    shutil.rmtree(checkpoints.path(8))
    checkpoints.save(8, arrays, position, [best["step"]])
    # As it was finished, its result is that of the copy.
    train(run_dir)
    assert result(run_dir) == result(finished) and metrics(run_dir) == metrics(finished)
    # And of the scores that follow none is higher.
    from igan_tf.evaluation.callback import PeriodicScores

    monkeypatch.setattr(PeriodicScores, "__call__", lambda self: {"inception_score": 0.5})
    train(run_dir, epochs=6)
    assert result(run_dir)["best_score"] == best and metrics(run_dir)[5]["inception_score"] == 0.5


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
        ({"score_epochs": -1}, r"`score_epochs` must be at least 0. Received: score_epochs=-1"),
        ({"score_samples": 19}, r"`score_samples` must be at least 20. Received: score_samples=19"),
        ({"score_classifier": "own.keras"}, r"`score_classifier` must be one of inception, .*=own.keras"),
        (
            {"score_classifier_range": "0,1"},
            r"`score_classifier_range` is for a .tflite .*score_classifier_range=0,1 score_classifier=domain",
        ),
        (
            {"score_classifier": "own.tflite", "score_classifier_range": "1"},
            r"`score_classifier_range` must be black,white, .*Received: score_classifier_range=1$",
        ),
        ({"score_classifier": "own.tflite", "score_classifier_range": "1,0"}, r"must be black,white.*=1,0"),
        ({"score_classifier": "own.tflite", "score_classifier_range": "-inf,0"}, r"must be black,white.*=-inf,0"),
    ],
)
def test_wrong_settings(changes, message):
    with pytest.raises(ConfigError, match=message):
        build_config(**{**SETTINGS, **changes})


def test_a_classifier_that_is_not_there_ends_the_run_before_it_begins(tmp_path, capfd):
    with pytest.raises(EvaluationError, match=r"none.tflite cannot be read"):
        train(tmp_path / "run", score_classifier="none.tflite")
    assert not (tmp_path / "run").exists()
    outcome = run_here(
        capfd, "--dataset=digits", "--labels=50", "--score_epochs=1", "--score_classifier=none.tflite",
        f"--run_dir={tmp_path / 'other'}",
    )  # fmt: skip
    assert outcome.code == 1 and "none.tflite cannot be read" in outcome.text and "Traceback" not in outcome.text
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two .tflite classifiers of floats."""
    folder = tmp_path_factory.mktemp("files")
    return [convert(network(True, seed)[0], folder / f"{seed}.tflite") for seed in range(2)]


def test_a_tflite_of_floats_gets_its_range(tmp_path, files):
    with pytest.raises(EvaluationError, match=r"^`score_classifier_range` must be the pixel values .* float32"):
        train(tmp_path / "run", score_classifier=str(files[0]))
    train(tmp_path / "run", score_classifier=str(files[0]), score_classifier_range="-1,1", score_samples=200, epochs=2)
    samples = runs.load_run(tmp_path / "run").generate(200, 0)
    expected, other = (
        inception_score(load_classifier(str(files[0]), value_range=pixels)(samples).values, from_logits=False)[0]
        for pixels in ((-1, 1), (0, 1))
    )
    found = metrics(tmp_path / "run")[-1]["inception_score"]
    assert found == pytest.approx(expected, rel=1e-6) and abs(found - other) > 1e-4 * other


def test_another_classifier_of_the_same_name_is_refused_on_resuming(tmp_path, files, monkeypatch):
    run_dir = tmp_path / "run"
    monkeypatch.chdir(tmp_path)
    shutil.copy(files[0], "own.tflite")
    settings = {"score_classifier": "own.tflite", "score_classifier_range": "0,1", "score_epochs": 1}
    train(run_dir, **settings, epochs=1)
    protocol, before = run_dir / "score_protocol.json", metrics(run_dir)
    shutil.copy(files[1], "own.tflite")
    for changes in ({}, {"score_classifier": "domain", "score_classifier_range": ""}):
        with pytest.raises(EvaluationError) as caught:
            train(run_dir, **{**settings, **changes, "epochs": 3})
        text = str(caught.value)
        digests = [digest_of(files[0]), digest_of(files[1]) if not changes else ""]
        assert str(protocol) in text and all(digest in text for digest in digests)
        assert "`score_classifier`" in text and "`score_epochs=0`" in text and "`run_dir`" in text
        assert ("classifier name: 'own.tflite' there, 'domain(digits)' now" in text) == bool(changes)
    assert metrics(run_dir) == before and Checkpoints(run_dir / "checkpoints").steps() == [2]
    # The range is part of what the figures stand for.
    shutil.copy(files[0], "own.tflite")
    with pytest.raises(EvaluationError, match=r"classifier protocol: .*\[0, 1\].* there, .*\[-1, 1\].* now"):
        train(run_dir, **{**settings, "score_classifier_range": "-1,1", "epochs": 3})
    # Without scores it goes on; and with the same file, wherever it lies now.
    shutil.copy(files[1], "own.tflite")
    train(run_dir, **{**settings, "score_epochs": 0, "epochs": 2})
    (tmp_path / "moved").mkdir()
    train(run_dir, **{**settings, "score_classifier": str(shutil.copy(files[0], "moved/own.tflite")), "epochs": 3})
    assert ["inception_score" in line for line in metrics(run_dir)] == [True, False, True]


def test_a_protocol_that_cannot_be_read_is_named(tmp_path, finished):
    run_dir = shutil.copytree(finished, tmp_path / "run")
    whole = json.loads((run_dir / "score_protocol.json").read_text())
    forged = [{**whole, "num_samples": "many"}, {**whole, "splits": -1}, {**whole, "more": []}]
    forged += [{**whole, "classifier": {**whole["classifier"], "path": "/"}}]
    for content in ("{", "[]", "{}", '{"classifier": {}}', *map(json.dumps, forged)):
        (run_dir / "score_protocol.json").write_text(content)
        with pytest.raises(EvaluationError, match=f"^{run_dir}/score_protocol.json is damaged: .*`score_epochs=0`"):
            train(run_dir, epochs=5)
    # Of a run that ended before its first checkpoint no curve is continued.
    (run_dir / "score_protocol.json").write_text("{")
    shutil.rmtree(run_dir / "checkpoints")
    for name in ("metrics.jsonl", "result.json"):
        (run_dir / name).unlink()
    train(run_dir, epochs=1)
    assert json.loads((run_dir / "score_protocol.json").read_text()) == whole


def test_too_few_real_images_are_refused_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setenv("IGAN_CACHE_DIR", str(tmp_path / "cache"))
    # 400,000 samples make 391 blocks of the kernel distance.
    with pytest.raises(
        EvaluationError,
        match=r"at least 782 images of each set, .* score_samples=400000 and 599 real images in the test set of "
        "`dataset=digits`; `score_epochs=0`",
    ):
        train(tmp_path / "run", score_samples=400000, supervised_baseline=True)
    assert list(tmp_path.iterdir()) == []
    # Fewer than there are splits.
    for index in range(30):
        (tmp_path / "images" / str(index % 2)).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype="uint8")
        Image.fromarray(pixels).save(tmp_path / "images" / str(index % 2) / f"{index}.png")
    few = {"dataset": "folder", "data_dir": str(tmp_path / "images"), "labels": 2, "batch_size": 10, "image_size": 8}
    with pytest.raises(
        EvaluationError, match=r"at least 10 images of each set, .*=60 and 6 real images in the test set"
    ):
        train(tmp_path / "run", **few)
    assert not (tmp_path / "run").exists() and not (tmp_path / "cache").exists()
    train(tmp_path / "run", **few, epochs=1, score_epochs=0)


def test_images_without_classes_have_no_domain(tmp_path):
    for index in range(30):
        pixels = np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype="uint8")
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{index}.png")
    with pytest.raises(EvaluationError, match=r"^`score_classifier=domain` needs labelled training images"):
        train(
            tmp_path / "run", dataset="folder", data_dir=str(tmp_path / "images"), labels=0, batch_size=10, image_size=8
        )
