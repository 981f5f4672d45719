"""The paper's losses, and training techniques that add terms to them.

On `keras.ops` alone: they run on every Keras backend.
"""

from igan_tf.losses.adversarial import (
    label_smoothing_discriminator_loss,
    label_smoothing_fake_loss,
    label_smoothing_generator_loss,
    label_smoothing_real_loss,
    sigmoid_kl_with_logits,
)
from igan_tf.losses.feature_matching import FeatureMatching, feature_matching_loss
from igan_tf.losses.historical_averaging import HistoricalAveraging, HistoricalPenalty
from igan_tf.losses.semi_supervised import (
    explicit_gan_logit,
    gan_logit,
    semi_supervised_generator_loss,
    supervised_loss,
    unsupervised_fake_loss,
    unsupervised_loss,
    unsupervised_real_loss,
)
from igan_tf.losses.technique import PlayerStep, Technique

__all__ = [
    "FeatureMatching",
    "HistoricalAveraging",
    "HistoricalPenalty",
    "PlayerStep",
    "Technique",
    "explicit_gan_logit",
    "feature_matching_loss",
    "gan_logit",
    "label_smoothing_discriminator_loss",
    "label_smoothing_fake_loss",
    "label_smoothing_generator_loss",
    "label_smoothing_real_loss",
    "semi_supervised_generator_loss",
    "sigmoid_kl_with_logits",
    "supervised_loss",
    "unsupervised_fake_loss",
    "unsupervised_loss",
    "unsupervised_real_loss",
]
