"""`DifferentiableAugmentation`: each change by its formula, drawn anew for each image, and gradients through it."""

import keras
import numpy as np
import pytest
from keras import ops

from igan_tf.layers import DifferentiableAugmentation
from tests.layers.conformance import call, check_layer
from tests.layers.gradients import value_and_gradients

SHAPE = (40, 16, 8, 3)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random(SHAPE, "float32")


def augmented(images, *kinds, seed=1):
    return call(DifferentiableAugmentation(kinds, seed=seed), images, training=True)


def test_conformance():
    check_layer(
        lambda: DifferentiableAugmentation(seed=3),
        (3, 8, 8, 2),
        expected_output_shape=(3, 8, 8, 2),
        expected_weights=[],
        training_matters=True,
    )


def test_colors_by_the_formula():
    """Each image is a sum of its own three parts: mean of all, means over channels, the rest; float32, 1e-5."""
    images = np.random.default_rng(0).random((2000, 4, 4, 3), "float32")
    found = augmented(images, "color")

    def parts(array):
        whole = array.mean((1, 2, 3), keepdims=True)
        grey = array.mean(3, keepdims=True)
        return whole, grey - whole, array - grey

    (b, grey, rest), (b_found, grey_found, rest_found) = parts(images), parts(found)
    brightness = (b_found - b).ravel()
    contrast = (grey_found * grey).sum((1, 2, 3)) / (grey * grey).sum((1, 2, 3))
    saturation = (rest_found * rest).sum((1, 2, 3)) / (rest * rest).sum((1, 2, 3)) / contrast
    shape = (-1, 1, 1, 1)
    np.testing.assert_allclose(grey_found, grey * contrast.reshape(shape), atol=1e-5)
    np.testing.assert_allclose(rest_found, rest * (contrast * saturation).reshape(shape), atol=1e-5)
    for values, low, high in ((brightness, -0.25, 0.25), (contrast, 0.5, 1.5), (saturation, 0, 2)):
        assert low - 1e-5 <= values.min() and values.max() <= high + 1e-5
        # Of 2,000 draws, one in either outer hundredth but for a chance of 2 * 0.99^2000, 4e-9.
        assert values.min() < low + (high - low) / 100 and values.max() > high - (high - low) / 100


def test_an_image_moves_as_a_whole(images):
    found, seen = augmented(images, "translation"), set()
    for image, moved in zip(images, found):
        padded = np.pad(image, ((2, 2), (1, 1), (0, 0)), constant_values=0.5)
        shifts = [
            (down, right)
            for down in range(5)
            for right in range(3)
            if np.allclose(moved, padded[down : down + 16, right : right + 8], atol=1e-6)
        ]
        assert len(shifts) == 1
        seen.update(shifts)
    # An eighth of 16 and of 8: fifteen shifts, of which 40 draws meet nine or more.
    assert len(seen) >= 9


def test_a_rectangle_is_cut_out():
    images = np.random.default_rng(0).random((2000, 8, 6, 2), "float32")
    found = augmented(images, "cutout")
    cut = (found != images).all(3)
    np.testing.assert_array_equal(found[cut], 0.5)
    np.testing.assert_array_equal(found[~cut], images[~cut])
    spans = set(), set()
    for mask in cut:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask.sum() == len(rows) * len(columns)
        for found_spans, places in zip(spans, (rows, columns)):
            found_spans.add((places[0], places[-1]))
    # Half of 8 and of 6: four rows and three columns, cut off where the centre lies near an edge. The centre of four
    # may lie between any two rows and at either edge, that of three on any column.
    assert spans[0] == {(max(centre - 2, 0), min(centre + 1, 7)) for centre in range(9)}
    assert spans[1] == {(max(centre - 1, 0), min(centre + 1, 5)) for centre in range(6)}


def test_drawn_anew_for_each_call_and_by_the_seed(images):
    layer = DifferentiableAugmentation(seed=1)
    first, second = (call(layer, images, training=True) for _ in range(2))
    assert (first != second).any((1, 2, 3)).all()
    np.testing.assert_array_equal(first, augmented(images, "cutout", "color", "translation"))
    assert (augmented(np.repeat(images[:1], 40, 0), "color") != first[:1]).any()
    np.testing.assert_array_equal(call(layer, images, training=False), images)


def test_gradients_pass_where_the_image_stays(images):
    """Of the sum of all outputs: 1 where a pixel is kept, 0 where it was cut out or moved away."""
    few = images[:5]
    for kind in ("translation", "cutout"):
        layer = DifferentiableAugmentation([kind], seed=4)
        found = call(layer, few, training=True)
        layer = DifferentiableAugmentation([kind], seed=4)
        _, (gradient,) = value_and_gradients(lambda x, layer=layer: ops.sum(layer(x, training=True)), [few])
        assert set(np.unique(gradient)) <= {0.0, 1.0}
        assert gradient.sum() == (found != 0.5).sum()


@pytest.mark.parametrize("kinds", [[], "color", ["blur"], ["color", "blur"]])
def test_other_kinds_are_refused(kinds):
    with pytest.raises(ValueError, match=r"`kinds` must be one or more of color, translation, cutout\. Received"):
        DifferentiableAugmentation(kinds)


def test_it_takes_batches_of_any_size():
    layer = DifferentiableAugmentation(seed=1)
    model = keras.Sequential([keras.Input((8, 8, 1)), layer])
    assert model.predict(np.zeros((3, 8, 8, 1)), verbose=0).shape == (3, 8, 8, 1)
    # A replica may get none.
    if keras.backend.backend() == "tensorflow":
        assert call(layer, np.zeros((0, 8, 8, 1), "float32"), training=True).shape == (0, 8, 8, 1)
