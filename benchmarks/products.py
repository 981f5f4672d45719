"""Convolutions and matrix products timed by themselves: what a training step cannot do without."""

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Product:
    """The products of one layer, forward and backward.

    Attributes:
        what: Whose it is.
        rows: Examples.
        inputs: `(height, width, channels)` of its input; `(units,)` for a dense layer.
        filters: Output channels or units.
        kinds: Of "y" the layer's output, "dx" the gradient to its input, "dw" the gradient to its kernel.
        size, stride, padding: Of a convolution.
        transposed: Whether it is a transposed convolution.
    """

    what: str
    rows: int
    inputs: tuple
    filters: int
    kinds: tuple
    size: int = 0
    stride: int = 1
    padding: str = "SAME"
    transposed: bool = False

    def __str__(self):
        if len(self.inputs) == 1:
            shape = f"{self.inputs[0]} x {self.filters}"
        else:
            kind = "transposed convolution" if self.transposed else "convolution"
            inputs = "x".join(map(str, self.inputs))
            shape = f"{kind} {self.size}x{self.size}/{self.stride} {self.padding} of {inputs} to {self.filters}"
        return f"{self.what}: {self.rows} x {shape}, {' '.join(self.kinds)}"

    def operations(self):
        """A function for each kind, on operands made now."""
        if len(self.inputs) == 1:
            return self._dense()
        height, width, channels = self.inputs
        if self.transposed:
            # A transposed convolution is the gradient of a convolution from its output's shape to its input's.
            image = (self.rows, height * self.stride, width * self.stride, self.filters)
            result = (self.rows, height, width, channels)
            names = {"y": "dx", "dx": "y", "dw": "dw"}
        else:
            image = (self.rows, height, width, channels)
            rounded = (-(-side // self.stride) for side in (height, width))
            valid = ((side - self.size) // self.stride + 1 for side in (height, width))
            result = (self.rows, *(rounded if self.padding == "SAME" else valid), self.filters)
            names = {kind: kind for kind in ("y", "dx", "dw")}
        kernel = (self.size, self.size, image[-1], result[-1])
        x, w, y = (tf.random.normal(shape) for shape in (image, kernel, result))
        settings = {"strides": [1, self.stride, self.stride, 1], "padding": self.padding}
        functions = {
            "y": lambda: tf.raw_ops.Conv2D(input=x, filter=w, **settings),
            "dx": lambda: tf.raw_ops.Conv2DBackpropInput(input_sizes=image, filter=w, out_backprop=y, **settings),
            "dw": lambda: tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=kernel, out_backprop=y, **settings),
        }
        return [functions[names[kind]] for kind in self.kinds]

    def _dense(self):
        x = tf.random.normal((self.rows, self.inputs[0]))
        w = tf.random.normal((self.inputs[0], self.filters))
        y = tf.random.normal((self.rows, self.filters))
        functions = {
            "y": lambda: tf.matmul(x, w),
            "dx": lambda: tf.matmul(y, w, transpose_b=True),
            "dw": lambda: tf.matmul(x, y, transpose_a=True),
        }
        return [functions[kind] for kind in self.kinds]


def run_one_after_another(products):
    """A function that runs all of `products` as a step does, each waiting for the one before."""
    operations = [operation for product in products for operation in product.operations()]

    @tf.function
    def run():
        results, previous = [], []
        for operation in operations:
            with tf.control_dependencies(previous):
                result = operation()
            previous = [result]
            results.append(tf.reshape(result, (-1,))[0])
        return tf.stack(results)

    return lambda: run().numpy()
