"""A .tflite file as a classifier."""

from __future__ import annotations

import concurrent.futures
import os
import queue
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from igan_tf.errors import EvaluationError
from igan_tf.evaluation.classifiers.classifier import Classifier
from igan_tf.evaluation.classifiers.files import checked_copy
from igan_tf.images.reading import available_processors

# Beyond this number interpreters wait for memory.
_MOST_INTERPRETERS = 8
_QUANTIZED = {"uint8": 0, "int8": -128}


def load(path: str | Path, sha256: str = "", value_range: tuple[float, float] | None = None) -> Classifier:
    """Reads a .tflite image classifier: one image in, logits or probabilities out, quantized or not.

    Pixels go to a quantized network as they are, 0 to 255. Quantized outputs are taken back to real numbers. Whether
    they are probabilities is seen from the softmax at the end; features are what enters the last layer with weights.

    Args:
        path: The file.
        sha256: The digest that it must have; empty: any.
        value_range: What a network of floats expects for black and white; None for a quantized one.

    Returns:
        A `Classifier`, its name the file's.

    Raises:
        EvaluationError: for a file that is missing, of another digest, or no such network; for a network of floats
            without a range, or a quantized one with it.
    """
    with checked_copy(path, sha256) as (copy, digest):
        stored = bytearray(copy.read_bytes())
    try:
        content, from_logits = _with_features(stored)
        interpreter = _interpreter(content)
        (image,), (values, _) = interpreter.get_input_details(), interpreter.get_output_details()
    except (ValueError, TypeError, IndexError, RuntimeError, AttributeError, OSError, struct.error) as error:
        raise EvaluationError(f"`path={path}` is no image classifier that can be read: {error}") from error
    shape = tuple(map(int, image["shape"]))
    if len(shape) != 4 or shape[0] != 1 or shape[3] not in (1, 3) or len(values["shape"]) != 2:
        raise EvaluationError(
            f"`path={path}` must take (1, height, width, 3) and give (1, K). "
            f"Received: {shape} and {tuple(map(int, values['shape']))}"
        )
    kind = np.dtype(image["dtype"]).name
    if kind in _QUANTIZED:
        if value_range is not None:
            raise EvaluationError(
                f"`value_range` is for networks of floats; {path} takes {kind}, the pixels as they are. "
                f"Received: value_range={value_range[0]:g},{value_range[1]:g}"
            )
        lowest = _QUANTIZED[kind]
        value_range = (lowest, lowest + 255)
    elif value_range is None:
        raise EvaluationError(
            f"`value_range` must be the pixel values black,white that {path} expects: it takes {kind}. "
            "Received: value_range=None"
        )
    return Classifier(
        _Pool(content),
        os.path.basename(path),
        digest,
        value_range,
        from_logits,
        input_size=shape[1:3],
        channels=shape[3],
        whole_pixels=kind in _QUANTIZED,
    )


class _Pool:
    """Interpreters that work side by side, one image each: such files are made for single images."""

    def __init__(self, content: bytes):
        count = min(available_processors(), _MOST_INTERPRETERS)
        self._idle: queue.SimpleQueue = queue.SimpleQueue()
        for _ in range(count):
            self._idle.put(_interpreter(content))
        self._threads = concurrent.futures.ThreadPoolExecutor(count)

    def __call__(self, images: Any) -> tuple[np.ndarray, np.ndarray]:
        values, features = zip(*self._threads.map(self._classify, np.asarray(images)))
        return np.concatenate(values), np.concatenate(features)

    def _classify(self, image: np.ndarray) -> list[np.ndarray]:
        interpreter = self._idle.get()
        try:
            (entry,) = interpreter.get_input_details()
            interpreter.set_tensor(entry["index"], image[None].astype(entry["dtype"]))
            interpreter.invoke()
            return [_real(interpreter, output) for output in interpreter.get_output_details()]
        finally:
            self._idle.put(interpreter)


def _real(interpreter: tf.lite.Interpreter, output: dict[str, Any]) -> np.ndarray:
    """An output as float32 `(1, n)`."""
    array = interpreter.get_tensor(output["index"]).reshape(1, -1).astype("float32")
    scale, zero_point = output["quantization"]
    return (array - zero_point) * np.float32(scale) if scale else array


def _interpreter(content: bytes) -> tf.lite.Interpreter:
    with warnings.catch_warnings():
        # TensorFlow warns that the interpreter moves to another package in 2.22.
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _with_features(content: bytearray) -> tuple[bytes, bool]:
    """The model with the features as one output more, and whether its first output is logits."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    # Operations that do not change the values.
    kinds = schema.BuiltinOperator
    passing = {kinds.RESHAPE, kinds.SQUEEZE, kinds.QUANTIZE, kinds.DEQUANTIZE, kinds.SOFTMAX}
    with_weights = {kinds.FULLY_CONNECTED, kinds.CONV_2D}
    if content[4:8] != b"TFL3":
        raise ValueError("it does not begin as a .tflite file does")
    model = flatbuffer_utils.convert_bytearray_to_object(content)
    (graph,) = model.subgraphs
    (tensor,) = graph.outputs
    producers = {output: operator for operator in graph.operators for output in operator.outputs}
    from_logits = True
    while tensor in producers:
        operator = producers[tensor]
        code = model.operatorCodes[operator.opcodeIndex]
        # Old files, whose codes fit a byte, have them in the other field.
        kind = max(code.builtinCode, code.deprecatedBuiltinCode)
        from_logits &= kind != kinds.SOFTMAX
        tensor = operator.inputs[0]
        if kind in with_weights:
            graph.outputs = np.append(graph.outputs, tensor).astype("int32")
            return bytes(flatbuffer_utils.convert_object_to_bytearray(model)), from_logits
        if kind not in passing:
            break
    raise ValueError("it does not end in a fully connected layer or a convolution, with or without a softmax")
