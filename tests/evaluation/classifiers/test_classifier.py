"""The one interface: what reaches the network, and what is refused before it does."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("classifiers need the TensorFlow backend", allow_module_level=True)

import tensorflow as tf

from igan_tf.errors import EvaluationError
from igan_tf.evaluation import as_classifier, load_classifier


def recorder(value_range=(0.0, 1.0), **arguments):
    """A classifier that returns the pixels which reached it."""
    seen = []

    def function(images):
        seen.append(np.asarray(images))
        return tf.reshape(images, (len(images), -1))

    return as_classifier(function, "recorder", value_range, **arguments), seen


def uint8_images(count=3, size=(4, 4), channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *size, channels), dtype="uint8")


def test_ranges_are_mapped_to_the_networks():
    images = uint8_images()
    unit = images / 255
    for value_range in ((0, 1), (-1, 1), (0, 255), (-1, 127 / 128)):
        low, high = value_range
        expected = low + unit * (high - low)
        for given, image_range in ((images, None), (unit.astype("float32"), None), (2 * unit - 1, (-1, 1))):
            classifier, seen = recorder(value_range)
            classifier(given, image_range)
            # float32 on the way.
            np.testing.assert_allclose(seen[0], expected, rtol=1e-6, atol=1e-6 * (high - low))


def test_bytes_of_the_networks_own_size_arrive_as_they_are():
    images = uint8_images()
    classifier, seen = recorder((0, 255), input_size=(4, 4))
    classifier.whole_pixels = True
    classifier(images)
    np.testing.assert_array_equal(seen[0], images)


def test_grey_becomes_rgb_and_batches_are_cut():
    images = uint8_images(7, channels=1)
    classifier, seen = recorder()
    outputs = classifier(images, batch_size=3)
    assert [len(batch) for batch in seen] == [3, 3, 1]
    np.testing.assert_allclose(np.concatenate(seen), np.repeat(images, 3, axis=-1) / 255, rtol=1e-6)
    assert outputs.values.shape == (7, 48) and outputs.values.dtype == "float32"
    # Without features of its own, the logits serve.
    np.testing.assert_array_equal(outputs.values, outputs.features)


def resize_oracle(row, size):
    """Bilinear interpolation of a row of pixels, half-pixel centres; a triangle as wide as a new pixel to shrink."""
    scale = len(row) / size
    support = max(scale, 1.0)
    result = []
    for index in range(size):
        centre = (index + 0.5) * scale
        weights = [max(0.0, 1 - abs(position + 0.5 - centre) / support) for position in range(len(row))]
        result.append(sum(w * pixel for w, pixel in zip(weights, row)) / sum(weights))
    return result


@pytest.mark.parametrize("sizes", [((4, 4), (8, 12)), ((9, 12), (3, 5)), ((3, 10), (6, 5)), ((5, 5), (5, 5))], ids=str)
def test_the_resize_is_the_documented_one(sizes):
    before, after = sizes
    images = uint8_images(2, before, 1)
    classifier, seen = recorder(input_size=after, channels=1)
    classifier(images)
    expected = images[..., 0] / 255
    expected = np.apply_along_axis(resize_oracle, 1, expected, after[0])
    expected = np.apply_along_axis(resize_oracle, 2, expected, after[1])
    np.testing.assert_allclose(seen[0][..., 0], expected, atol=1e-5)


def test_features_by_dict_or_pair():
    for function in (
        lambda images: {"logits": images[:, 0, 0], "features": images[:, 0]},
        lambda images: (images[:, 0, 0], images[:, 0]),
    ):
        outputs = as_classifier(function, "two", (0, 1))(uint8_images())
        assert outputs.values.shape == (3, 3) and outputs.features.shape == (3, 12)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (lambda images: (np.ones((len(images), 5)), np.ones((1, 4))), r"each of 3 images. .* \(3, 5\) and \(1, 4\)"),
        (lambda images: (np.ones((len(images), 5)), np.float32(1)), r"for each of 3 images. .* \(3, 5\) and \(\)"),
        (lambda images: (np.ones((len(images), 5)), None), r"\(3, K\) logits for 3 images, and features"),
        (lambda images: {"logits": np.ones((len(images), 5)), "features": None}, "and features"),
        (lambda images: [np.ones((len(images), 5))] * 3, "a pair of logits and features. Received: 3 outputs"),
    ],
)
def test_outputs_that_are_not_a_row_for_each_image_are_refused(outputs, message):
    classifier = as_classifier(outputs, "odd", (0, 1))
    with pytest.raises(EvaluationError, match=message):
        classifier(np.zeros((3, 4, 4, 3), "uint8"))


@pytest.mark.parametrize(
    ("values", "features", "from_logits", "message"),
    [
        (
            [[0.5, 0.5], [-1.0, 2.0]],
            1.0,
            False,
            r"none of them negative .*=True\. Received: values from -1 to",
        ),
        ([[0.5, 0.5], [0.0, 0.0]], 1.0, False, "not all of a row 0"),
        ([[0.5, 0.7], [-np.inf, 2.0]], 1.0, True, "odd must give finite values"),
        ([[0.5, 0.7], [1.0, 2.0]], np.nan, True, "odd must give finite features"),
        ([[0.5, 0.5], [0.25, 0.75]], 1.0, True, "probabilities where logits are expected"),
    ],
)
def test_outputs_that_no_score_can_take_are_refused_at_once(values, features, from_logits, message):
    outputs = (np.array(values, "float32"), np.full((2, 3), features, "float32"))
    classifier = as_classifier(lambda images: outputs, "odd", (0, 1), from_logits=from_logits)
    with pytest.raises(EvaluationError, match=message):
        classifier(uint8_images(2))


def test_one_images_logits_may_sum_to_one():
    values = np.array([[0.25, 0.75]], "float32")
    np.testing.assert_array_equal(as_classifier(lambda images: values, "one", (0, 1))(uint8_images(1)).values, values)


def test_the_protocol_says_what_happens():
    classifier, _ = recorder((-1, 1), input_size=(299, 299), from_logits=False)
    for word in ("299x299", "bilinear", "antialiased", "[-1, 1]", "3 channels", "probabilities"):
        assert word in classifier.protocol
    assert "as they come" in recorder()[0].protocol and "logits" in recorder()[0].protocol


NAN = np.full((2, 4, 4, 3), np.nan, "float32")


@pytest.mark.parametrize(
    ("images", "image_range", "message"),
    [
        (np.full((2, 4, 4, 3), 200.0), None, "from 0 to 1. Received: values from 200 to 200; say image_range"),
        (np.zeros((2, 4, 4, 3), "longdouble"), None, "of at most 64 bits. Received: images of dtype float128"),
        (np.full((2, 4, 4, 3), -0.5), (0, 1), "declared range from 0 to 1. Received: values from -0.5 to -0.5"),
        (np.full((2, 4, 4, 3), 1.5), (-1, 1), "declared range from -1 to 1"),
        (NAN, None, "`images` must be finite. Received: NaN"),
        (np.zeros((2, 4, 4, 3), "int64"), None, "at most 64 bits. Received: images of dtype int64"),
        (np.zeros((2, 4, 4, 3), "uint8"), (-1, 1), r"`image_range` of uint8 images is \(0, 255\).*\(-1, 1\)"),
        (np.zeros((2, 4, 4, 3)), (1, 0), r"`image_range` must be \(black, white\). Received: image_range=\(1, 0\)"),
        (np.zeros((4, 4, 3), "uint8"), None, r"shape \(N, height, width, channels\). Received: .*\(4, 4, 3\)"),
        (np.zeros((0, 4, 4, 3), "uint8"), None, r"\(0, 4, 4, 3\)"),
        (np.zeros((2, 4, 4, 4), "uint8"), None, "1 or 3 channels for this classifier.*4, 4, 4"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_images_are_refused(images, image_range, message):
    classifier, seen = recorder()
    with pytest.raises(EvaluationError, match=message):
        classifier(images, image_range)
    assert seen == []


def test_images_of_several_sizes_are_named():
    ragged = np.empty(2, object)
    ragged[:] = [np.zeros((4, 4, 3)), np.zeros((5, 4, 3))]
    with pytest.raises(EvaluationError, match=r"images of several sizes"):
        recorder()[0](ragged)


def test_rounding_past_the_range_is_cut_off():
    classifier, seen = recorder()
    classifier(np.full((1, 2, 2, 3), 1 + 1e-6, "float32"))
    assert seen[0].max() == 1


def test_colour_for_a_grey_network_is_refused():
    with pytest.raises(EvaluationError, match=r"1 channel for this classifier. Received: .*\(3, 4, 4, 3\)"):
        recorder(channels=1)[0](uint8_images())


def test_a_function_of_another_form_is_refused():
    with pytest.raises(EvaluationError, match=r"`function` must be callable. Received: function=3"):
        as_classifier(3, "three", (0, 1))
    with pytest.raises(EvaluationError, match=r"must return \(3, K\) logits for 3 images.*: .* \(3, 4, 4, 3\)"):
        as_classifier(lambda images: images, "images", (0, 1))(uint8_images())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "vgg"}, "`name` must be one of inception, .* Received: name=vgg"),
        ({"name": "domain"}, "`name=domain` needs `data`, the data set"),
        (
            {"name": "inception", "protocol": "old"},
            "`protocol` must be one of default, original. Rec.*=old",
        ),
        ({"name": "domain", "protocol": "original"}, "`protocol=original` goes with .* Received: name=domain"),
        ({"name": "a.tflite", "path": "b"}, "`path` goes with .* Received: name=a.tflite"),
        ({"name": "nowhere.tflite"}, "nowhere.tflite cannot be read: .*No such file"),
        ({"name": "nowhere.keras"}, "`trust_file` must be True to open nowhere.keras"),
        ({"name": "nowhere.keras", "trust_file": True}, "`value_range` must be the pixel values"),
        ({"name": "nowhere.keras", "trust_file": True, "value_range": (0, 1)}, "nowhere.keras cannot be read"),
        ({"name": "inception", "path": "nowhere"}, "nowhere cannot be read"),
    ],
    ids=str,
)
def test_what_cannot_be_loaded(arguments, message):
    with pytest.raises(EvaluationError, match=message):
        load_classifier(**arguments)
