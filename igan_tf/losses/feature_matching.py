"""Feature matching: the generator's features are to have the data's mean."""

import math

from keras import ops

from igan_tf.losses.precision import mean, to_loss_precision


def feature_matching_loss(real_features, fake_features, norm="l2"):
    """Distance between the batch means of the discriminator's features on real and on generated data.

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

    Reference:
        arXiv:1606.03498, section 3.1. Differs from the original code: nothing; the paper's own formula is the sum
        over features, F times the mean taken here.
    """
    if norm not in ("l1", "l2"):
        raise ValueError(f'`norm` must be "l2" or "l1". Received: norm={norm!r}')
    real_features, fake_features = to_loss_precision(real_features, fake_features)
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
