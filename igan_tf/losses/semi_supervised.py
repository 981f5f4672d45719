"""Semi-supervised losses: K classes of real data and one more, "generated".

Only differences of logits matter to a softmax, so the generated class's logit may be fixed at 0: D gives K logits
l_1..l_K and Z(x) = sum_k exp l_k, D(x) = Z / (Z + 1) = sigmoid(log Z). K = 1 is the plain GAN. The functions below take
that form by default and the form with K + 1 explicit logits, the generated class last, by `explicit_fake_class=True`.
All are in float32 (float64 where the logits are), stable for logits of any finite size.
"""

from __future__ import annotations

import numpy as np
from keras import backend, ops

from igan_tf.losses.adversarial import check_target, sigmoid_kl_with_logits
from igan_tf.precision import mean, to_wide
from igan_tf.types import Tensor

# The label of an example that has none.
UNLABELLED = -1


def gan_logit(logits: Tensor) -> Tensor:
    """Computes the logit of "x is real" from K class logits, the generated class's being 0.

        log Z = logsumexp(l_1..l_K)

    Args:
        logits: `(N, K)`, K at least 1.

    Returns:
        `(N,)`; `sigmoid(gan_logit(l))` is D(x) = Z / (Z + 1).

    Raises:
        ValueError: for `logits` that are not of rank 2.

    ```python
    realness = ops.sigmoid(gan_logit(np.zeros((5, 10))))      # (5,), 10 / 11
    ```

    Reference: arXiv:1606.03498, section 5.

    Differs from the original code: nothing.
    """
    return ops.logsumexp(_logits_of_rank_2(logits, least=1), axis=-1)


def explicit_gan_logit(logits: Tensor) -> Tensor:
    """Computes the logit of "x is real" from K + 1 logits, the generated class last.

        logsumexp(l_1..l_K) - l_{K+1}

    Equal to `gan_logit(l_1..l_K)` where l_{K+1} = 0. The ImageNet code trains G and D on this logit with
    `label_smoothing_generator_loss` and `label_smoothing_discriminator_loss`.

    Args:
        logits: `(N, K + 1)`, K at least 1.

    Returns:
        `(N,)`.

    Raises:
        ValueError: for `logits` that are not of rank 2 with two columns or more.

    ```python
    realness = ops.sigmoid(explicit_gan_logit(np.zeros((5, 11))))      # (5,), 10 / 11
    ```

    Reference: arXiv:1606.03498, section 5; the ImageNet code (K = 1000).

    Differs from the original code: nothing.
    """
    logits = _logits_of_rank_2(logits, least=2)
    return ops.logsumexp(logits[:, :-1], axis=-1) - logits[:, -1]


def supervised_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Computes the cross-entropy of the labelled examples.

        mean_n [ logsumexp(l_n) - l_n[labels_n] ]

    over the labelled examples n, those whose label is not -1; 0 where there are none. With K logits it is over the K
    classes, the generated one left out; with K + 1 explicit logits it is over all of them, as in the ImageNet code, and
    so differs by softplus(-(log Z - l_{K+1})). Any other label outside the logits' columns makes the loss NaN, so that
    it cannot pass unseen.

    Args:
        logits: `(N, K)` or `(N, K + 1)`.
        labels: `(N,)`, integers from 0; `UNLABELLED`, -1, where an example has none.

    Returns:
        A scalar.

    Raises:
        ValueError: for `logits` that are not of rank 2, or `labels` that are not integers of shape `(N,)`.

    ```python
    loss = supervised_loss(np.zeros((5, 10)), np.arange(5))      # log 10
    ```

    Reference: arXiv:1606.03498, section 5.

    Differs from the original code: nothing.
    """
    logits = _logits_of_rank_2(logits, least=1)
    labels = ops.convert_to_tensor(labels)
    if not backend.is_int_dtype(labels.dtype):
        raise ValueError(f"`labels` must be integers. Received: dtype={backend.standardize_dtype(labels.dtype)}")
    rows, classes = tuple(logits.shape)
    if len(labels.shape) != 1 or (None not in (rows, labels.shape[0]) and labels.shape[0] != rows):
        raise ValueError(
            "`labels` must have shape (N,) for `logits` of shape (N, K). "
            f"Received: labels of shape {tuple(labels.shape)}, logits of shape {(rows, classes)}"
        )
    # 64 bits stay 64, and the classes are a constant: on a GPU TensorFlow compares 32 on the host, and counts there.
    kind = "int64" if backend.standardize_dtype(labels.dtype) == "int64" else "int32"
    labels = ops.cast(labels, kind)
    log_probabilities = ops.log_softmax(logits, axis=-1)
    chosen = ops.equal(ops.expand_dims(labels, -1), ops.convert_to_tensor(np.arange(classes), dtype=kind))
    # `where`, not a product with a one-hot array: a logit of -inf elsewhere in the row does no harm.
    losses = -ops.sum(ops.where(chosen, log_probabilities, ops.zeros_like(log_probabilities)), axis=-1)
    losses = ops.where(ops.any(chosen, axis=-1), losses, ops.full_like(losses, float("nan")))
    return mean_of_labelled(losses, labels)


def mean_of_labelled(values: Tensor, labels: Tensor) -> Tensor:
    """Computes the mean of `values`, `(N,)`, over the examples whose label is not -1; 0 where there is none."""
    labelled = ops.not_equal(labels, UNLABELLED)
    count = ops.sum(ops.cast(labelled, values.dtype))
    return ops.sum(ops.where(labelled, values, ops.zeros_like(values))) / ops.maximum(count, 1.0)


def unsupervised_real_loss(logits: Tensor, real_target: float = 1.0, explicit_fake_class: bool = False) -> Tensor:
    """Computes the real half of the unsupervised loss, on unlabelled data.

        1/2 mean KL(a || sigmoid(log Z)),    a = real_target

    At a = 1 this is the published 1/2 mean[ -log Z + softplus(log Z) ] = -1/2 mean log D(x), identically, since the
    entropy of a is 0 there. Below 1 it is one-sided label smoothing, with its least value 0 at D(x) = a.

    Args:
        logits: `(N, K)`; with `explicit_fake_class`, `(N, K + 1)`.
        real_target: a in [0, 1].
        explicit_fake_class: Whether the last logit is the generated class's; log Z is then `explicit_gan_logit`.

    Returns:
        A scalar, the factor 1/2 included.

    Raises:
        ValueError: for a `real_target` outside [0, 1] or `logits` that are not of rank 2.

    Reference: arXiv:1606.03498, sections 3.4 and 5.

    Differs from the original code: nothing at `real_target=1.0`.
    """
    check_target("real_target", real_target)
    return 0.5 * mean(sigmoid_kl_with_logits(_real_logit(logits, explicit_fake_class), real_target))


def unsupervised_fake_loss(logits: Tensor, explicit_fake_class: bool = False) -> Tensor:
    """Computes the generated half of the unsupervised loss.

        1/2 mean softplus(log Z) = -1/2 mean log(1 - D(G(z)))

    Args:
        logits: `(N, K)` on G's samples; with `explicit_fake_class`, `(N, K + 1)`.
        explicit_fake_class: As in `unsupervised_real_loss`.

    Returns:
        A scalar, the factor 1/2 included.

    Raises:
        ValueError: for `logits` that are not of rank 2.

    Reference: arXiv:1606.03498, section 5.

    Differs from the original code: nothing.
    """
    return -0.5 * mean(ops.log_sigmoid(-_real_logit(logits, explicit_fake_class)))


def unsupervised_loss(
    real_logits: Tensor, fake_logits: Tensor, real_target: float = 1.0, explicit_fake_class: bool = False
) -> Tensor:
    """Computes D's unsupervised loss, the sum of its two halves.

        1/2 mean[ -log Z(x) + softplus(log Z(x)) ] + 1/2 mean softplus(log Z(G(z)))

    Args:
        real_logits: `(N, K)` on unlabelled data; with `explicit_fake_class`, `(N, K + 1)`.
        fake_logits: the same on G's samples; the number of examples may differ.
        real_target: Smooths the real half, see `unsupervised_real_loss`; 1.0 is the published form.
        explicit_fake_class: As in `unsupervised_real_loss`.

    Returns:
        A scalar, `unsupervised_real_loss(...) + unsupervised_fake_loss(...)`.

    Raises:
        ValueError: for a `real_target` outside [0, 1] or logits that are not of rank 2.

    ```python
    real_logits, fake_logits = np.random.default_rng(0).normal(size=(2, 100, 10))
    loss = unsupervised_loss(real_logits, fake_logits)
    ```

    Reference: arXiv:1606.03498, section 5.

    Differs from the original code: nothing at `real_target=1.0`.
    """
    real_loss = unsupervised_real_loss(real_logits, real_target, explicit_fake_class)
    return real_loss + unsupervised_fake_loss(fake_logits, explicit_fake_class)


def semi_supervised_generator_loss(
    fake_logits: Tensor, form: str = "minimax", explicit_fake_class: bool = False
) -> Tensor:
    """Computes G's adversarial loss against a K + 1 discriminator.

        minimax:         -mean softplus(log Z(G(z)))  =  mean log(1 - D(G(z)))
        non_saturating:   mean softplus(-log Z(G(z))) = -mean log D(G(z))

    "minimax" is what the CIFAR-10 and SVHN minibatch-discrimination code minimizes; it has no least value, and its
    gradient fades as D(G(z)) goes to 0. "non_saturating" has the gradient that fades as D(G(z)) goes to 1 instead.
    The ImageNet code's loss is `label_smoothing_generator_loss(explicit_gan_logit(fake_logits), 0.75)`.

    Args:
        fake_logits: `(N, K)` on G's samples; with `explicit_fake_class`, `(N, K + 1)`.
        form: `"minimax"` or `"non_saturating"`.
        explicit_fake_class: As in `unsupervised_real_loss`.

    Returns:
        A scalar.

    Raises:
        ValueError: for another `form`, or `fake_logits` that are not of rank 2.

    ```python
    loss = semi_supervised_generator_loss(np.zeros((100, 10)), form="non_saturating")
    ```

    Reference: arXiv:1606.03498, section 5; the minibatch-discrimination code.

    Differs from the original code: nothing by default.
    """
    if form not in ("minimax", "non_saturating"):
        raise ValueError(f'`form` must be "minimax" or "non_saturating". Received: form={form!r}')
    real_logit = _real_logit(fake_logits, explicit_fake_class)
    if form == "minimax":
        return mean(ops.log_sigmoid(-real_logit))
    return -mean(ops.log_sigmoid(real_logit))


def _real_logit(logits: Tensor, explicit_fake_class: bool) -> Tensor:
    return explicit_gan_logit(logits) if explicit_fake_class else gan_logit(logits)


def _logits_of_rank_2(logits: Tensor, least: int) -> Tensor:
    logits = to_wide(logits)
    shape = tuple(logits.shape)
    if len(shape) != 2 or (shape[1] is not None and shape[1] < least):
        raise ValueError(f"Logits must have shape (N, K), K at least {least}. Received: shape={shape}")
    return logits
