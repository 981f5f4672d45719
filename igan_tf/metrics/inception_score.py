"""The Inception Score, and each sample's share in it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from igan_tf.errors import EvaluationError
from igan_tf.metrics.checks import are_probabilities, matrix, order, slices, whole_number
from igan_tf.metrics.registry import ClassifiedSet, Metric, MetricOptions, Needs, register
from igan_tf.settings import MANY, setting


def inception_score(
    logits: ArrayLike, splits: int = 10, seed: int | None = 0, from_logits: bool = True
) -> tuple[float, float]:
    """Inception Score: `exp(E_x KL(p(y|x) || p(y)))`, mean and deviation over splits of the sample.

    For the rows `i` of one split of `n`, with `q_k = 1/n sum_i p_ik`, in natural logarithms:

    `score = exp(1/n sum_ik p_ik log p_ik - sum_k q_k log q_k)`

    The rows are permuted by `numpy.random.default_rng(seed)`, then split `i` takes the rows from
    `floor(i * N / splits)` to `floor((i + 1) * N / splits)`. Sums are float64, whatever the input. The score is at
    least 1 and at most the number of classes or of rows in a split.

    Args:
        logits: `(N, K)`, a classifier's logits; or its probabilities, see `from_logits`. float32 is enough, and
            50,000 rows of 1008 are then 200 MB: no more is ever copied than a block of rows.
        splits: How many splits.
        seed: Of the permutation; None keeps the order, as the published script does. Rows sorted by class then
            give far too low a score.
        from_logits: Whether `logits` are logits. Otherwise they are probabilities: not negative, `0 log 0 = 0`, each
            row divided by its sum.

    Returns:
        (mean, standard deviation) over the splits; the deviation is the population's, `ddof=0`, as published.

    Raises:
        EvaluationError: for NaN, a wrong shape, probabilities as logits, negative ones, a row of zeros, fewer rows than
            splits.

    Example:
        >>> inception_score(np.eye(4), splits=1, from_logits=False)
        (4.0, 0.0)

    Reference:
        [Salimans et al., 2016](https://arxiv.org/abs/1606.03498), section 4.
    """
    splits = whole_number(splits, "splits", low=1)
    logits = _checked(logits, from_logits)
    if len(logits) < splits:
        raise EvaluationError(
            f"`splits` must be at most the number of samples, {len(logits)}. Received: splits={splits}"
        )
    rows = order(len(logits), seed)
    bounds = [index * len(logits) // splits for index in range(splits + 1)]
    scores = [
        np.exp(_mean_divergence(logits, rows[start:stop], from_logits)) for start, stop in itertools.pairwise(bounds)
    ]
    return float(np.mean(scores)), float(np.std(scores))


def sample_divergences(logits: ArrayLike, from_logits: bool = True) -> np.ndarray:
    """Each sample's `KL(p(y|x) || p(y))`, in nats, `p(y)` being the mean over all samples.

    The mean of these is the logarithm of the Inception Score with one split; the paper ranks samples by it.

    Args:
        logits: `(N, K)`, as of `inception_score`.
        from_logits: As of `inception_score`.

    Returns:
        `(N,)` float64.

    Raises:
        EvaluationError: as of `inception_score`.

    Example:
        >>> sample_divergences(np.eye(2), from_logits=False).round(3).tolist()
        [0.693, 0.693]

    Reference:
        [Salimans et al., 2016](https://arxiv.org/abs/1606.03498), section 6.2.
    """
    logits = _checked(logits, from_logits)
    rows = np.arange(len(logits))
    log_marginal = _log(sum(p.sum(axis=0) for p, _ in _distributions(logits, rows, from_logits)) / len(rows))
    return np.concatenate(
        [np.sum(p * (log_p - log_marginal), axis=1) for p, log_p in _distributions(logits, rows, from_logits)]
    )


def _checked(logits: ArrayLike, from_logits: bool) -> np.ndarray:
    """What was given as an array; refuses probabilities as logits, whose score would be small and wrong."""
    values = matrix(logits, "logits" if from_logits else "probabilities")
    if from_logits and are_probabilities(values):
        raise EvaluationError(
            "`logits` must be logits, and these are probabilities: `from_logits=False` takes them. "
            "Received: rows whose sums are 1"
        )
    return values


def _mean_divergence(logits: np.ndarray, rows: np.ndarray, from_logits: bool) -> float:
    """E_x KL(p(y|x) || p(y)) over `rows`."""
    total = np.zeros(logits.shape[1])
    negative_entropy = 0.0
    for p, log_p in _distributions(logits, rows, from_logits):
        total += p.sum(axis=0)
        negative_entropy += np.sum(p * log_p)
    marginal = total / len(rows)
    # Not negative in exact arithmetic; one row alone can come out at -1e-16.
    return max(negative_entropy / len(rows) - np.sum(marginal * _log(marginal)), 0.0)


def _distributions(logits: np.ndarray, rows: np.ndarray, from_logits: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields p(y|x) and its logarithm, which is 0 where p is, for blocks of `rows`."""
    for block in slices(len(rows)):
        chosen = rows[block]
        values = np.asarray(logits[chosen], "float64")
        if from_logits:
            values -= values.max(axis=1, keepdims=True)
            log_p = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
            p = np.exp(log_p)
            # It may be below all that is finite.
            yield p, np.where(p > 0, log_p, 0)
        else:
            yield _normalized(values, chosen)


def _normalized(values: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if values.min() < 0:
        row = rows[int(np.argmax((values < 0).any(axis=1)))]
        raise EvaluationError(
            "`probabilities` must not be negative: logits go with from_logits=True. "
            f"Received: {values.min():.6g} among those of row {row}"
        )
    sums = values.sum(axis=1, keepdims=True)
    if not sums.all():
        raise EvaluationError(
            f"`probabilities` must not be 0 throughout a row. Received: only zeros in row {rows[int(np.argmin(sums))]}"
        )
    p = values / sums
    return p, _log(p)


def _log(p: np.ndarray) -> np.ndarray:
    """The natural logarithm, 0 where p is 0: 0 log 0 = 0."""
    return np.log(p, where=p > 0, out=np.zeros_like(p))


@dataclasses.dataclass(frozen=True)
class _Options(MetricOptions):
    splits: int = setting(10, "Splits of the Inception Score.", low=1, high=MANY)


@register
class _InceptionScore(Metric):
    names = ("inception_score",)
    needs = Needs.VALUES
    Options = _Options
    curves: ClassVar = {
        "inception_score": ("inception_score", "mean"),
        "inception_deviation": ("inception_score", "std"),
    }
    marks_best = True
    fewest_because = "one for each of the `splits`"

    def fewest(self, most: int, options: Any) -> int:
        return options.splits

    def record(self, generated: ClassifiedSet, real: ClassifiedSet, options: Any, seed: int | None) -> dict[str, Any]:
        mean, deviation = inception_score(generated.values, options.splits, seed, generated.from_logits)
        return {"inception_score": {"mean": mean, "std": deviation, "splits": options.splits, "seed": seed}}
