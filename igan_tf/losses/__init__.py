"""The paper's losses, and training techniques that add terms to them.

On `keras.ops` alone: they run on every Keras backend. Every `Technique` in a module of this package is exported, and
known to Keras, by standing there.
"""

import importlib
import pkgutil

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
    UNLABELLED,
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
    "UNLABELLED",
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

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    for _name, _value in vars(importlib.import_module(_module.name)).items():
        if isinstance(_value, type) and issubclass(_value, Technique) and _name not in __all__:
            globals()[_name] = _value
            __all__.append(_name)
