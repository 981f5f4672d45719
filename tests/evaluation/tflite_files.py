"""Small .tflite classifiers, made here."""

import keras
import numpy as np
import tensorflow as tf


def network(softmax, seed=0):
    """A classifier of 8x8 colour images, and the part of it that gives its features."""
    keras.utils.set_random_seed(seed)
    images = keras.Input((8, 8, 3))
    hidden = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(6, 3, activation="relu")(images))
    outputs = keras.layers.Dense(4, activation="softmax" if softmax else None)(hidden)
    return keras.Model(images, outputs), keras.Model(images, hidden)


def convert(model, path, quantized=False):
    """Writes a model as a .tflite file and returns its path."""
    export = path.with_suffix(".saved")
    model.export(export, verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(export))
    if quantized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        pixels = np.random.default_rng(0).random((40, 1, 8, 8, 3), "float32") * 255
        converter.representative_dataset = lambda: ([image] for image in pixels)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    path.write_bytes(converter.convert())
    return path
