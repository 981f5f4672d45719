"""What there is to compute with, and what the user hears of it."""

import glob

import keras
import pytest

from igan_tf import devices

if keras.backend.backend() != "tensorflow":
    pytest.skip("TensorFlow's list of devices", allow_module_level=True)

import tensorflow as tf


@pytest.mark.parametrize(
    ("files", "gpus", "visible", "warned"),
    [
        (["/dev/nvidia0", "/dev/nvidia1"], 0, None, True),
        (["/dev/nvidia0"], 0, "0", True),
        (["/dev/nvidia0"], 1, None, False),
        ([], 0, None, False),
        # Hidden on purpose.
        (["/dev/nvidia0"], 0, "", False),
        (["/dev/nvidia0"], 0, "-1", False),
    ],
)
def test_a_gpu_that_tensorflow_does_not_list_is_spoken_of(monkeypatch, files, gpus, visible, warned):
    monkeypatch.setattr(glob, "glob", lambda pattern: files)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: ["GPU:0"] * gpus)
    sentence = devices.unused_gpus({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    assert bool(sentence) == warned
    if warned:
        assert devices.INSTALL in sentence and all(file in sentence for file in files)


def test_what_xla_compiles_is_known_while_it_is_traced():
    found = []

    def look():
        found.append(devices.compiled_by_xla())
        return tf.constant(0)

    look()
    tf.function(look)()
    tf.function(look, jit_compile=True)()
    tf.function(lambda: tf.function(look)(), jit_compile=True)()
    assert found == [False, False, True, True]
