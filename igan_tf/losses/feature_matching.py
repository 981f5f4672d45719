"""Feature matching: moves the mean of the generated images' features to that of the data's."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from igan_tf.losses.technique import PlayerStep, Technique
from igan_tf.precision import mean, to_wide
from igan_tf.types import Tensor

NORMS = ("l2", "l1")


@keras.saving.register_keras_serializable("igan_tf")
class FeatureMatching(Technique):
    """Adds feature matching to the generator's loss, beside its adversarial loss.

        loss <- loss + weight * feature_matching_loss(f(real), f(generated), norm)

    for the discriminator's features f. Logged as `feature_matching_loss`. As the generator's whole objective, which it
    is in the published MNIST code, choose it by `SemiSupervisedGAN`'s `generator_objective`.

    Args:
        weight: Factor of the loss.
        norm: "l2" or "l1", see `feature_matching_loss`.
        **kwargs: `Technique` arguments.

    Raises:
        ValueError: for a negative `weight` or another `norm`.

    ```python
    generator = imagenet.build_generator((32, 32, 3), latent_size=16, gf_dim=8)
    model = ImageNetGAN(generator, imagenet.build_discriminator((32, 32, 3), df_dim=4))
    model.compile(FusedAdam(0.0004), FusedAdam(0.0004), techniques=[FeatureMatching(1.0)])
    ```

    Reference: arXiv:1606.03498, section 3.1.

    Differs from the original code: the ImageNet code has no such term.
    """

    def __init__(self, weight: float, norm: str = "l2", **kwargs: Any) -> None:
        _check_norm(norm)
        super().__init__(weight, **kwargs)
        self.norm = norm

    def generator_terms(self, step: PlayerStep) -> dict[str, Tensor]:
        return {
            "feature_matching_loss": feature_matching_loss(step.real("features"), step.generated("features"), self.norm)
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "norm": self.norm}


def feature_matching_loss(real_features: Tensor, fake_features: Tensor, norm: str = "l2") -> Tensor:
    """Computes the distance between the batch means of D's features on real and on generated data.

        l2:  1/F * sum_f (mean_n real[n, f] - mean_n fake[n, f])^2
        l1:  1/F * sum_f |mean_n real[n, f] - mean_n fake[n, f]|

    Everything behind the batch axis is flattened into the F features. Means and differences are taken in float32
    (float64 where an argument has it). No gradient reaches `real_features`: they are the target. Under
    `tf.distribute` the means are those of the replica's own batch.

    Args:
        real_features: `(N, ...)`, an intermediate layer of D on data.
        fake_features: `(M, ...)`, the same layer on G's samples; M may differ from N.
        norm: `"l2"` (the MNIST code) or `"l1"` (the CIFAR-10 and SVHN code).

    Returns:
        A scalar, 0 where the means agree.

    Raises:
        ValueError: for another `norm`, for features of rank below 2, or for two different numbers of features.

    ```python
    real_features, fake_features = np.random.default_rng(0).normal(size=(2, 100, 250))
    loss = feature_matching_loss(real_features, fake_features, norm="l1")
    ```

    Reference: arXiv:1606.03498, section 3.1.

    Differs from the original code: nothing; the paper's own formula is the sum over features, F times the mean taken
        here.
    """
    _check_norm(norm)
    real_features, fake_features = to_wide(real_features, fake_features)
    for name, features in (("real_features", real_features), ("fake_features", fake_features)):
        if len(features.shape) < 2:
            raise ValueError(f"`{name}` must have shape (batch, ...). Received: shape={tuple(features.shape)}")
    real_shape, fake_shape = tuple(real_features.shape), tuple(fake_features.shape)
    known = None not in real_shape[1:] and None not in fake_shape[1:]
    if known and math.prod(real_shape[1:]) != math.prod(fake_shape[1:]):
        raise ValueError(
            "`real_features` and `fake_features` must have the same number of features. "
            f"Received: shapes {real_shape} and {fake_shape}"
        )
    real_mean = ops.reshape(mean(ops.stop_gradient(real_features), axis=0), (-1,))
    fake_mean = ops.reshape(mean(fake_features, axis=0), (-1,))
    difference = real_mean - fake_mean
    return mean(ops.square(difference) if norm == "l2" else ops.abs(difference))


def _check_norm(norm: str) -> None:
    if norm not in NORMS:
        raise ValueError(f"`norm` must be one of {NORMS}. Received: norm={norm!r}")
