"""Weight normalization as a wrapper around Keras's own dense and convolution layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops
from keras.src.backend.common.variables import AutocastScope

from igan_tf.devices import has_gpu
from igan_tf.layers.data_dependent import initializes_now
from igan_tf.layers.own_gradient import own_gradient
from igan_tf.precision import wide_dtype
from igan_tf.types import Shape, Tensor

_DENSE = (keras.layers.Dense,)
_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_TRANSPOSES = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)


@keras.saving.register_keras_serializable("igan_tf")
class WeightNorm(keras.layers.Wrapper):
    """Gives every output unit of a layer a kernel of chosen length.

        y = activation(op(x, W) + b),    W = V * g / sqrt(sum V^2 + epsilon)

    - V: the inner layer's kernel; the sum runs over every axis but the output units'.
    - g: `scale`, shape `(units,)`, starting at 1.
    - b: the inner layer's `bias`, shape `(units,)`, left out where the inner layer has none.
    - op: the inner layer's product: matrix product, convolution or transposed convolution.

    Training and inference are alike, and nothing depends on the batch: under `tf.distribute` there is nothing to
    synchronize. A call assigns no variable, but for the one in which `igan_tf.data_dependent_initialization` sets g and
    b from data.

    Args:
        layer: A `Dense`, `Conv1D/2D/3D` or `Conv1D/2D/3DTranspose` layer, or a subclass of one that keeps its product.
        train_scale: Whether `g` is trained. The published code trains it in output layers only.
        init_std: Standard deviation that the data-dependent initialization gives each unit's pre-activation.
        epsilon: Added to the squared norm. The published code has 1e-6, and 0 in MNIST's discriminator.
        **kwargs: `keras.layers.Layer` arguments. Without a `dtype` the inner layer's policy is taken.

    Call arguments:
        inputs: What the inner layer takes.

    Input shape: the inner layer's.

    Output shape: the inner layer's.

    Raises:
        ValueError: for another kind of layer, `init_std <= 0` or `epsilon < 0`.

    ```python
    layer = WeightNorm(keras.layers.Conv2D(96, 3, activation="leaky_relu"), train_scale=False)
    outputs = layer(np.zeros((2, 32, 32, 3)))      # (2, 30, 30, 96)
    convolution = layer.remove()                   # a Conv2D with the kernel W
    ```

    Reference: [Salimans and Kingma, 2016](https://arxiv.org/abs/1602.07868), used throughout the published code of
        arXiv:1606.03498.

    Differs from the original code: nothing but rounding. A dense layer's factor is applied to the product's output
    instead of its kernel, which is the same number and passes over fewer elements.
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        train_scale: bool = True,
        init_std: float = 1.0,
        epsilon: float = 1e-6,
        **kwargs: Any,
    ) -> None:
        if not isinstance(layer, _DENSE + _CONVOLUTIONS + _TRANSPOSES):
            raise ValueError(
                "`layer` must be a Dense, Conv1D, Conv2D, Conv3D layer or a transposed convolution. "
                f"Received: layer={layer} (of type {type(layer).__name__})"
            )
        if not init_std > 0:
            raise ValueError(f"`init_std` must be positive. Received: init_std={init_std}")
        if not epsilon >= 0:
            raise ValueError(f"`epsilon` must not be negative. Received: epsilon={epsilon}")
        kwargs.setdefault("dtype", layer.dtype_policy)
        # Keras heeds these two of the layer that is called, and that is this one.
        kwargs.setdefault("activity_regularizer", layer.activity_regularizer)
        super().__init__(layer, **kwargs)
        self.supports_masking = layer.supports_masking
        self.train_scale = train_scale
        self.init_std = init_std
        self.epsilon = epsilon
        self.scale: Any = None

    @property
    def bias(self) -> keras.Variable | None:
        """The inner layer's bias, or None."""
        return self.layer.bias if self.layer.use_bias else None

    @property
    def _unit_axis(self) -> int:
        """The kernel's axis of output units: the last but one for a transposed convolution."""
        return -2 if isinstance(self.layer, _TRANSPOSES) else -1

    def build(self, input_shape: Shape | None = None) -> None:
        super().build(input_shape)
        self._inner_shape = input_shape
        units = self.layer.kernel.shape[self._unit_axis]
        self.scale = self.add_weight(shape=(units,), initializer="ones", trainable=self.train_scale, name="scale")

    def call(self, inputs: Tensor) -> Tensor:
        if initializes_now(self):
            return self.data_dependent_initialize(inputs)
        pre_activation = self._product(inputs, self._factor())
        if self.layer.use_bias:
            pre_activation = self._with_bias(pre_activation)
        return self._activate(pre_activation)

    def data_dependent_initialize(self, inputs: Tensor) -> Tensor:
        """Sets scale and bias so that each unit's pre-activation `t` has mean 0 and deviation `init_std` on `inputs`.

        `g <- g * init_std / std(t)`, `b <- -init_std * mean(t) / std(t)`, with `t` the product before the bias. A unit
        that is constant on `inputs` keeps both.

        Args:
            inputs: As of a call.

        Returns:
            The layer's outputs after the initialization.
        """
        dtype = wide_dtype(self.compute_dtype)
        product = ops.cast(self._product(inputs, self._factor()), dtype)
        channels_first = getattr(self.layer, "data_format", None) == "channels_first"
        unit_axis = 1 if channels_first else len(product.shape) - 1
        axes = [axis for axis in range(len(product.shape)) if axis != unit_axis]
        count = math.prod(product.shape[axis] for axis in axes)
        # Not `ops.moments`: under PyTorch and JAX it goes through float32 and leaves more of a constant than rounding.
        mean = ops.sum(product, axis=axes) / count
        variance = ops.sum(ops.square(product - self._broadcast(mean)), axis=axes) / count
        # What rounding alone can leave of a constant: not a deviation to divide by.
        varies = variance > ops.square(mean) * 1e-12
        factor = ops.where(varies, self.init_std / ops.sqrt(ops.where(varies, variance, 1.0)), 1.0)
        self.scale.assign(ops.cast(self.scale, dtype) * factor)
        pre_activation = product * self._broadcast(factor)
        if self.layer.use_bias:
            bias = ops.where(varies, -mean * factor, ops.cast(self.layer.bias, dtype))
            self.layer.bias.assign(bias)
            pre_activation = pre_activation + self._broadcast(bias)
        return self._activate(ops.cast(pre_activation, self.compute_dtype))

    def remove(self) -> keras.layers.Layer:
        """Returns the plain inner layer, built, with the effective kernel folded in: for inference and export.

        Raises:
            ValueError: where this layer is not built.
        """
        if not self.built:
            raise ValueError(f"`remove()` needs a built layer. Received: {self.name}, not yet called on any input")
        plain = type(self.layer).from_config(self.layer.get_config())
        plain.build(self._inner_shape)
        plain.built = True
        plain.kernel.assign(self._effective_kernel(self._factor()))
        if self.layer.use_bias:
            plain.bias.assign(self.layer.bias)
        return plain

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        config = {"train_scale": self.train_scale, "init_std": self.init_std, "epsilon": self.epsilon}
        return {**super().get_config(), **config}

    def _factor(self) -> Tensor:
        """`g / sqrt(sum V^2 + epsilon)`, `(units,)`."""
        dtype = wide_dtype(self.compute_dtype)
        kernel = ops.cast(_as_stored(self.layer.kernel), dtype)
        unit_axis = len(kernel.shape) + self._unit_axis
        axes = [axis for axis in range(len(kernel.shape)) if axis != unit_axis]
        return ops.cast(_as_stored(self.scale), dtype) * _inverse_norm(kernel, axes, self.epsilon)

    def _effective_kernel(self, factor: Tensor) -> Tensor:
        if self._unit_axis == -2:
            factor = ops.expand_dims(factor, -1)
        return ops.cast(_as_stored(self.layer.kernel), factor.dtype) * factor

    def _product(self, inputs: Tensor, factor: Tensor) -> Tensor:
        """`op(inputs, V * factor)`, without bias and activation."""
        layer = self.layer
        # Keras has done so already, but for a `stateless_call` of this very layer and for the initialization.
        inputs = ops.cast(inputs, self.compute_dtype)
        if isinstance(layer, _DENSE):
            # Not `ops.matmul`: under PyTorch and JAX it takes float64 through float32.
            product = inputs @ ops.cast(_as_stored(layer.kernel), self.compute_dtype)
            return product * ops.cast(factor, self.compute_dtype)
        kernel = ops.cast(self._effective_kernel(factor), self.compute_dtype)
        if isinstance(layer, _CONVOLUTIONS):
            return self._convolve(inputs, kernel)
        return ops.conv_transpose(
            inputs,
            kernel,
            strides=list(layer.strides),
            padding=layer.padding,
            output_padding=layer.output_padding,
            dilation_rate=layer.dilation_rate,
            data_format=layer.data_format,
        )

    def _convolve(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        layer = self.layer
        padding = layer.padding
        if padding == "causal":
            reach = layer.dilation_rate[0] * (layer.kernel_size[0] - 1)
            before_time = [[0, 0], [reach, 0], [0, 0]]
            before_time_channels_first = [[0, 0], [0, 0], [reach, 0]]
            channels_last = layer.data_format == "channels_last"
            inputs = ops.pad(inputs, before_time if channels_last else before_time_channels_first)
            padding = "valid"
        return ops.conv(
            inputs,
            kernel,
            strides=list(layer.strides),
            padding=padding,
            dilation_rate=layer.dilation_rate,
            data_format=layer.data_format,
        )

    def _with_bias(self, product: Tensor) -> Tensor:
        bias = self._broadcast(ops.cast(self.layer.bias, self.compute_dtype))
        if self.compute_dtype == "bfloat16" and not has_gpu():
            # Not `ops.add`, on TensorFlow an operation whose gradient, on a CPU, is summed in bfloat16 itself: of 300
            # terms it gets 98 %, of 100,000 positions of a convolution 3 %. The one below is summed in float32.
            return product + bias
        return ops.add(product, bias)

    def _broadcast(self, per_unit: Tensor) -> Tensor:
        """Shapes a `(units,)` tensor so that it broadcasts against the product."""
        if getattr(self.layer, "data_format", None) == "channels_first":
            return ops.reshape(per_unit, (1, -1) + (1,) * self.layer.rank)
        return per_unit

    def _activate(self, pre_activation: Tensor) -> Tensor:
        activation = self.layer.activation
        return pre_activation if activation is None else activation(pre_activation)


def _as_stored(variable: keras.Variable) -> Tensor:
    """A variable's value in its own precision, which mixed policies would take away before anything is summed."""
    with AutocastScope(None):
        return variable.value


def _inverse_norm(kernel: Tensor, axes: Sequence[int], epsilon: float) -> Tensor:
    """Computes `(sum over axes of V^2 + epsilon)^-1/2`, with its gradient `-V * inverse^3` in one pass.

    Automatic differentiation makes four, of which one only repeats the units' gradient to the kernel's size.
    """

    @own_gradient
    def inverse_norm(kernel: Tensor) -> Any:
        inverse = ops.rsqrt(ops.sum(ops.square(kernel), axis=axes, keepdims=True) + epsilon)

        def gradient(upstream: Tensor) -> Tensor:
            return kernel * (-upstream * inverse * inverse * inverse)

        return inverse, gradient

    return ops.reshape(inverse_norm(kernel), (-1,))
