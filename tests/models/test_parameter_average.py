"""`ParameterAverage` against NumPy.

Tolerances: float32 sums of a few terms, 1e-6; at decay 0.9999 the first terms are 1e-4 of the values and the debiased
mean keeps 1e-5.
"""

import keras
import numpy as np
import pytest
from keras import ops

from igan_tf.models.parameter_average import ParameterAverage


def tracked(decay, debias, shapes=((2, 3), ())):
    variables = [keras.Variable(np.zeros(shape), dtype="float32") for shape in shapes]
    average = ParameterAverage(decay, debias)
    average.track(variables)
    return average, variables


def histories(variables, steps):
    generator = np.random.default_rng(0)
    shapes = [variable.shape for variable in variables]
    return [[1 + generator.normal(size=shape).astype("float32") for shape in shapes] for _ in range(steps)]


@pytest.mark.parametrize("debias", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9999])
@pytest.mark.parametrize("steps", [1, 2, 20])
def test_values_equal_the_oracle(decay, debias, steps):
    average, variables = tracked(decay, debias)
    history = histories(variables, steps)
    for values in history:
        for variable, value in zip(variables, values):
            variable.assign(value)
        average.update(variables)
    for index, found in enumerate(average.values()):
        # avg <- avg + (1 - decay)(p - avg), from 0: the weight of step i is (1 - decay) decay^(steps - i).
        weights = [(1 - decay) * decay ** (steps - step) for step in range(1, steps + 1)]
        expected = sum(weight * values[index].astype("float64") for weight, values in zip(weights, history))
        if debias:
            expected = expected / sum(weights)
        np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-5, atol=1e-6 * (1 - decay + debias))
    assert int(average.count) == steps


@pytest.mark.parametrize("debias", [True, False])
def test_zeros_before_the_first_update(debias):
    average, variables = tracked(0.9, debias)
    for found, variable in zip(average.values(), variables):
        assert found.shape == variable.shape
        np.testing.assert_array_equal(ops.convert_to_numpy(found), np.zeros(variable.shape))


def test_after_the_first_update_the_debiased_value_is_the_parameter():
    average, variables = tracked(0.9999, True)
    for variable in variables:
        variable.assign(np.full(variable.shape, 3.0))
    average.update(variables)
    for found in average.values():
        np.testing.assert_allclose(ops.convert_to_numpy(found), 3, rtol=1e-5)


def test_weights_are_not_trained_and_leave_the_variables_alone():
    average, variables = tracked(0.9, True)
    assert not average.trainable_weights
    assert [tuple(weight.shape) for weight in average.non_trainable_weights] == [(2, 3), (), ()]
    variables[0].assign(np.ones((2, 3)))
    average.update(variables)
    np.testing.assert_array_equal(ops.convert_to_numpy(variables[0].value), 1)


def test_in_half_precision_small_steps_add_up():
    """A step adds at most 2e-4, less than half of bfloat16's last digit once the average is 0.1."""
    variable = keras.Variable(np.full(3, 2.0), dtype="bfloat16")
    average = ParameterAverage(0.9999, debias=False)
    average.track([variable])
    for _ in range(2000):
        average.update([variable])
    np.testing.assert_allclose(ops.convert_to_numpy(average.values()[0]), 2 * (1 - 0.9999**2000), rtol=1e-3)


def test_other_variables_are_refused():
    average, variables = tracked(0.9, True, shapes=((3,), (3,), (3,)))
    for others in ([variables[0], variables[2]], [variables[1], variables[0], variables[2]]):
        message = rf"must be the 3 that the average tracks: compile .*Received: {len(others)} variables"
        with pytest.raises(ValueError, match=message):
            average.update(others)
    assert int(average.count) == 0


def test_a_long_run_does_not_overflow_the_debiasing():
    average, _ = tracked(0.9999, True)
    average.averages[1].assign(2.0)
    average.count.assign(10_000_000)
    np.testing.assert_allclose(ops.convert_to_numpy(average.values()[1]), 2, rtol=1e-6)


def test_config():
    average = ParameterAverage(0.75, debias=False)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(average))
    assert (copy.decay, copy.debias) == (0.75, False)
    assert (ParameterAverage().decay, ParameterAverage().debias) == (0.9999, True)


@pytest.mark.parametrize("decay", [-0.1, 1, 1.5, float("nan")])
def test_refused_decay(decay):
    with pytest.raises(ValueError, match=rf"`decay` must be in \[0, 1\). Received: decay={decay}"):
        ParameterAverage(decay)
