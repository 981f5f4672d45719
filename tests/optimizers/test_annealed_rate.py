"""The schedule against the published formula."""

import keras
import numpy as np
import pytest
from keras import ops

from igan_tf.optimizers import AnnealedRate


@pytest.mark.parametrize(
    ("epochs", "divisor", "slope", "start"),
    [(1200, 400, 3, {}), (900, 300, 3, {}), (500, 200, 2.5, {"start": 0.6})],
    ids=["cifar10", "svhn", "mnist"],
)
def test_the_published_schedules(epochs, divisor, slope, start):
    """As published: lr * min(3 - epoch/400, 1) over 1200 epochs, SVHN's with 300 over 900; MNIST's
    lr * min(2.5 - epoch/200, 1) over 500."""
    rate = AnnealedRate(0.0003, epochs, steps_per_epoch=500, **start)
    edge = int((slope - 1) * divisor)
    for epoch in (0, 1, edge - 1, edge, edge + 1, edge + 100, epochs - 1):
        for step in (0, 499):
            found = float(ops.convert_to_numpy(rate(ops.convert_to_tensor(epoch * 500 + step, dtype="int64"))))
            # float32 near 3 resolves 2.4e-7.
            assert found == pytest.approx(0.0003 * min(slope - epoch / divisor, 1), abs=0.0003 * 5e-7)
    for epoch in (epochs, epochs + 7):
        assert float(ops.convert_to_numpy(rate(epoch * 500))) == 0


def test_an_optimizer_follows_it():
    optimizer = keras.optimizers.SGD(AnnealedRate(1.0, epochs=3, steps_per_epoch=2))
    variable = keras.Variable(np.zeros(1, "float32"))
    steps = []
    for _ in range(7):
        before = ops.convert_to_numpy(variable.value).copy()
        optimizer.apply([ops.ones(1)], [variable])
        steps.append(float((before - ops.convert_to_numpy(variable.value))[0]))
    # min(3 - 3 epoch / 3, 1) at epochs 0, 0, 1, 1, 2, 2, 3.
    assert steps == [1, 1, 1, 1, 1, 1, 0]
    optimizer = keras.optimizers.SGD(AnnealedRate(1.0, epochs=6, steps_per_epoch=1))
    found = []
    for _ in range(7):
        found.append(float(ops.convert_to_numpy(optimizer.learning_rate)))
        optimizer.apply([ops.ones(1)], [variable])
    np.testing.assert_allclose(found, [1, 1, 1, 1, 1, 0.5, 0])


def test_large_steps_are_counted_exactly():
    # In float32 both steps would be 2^27 + 2^24.
    first, second = (2**27 + 2**24 - 1, 2**27 + 2**24)
    rate = AnnealedRate(1.0, epochs=3, steps_per_epoch=second // 2)
    assert float(rate(ops.convert_to_tensor(first, dtype="int64"))) == 1
    assert float(rate(ops.convert_to_tensor(second, dtype="int64"))) == 1
    assert float(rate(ops.convert_to_tensor(second * 3 // 2, dtype="int64"))) == 0
    assert float(rate(ops.convert_to_tensor(second * 3 // 2 - 1, dtype="int64"))) > 0


def test_config_round_trip():
    rate = AnnealedRate(0.1, 30, 7, start=0.5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rate))
    assert isinstance(again, AnnealedRate) and again.get_config() == rate.get_config()


@pytest.mark.parametrize("argument", ["epochs=0", "steps_per_epoch=0", "start=-0.1", "start=1.0"])
def test_wrong_arguments_are_named(argument):
    name, value = argument.split("=")
    with pytest.raises(ValueError, match=f"Received: {argument}"):
        AnnealedRate(**{"rate": 0.1, "epochs": 3, "steps_per_epoch": 2, name: float(value) if name == "start" else 0})
