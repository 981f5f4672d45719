"""Puts the reference batch in front of the examples."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from igan_tf.layers.reference_layer import ReferenceLayer
from igan_tf.types import Shape, Tensor


@keras.saving.register_keras_serializable("igan_tf")
class PrependReference(ReferenceLayer):
    """Puts its stored reference batch in front of the examples, for the `VirtualBatchNorm` layers after it.

        y = [reference; x],    x (N, ...), reference (R, ...)

    The reference is drawn once, when the layer is built, and never changes by itself; `set_reference` puts real data in
    its place. It is a non-trainable weight: saved with the model and the same on every replica. Training and inference
    are alike; frozen (`freeze_reference`), the layer gives x as it is and refuses training=True.

    Args:
        reference_size: Number of reference rows, R.
        distribution: "uniform" for U(minval, maxval), "normal" for N(0, 1); take what the examples come from.
        minval, maxval: Bounds of "uniform".
        seed: Integer, or None for one drawn by Keras (see `keras.utils.set_random_seed`).
        frozen: Set by `freeze_reference`.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: The examples.
        training: True is refused when frozen, otherwise without effect.

    Input shape: `(N, ...)`, every size but N known.

    Output shape: `(R + N, ...)`; frozen: `(N, ...)`.

    Raises:
        ValueError: for `reference_size` below 1, an unknown `distribution`, `minval` above `maxval`, an unknown size.

    ```python
    prepend = PrependReference(16, distribution="normal", seed=1)
    joint = prepend(np.zeros((2, 100)))      # (18, 100)
    ```

    Reference: arXiv:1606.03498, section 3.5.

    Differs from the original code: nothing (there, one reference z shared by all GPUs).
    """

    reference_role = "begin"

    def __init__(
        self,
        reference_size: int,
        distribution: str = "uniform",
        minval: float = -1.0,
        maxval: float = 1.0,
        seed: int | None = None,
        frozen: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(reference_size, frozen=frozen, **kwargs)
        if distribution not in ("uniform", "normal"):
            raise ValueError(
                'PrependReference needs `distribution` to be "uniform" or "normal". '
                f"Received: distribution={distribution!r}"
            )
        if minval > maxval:
            raise ValueError(
                f"PrependReference needs `minval` not above `maxval`. Received: minval={minval}, maxval={maxval}"
            )
        self.distribution = distribution
        self.minval = minval
        self.maxval = maxval
        self.seed = seed

    def build(self, input_shape: Shape) -> None:
        if None in input_shape[1:]:
            raise ValueError(
                "PrependReference needs to know every size of its input but the batch's. "
                f"Received: input shape {tuple(input_shape)}"
            )
        if self.distribution == "uniform":
            initializer = keras.initializers.RandomUniform(self.minval, self.maxval, seed=self.seed)
        else:
            initializer = keras.initializers.RandomNormal(0.0, 1.0, seed=self.seed)
        self.reference = self.add_weight(
            shape=(self.reference_size, *input_shape[1:]), initializer=initializer, name="reference", trainable=False
        )

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        self.refuse_training(training)
        if self.frozen:
            return inputs
        self.open_reference()
        return ops.concatenate([ops.cast(self.reference, inputs.dtype), inputs], axis=0)

    def set_reference(self, reference: Tensor) -> None:
        """Replaces the reference batch; builds a layer that is not built yet.

        Args:
            reference: `(R, ...)`, finite.

        Raises:
            ValueError: for another shape, for NaN or Inf in it, and where the layer is frozen.
        """
        if self.frozen:
            raise ValueError(
                f"Layer {self.name!r} (PrependReference) is frozen: its reference is in the stored statistics of "
                "other layers. Call `igan_tf.layers.unfreeze_reference(model)` first."
            )
        reference = np.asarray(ops.convert_to_numpy(reference))
        expected = (self.reference_size, *(self.reference.shape[1:] if self.built else reference.shape[1:]))
        if reference.shape != tuple(expected):
            raise ValueError(
                f"PrependReference.set_reference needs `reference` of shape {tuple(expected)}. "
                f"Received: shape {reference.shape}"
            )
        if not np.all(np.isfinite(reference)):
            raise ValueError("PrependReference.set_reference needs a finite `reference`. Received: NaN or Inf in it")
        if not self.built:
            self.build((None, *reference.shape[1:]))
        self.reference.assign(reference)

    def compute_output_spec(self, inputs: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        # A reference of its own: what came before does not matter.
        return keras.layers.Layer.compute_output_spec(self, inputs, *args, **kwargs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch = input_shape[0]
        return (None if batch is None else batch + self.reference_rows, *input_shape[1:])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "distribution": self.distribution,
            "minval": self.minval,
            "maxval": self.maxval,
            "seed": self.seed,
        }
