"""The checks of `benchmarks.gpu_check`, each a generator of lines; in the order in which they run."""

import functools
import gc
import statistics
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks.forms import noises, pairs
from benchmarks.gpu_machine import Line
from benchmarks.gpu_surroundings import continued, products, reader, surroundings
from benchmarks.placement import placement
from benchmarks.timing import median_seconds
from igan_tf.devices import unused_gpus
from igan_tf.layers import BlockedConv2DTranspose
from igan_tf.optimizers import ReplicaLossScaleOptimizer
from igan_tf.training.distribution import mirrored_strategy
from igan_tf.training.train_function import TrainFunction


def devices(machine):
    """Which devices there are."""
    physical = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(device) for device in physical]
    build = tf.sysconfig.get_build_info()
    driver = Path("/proc/driver/nvidia/version")
    figures = {
        "visible": [device.name for device in machine.devices],
        "expected": machine.expected_replicas or "any number",
        "cards": [f"{each.get('device_name')} {each.get('compute_capability')}" for each in details],
        "driver": driver.read_text().splitlines()[0] if driver.exists() else "none",
        "built for": f"CUDA {build.get('cuda_version')}, cuDNN {build.get('cudnn_version')}",
        "tensorflow": tf.__version__,
    }
    missing = machine.expected_replicas not in (0, len(machine.devices))
    note = unused_gpus() or ("" if physical else "no GPU: what follows is of logical CPUs and says nothing of a card")
    yield Line("devices", figures, "look" if missing or note else "ok", note)


def _distributed(strategy, batch):
    return strategy.experimental_distribute_values_from_function(lambda context: batch)


def _seconds(function, batch, steps):
    """Median seconds of a step, and of the time until its call returns, once the first is over."""
    function(batch, 0, False).numpy()
    whole, returned = [], []
    for step in range(1, steps + 1):
        start = time.perf_counter()
        logs = function(batch, step, False)
        returned.append(time.perf_counter() - start)
        logs.numpy()
        whole.append(time.perf_counter() - start)
    return statistics.median(whole), statistics.median(returned)


def steps(machine):
    """A training step: how long it takes, and what it asks of the host."""
    strategy, sizes = tf.distribute.get_strategy(), machine.sizes
    for batch_size in sizes.batches:
        for precision in sizes.precisions:
            for jit_compile in (False, True)[: 1 + (batch_size in sizes.compiled_batches)]:
                # The model before would count towards this one's peak.
                function = batch = None
                gc.collect()
                if machine.gpus:
                    tf.config.experimental.reset_memory_stats("GPU:0")
                function = TrainFunction(machine.build_model(precision), strategy, jit_compile)
                batch = machine.batch(batch_size)
                seconds, returned = _seconds(function, batch, sizes.steps)
                machine.step_seconds = machine.step_seconds or seconds
                figures = {"ms": 1e3 * seconds, "images/s": batch_size / seconds, "ms until return": 1e3 * returned}
                if machine.gpus:
                    figures["peak GB"] = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e9
                name = f"step, batch {batch_size}, {precision}{', XLA' if jit_compile else ''}"
                if jit_compile:
                    yield Line(name, figures)
                    continue
                found = placement(function.function.get_concrete_function(batch, *function.arguments(0, False)))
                figures["operations"] = found.operations
                figures["no kernel"] = len(found.on_cpu)
                figures |= {"to the host": len(found.to_host), "from the host": len(found.to_device)}
                waits = found.on_cpu or found.to_host or {"While", "StatelessWhile"} & set(found.kinds)
                note = f"the step waits for the host: {[*found.on_cpu, *found.to_host][:5]} or a loop" if waits else ""
                if not machine.gpus:
                    # The loop and the table of noise are a CPU's.
                    waits, note = False, "copies as a GPU would have them in a step made for a CPU"
                yield Line(name, figures, "look" if waits else "ok", note)


def replicas(machine):
    """Several replicas against one, and the reduction of as many numbers as the gradients have."""
    count = len(machine.devices)
    if count < 2:
        yield Line("replicas", {"devices": count}, "", "one device: nothing to compare")
        return
    strategy, batch_size = mirrored_strategy(), machine.sizes.batches[0]
    function = TrainFunction(machine.build_model(strategy=strategy), strategy, False)
    batch = _distributed(strategy, machine.batch(batch_size))
    seconds, _ = _seconds(function, batch, machine.sizes.steps)
    kinds = placement(function.function.get_concrete_function(batch, *function.arguments(0, False))).kinds
    figures = {"replicas": count, "ms": 1e3 * seconds, "images/s": count * batch_size / seconds}
    figures["collectives"] = sum(kind.startswith("CollectiveReduce") for kind in kinds) // count
    if machine.step_seconds:
        figures["efficiency"] = machine.step_seconds / seconds
    good = figures.get("efficiency", 1.0) > 0.8 or not machine.gpus
    yield Line("replicas", figures, "ok" if good else "look", "" if good else "see all-reduce below, and the reader")
    options = tf.distribute.experimental.CommunicationOptions
    for megabytes in (0, 32):
        # Parts of 16 MB, as large as a layer of D: a pack is made of whole gradients.
        parts = [min(4_000_000, size) for size in machine.sizes.gradients for _ in range(-(-size // 4_000_000))]

        def replica_reduce(parts=parts, megabytes=megabytes):
            tensors = [tf.ones(size) for size in parts]
            chosen = options(bytes_per_pack=megabytes * 2**20)
            reduced = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensors, chosen)
            return tf.add_n([each[0] for each in reduced])

        reduce = tf.function(lambda function=replica_reduce: strategy.run(function), autograph=False)
        taken = median_seconds(lambda reduce=reduce: strategy.experimental_local_results(reduce())[0].numpy())
        # What a ring sends over each link.
        size = 4e-9 * sum(parts) * 2 * (count - 1) / count
        yield Line(f"all-reduce, packs of {megabytes} MB", {"ms": 1e3 * taken, "GB/s": size / taken})


def forms(machine):
    """What has a form for CPUs and one for GPUs: which is quicker here."""
    for shape in machine.sizes.pairs:
        functions, arguments = pairs(shape)
        taken = {}
        for name, both in functions.items():
            function = tf.function(both, autograph=False)
            taken[name] = median_seconds(lambda function=function, of=arguments: function(*of).numpy())
        yield _two_forms(machine, f"pairwise_distances {shape}", taken, "broadcasting" if machine.gpus else "loops")
    sizes = machine.sizes
    inputs = tf.zeros((2 * sizes.batches[0], sizes.side, sizes.side, 3))
    yield _two_forms(machine, "noise", _layers(noises(), inputs, training=True), "exact" if machine.gpus else "table")
    inputs = tf.random.normal((sizes.batches[0], sizes.side, sizes.side, 9 * sizes.gf_dim // 8))
    kinds = {"plain": keras.layers.Conv2DTranspose, "blocks": BlockedConv2DTranspose}
    layers = {name: kind(3, 5, padding="same") for name, kind in kinds.items()}
    yield _two_forms(machine, "last convolution", _layers(layers, inputs), "blocks")


def _layers(layers, inputs, **arguments):
    taken = {}
    for name, layer in layers.items():

        def gradients(inputs, layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                loss = tf.reduce_sum(tf.square(layer(inputs, **arguments)))
            return tf.add_n([tf.reduce_sum(each) for each in tape.gradient(loss, [inputs, *layer.trainable_weights])])

        layer(inputs, **arguments)
        function = tf.function(gradients, autograph=False)
        taken[name] = median_seconds(lambda function=function: function(inputs).numpy())
    return taken


def _two_forms(machine, name, taken, chosen):
    quickest = min(taken, key=taken.get)
    # A CPU's forms were chosen at full size.
    good = taken[chosen] <= 1.2 * taken[quickest] or not machine.gpus
    figures = {f"{form} ms": 1e3 * seconds for form, seconds in taken.items()} | {"used": chosen}
    return Line(name, figures, "ok" if good else "look", "" if good else f"{quickest} would be quicker: please report")


def reliability(machine):
    """A gradient that is not finite, replicas that stay equal, a step as a CPU takes it."""
    strategy = mirrored_strategy()
    count = strategy.num_replicas_in_sync
    with strategy.scope():
        variable = keras.Variable(np.ones(2), dtype="float32")
        optimizer = ReplicaLossScaleOptimizer(keras.optimizers.SGD(1.0), initial_scale=8.0)
        optimizer.build([variable])

    def replica_step():
        last = tf.distribute.get_replica_context().replica_id_in_sync_group == count - 1
        optimizer.apply([tf.where(last, np.inf, 8.0) * tf.ones(2)], [variable])

    tf.function(lambda: strategy.run(replica_step), autograph=False)()
    whole = bool(np.all(variable.numpy() == 1)) and float(optimizer.dynamic_scale.numpy()) == 4
    figures = {"weights": variable.numpy().tolist(), "scale": float(optimizer.dynamic_scale.numpy())}
    yield Line("infinity on the last replica", figures, "ok" if whole else "look")
    model = machine.build_model(optimizer=functools.partial(keras.optimizers.SGD, 0.01), strategy=strategy)
    function = TrainFunction(model, strategy, False)
    single = machine.batch(machine.sizes.batches[-1])
    batch = _distributed(strategy, single)
    for step in range(3):
        logs = function(batch, step, False).numpy()
    different = 0
    for each in model.state_variables().values():
        copies = [copy.numpy() for copy in getattr(each.value, "values", [each.value])]
        different += any((copy != copies[0]).any() for copy in copies)
    finite = bool(np.isfinite(logs).all())
    yield Line(
        "three steps", {"different variables": different, "finite": finite}, "look" if different or not finite else "ok"
    )
    if not machine.gpus:
        yield Line("one step against the CPU's", {}, "", "there is no other device")
        return
    losses = []
    for device in (machine.devices[0].name, "/CPU:0"):
        with tf.device(device):
            one = machine.build_model(optimizer=functools.partial(keras.optimizers.SGD, 0.01))
            # Generators of random numbers are the same on both.
            losses.append({name: float(value) for name, value in one.train_step(single).items()})
    first, other = losses
    worst = max(abs(first[name] - other[name]) / max(abs(other[name]), 1e-3) for name in first)
    yield Line("one step against the CPU's", {"largest relative difference": worst}, "ok" if worst < 0.02 else "look")


CHECKS = (devices, steps, replicas, forms, products, reliability, continued, reader, surroundings)
