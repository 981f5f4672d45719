"""A frozen graph of the published Inception file's form, and what it computes in NumPy.

The same names, operations and version of `GraphDef`, one image at a time, 1008 outputs; few and small weights.
"""

import io
import tarfile

import numpy as np
import tensorflow as tf
from PIL import Image

FEATURES = 16


def constants():
    """The weights and the constants, by the names of their nodes."""
    random = np.random.default_rng(3)

    def values(*shape, low=-1.0):
        return random.uniform(low, 1, shape).astype("float32")

    jpeg = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (20, 30, 3), dtype="uint8")).save(jpeg, "JPEG")
    return {
        "DecodeJpeg/contents": np.asarray(jpeg.getvalue(), object),
        "ExpandDims/dim": np.int32(0),
        "ResizeBilinear/size": np.array([299, 299], "int32"),
        "Sub/y": np.float32(128),
        "Mul/y": np.float32(1 / 128),
        "conv/conv2d_params": values(3, 3, 3, 4),
        "conv/batchnorm/beta": values(4),
        "conv/batchnorm/gamma": values(4, low=0.5),
        "conv/batchnorm/moving_mean": values(4),
        "conv/batchnorm/moving_variance": values(4, low=0.5),
        "mixed/tower/conv/conv2d_params": values(1, 1, 4, 12),
        "mixed/join/concat_dim": np.int32(3),
        "pool_3/_reshape/shape": np.array([1, FEATURES], "int32"),
        "softmax/weights": values(FEATURES, 1008),
        "softmax/biases": values(1008),
    }


class Builder:
    """Writes nodes one by one: today's TensorFlow adds no operation that it has deprecated."""

    def __init__(self):
        self.graph_def = tf.compat.v1.GraphDef()
        # The published file is older than 9, from which the old batch normalization is refused.
        self.graph_def.versions.producer = 8

    def add(self, name, operation, *inputs, **attributes):
        node = self.graph_def.node.add(name=name, op=operation, input=inputs)
        for key, value in attributes.items():
            attribute = node.attr[key]
            if isinstance(value, tf.DType):
                attribute.type = value.as_datatype_enum
            elif isinstance(value, bool):
                attribute.b = value
            elif isinstance(value, int):
                attribute.i = value
            elif isinstance(value, float):
                attribute.f = value
            elif isinstance(value, bytes):
                attribute.s = value
            elif isinstance(value, list):
                attribute.list.i.extend(value)
            else:
                attribute.tensor.CopyFrom(value)

    def add_constants(self, values):
        for name, value in values.items():
            dtype = tf.string if value.dtype == object else tf.as_dtype(value.dtype)
            self.add(name, "Const", dtype=dtype, value=tf.make_tensor_proto(value, dtype))


def graph(bias=True, cut=""):
    """The `GraphDef`.

    Args:
        bias: Whether the logits have one.
        cut: "Mul" or "ResizeBilinear": the graph without what is before it, a placeholder in its place.
    """
    builder = Builder()
    floats = {"T": tf.float32}
    builder.add_constants(constants())
    builder.add("DecodeJpeg", "DecodeJpeg", "DecodeJpeg/contents", channels=3)
    builder.add("Cast", "Cast", "DecodeJpeg", SrcT=tf.uint8, DstT=tf.float32)
    builder.add("ExpandDims", "ExpandDims", "Cast", "ExpandDims/dim", **floats)
    builder.add("ResizeBilinear", "ResizeBilinear", "ExpandDims", "ResizeBilinear/size", **floats)
    builder.add("Sub", "Sub", "ResizeBilinear", "Sub/y", **floats)
    builder.add("Mul", "Mul", "Sub", "Mul/y", **floats)
    convolution = {"padding": b"VALID", **floats}
    builder.add("conv/Conv2D", "Conv2D", "Mul", "conv/conv2d_params", strides=[1, 13, 13, 1], **convolution)
    statistics = [f"conv/batchnorm/{name}" for name in ("moving_mean", "moving_variance", "beta", "gamma")]
    builder.add(
        "conv/batchnorm",
        "BatchNormWithGlobalNormalization",
        "conv/Conv2D",
        *statistics,
        variance_epsilon=0.001,
        scale_after_normalization=True,
        **floats,
    )
    builder.add("conv/CheckNumerics", "CheckNumerics", "conv/batchnorm", message=b"conv", **floats)
    builder.add("conv/control_dependency", "Identity", "conv/batchnorm", "^conv/CheckNumerics", **floats)
    builder.add("conv", "Relu", "conv/control_dependency", **floats)
    pooling = {"ksize": [1, 3, 3, 1], "strides": [1, 2, 2, 1], "padding": b"VALID", **floats}
    builder.add("pool", "MaxPool", "conv", **pooling)
    builder.add("mixed/tower/conv", "Conv2D", "pool", "mixed/tower/conv/conv2d_params", strides=[1] * 4, **convolution)
    builder.add("mixed/join", "Concat", "mixed/join/concat_dim", "pool", "mixed/tower/conv", N=2, **floats)
    builder.add("pool_3", "AvgPool", "mixed/join", **{**pooling, "ksize": [1, 11, 11, 1]})
    builder.add("pool_3/_reshape", "Reshape", "pool_3", "pool_3/_reshape/shape", **floats)
    product = "softmax/logits/MatMul" if bias else "softmax/logits"
    builder.add(product, "MatMul", "pool_3/_reshape", "softmax/weights", **floats)
    if bias:
        builder.add("softmax/logits", "BiasAdd", product, "softmax/biases", **floats)
    builder.add("softmax", "Softmax", "softmax/logits", **floats)
    for node in builder.graph_def.node:
        if node.name in ("pool_3", "pool_3/_reshape"):
            shape = node.attr["_output_shapes"].list.shape.add()
            for size in (1, 1, 1, FEATURES) if node.name == "pool_3" else (1, FEATURES):
                shape.dim.add(size=size)
    if cut:
        node = next(node for node in builder.graph_def.node if node.name == cut)
        node.CopyFrom(tf.compat.v1.NodeDef(name=cut, op="Placeholder"))
        node.attr["dtype"].type = tf.float32.as_datatype_enum
        return tf.compat.v1.graph_util.extract_sub_graph(builder.graph_def, ["softmax"])
    return builder.graph_def


def write(folder, graph_def=None, name="classify_image_graph_def.pb"):
    """Writes a graph, the published form's for None, as a file; returns its path."""
    path = folder / name
    path.write_bytes((graph() if graph_def is None else graph_def).SerializeToString(deterministic=True))
    return path


def pack(path, name=None):
    """Packs a file with another one, as the published archive; returns the .tgz."""
    archive = path.with_name("inception-2015-12-05.tgz")
    with tarfile.open(archive, "w:gz", compresslevel=1) as file:
        file.addfile(tarfile.TarInfo("cropped_panda.jpg"))
        file.add(path, name or path.name)
    return archive


def expected(images, bias=True):
    """(logits, features) of images with values from 0 to 255, in NumPy, after the graph's resize where it has one."""
    values = {name: value.astype("float64") for name, value in constants().items() if value.dtype == "float32"}
    pixels = (resized(images) - values["Sub/y"]) * values["Mul/y"]
    hidden = np.einsum("nyxcij,ijco->nyxo", windows(pixels, 3, 13), values["conv/conv2d_params"])
    deviation = np.sqrt(values["conv/batchnorm/moving_variance"] + 0.001)
    normalized = (hidden - values["conv/batchnorm/moving_mean"]) / deviation
    hidden = np.maximum(normalized * values["conv/batchnorm/gamma"] + values["conv/batchnorm/beta"], 0)
    pooled = windows(hidden, 3, 2).max(axis=(-2, -1))
    joined = np.concatenate([pooled, pooled @ values["mixed/tower/conv/conv2d_params"][0, 0]], axis=-1)
    features = joined.mean(axis=(1, 2))
    return features @ values["softmax/weights"] + bias * values["softmax/biases"], features


def windows(images, size, stride):
    views = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))
    return views[:, ::stride, ::stride]


def resized(images, size=299):
    """TensorFlow's old bilinear resize: output i lies at i * old / new, not (i + 1/2) * old / new - 1/2."""
    images = images.astype("float64")
    for axis in (1, 2):
        old = images.shape[axis]
        places = np.arange(size) * old / size
        low = np.floor(places).astype(int)
        shape = [-1 if dimension == axis else 1 for dimension in range(4)]
        part = (places - low).reshape(shape)
        images = np.take(images, low, axis) * (1 - part) + np.take(images, np.minimum(low + 1, old - 1), axis) * part
    return images
