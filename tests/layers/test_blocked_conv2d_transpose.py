"""`BlockedConv2DTranspose` against a transposed convolution written out, and against Keras's layer.

Tolerances: 1e-12 in float64, for all sum the same products, in other orders.
"""

import keras
import numpy as np
import pytest
from keras import ops

from igan_tf.layers import BlockedConv2DTranspose
from tests.layers.conformance import check_layer
from tests.layers.gradients import float64_enabled, layer_gradients


@pytest.fixture
def float64():
    with float64_enabled():
        yield


def normal(*shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape)


def oracle(inputs, kernel, bias):
    """Each input value puts the whole kernel, times itself, around its place; what falls outside is lost."""
    count, height, width, _ = inputs.shape
    size, _, filters, _ = kernel.shape
    reach = size // 2
    outputs = np.zeros((count, height, width, filters))
    for row, column, i, j in np.ndindex(height, width, size, size):
        y, x = row + i - reach, column + j - reach
        if 0 <= y < height and 0 <= x < width:
            outputs[:, y, x] += inputs[:, row, column] @ kernel[i, j].T
    return outputs + bias


def random_layer(channels, filters=3, size=5, kind=BlockedConv2DTranspose, **settings):
    layer = kind(filters, size, padding="same", dtype="float64", **settings)
    layer.build((None, 4, 4, channels))
    layer.set_weights([normal(*weight.shape, seed=10 + index) for index, weight in enumerate(layer.weights)])
    return layer


def test_conformance():
    check_layer(
        # Not tanh: on JAX Keras's gives float32 for float64.
        lambda: BlockedConv2DTranspose(3, 5, activation="softplus"),
        (2, 6, 4, 7),
        expected_output_shape=(2, 6, 4, 3),
        expected_weights=[("kernel", (5, 5, 3, 7), True), ("bias", (3,), True)],
    )


@pytest.mark.parametrize(
    ("shape", "filters", "size"),
    [((2, 4, 6, 3), 3, 5), ((1, 2, 2, 1), 1, 5), ((2, 8, 4, 2), 2, 3), ((1, 4, 4, 2), 5, 1), ((1, 6, 8, 2), 1, 7)],
)
def test_outputs_equal_the_oracle(float64, shape, filters, size):
    layer = random_layer(shape[-1], filters, size)
    inputs = normal(*shape)
    expected = oracle(inputs, *(ops.convert_to_numpy(weight.value) for weight in layer.weights))
    np.testing.assert_allclose(ops.convert_to_numpy(layer(inputs)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"use_bias": False}, {"activation": "tanh"}])
def test_outputs_and_gradients_are_those_of_kerass_layer(float64, settings):
    ours, kerass = (
        random_layer(5, kind=kind, **settings) for kind in (BlockedConv2DTranspose, keras.layers.Conv2DTranspose)
    )
    inputs, cotangent = normal(3, 6, 4, 5), normal(3, 6, 4, 3, seed=4)
    found, expected = (
        [ops.convert_to_numpy(layer(inputs)), gradients[0], *gradients[1]]
        for layer in (ours, kerass)
        for gradients in [layer_gradients(layer, inputs, cotangent)]
    )
    assert len(found) == len(expected) == 2 + len(ours.weights)
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_no_rows():
    assert random_layer(2)(np.zeros((0, 4, 4, 2))).shape == (0, 4, 4, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_size": 4}, "an odd, square `kernel_size`. Received: kernel_size=4"),
        ({"kernel_size": (3, 5)}, r"Received: kernel_size=\(3, 5\)"),
        ({"strides": 2}, r"`strides` to be \(1, 1\). Received: strides=\(2, 2\)"),
        ({"padding": "valid"}, "`padding` to be 'same'. Received: padding='valid'"),
        ({"dilation_rate": 2}, r"`dilation_rate` to be \(1, 1\)"),
        ({"data_format": "channels_first"}, "`data_format` to be 'channels_last'"),
        ({"output_padding": 0}, r"`output_padding` to be None. Received: output_padding=\(0, 0\)"),
    ],
)
def test_what_it_cannot_do_is_refused(settings, message):
    with pytest.raises(ValueError, match=f"BlockedConv2DTranspose needs .*{message}"):
        BlockedConv2DTranspose(**{"filters": 3, "kernel_size": 5} | settings)


@pytest.mark.parametrize("shape", [(None, 5, 4, 3), (None, 4, 7, 3), (None, None, 4, 3)])
def test_odd_or_unknown_sides_are_refused(shape):
    with pytest.raises(ValueError, match=r"even, known height and width\. Received: input shape"):
        BlockedConv2DTranspose(3, 5)(keras.Input(batch_shape=shape))
    layer = random_layer(3)
    if None not in shape[1:]:
        with pytest.raises(ValueError, match="even, known height and width"):
            layer(normal(1, *shape[1:]))
