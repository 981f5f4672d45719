"""A transposed convolution of few filters, a generator's last layer, at twice its usual speed on a CPU."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from igan_tf.types import Shape, Tensor

# Side of the blocks of pixels that are computed together.
_BLOCK = 2


@keras.saving.register_keras_serializable("igan_tf")
class BlockedConv2DTranspose(keras.layers.Conv2DTranspose):
    """Computes `keras.layers.Conv2DTranspose` with strides 1 and padding "same", in blocks of 2x2 pixels.

    The weights and the sums are that layer's. Each position of a convolution with stride 2 gives the four pixels of a
    block:

        y[2 i + p, 2 j + q, f] = (x * K)[i, j, (p, q, f)],    K[u + p, v + q, c, (p, q, f)] = k[-u, -v, f, c]

    with x (N, H, W, C), y (N, H, W, F), the layer's kernel k (size, size, F, C), and K (size + 1, size + 1, C, 4 F)
    four mirrored copies of it, each moved to its place. That is ((size + 1) / size)^2 times the products, but of four
    times as many filters: a CPU computes 16 filters in the time of 3. With ImageNet's 5x5, 72 channels and 3 filters it
    takes half the time forward and the same backward (`docs/results/speed.md`); with many filters it takes longer.

    Training and inference are alike, and nothing depends on the batch.

    Args:
        filters: Number of output channels, F.
        kernel_size: Odd side of the kernel, or a pair of equal ones.
        strides: 1.
        padding: "same".
        **kwargs: `keras.layers.Conv2DTranspose` arguments.

    Call arguments:
        inputs: Floating point tensor.

    Input shape: `(N, H, W, C)`, H and W even.

    Output shape: `(N, H, W, F)`.

    Raises:
        ValueError: for strides or dilations other than 1, an `output_padding`, another padding or data format, an
            even `kernel_size`, and an odd or unknown H or W.

    ```python
    pixels = BlockedConv2DTranspose(3, 5, activation="tanh")
    images = pixels(np.zeros((2, 8, 8, 72)))      # (2, 8, 8, 3)
    ```

    Reference: arXiv:1606.03498, section 6.4: the last layer of the published ImageNet generator.

    Differs from the original code: nothing but the order of the computation.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = 1,
        padding: str = "same",
        **kwargs: Any,
    ) -> None:
        # Whatever keras.json says: there is no other here.
        kwargs.setdefault("data_format", "channels_last")
        super().__init__(filters, kernel_size, strides=strides, padding=padding, **kwargs)
        required = {
            "strides": (1, 1),
            "padding": "same",
            "data_format": "channels_last",
            "dilation_rate": (1, 1),
            "output_padding": None,
        }
        for name, value in required.items():
            if getattr(self, name) != value:
                raise ValueError(
                    f"BlockedConv2DTranspose needs `{name}` to be {value!r}. Received: {name}={getattr(self, name)!r}"
                )
        if self.kernel_size[0] % 2 == 0 or self.kernel_size[0] != self.kernel_size[1]:
            raise ValueError(
                f"BlockedConv2DTranspose needs an odd, square `kernel_size`. Received: kernel_size={kernel_size!r}"
            )

    def build(self, input_shape: Shape) -> None:
        self._check_sides(input_shape)
        super().build(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        self._check_sides(inputs.shape)
        mirrored = ops.transpose(ops.flip(self.kernel, axis=(0, 1)), (0, 1, 3, 2))
        places = [(row, column) for row in range(_BLOCK) for column in range(_BLOCK)]
        last = _BLOCK - 1
        moved = [
            ops.pad(mirrored, ((row, last - row), (column, last - column), (0, 0), (0, 0))) for row, column in places
        ]
        blocks = ops.conv(
            inputs, ops.concatenate(moved, axis=-1), strides=_BLOCK, padding="same", data_format="channels_last"
        )
        _, rows, columns, _ = blocks.shape
        blocks = ops.reshape(blocks, (-1, rows, columns, _BLOCK, _BLOCK, self.filters))
        outputs = ops.reshape(
            ops.transpose(blocks, (0, 1, 3, 2, 4, 5)), (-1, rows * _BLOCK, columns * _BLOCK, self.filters)
        )
        if self.use_bias:
            outputs = outputs + self.bias
        return outputs if self.activation is None else self.activation(outputs)

    def _check_sides(self, shape: Shape) -> None:
        if len(shape) == 4 and any(side is None or side % _BLOCK for side in shape[1:3]):
            raise ValueError(
                f"BlockedConv2DTranspose needs even, known height and width. Received: input shape {tuple(shape)}"
            )
