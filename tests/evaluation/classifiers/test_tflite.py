"""A .tflite file as a classifier: one made here, and the real ImageNet one."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("classifiers need the TensorFlow backend", allow_module_level=True)

import tensorflow as tf

from igan_tf.errors import EvaluationError
from igan_tf.evaluation import load_classifier
from igan_tf.evaluation.classifiers.files import digest_of
from tests.evaluation.tflite_files import convert, network


def images(count=5, size=8):
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3), dtype="uint8")


@pytest.mark.parametrize("softmax", [True, False], ids=["softmax", "logits"])
def test_floats_and_features(tmp_path, softmax):
    model, features = network(softmax)
    path = convert(model, tmp_path / "net.tflite")
    classifier = load_classifier(str(path), value_range=(-1, 1))
    assert classifier.from_logits == (not softmax) and classifier.name == "net.tflite"
    assert classifier.digest == digest_of(path)
    pixels = images() / np.float32(127.5) - 1
    outputs = classifier(images())
    np.testing.assert_allclose(outputs.values, model(pixels), atol=1e-5)
    np.testing.assert_allclose(outputs.features, features(pixels), atol=1e-5)


def test_quantized(tmp_path):
    model, features = network(softmax=True)
    path = convert(model, tmp_path / "net.tflite", quantized=True)
    classifier = load_classifier(str(path))
    assert not classifier.from_logits and classifier.whole_pixels and classifier.value_range == (0, 255)
    outputs = classifier(images())
    # Steps of 1/256 in the probabilities, and of about a hundredth of the largest feature.
    np.testing.assert_allclose(outputs.values, model(images().astype("float32")), atol=0.05)
    expected = np.asarray(features(images().astype("float32")))
    np.testing.assert_allclose(outputs.features, expected, atol=0.03 * expected.max())
    with pytest.raises(EvaluationError, match=r"`value_range` is for .* takes uint8.* Received: value_range=0,1$"):
        load_classifier(str(path), value_range=(0, 1))
    assert (outputs.values * 256 == np.round(outputs.values * 256)).all()


def test_an_image_gets_the_same_whatever_else_is_in_its_batch(tmp_path):
    path = convert(network(True)[0], tmp_path / "net.tflite")
    classifier = load_classifier(str(path), value_range=(0, 1))
    together = classifier(images(33))
    alone = [classifier(image[None]) for image in images(33)]
    np.testing.assert_array_equal(together.values, np.concatenate([one.values for one in alone]))
    np.testing.assert_array_equal(together.features, np.concatenate([one.features for one in alone]))


def test_what_is_refused(tmp_path):
    model, _ = network(True)
    path = convert(model, tmp_path / "net.tflite")
    with pytest.raises(EvaluationError, match=r"`value_range` must be the pixel values .* float32"):
        load_classifier(str(path))
    with pytest.raises(EvaluationError, match=f"`sha256` must be the digest of {path}"):
        load_classifier(str(path), value_range=(0, 1), sha256="1" * 64)
    text = tmp_path / "text.tflite"
    text.write_text("no flatbuffer")
    with pytest.raises(EvaluationError, match=r"^`name=.*text.tflite` is no image classifier that can be read"):
        load_classifier(str(text))
    vectors = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
    with pytest.raises(
        EvaluationError, match=r"must take \(1, height, width, 3\) and give \(1, K\). Received: \(1, 5\)"
    ):
        load_classifier(str(convert(vectors, tmp_path / "vectors.tflite")), value_range=(0, 1))


def test_tensorflows_operations_in_it_do_not_run(tmp_path):
    """They could write files; TFLite's own cannot."""

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), tf.float32)], autograph=False)
    def call(images):
        tf.io.write_file(str(tmp_path / "written"), "written")
        return tf.reduce_mean(images, (1, 2)) @ tf.ones((3, 4))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([call.get_concrete_function()], tf.Module())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    path = tmp_path / "writes.tflite"
    path.write_bytes(converter.convert())
    with pytest.raises(EvaluationError, match=r"^`name=.*writes.tflite` is no image classifier .*FlexWriteFile"):
        load_classifier(str(path), value_range=(0, 1))
    assert not (tmp_path / "written").exists()


def test_the_real_one(real_data_dir):
    path = real_data_dir / "classifiers" / "mobilenet_v2_imagenet_uint8.tflite"
    classifier = load_classifier(str(path))
    assert not classifier.from_logits and classifier.input_size == (224, 224) and classifier.whole_pixels
    from igan_tf.evaluation.folder_images import FolderSource

    source = FolderSource(real_data_dir / "imagenet_sample")
    source.fit((224, 224))
    labels = (real_data_dir / "classifiers" / "imagenet_labels.txt").read_text().splitlines()
    positions = np.arange(0, 1000, 25)
    batch = np.concatenate(list(source.batches(40, positions)))
    outputs = classifier(batch, source.image_range)
    assert outputs.values.shape == (40, 1001) and outputs.features.shape == (40, 1280) and len(labels) == 1001
    # One image a class in the order of classes, after the background. Of all 1,000 it is right on 85.9 %.
    correct = np.mean(outputs.values.argmax(axis=1) == positions + 1)
    assert correct > 0.7
    assert outputs.features.min() >= 0 and outputs.features.max() > 1
