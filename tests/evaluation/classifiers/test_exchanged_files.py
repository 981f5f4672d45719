"""Every way to load a classifier's file: exchanged under its name after it was checked, the other is never read."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("classifiers need the TensorFlow backend", allow_module_level=True)

import igan_tf
import igan_tf.saved_models
from igan_tf.errors import EvaluationError
from igan_tf.evaluation import load_classifier
from igan_tf.evaluation.classifiers import files
from tests.evaluation.graphs_with_code import Nothing, frozen, saved
from tests.evaluation.inception_graphs import pack
from tests.evaluation.tflite_files import convert, network


def flat(path):
    inputs = keras.Input((6, 6, 1))
    keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs))).save(path)
    return path


FORMS = {
    "tflite": (lambda folder: convert(network(True)[0], folder / "net.tflite"), {"value_range": (0, 1)}),
    "keras": (lambda folder: flat(folder / "net.keras"), {"value_range": (0, 1), "trust_file": True}),
    "frozen graph": (lambda folder: frozen(Nothing, "", folder), {}),
    "archive": (lambda folder: pack(frozen(Nothing, "", folder)), {}),
    "saved model": (lambda folder: saved(Nothing, "", folder), {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_bytes_that_were_checked_are_those_that_are_used(tmp_path, monkeypatch, form):
    make, arguments = FORMS[form]
    path = make(tmp_path)
    name, place = (path, {}) if path.suffix in (".tflite", ".keras") else ("inception", {"path": path})
    digest_of = files.digest_of

    def exchange(checked):
        digest = digest_of(checked)
        # From here on it is another.
        for file in [path] if path.is_file() else path.rglob("*.pb"):
            file.write_bytes(b"another")
        return digest

    monkeypatch.setattr(files, "digest_of", exchange)
    load_classifier(str(name), **place, **arguments)
    assert path.is_dir() or path.read_bytes() == b"another"
    with pytest.raises(EvaluationError):
        load_classifier(str(name), **place, **arguments)


def test_a_model_that_is_loaded_is_the_one_whose_configuration_was_checked(tmp_path, monkeypatch):
    path = flat(tmp_path / "net.keras")
    expected = keras.saving.load_model(path)
    read = igan_tf.saved_models._read_config

    def exchange(checked):
        config = read(checked)
        path.write_bytes(b"another")
        return config

    monkeypatch.setattr(igan_tf.saved_models, "_read_config", exchange)
    images = np.ones((1, 6, 6, 1), "float32")
    np.testing.assert_array_equal(igan_tf.load_model(path)(images), expected(images))
