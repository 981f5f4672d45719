"""Adversarial losses on D's single logit, with one-sided label smoothing."""

from __future__ import annotations

import numpy as np
from keras import ops

from igan_tf.precision import mean, to_wide
from igan_tf.types import Tensor


def sigmoid_kl_with_logits(logits: Tensor, target: Tensor) -> Tensor:
    """Computes the KL divergence from D's decision to a soft target, elementwise.

        KL(t || p) = t log(t / p) + (1 - t) log((1 - t) / (1 - p)),    p = sigmoid(l)
                   = -t log sigmoid(l) - (1 - t) log sigmoid(-l) - H(t)

    This is the sigmoid cross-entropy less the target's entropy H(t), which is 0 for t = 0 and t = 1; so the least
    value is 0, taken at p = t. The second form is the one computed: no difference of large numbers, hence exact and
    finite for any finite l. Near the minimum the two parts cancel to about 1e-7 in float32, of either sign.

    Args:
        logits: Tensor of any shape.
        target: t in [0, 1], a number or a tensor that broadcasts to the shape of `logits`.

    Returns:
        Tensor of the shape of `logits`, float32 (float64 where they are).

    Raises:
        ValueError: for a `target` that does not broadcast to the shape of `logits`, or is a number or an array with a
            value outside [0, 1]; a tensor's values are not checked.

    ```python
    divergence = sigmoid_kl_with_logits(np.array([-1.0, 0.0, 2.0]), target=0.9)      # (3,)
    ```

    Reference: arXiv:1606.03498, section 3.4; the ImageNet code.

    Differs from the original code: nothing.
    """
    check_target("target", target)
    logits = to_wide(logits)
    target = ops.convert_to_tensor(target, dtype=logits.dtype)
    _check_broadcast(logits, target)
    cross_entropy = -target * ops.log_sigmoid(logits) - (1.0 - target) * ops.log_sigmoid(-logits)
    return cross_entropy - _entropy(target)


def label_smoothing_real_loss(real_logits: Tensor, real_target: float = 0.9) -> Tensor:
    """Computes the real half of `label_smoothing_discriminator_loss`: mean KL(real_target || sigmoid(real_logits))."""
    check_target("real_target", real_target)
    return mean(sigmoid_kl_with_logits(real_logits, real_target))


def label_smoothing_fake_loss(fake_logits: Tensor) -> Tensor:
    """Computes the generated half of `label_smoothing_discriminator_loss`: mean KL(0 || sigmoid(fake_logits))."""
    return mean(sigmoid_kl_with_logits(fake_logits, 0.0))


def label_smoothing_discriminator_loss(real_logits: Tensor, fake_logits: Tensor, real_target: float = 0.9) -> Tensor:
    """Computes D's loss with the positive target smoothed and the negative one left at exactly 0.

        mean KL(a || sigmoid(real_logits)) + mean KL(0 || sigmoid(fake_logits)),    a = real_target

    The best D is a * p_data / (p_data + p_model). A negative target b > 0 would put b * p_model into the numerator,
    and G would be held where it errs already: hence one side only. `real_target=1.0` is the plain GAN loss.

    Args:
        real_logits: D's logits on data, any shape.
        fake_logits: D's logits on G's samples, any shape.
        real_target: a in [0, 1]; paper 0.9, ImageNet code 0.75.

    Returns:
        A scalar, `label_smoothing_real_loss(real_logits, real_target) + label_smoothing_fake_loss(fake_logits)`;
        its least value is 0.

    Raises:
        ValueError: for a `real_target` outside [0, 1].

    ```python
    real_logits, fake_logits = np.random.default_rng(0).normal(size=(2, 100))
    loss = label_smoothing_discriminator_loss(real_logits, fake_logits, real_target=0.75)
    ```

    Reference: arXiv:1606.03498, section 3.4.

    Differs from the original code: the default is the paper's target.
    """
    return label_smoothing_real_loss(real_logits, real_target) + label_smoothing_fake_loss(fake_logits)


def label_smoothing_generator_loss(
    fake_logits: Tensor, real_target: float = 0.9, target: float | None = None
) -> Tensor:
    """Computes G's loss towards the value that a smoothed discriminator gives at equilibrium.

        mean KL(t || sigmoid(fake_logits)),    t = real_target / 2 unless `target` says otherwise

    Where p_model = p_data, the best D is real_target / 2 everywhere; a G that aims there (the ImageNet code) does
    not chase samples that D finds more real than the data. `target=1.0` is the usual non-saturating loss -log D.

    Args:
        fake_logits: D's logits on G's samples, any shape.
        real_target: D's positive target, the same number as in `label_smoothing_discriminator_loss`.
        target: t itself, in [0, 1]; None takes `real_target / 2`.

    Returns:
        A scalar; its least value is 0.

    Raises:
        ValueError: for a `real_target` or a `target` outside [0, 1].

    ```python
    loss = label_smoothing_generator_loss(np.random.default_rng(0).normal(size=100), real_target=0.75)
    ```

    Reference: arXiv:1606.03498, section 3.4; the ImageNet code has real_target 0.75, t 0.375.

    Differs from the original code: nothing.
    """
    check_target("real_target", real_target)
    check_target("target", target)
    return mean(sigmoid_kl_with_logits(fake_logits, real_target / 2 if target is None else target))


def check_target(name: str, target: Tensor) -> None:
    """Raises a ValueError that names the argument where a target that is no tensor is outside [0, 1]."""
    if isinstance(target, (bool, int, float, list, tuple, np.generic, np.ndarray)):
        values = np.asarray(target, dtype="float64")
        if not np.all((values >= 0) & (values <= 1)):
            raise ValueError(f"`{name}` must lie in [0, 1]. Received: {name}={target}")


def _check_broadcast(logits: Tensor, target: Tensor) -> None:
    shape, target_shape = tuple(logits.shape), tuple(target.shape)
    fits = len(target_shape) <= len(shape) and all(
        size in (1, logits_size) or None in (size, logits_size)
        for size, logits_size in zip(reversed(target_shape), reversed(shape))
    )
    if not fits:
        raise ValueError(
            "`target` must broadcast to the shape of `logits`. "
            f"Received: target of shape {target_shape}, logits of shape {shape}"
        )


def _entropy(target: Tensor) -> Tensor:
    """Entropy of Bernoulli(target) in nats, 0 at 0 and 1."""

    def minus_x_log_x(x: Tensor) -> Tensor:
        # The inner `where` keeps log 0 out of the gradient as well as out of the value.
        return ops.where(x > 0, -x * ops.log(ops.where(x > 0, x, ops.ones_like(x))), ops.zeros_like(x))

    return minus_x_log_x(target) + minus_x_log_x(1.0 - target)
