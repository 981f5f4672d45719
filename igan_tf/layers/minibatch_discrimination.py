"""Minibatch discrimination: features of an example that say how close the rest of its batch is."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from igan_tf.layers.data_dependent import initializes_now
from igan_tf.layers.pairwise_distances import pairwise_distances
from igan_tf.precision import wide_dtype
from igan_tf.types import Shape, Tensor

REDUCTIONS = ("sum", "mean", "mean_all_pairs")


@keras.saving.register_keras_serializable("igan_tf")
class MinibatchDiscrimination(keras.layers.Layer):
    """Appends to each example, per kernel, a measure of how many examples of its batch lie close to it.

    With inputs flattened to `x (N, A)`, `B = num_kernels`, `C = kernel_dim`:

        W[a,b,c]    = theta[a,b,c] * exp(log_weight_scale[b,c]) / ||theta[:,b,c]||      (A, B, C)
        M[i,b,c]    = sum_a x[i,a] W[a,b,c]                                             (N, B, C)
        D[i,j,b]    = sum_c |M[i,b,c] - M[j,b,c]|                                       (N, N, B)
        o[i,g,b]    = (1 / n) sum_{j in group g, j != i} exp(-D[i,j,b]) + bias[b]       (N, num_groups, B)
        outputs[i]  = [x[i], o[i,0,:], ..., o[i,num_groups-1,:]]                        (N, A + num_groups * B)

    with n = 1 for `reduction="sum"`; the number of terms in that sum for "mean" (N - 1 for one group; for two, N/2 - 1
    against an example's own half and N/2 against the other); the number of pairs counted in the whole group for
    "mean_all_pairs" (N (N - 1) for one group, N*N/2 - N/2 for each of two). `weight_norm=False` takes W = theta. A sum
    without terms (N = 1; N = 2 against the own half) is 0, so that the feature equals the bias.

    Training and inference are alike: an example's features depend on the other examples of its batch in `predict` and
    `evaluate`, too, so that predictions change with `batch_size` and with the order of the data, and padding rows count
    as examples. Under `tf.distribute` the batch is the replica's own. Everything between the inputs and the features is
    computed in float32 under the mixed and half precision policies (the outputs are in the compute dtype), in
    float64 under float64. The gradient of |.| at 0 is 0, so coinciding rows have finite gradients. On a CPU no
    tensor larger than N*N*B or N*B*C is built, forward or backward; a second derivative keeps N of the latter. On a
    GPU, and under XLA, differences of all pairs are taken at once, up to 256 MB of them (`pairwise_distances`).

    TensorFlow Lite converts a model with this layer at a fixed batch size, `keras.Input(batch_shape=(N, ...))`; at an
    unknown one its error names `TFLite_needs_a_fixed_batch_size`.

    Args:
        num_kernels: B, the number of features per group.
        kernel_dim: C, the dimensions in which a kernel measures its distance.
        num_groups: 1, the whole batch; or 2, a joint batch [real; generated] of two equal halves: features against
            the first half, `num_kernels` of them, then against the second.
        weight_norm: Whether W is theta normalized over the input axis (no epsilon) and scaled by a trained
            `exp(log_weight_scale)`.
        use_bias: Whether a bias per kernel, starting at -1, is added to the features of every group.
        reduction: "sum", "mean" or "mean_all_pairs", see above.
        kernel_initializer: Initializer of `theta`; None for a normal distribution of standard deviation 0.05.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: Floating point tensor. With `num_groups=2` real examples are in the first half.

    Input shape: `(N, ...)`, of rank 2 or more, all but the batch size known; flattened to `(N, A)`. N is even with
        `num_groups=2`.

    Output shape: `(N, A + num_kernels * num_groups)`.

    Raises:
        ValueError: for an argument out of range, an input of rank below 2, of unknown size, or of another size than the
            layer was built for, and an odd batch with `num_groups=2`. Inside a graph that does not know its batch size
            the odd batch stops the step with the backend's own error, from a reshape to two halves.

    ```python
    layer = MinibatchDiscrimination(num_kernels=100, kernel_dim=5)
    outputs = layer(np.random.default_rng(0).normal(size=(32, 192)))      # (32, 292)
    ```

    Reference: arXiv:1606.03498, section 3.2.

    Differs from the original code: the self term has weight exactly 0, where the CIFAR-10 and SVHN code adds 1e6 to its
    distance. (The paper keeps it, a constant 1 that a bias takes up.) Otherwise the default is that code's layer, and
    `MinibatchDiscrimination(300, 50, num_groups=2, weight_norm=False, use_bias=False, reduction="mean_all_pairs")` the
    ImageNet code's, less the bias of its projection, which cancels in the distances.
    """

    # An example's output depends on the others of its batch (`SemiSupervisedGAN`'s `joint_passes`).
    couples_examples = True

    def __init__(
        self,
        num_kernels: int = 100,
        kernel_dim: int = 5,
        num_groups: int = 1,
        weight_norm: bool = True,
        use_bias: bool = True,
        reduction: str = "sum",
        kernel_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("num_kernels", num_kernels), ("kernel_dim", kernel_dim)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value!r}")
        if num_groups not in (1, 2):
            raise ValueError(f"`num_groups` must be 1 or 2. Received: num_groups={num_groups!r}")
        if reduction not in REDUCTIONS:
            raise ValueError(f"`reduction` must be one of {REDUCTIONS}. Received: reduction={reduction!r}")
        self.num_kernels = num_kernels
        self.kernel_dim = kernel_dim
        self.num_groups = num_groups
        self.weight_norm = weight_norm
        self.use_bias = use_bias
        self.reduction = reduction
        # A new object for every layer: an initializer draws the same values each time.
        self.kernel_initializer = keras.initializers.get(
            keras.initializers.RandomNormal(stddev=0.05) if kernel_initializer is None else kernel_initializer
        )

    def build(self, input_shape: Shape) -> None:
        size = self._flattened_size(input_shape)
        kernels = (self.num_kernels, self.kernel_dim)
        # No autocast: under mixed precision these are used in float32.
        self.theta = self.add_weight(
            name="theta", shape=(size, *kernels), initializer=self.kernel_initializer, autocast=False
        )
        self.log_weight_scale: Any = None
        self.bias: Any = None
        if self.weight_norm:
            self.log_weight_scale = self.add_weight(
                name="log_weight_scale", shape=kernels, initializer="zeros", autocast=False
            )
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.num_kernels,),
                initializer=keras.initializers.Constant(-1.0),
                autocast=False,
            )

    def call(self, inputs: Tensor) -> Tensor:
        if initializes_now(self):
            return self.data_dependent_initialize(inputs)
        flat = self._flatten(inputs)
        features = self._features(pairwise_distances(self._projections(flat)))
        if self.use_bias:
            features = features + ops.cast(self.bias, features.dtype)
        features = ops.reshape(features, (-1, self.num_groups * self.num_kernels))
        return ops.concatenate([flat, ops.cast(features, flat.dtype)], axis=1)

    def data_dependent_initialize(self, inputs: Tensor) -> Tensor:
        """Sets scale and bias from one batch, as the original code does before training.

        Per kernel, the distances are divided by half the batch's mean distance to the nearest other row:
        `log_weight_scale` takes that up (`theta`, without weight normalization). `bias`, where used, becomes minus the
        mean of the features over batch and groups. A kernel in which rows do not differ, or a batch of one row, keeps
        its scale. Call it eagerly, once, before distribution; it builds the layer if need be.

        Args:
            inputs: As of a call.

        Returns:
            The outputs after the initialization.
        """
        if not self.built:
            self.build(inputs.shape)
        inputs = ops.convert_to_tensor(inputs, dtype=self.compute_dtype)
        projections = self._projections(self._flatten(inputs))
        distances = pairwise_distances(projections)
        itself = ops.expand_dims(ops.eye(ops.shape(distances)[0], dtype="bool"), 2)
        nearest = ops.min(ops.where(itself, math.inf, distances), axis=1)
        num_rows = nearest.shape[0]
        scale = ops.sum(nearest, axis=0) / num_rows / 2
        # Below this a distance is rounding in the product.
        rounding = 1e-6 * ops.sum(ops.abs(projections), axis=(0, 2)) / num_rows
        scale = ops.where(ops.logical_and(scale > rounding, scale < math.inf), scale, ops.ones_like(scale))
        if self.weight_norm:
            update = ops.cast(ops.expand_dims(ops.log(scale), 1), self.log_weight_scale.dtype)
            self.log_weight_scale.assign_sub(ops.broadcast_to(update, self.log_weight_scale.shape))
        else:
            self.theta.assign(self.theta / ops.cast(ops.expand_dims(scale, 1), self.theta.dtype))
        if self.use_bias:
            features = self._features(distances / scale)
            mean_feature = ops.sum(features, axis=(0, 1)) / (num_rows * self.num_groups)
            self.bias.assign(ops.cast(-mean_feature, self.bias.dtype))
        return self.call(inputs)

    def _flattened_size(self, input_shape: Shape) -> int:
        """A, once the shape is found to be one that the layer takes."""
        input_shape = tuple(input_shape)
        if len(input_shape) < 2:
            raise ValueError(
                f"{type(self).__name__} needs inputs of rank 2 or more, batch included. "
                f"Received: inputs.shape={input_shape}"
            )
        sizes = [size for size in input_shape[1:] if size is not None]
        if len(sizes) < len(input_shape) - 1:
            raise ValueError(
                f"{type(self).__name__} needs every size but the batch's to be known. "
                f"Received: inputs.shape={input_shape}"
            )
        if input_shape[0] is not None and input_shape[0] % self.num_groups:
            raise ValueError(
                f"`num_groups={self.num_groups}` takes a joint batch of equal halves, so an even number of rows. "
                f"Received: inputs.shape={input_shape}"
            )
        size = math.prod(sizes)
        if self.built and size != self.theta.shape[0]:
            raise ValueError(
                f"{type(self).__name__} {self.name!r} was built for inputs of {self.theta.shape[0]} values an example. "
                f"Received: inputs.shape={input_shape}"
            )
        return size

    def _flatten(self, inputs: Tensor) -> Tensor:
        return ops.reshape(inputs, (-1, self._flattened_size(inputs.shape)))

    def _projections(self, flat: Tensor) -> Tensor:
        """M (N, B, C), in at least float32."""
        dtype = wide_dtype(self.compute_dtype)
        theta = ops.cast(self.theta, dtype)
        # Not ops.matmul, nor ops.mean: Keras 3.15 lets float64 through float32 there, under PyTorch and JAX.
        projections = ops.cast(flat, dtype) @ ops.reshape(theta, (theta.shape[0], -1))
        projections = ops.reshape(projections, (-1, self.num_kernels, self.kernel_dim))
        if self.weight_norm:
            norm = ops.sqrt(ops.sum(ops.square(theta), axis=0))
            # Scaling the few rows of M is cheaper than scaling theta, and the same.
            projections = projections * (ops.exp(ops.cast(self.log_weight_scale, dtype)) / norm)
        return projections

    def _features(self, distances: Tensor) -> Tensor:
        """o (N, num_groups, B) without the bias, from D (N, N, B)."""
        closeness = ops.exp(-distances)
        return self._pair_weights(ops.shape(distances)[0], closeness.dtype) @ closeness

    def _pair_weights(self, num_rows: Any, dtype: str) -> Tensor:
        """The weight (N, num_groups, N) of row j in row i's feature against group g: 0 or one over the divisor."""
        rows = ops.arange(num_rows, dtype="int32")
        # The reshape refuses an odd batch where its size is not known before the step.
        groups = ops.reshape(rows, (self.num_groups, num_rows // self.num_groups, 1))
        in_group = ops.any(ops.equal(groups, rows), axis=1)
        others = ops.not_equal(ops.expand_dims(rows, 1), rows)
        counted = ops.cast(ops.logical_and(ops.expand_dims(in_group, 0), ops.expand_dims(others, 1)), dtype)
        if self.reduction == "sum":
            return counted
        axis = 2 if self.reduction == "mean" else (0, 2)
        # A sum without terms stays 0.
        return counted / ops.maximum(ops.sum(counted, axis=axis, keepdims=True), 1.0)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        size = self._flattened_size(input_shape)
        return (input_shape[0], size + self.num_kernels * self.num_groups)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_kernels": self.num_kernels,
            "kernel_dim": self.kernel_dim,
            "num_groups": self.num_groups,
            "weight_norm": self.weight_norm,
            "use_bias": self.use_bias,
            "reduction": self.reduction,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
