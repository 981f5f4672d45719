"""The checks of `benchmarks.gpu_check` around the steps: products, a continued run, reading, checkpoints, samples."""

import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks.gpu_machine import Line
from benchmarks.timing import median_seconds
from igan_tf.experiments.configs import build_config
from igan_tf.training.checkpoints import Checkpoints, state_of


def products(machine):
    """The error of a product against float64, with and without TensorFloat-32."""
    draw = np.random.default_rng(0)
    left, right = (draw.normal(size=(machine.sizes.product, machine.sizes.product)) for _ in range(2))
    expected, before = left @ right, tf.config.experimental.tensor_float_32_execution_enabled()
    errors = {}
    try:
        for allowed in (True, False):
            tf.config.experimental.enable_tensor_float_32_execution(allowed)
            found = tf.matmul(tf.constant(left, tf.float32), tf.constant(right, tf.float32)).numpy()
            errors[allowed] = float(np.abs(found - expected).max() / np.abs(expected).max())
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
    figures = {"training": errors[True], "igan_tf.evaluate": errors[False]}
    yield Line("product's error", figures, "ok" if errors[False] < 1e-5 else "look")


def continued(machine):
    """A run that is stopped after its first epoch and continued, against one that never stopped."""
    from igan_tf.experiments.training_runs import train

    settings = {"dataset": "digits", "label_draws": 1, "supervised_baseline": False, "histogram_epochs": 0}
    with tempfile.TemporaryDirectory() as folder:
        states = []
        for name, epochs in (("whole", (2,)), ("stopped", (1, 2))):
            for last in epochs:
                train(build_config(**settings, epochs=last), Path(folder) / name, lambda line: None)
            states.append(Checkpoints(Path(folder) / name / "checkpoints").load_newest().arrays)
        worst = max(
            float(np.abs(states[0][name] - states[1][name]).max()) for name in states[0] if states[0][name].size
        )
    note = "equal to the bit is promised on CPUs, and on GPUs with --deterministic" if worst else ""
    yield Line("stopped and continued", {"largest difference": worst}, "ok" if worst < 1e-2 else "look", note)


def reader(machine):
    """The reader of records against what the replicas take."""
    from benchmarks.records import PHOTOS, make_photos
    from igan_tf.data import RecordBatches
    from igan_tf.records.converter import convert
    from igan_tf.records.reader import ImageRecords
    from igan_tf.records.settings import ConversionSettings

    count, batch_size = max(machine.sizes.images, PHOTOS), machine.sizes.batches[0] * len(machine.devices)
    with tempfile.TemporaryDirectory() as folder:
        source = make_photos(Path(folder) / "photos", count)
        settings = ConversionSettings(image_size=machine.sizes.side)
        convert(source, Path(folder) / "records", settings, 1, 0.0, report=lambda *line: None)
        batches = RecordBatches(ImageRecords(Path(folder) / "records"), batch_size, seed=0, as_float=False)
        read, start = 0, time.perf_counter()
        for batch in batches.epoch(0):
            read += len(batch["images"])
        rate = read / (time.perf_counter() - start)
    needed = batch_size / machine.step_seconds if machine.step_seconds else 0.0
    # A CPU that trains has no cores left to read with.
    good = rate > 1.2 * needed or not machine.gpus
    note = "" if good else "the replicas wait for images: raw records, or more cores"
    yield Line("reader", {"images/s": rate, "images/s that the replicas take": needed}, "ok" if good else "look", note)


def surroundings(machine):
    """What a checkpoint costs, and what samples and scores cost."""
    model, sizes = machine.build_model(), machine.sizes
    start = time.perf_counter()
    arrays = state_of(model.state_variables())
    copied = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        Checkpoints(folder).save(1, arrays, {"step": 1})
        written = time.perf_counter()
    size = sum(array.nbytes for array in arrays.values()) / 1e9
    yield Line("checkpoint", {"GB": size, "copy s": copied - start, "write and sync s": written - copied})
    batch = sizes.batches[0]
    sampling = median_seconds(lambda: model.generate(batch, seed=0, batch_size=batch), repetitions=3)
    images = tf.random.uniform((batch, sizes.side, sizes.side, 3))
    shrink = tf.function(lambda images: tf.image.resize(images, (24, 24), antialias=True), autograph=False)
    labels = tf.function(lambda images: model.discriminator(images, training=False)["logits"], autograph=False)
    yield Line(
        "samples and scores, images/s",
        {
            "generator": batch / sampling,
            "classifier of D's size": batch / median_seconds(lambda: labels(images).numpy()),
            "resize with antialiasing, on the CPU": batch / median_seconds(lambda: shrink(images).numpy()),
        },
    )
