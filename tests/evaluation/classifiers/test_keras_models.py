"""Keras models as classifiers."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("classifiers need the TensorFlow backend", allow_module_level=True)

from igan_tf.errors import EvaluationError
from igan_tf.evaluation import load_classifier
from igan_tf.evaluation.classifiers import keras_models
from igan_tf.evaluation.classifiers.files import digest_of
from igan_tf.layers import WeightNorm
from tests.evaluation.damage import altered


def build(last="logits"):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 1))
    hidden = keras.layers.Dense(5, activation="relu")(keras.layers.Flatten()(inputs))
    # One of this package's layers: it must be known without the user's help.
    outputs = WeightNorm(keras.layers.Dense(3))(hidden)
    if last == "softmax":
        outputs = keras.layers.Softmax()(outputs)
    if last == "dense_softmax":
        outputs = keras.layers.Dense(3, activation="softmax")(hidden)
    if last == "dict":
        outputs = {"logits": outputs, "features": hidden, "other": hidden + 1}
    return keras.Model(inputs, outputs), keras.Model(inputs, hidden)


def images():
    return np.random.default_rng(0).integers(0, 256, (4, 6, 6, 1), dtype="uint8")


@pytest.mark.parametrize("last", ["logits", "softmax", "dense_softmax", "dict"])
def test_a_file_of_the_users_own(tmp_path, last):
    model, features = build(last)
    path = tmp_path / "net.keras"
    model.save(path)
    classifier = load_classifier(str(path), trust_file=True, value_range=(-1, 1))
    assert classifier.from_logits == ("softmax" not in last)
    assert (classifier.name, classifier.digest) == ("net.keras", digest_of(path))
    assert classifier.input_size == (6, 6) and classifier.channels == 1
    outputs = classifier(images())
    pixels = images() / np.float32(127.5) - 1
    values = model(pixels)["logits"] if last == "dict" else model(pixels)
    np.testing.assert_allclose(outputs.values, values, atol=1e-5)
    np.testing.assert_allclose(outputs.features, features(pixels), atol=1e-5)


def test_a_sequential_model(tmp_path):
    layers = [keras.layers.Flatten(), keras.layers.Dense(5, activation="relu"), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((6, 6, 1)), *layers])
    model.save(tmp_path / "net.keras")
    outputs = load_classifier(str(tmp_path / "net.keras"), trust_file=True, value_range=(0, 1))(images())
    pixels = images() / np.float32(255)
    np.testing.assert_allclose(outputs.values, model(pixels), atol=1e-5)
    np.testing.assert_allclose(outputs.features, layers[1](layers[0](pixels)), atol=1e-5)


def test_code_in_a_file_is_refused_even_where_it_is_trusted(tmp_path):
    inputs = keras.Input((6, 6, 1))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x[:, 0, 0])(keras.layers.Conv2D(2, 1)(inputs)))
    path = tmp_path / "net.keras"
    model.save(path)
    with pytest.raises(EvaluationError, match=r"net.keras. cannot be read: .*(safe|unsafe|Lambda)"):
        load_classifier(str(path), trust_file=True, value_range=(0, 1))


def test_a_file_of_which_a_byte_is_altered(tmp_path):
    """Refused, or read as it was: here and there in its content, everywhere in the zip's directory at its end."""
    path = tmp_path / "net.keras"
    inputs = keras.Input((6, 6, 1))
    keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs))).save(path)
    whole, size = load_classifier(str(path), trust_file=True, value_range=(0, 1))(images()), path.stat().st_size
    directory = path.read_bytes().index(b"PK\x01\x02")
    refused = 0
    for place in altered(path, [*range(0, directory, 61), *range(directory, size)], (64,)):
        try:
            found = load_classifier(str(path), trust_file=True, value_range=(0, 1))
        except EvaluationError as error:
            refused += 1
            assert f"`name={path}` cannot be read: " in str(error)
            continue
        outputs = found(images())
        np.testing.assert_array_equal(outputs.values, whole.values, err_msg=str(place))
        np.testing.assert_array_equal(outputs.features, whole.features, err_msg=str(place))
    assert refused > directory / 61


def test_a_model_without_weights(tmp_path):
    inputs = keras.Input((6, 6, 1))
    keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)).save(tmp_path / "net.keras")
    with pytest.raises(EvaluationError, match=r"`name=net.keras` must return a dict .*a model without weights"):
        load_classifier(str(tmp_path / "net.keras"), trust_file=True, value_range=(0, 1))


def test_what_is_refused(tmp_path):
    path = tmp_path / "net.keras"
    build()[0].save(path)
    with pytest.raises(
        EvaluationError, match=r"`trust_file` must be True .*Received: trust_file=False name=.*net.keras"
    ):
        load_classifier(str(path), value_range=(0, 1))
    with pytest.raises(EvaluationError, match=r"`value_range` must be the pixel values"):
        load_classifier(str(path), trust_file=True)
    with pytest.raises(EvaluationError, match=r"`sha256` must be the digest"):
        load_classifier(str(path), trust_file=True, value_range=(0, 1), sha256="0" * 64)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(EvaluationError, match=r"net.keras. cannot be read"):
        load_classifier(str(path), trust_file=True, value_range=(0, 1))
    keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Conv2D(2, 1)]).save(path)
    with pytest.raises(EvaluationError, match=r"must return \(N, K\), or a dict"):
        load_classifier(str(path), trust_file=True, value_range=(0, 1))
    keras.Sequential([keras.Input((6,)), keras.layers.Dense(2)]).save(path)
    with pytest.raises(EvaluationError, match=r"must take one batch of images"):
        load_classifier(str(path), trust_file=True, value_range=(0, 1))


def test_no_inception_weights(tmp_path, monkeypatch):
    path = tmp_path / "weights.h5"
    path.write_bytes(b"no weights")
    monkeypatch.setattr(keras.applications, "InceptionV3", lambda **arguments: build()[0])
    with pytest.raises(EvaluationError, match=f"`name=keras_inception_v3`: {path} holds no InceptionV3 weights"):
        load_classifier("keras_inception_v3", path=path)


def test_inception_weights_of_which_a_byte_is_altered(tmp_path, monkeypatch):
    """HDF5 has no checksum of its data: only that there is a message, where the structure is damaged."""
    path = tmp_path / "model.weights.h5"
    build()[0].save_weights(path)
    monkeypatch.setattr(keras.applications, "InceptionV3", lambda **arguments: build()[0])
    refused = 0
    for _ in altered(path, range(0, path.stat().st_size, 211), (64,)):
        try:
            load_classifier("keras_inception_v3", path=path)
        except EvaluationError as error:
            refused += 1
            assert f"{path} holds no InceptionV3 weights" in str(error)
    assert refused > 5


def test_weights_are_an_h5_file_of_the_networks_size(tmp_path, monkeypatch):
    """A file of JSON would name others; an array that is not there takes no room in the file, but in memory."""
    import h5py

    monkeypatch.setattr(keras.applications, "InceptionV3", lambda **arguments: build()[0])
    with pytest.raises(EvaluationError, match=r"`path` must be an \.h5 file .* Received: path=model\.weights\.json"):
        load_classifier("keras_inception_v3", path="model.weights.json")
    path = tmp_path / "model.weights.h5"
    build()[0].save_weights(path)
    with h5py.File(path, "a") as file:
        file.create_dataset("more", (10**6, 10**6), "float32", chunks=True)
    with pytest.raises(EvaluationError, match=r"holds no InceptionV3 weights: its arrays take 4000\d+ bytes"):
        load_classifier("keras_inception_v3", path=path)
    path.unlink()
    (tmp_path / "elsewhere").write_bytes(bytes(64))
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/dense/vars/0", (4, 4), "float32", external=[(str(tmp_path / "elsewhere"), 0, 64)])
    with pytest.raises(EvaluationError, match="holds no InceptionV3 weights"):
        load_classifier("keras_inception_v3", path=path)


def test_inception_weights_that_cannot_be_fetched(monkeypatch):
    def fail(**arguments):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.applications, "InceptionV3", fail)
    with pytest.raises(EvaluationError, match=r"cannot be fetched: URL fetch failure; `path` takes a file"):
        load_classifier("keras_inception_v3", report=str)


def test_keras_keeps_what_it_fetched_where_it_is_looked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras.applications, "InceptionV3", lambda **arguments: None)
    assert keras_models._keras_weights().parent == tmp_path / "models"
    import keras.src.applications.inception_v3 as source

    assert source.WEIGHTS_PATH.endswith(keras_models._KERAS_FILE)


@pytest.mark.slow
def test_inception_v3_from_its_weights_file(tmp_path):
    model = keras.applications.InceptionV3(weights=None, classifier_activation=None)
    path = tmp_path / "inception.weights.h5"
    model.save_weights(path)
    classifier = load_classifier("keras_inception_v3", path=str(path), sha256=digest_of(path))
    batch = np.random.default_rng(0).integers(0, 256, (2, 299, 299, 3), dtype="uint8")
    outputs = classifier(batch)
    assert outputs.values.shape == (2, 1000) and outputs.features.shape == (2, 2048) and classifier.from_logits
    np.testing.assert_allclose(outputs.values, model(batch / np.float32(127.5) - 1), rtol=1e-3, atol=1e-5)
