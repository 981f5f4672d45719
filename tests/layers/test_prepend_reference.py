import keras
import numpy as np
import pytest
from keras import ops

from igan_tf.layers.drop_reference import DropReference
from igan_tf.layers.prepend_reference import PrependReference
from tests.layers.conformance import check_layer


def test_prepend_conformance():
    check_layer(
        lambda: PrependReference(3, seed=5),
        (4, 2, 3),
        expected_output_shape=(7, 2, 3),
        expected_weights=[("reference", (3, 2, 3), False)],
    )


def test_drop_conformance():
    check_layer(lambda: DropReference(3), (5, 2, 3), expected_output_shape=(2, 2, 3), expected_weights=[])


def test_reference_comes_first_and_stays():
    layer = PrependReference(3)
    inputs = np.arange(8, dtype="float32").reshape(4, 2)
    first = ops.convert_to_numpy(layer(inputs))
    np.testing.assert_array_equal(first[:3], ops.convert_to_numpy(layer.reference))
    np.testing.assert_array_equal(first[3:], inputs)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(inputs, training=True)), first)
    np.testing.assert_array_equal(ops.convert_to_numpy(DropReference(3)(first)), inputs)


@pytest.mark.parametrize(
    "arguments, low, high, mean, std",
    [
        ({}, -1, 1, 0.0, 3**-0.5),
        ({"minval": 0.0}, 0, 1, 0.5, 12**-0.5),
        ({"distribution": "normal"}, -6, 6, 0.0, 1.0),
    ],
)
def test_distribution(arguments, low, high, mean, std):
    layer = PrependReference(100, seed=3, **arguments)
    layer.build((None, 100))
    reference = ops.convert_to_numpy(layer.reference)
    # 10,000 draws: 5 standard errors.
    assert low <= reference.min() and reference.max() <= high
    assert abs(reference.mean() - mean) < 0.05 * std
    assert abs(reference.std() - std) < 0.05 * std
    again = PrependReference(100, seed=3, **arguments)
    again.build((None, 100))
    np.testing.assert_array_equal(ops.convert_to_numpy(again.reference), reference)
    other = PrependReference(100, seed=4, **arguments)
    other.build((None, 100))
    assert np.any(ops.convert_to_numpy(other.reference) != reference)


def test_set_reference():
    real = np.random.default_rng(0).uniform(size=(3, 2)).astype("float32")
    built, unbuilt = PrependReference(3), PrependReference(3)
    built.build((None, 2))
    for layer in (built, unbuilt):
        layer.set_reference(real)
        np.testing.assert_array_equal(ops.convert_to_numpy(layer(np.zeros((1, 2), "float32")))[:3], real)
        for wrong in (np.zeros((2, 2)), np.zeros((3, 4)), np.zeros((3, 2, 1)), np.zeros(())):
            with pytest.raises(ValueError, match=r"`reference` of shape \(3, 2\). Received: shape "):
                layer.set_reference(wrong)
        with pytest.raises(ValueError, match="finite `reference`"):
            layer.set_reference(real * np.inf)
        np.testing.assert_array_equal(ops.convert_to_numpy(layer.reference), real)
    with pytest.raises(ValueError, match=r"of shape \(3, 2\). Received: shape \(4, 2\)"):
        PrependReference(3).set_reference(np.zeros((4, 2)))
    with pytest.raises(ValueError, match="frozen"):
        PrependReference(3, frozen=True).set_reference(real)


@pytest.mark.parametrize("layer_class", [PrependReference, DropReference])
@pytest.mark.parametrize("reference_size", [0, -1, 2.0, True])
def test_wrong_reference_size(layer_class, reference_size):
    with pytest.raises(ValueError, match=rf"at least 1\. Received: reference_size={reference_size!r}"):
        layer_class(reference_size)


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"`distribution`.*Received: distribution='gamma'"):
        PrependReference(2, distribution="gamma")
    with pytest.raises(ValueError, match=r"Received: minval=2.0, maxval=1.0"):
        PrependReference(2, minval=2.0)
    with pytest.raises(ValueError, match=r"every size of its input.*Received: input shape \(None, None, 3\)"):
        PrependReference(2)(keras.Input((None, 3)))
