"""A step as a function: what goes in and comes out, and what it would ask of a GPU and its host."""

import types

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("TensorFlow's graphs", allow_module_level=True)

import tensorflow as tf

from benchmarks.placement import placement
from igan_tf.layers import pairwise_distances
from igan_tf.models.randomness import given_step
from igan_tf.training.distribution import mirrored_strategy
from igan_tf.training.train_function import TrainFunction
from tests.models import dense_gan
from tests.models.test_imagenet_gan import batch_of, make_model

ONE_DEVICE = tf.distribute.get_strategy()


def counting_model():
    """Its losses are the number of steps so far and the replica's number."""

    def train_step(batch):
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return {"step": given_step(-1), "replica": tf.cast(replica, tf.float32) + batch}

    return types.SimpleNamespace(train_step=train_step)


def test_the_logs_of_a_step_and_the_flag_come_as_one_vector():
    function = TrainFunction(counting_model(), ONE_DEVICE, jit_compile=False)
    assert function(tf.constant(0.5), step=7, stop=False).numpy().tolist() == [7, 0.5, 0]
    assert function(tf.constant(0.5), step=8, stop=True).numpy().tolist() == [8, 0.5, 1]
    assert function.log_names == ["step", "replica"]
    assert function.function.experimental_get_tracing_count() == 1


def test_of_several_replicas_it_is_the_mean():
    function = TrainFunction(counting_model(), mirrored_strategy(), jit_compile=False)
    assert function(tf.constant(1.0), step=7, stop=True).numpy().tolist() == [7, 1.5, 1]
    # Reduced among the replicas: the vector does not go to one of them first.
    graph = function.function.get_concrete_function(tf.constant(1.0), *function.arguments(0, False)).graph
    kinds = [operation.type for operation in graph.get_operations()]
    assert kinds.count("CollectiveReduceV2") == mirrored_strategy().num_replicas_in_sync and "AddN" not in kinds


@pytest.mark.parametrize(("replicas", "whole", "gradients"), [(1, True, False), (2, False, True)])
def test_xla_compiles_the_whole_step_of_one_device_and_the_gradients_of_several(replicas, whole, gradients):
    model = counting_model()
    function = TrainFunction(model, ONE_DEVICE if replicas == 1 else mirrored_strategy(), jit_compile=True)
    assert (bool(function.function._jit_compile), model.compile_gradients) == (whole, gradients)


@pytest.mark.parametrize("precision", ["float32", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)])
def test_imagenets_step_needs_nothing_of_the_host(monkeypatch, precision):
    """As on a GPU, by the kernels of the installed TensorFlow: none is missing, and nothing is waited for."""
    monkeypatch.setattr(pairwise_distances, "has_gpu", lambda: True)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        model = make_model()
    finally:
        keras.config.set_dtype_policy(before)
    # As `noise=auto` has it on a GPU.
    model.discriminator.get_layer("corruption").exact = True
    function = TrainFunction(model, ONE_DEVICE, jit_compile=False)
    batch = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in batch_of().items()}
    found = placement(function.function.get_concrete_function(batch, *function.arguments(0, False)))
    assert not found.on_cpu, "operations without a kernel for a GPU"
    assert not found.to_host, "tensors that the host waits for"
    # Seeds are derived there.
    assert {name.partition(" ")[2] for name in found.on_cpu_by_choice} <= {
        *("(StatelessRandomGetKeyCounter)", "(StatelessRandomUniformFullIntV2)", "(StatelessRandomUniformIntV2)"),
        *("(Cast)", "(Pack)", "(Unpack)", "(Mul)", "(AddV2)", "(FloorMod)"),
    }
    # Images, labels and the flag; a key and a counter for the latents, G's four noises and D's.
    assert len(found.to_device) == 3 + 2 * 6, found.to_device
    assert not {"While", "StatelessWhile", "PyFunc", "EagerPyFunc"} & set(found.kinds)


# Compiling takes XLA a quarter of a minute.
@pytest.mark.slow
def test_compiled_gradients_on_two_replicas_are_the_plain_ones():
    strategy, found = mirrored_strategy(), []
    batch = dense_gan.batch_of()
    for jit_compile in (False, True):
        with strategy.scope():
            model = dense_gan.dense_gan()
        function = TrainFunction(model, strategy, jit_compile)
        logs = function(batch, step=0, stop=False).numpy()
        found.append([logs, *(variable.numpy() for variable in model.state_variables().values())])
    assert len(found[0]) > 15
    for plain, compiled in zip(*found):
        np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-5)
    kinds = placement(function.function.get_concrete_function(batch, *function.arguments(0, False))).kinds
    assert kinds.count("StatefulPartitionedCall") == strategy.num_replicas_in_sync
