"""The R1 penalty: flattens the discriminator at the data."""

from __future__ import annotations

import keras
from keras import ops

from igan_tf.losses.technique import PlayerStep, Technique
from igan_tf.precision import mean, to_wide
from igan_tf.types import Tensor


@keras.saving.register_keras_serializable("igan_tf")
class R1Penalty(Technique):
    """Adds the squared gradient of the discriminator's logit at real images to its loss.

        loss <- loss + weight * 1/2 mean_n || d sum_m l(x_m) / d x_n ||^2

    with x (N, height, width, channels) the real images and l the logit of "real": log Z of K class logits, or the
    difference to the generated class's logit. Where no layer couples a batch's examples, the sum's gradient is each
    image's own. The logit is that of a pass with noise on; in `ImageNetGAN` its joint batch holds the generated images,
    too. Logged as `r1_loss`. Under `tf.distribute` the mean is over the replica's own batch.

    It takes one more pass of the discriminator and a second derivative, and needs TensorFlow. Keras layers that are
    made from `ops.moments`, as `keras.layers.BatchNormalization` is, have wrong second derivatives there; this
    package's normalizations have right ones.

    Args:
        weight: Factor of the penalty, gamma in the reference, whose experiments have 10; for images in [0, 1].
        **kwargs: `Technique` arguments.

    Raises:
        ValueError: for a negative `weight`.

    ```python
    model = SemiSupervisedGAN(digits.build_generator(), digits.build_discriminator())
    model.compile(InsideRootAdam(0.003), InsideRootAdam(0.003), techniques=[R1Penalty(10.0)])
    ```

    Reference: [Mescheder et al., 2018](https://arxiv.org/abs/1801.04406), section 4.1.

    Differs from the original code: arXiv:1606.03498 has no such term.
    """

    def discriminator_terms(self, step: PlayerStep) -> dict[str, Tensor]:
        import tensorflow as tf

        images = tf.convert_to_tensor(step.real_images)
        with tf.GradientTape() as tape:
            tape.watch(images)
            total = ops.sum(step.gan_logit(step.discriminate(images)["logits"]))
        gradient = to_wide(tape.gradient(total, images))
        squared_lengths = ops.sum(ops.square(gradient), axis=tuple(range(1, len(images.shape))))
        return {"r1_loss": 0.5 * mean(squared_lengths)}
