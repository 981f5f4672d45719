"""The small network trained on the data's own images: what it learns, and what its cache may be trusted with."""

import dataclasses
import subprocess
import sys

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("classifiers need the TensorFlow backend", allow_module_level=True)

import tensorflow as tf

from igan_tf.data import load_data
from igan_tf.errors import EvaluationError
from igan_tf.evaluation import inception_score, load_classifier
from igan_tf.evaluation.classifiers import domain
from igan_tf.experiments.configs import build_config
from tests.command_line import environment
from tests.evaluation.damage import altered


@pytest.fixture(scope="module")
def digits():
    return load_data(build_config(dataset="digits"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def load(data, cache, report=str, **arguments):
    return load_classifier("domain", data=data, data_name="digits", cache_dir=cache, report=report, **arguments)


def small(data, count=200):
    return dataclasses.replace(data, train_images=data.train_images[:count], train_labels=data.train_labels[:count])


@pytest.fixture
def quick(monkeypatch):
    """Networks of a few steps: where it is not the figure that is tested."""
    monkeypatch.setitem(domain.SETTINGS, "least_steps", 5)
    monkeypatch.setitem(domain.SETTINGS, "epochs", 1)
    monkeypatch.setattr(domain.train_network, "__defaults__", (domain.SETTINGS["seed"], 5))


def test_it_knows_the_digits(digits, cache):
    lines = []
    classifier = load(digits, cache, lines.append)
    assert "training the domain classifier on 1198 images of digits" in lines[0] and "test error 0.0" in lines[1]
    outputs = classifier(digits.test_images)
    assert outputs.values.shape == (599, 10) and outputs.features.shape == (599, 128)
    error = np.mean(outputs.values.argmax(axis=1) != digits.test_labels)
    assert classifier.test_error == error < 0.03
    assert classifier.name == "domain(digits)" and classifier.input_size == (8, 8) and classifier.channels == 1
    # Ten classes, all of them there and told apart: near 10 for real images, near 1 for noise of one kind.
    real, _ = inception_score(outputs.values, 1)
    noise, _ = inception_score(classifier(np.random.default_rng(0).random((500, 8, 8, 1))).values, 1)
    assert 9 < real <= 10 and noise < 0.7 * real
    # And a second time it is the same one, without training.
    again = load(digits, cache, lines.append)
    assert again.test_error == error
    assert len(lines) == 2 and again.digest == classifier.digest
    np.testing.assert_array_equal(again(digits.test_images).values, outputs.values)


def test_other_data_or_settings_have_another_file(digits, tmp_path, quick, monkeypatch):
    data = small(digits)
    load(data, tmp_path)
    flipped = dataclasses.replace(data, train_labels=data.train_labels[::-1].copy())
    load(flipped, tmp_path)
    monkeypatch.setitem(domain.SETTINGS, "seed", 1)
    load(data, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_unlabelled_images_are_left_out(digits, tmp_path, quick):
    data = small(digits)
    images = np.concatenate([data.train_images, np.full((50, 8, 8, 1), 0.5, "float32")])
    labels = np.concatenate([data.train_labels, np.full(50, -1)])
    load(data, tmp_path)
    lines = []
    load(dataclasses.replace(data, train_images=images, train_labels=labels), tmp_path, lines.append)
    # The labelled images are the same ones: so is the network.
    assert lines == []


def test_its_error_is_of_the_test_images_that_there_are(digits, tmp_path, quick):
    data = small(digits)
    without = dataclasses.replace(data, test_images=data.test_images[:0], test_labels=data.test_labels[:0])
    relabelled = dataclasses.replace(data, test_labels=(data.test_labels + 1) % 10)
    lines = []
    assert load(without, tmp_path, lines.append).test_error is None
    assert lines[1:] == ["domain classifier: there are no test images"]
    classifier = load(data, tmp_path, pytest.fail)
    given = classifier(data.test_images).values.argmax(axis=1)
    for test_set in (data, relabelled, without):
        expected = np.mean(given != test_set.test_labels) if len(test_set.test_labels) else None
        assert load(test_set, tmp_path, pytest.fail).test_error == expected
    assert len(list(tmp_path.iterdir())) == 1


def test_training_touches_no_random_state_of_the_process(digits, quick):
    keras.utils.set_random_seed(3)
    expected = np.random.random(), float(tf.random.uniform(())), float(keras.random.uniform(()))
    keras.utils.set_random_seed(3)
    data = small(digits)
    domain.train_network(data.train_images, data.train_labels, 10)
    assert (np.random.random(), float(tf.random.uniform(())), float(keras.random.uniform(()))) == expected


def test_a_function_of_the_seed(digits, quick):
    data = small(digits)
    networks = [domain.train_network(data.train_images, data.train_labels, 10, seed) for seed in (0, 0, 1)]
    first, again, other = ([array.tobytes() for array in network.get_weights()] for network in networks)
    assert first == again and first != other


def test_altered_or_damaged_weights_are_refused(digits, tmp_path, quick):
    data = small(digits)
    load(data, tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    # Altered in full form, checksums and all.
    np.savez(path, **{**arrays, "weights_00": arrays["weights_00"] + 1e-3})
    with pytest.raises(EvaluationError, match=f"{path} was altered"):
        load(data, tmp_path)
    for content in (whole[: len(whole) // 2], whole[:3000] + bytes([whole[3000] ^ 1]) + whole[3001:], b""):
        path.write_bytes(content)
        with pytest.raises(EvaluationError, match=f"{path} (is damaged|was altered).*delete it"):
            load(data, tmp_path)
    path.write_bytes(whole)
    # The first entry of the zip's directory: what is not refused, such as a date, means nothing here.
    directory, refused = whole.index(b"PK\x01\x02"), 0
    digest = load(data, tmp_path).digest
    for place in altered(path, range(directory, directory + 46), (1, 64)):
        try:
            assert load(data, tmp_path).digest == digest, place
        except EvaluationError as error:
            refused += 1
            assert str(error).endswith("delete it to train anew")
    assert refused > 30


TRAIN_ALL_AT_ONCE = """
import sys, time
from pathlib import Path
from igan_tf.experiments.configs import build_config
from igan_tf.data import load_data
from igan_tf.evaluation import load_classifier
from igan_tf.evaluation.classifiers import domain

domain.train_network.__defaults__ = (0, 5)
domain.SETTINGS["epochs"] = 1
data = load_data(build_config(dataset="digits"))
ready = Path(sys.argv[2])
(ready / sys.argv[3]).touch()
while len(list(ready.iterdir())) < 2:
    time.sleep(0.001)
lines = []
print(load_classifier("domain", data=data, data_name="digits", cache_dir=sys.argv[1], report=lines.append).digest)
print(sum("training" in line for line in lines))
"""


def test_two_processes_that_want_the_same_network_at_once(tmp_path):
    """Both succeed, with the same one: the first trains it, the second waits."""
    (tmp_path / "ready").mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN_ALL_AT_ONCE, str(tmp_path / "cache"), str(tmp_path / "ready"), str(number)],
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(2)
    ]  # fmt: skip
    outcomes = [(*process.communicate(timeout=300), process.returncode) for process in processes]
    assert [code for _, _, code in outcomes] == [0, 0], outcomes
    (digest, trained), (other_digest, other_trained) = (text.split() for text, _, _ in outcomes)
    assert digest == other_digest and {trained, other_trained} == {"0", "1"}
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_named(digits, tmp_path, quick):
    (tmp_path / "file").write_text("")
    with pytest.raises(EvaluationError, match=f"^`cache_dir`: {tmp_path}/file/domain-.* cannot be written"):
        load(small(digits), tmp_path / "file")


def test_a_pinned_digest(digits, tmp_path, quick):
    data = small(digits)
    digest = load(data, tmp_path).digest
    assert load(data, tmp_path, sha256=digest).digest == digest
    with pytest.raises(EvaluationError, match=f"weights, {digest}. Received: sha256=00"):
        load(data, tmp_path, sha256="00")


def test_what_is_refused(digits, tmp_path):
    unlabelled = dataclasses.replace(digits, train_labels=np.full(len(digits.train_labels), -1))
    with pytest.raises(EvaluationError, match=r"`name=domain` needs labelled .*digits with 0 labelled images"):
        load(unlabelled, tmp_path)
    with pytest.raises(EvaluationError, match=r"of 1 class$"):
        load(dataclasses.replace(digits, class_names=("0",)), tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(EvaluationError, match=r"needs labelled images of at least 2 classes. Received: 0 images"):
        domain.train_network(np.zeros((0, 8, 8, 1)), np.zeros(0), 10)


@pytest.mark.parametrize("side", [1, 7, 8, 28, 32, 128])
def test_any_image_size(side):
    network = domain.build_network((side, side, 3), 4, seed=0)
    outputs = network(np.zeros((2, side, side, 3)))
    assert outputs["logits"].shape == (2, 4) and outputs["features"].shape == (2, 128)
    assert network.count_params() < 2e6
