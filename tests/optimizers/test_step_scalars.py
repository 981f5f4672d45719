"""What Adam computes once a step: how often, with how many variables, on how many replicas."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("of TensorFlow's graphs", allow_module_level=True)

import tensorflow as tf

from igan_tf.optimizers import FusedAdam, InsideRootAdam
from igan_tf.training.distribution import mirrored_strategy


@pytest.mark.parametrize("kind", [FusedAdam, InsideRootAdam])
def test_the_powers_are_computed_once_a_step(kind):
    variables = [keras.Variable(np.zeros(size), dtype="float32") for size in (1, 2, 3)]
    optimizer = kind(0.01)
    optimizer.build(variables)

    @tf.function
    def step():
        optimizer.apply([tf.ones(variable.shape) for variable in variables], variables)

    kinds = [operation.type for operation in step.get_concrete_function().graph.get_operations()]
    assert kinds.count("Pow") == 2 and kinds.count("ResourceApplyAdam") == 3


@pytest.mark.parametrize("kind", [FusedAdam, InsideRootAdam])
def test_each_replica_computes_its_own(kind):
    """A scalar of another replica would be waited for, and copied, for every variable."""
    strategy = mirrored_strategy()
    with strategy.scope():
        variables = [keras.Variable(np.zeros(size), dtype="float32") for size in (1, 2)]
        optimizer = kind(0.01)
        optimizer.build(variables)

    @tf.function
    def step():
        strategy.run(lambda: optimizer.apply([tf.ones(variable.shape) for variable in variables], variables))

    operations = step.get_concrete_function().graph.get_operations()
    replicas = strategy.num_replicas_in_sync
    assert sum(operation.type == "Pow" for operation in operations) == 2 * replicas
    updates = [operation for operation in operations if operation.type == "ResourceApplyAdam"]
    assert len(updates) == 2 * replicas and len({update.device for update in updates}) == replicas
    for update in updates:
        assert [found.device for found in update.inputs if found.op.type == "Pow"] == [update.device] * 2


def test_variables_of_two_types_have_scalars_of_their_own():
    variables = [keras.Variable(np.zeros(2), dtype=dtype) for dtype in ("float32", "float64")]
    optimizer = FusedAdam(2.0**-8)
    for _ in range(3):
        optimizer.apply([tf.ones(2, variable.dtype) for variable in variables], variables)
    single, double = (variable.numpy() for variable in variables)
    np.testing.assert_allclose(single, double, rtol=1e-4)
    assert single.dtype == "float32" and double.dtype == "float64" and (double < -0.01).all()
