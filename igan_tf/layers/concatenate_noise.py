"""Noise channels inside a generator."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from igan_tf.layers.reference_layer import ReferenceLayer
from igan_tf.layers.seeds import ReplicaSeedGenerator
from igan_tf.types import Shape, Tensor

# Added to the layer's seed for the stored noise.
STORED_NOISE_SEED = 0x2545F491


@keras.saving.register_keras_serializable("igan_tf")
class ConcatenateNoise(ReferenceLayer):
    """Appends channels of uniform noise: fresh for every example and call, stored for the reference rows.

        y = [x, noise] along the last axis,    noise ~ U(minval, maxval)

    with x (R + N, ..., C) and noise (R + N, ..., channels), whose first R rows are the weight `reference_noise`, drawn
    once when the layer is built: a reference that changed from call to call would be no reference.

    Training and inference are alike, as in the paper's ImageNet generator: `predict` draws fresh noise too. Replicas
    of a `tf.distribute` strategy draw different noise and share the stored one; the first replica draws what a single
    device would. Frozen (`freeze_reference`), all noise is fresh, and the same as the examples' would have been.

    Saving keeps the stored noise; as with Keras's own noise layers, a reloaded one starts its seed's sequence anew
    (without `seed`, another one).

    Args:
        channels: Number of noise channels.
        reference_size: Number of reference rows, R; 0 in a model without `VirtualBatchNorm`.
        minval, maxval: Bounds of the noise.
        seed: Integer, or None for one drawn by Keras (see `keras.utils.set_random_seed`).
        frozen: Set by `freeze_reference`.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: Floating point tensor, the reference rows first.

    Input shape: `(R + N, ..., C)` with N >= 1, rank 2 or more; with R > 0 every size but the batch's is known.

    Output shape: `(R + N, ..., C + channels)`.

    Raises:
        ValueError: for `channels` below 1, `reference_size` below 0, `minval` above `maxval`, rank below 2, an unknown
            size, a batch of R rows or fewer, and a `reference_size` other than that of the `PrependReference` before
            it in a functional model.

    ```python
    noise = ConcatenateNoise(8, seed=1)
    outputs = noise(np.zeros((2, 4, 4, 16)))      # (2, 4, 4, 24)
    ```

    Reference: arXiv:1606.03498, section 6.4, the published ImageNet generator.

    Differs from the original code: nothing (there, too, the reference's noise is stored).
    """

    minimum_reference_size = 0

    def __init__(
        self,
        channels: int,
        reference_size: int = 0,
        minval: float = -1.0,
        maxval: float = 1.0,
        seed: int | None = None,
        frozen: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(reference_size, frozen=frozen, **kwargs)
        if isinstance(channels, bool) or not isinstance(channels, int) or channels < 1:
            raise ValueError(
                f"ConcatenateNoise needs `channels` to be an integer of at least 1. Received: channels={channels!r}"
            )
        if minval > maxval:
            raise ValueError(
                f"ConcatenateNoise needs `minval` not above `maxval`. Received: minval={minval}, maxval={maxval}"
            )
        self.channels = channels
        self.minval = minval
        self.maxval = maxval
        self.seed = seed
        self.seed_generator = ReplicaSeedGenerator(seed)

    def build(self, input_shape: Shape) -> None:
        self._check_rank(input_shape)
        if not self.reference_size:
            return
        if None in input_shape[1:]:
            raise ValueError(
                "ConcatenateNoise with reference rows needs to know every size of its input but the batch's. "
                f"Received: input shape {tuple(input_shape)}"
            )
        # Another seed than the first call's, which would draw the same numbers.
        seed = None if self.seed is None else (self.seed + STORED_NOISE_SEED) % 2**31
        self.reference_noise = self.add_weight(
            shape=(self.reference_size, *input_shape[1:-1], self.channels),
            initializer=keras.initializers.RandomUniform(self.minval, self.maxval, seed=seed),
            name="reference_noise",
            trainable=False,
        )

    def call(self, inputs: Tensor) -> Tensor:
        self.check_batch_size(inputs.shape)
        rows, *positions, _ = ops.shape(inputs)
        noise = keras.random.uniform(
            (rows - self.reference_rows, *positions, self.channels),
            self.minval,
            self.maxval,
            dtype=inputs.dtype,
            seed=self.seed_generator,
        )
        if self.reference_rows:
            noise = ops.concatenate([ops.cast(self.reference_noise, inputs.dtype), noise], axis=0)
        return ops.concatenate([inputs, noise], axis=-1)

    def _check_rank(self, shape: Shape) -> None:
        if len(shape) < 2:
            raise ValueError(f"ConcatenateNoise needs inputs of rank 2 or more. Received: input shape {tuple(shape)}")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        self._check_rank(input_shape)
        self.check_batch_size(input_shape)
        channels = input_shape[-1]
        return (*input_shape[:-1], None if channels is None else channels + self.channels)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "channels": self.channels,
            "minval": self.minval,
            "maxval": self.maxval,
            "seed": self.seed,
        }
