"""The study's numbers and their 95% intervals: counts in, numbers out.

A table of counts has a row for each annotator and the columns `COLUMNS`: how many real images the annotator saw and
how many of them were called real, and the same for generated ones.

Votes of one person are not independent of each other: some people are better at this than others. Intervals of a study
therefore come from a bootstrap that draws annotators, not votes. The images are taken as given: the interval is about
other people before these images.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

# scipy.stats has the same under better names, but takes a second to import.
from scipy.special import ndtri, stdtrit

COLUMNS = ("real_correct", "real_total", "generated_correct", "generated_total")
CONFIDENCE = 0.95
BOOTSTRAP_DRAWS = 4000
# A function of counts `(..., 4)` to values `(...)`.
Statistic: TypeAlias = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval, and how the interval came about. NaN where there is nothing to estimate from."""

    value: float
    low: float
    high: float
    method: str


def wilson_interval(
    successes: ArrayLike, total: ArrayLike, confidence: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of a proportion (E. B. Wilson, 1927).

    With p = successes / total and z the normal quantile:
    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n).

    Args:
        successes, total: Numbers or arrays of one shape.
        confidence: Between 0 and 1.

    Returns:
        (low, high), of the arguments' shape; (0, 1) where `total` is 0.

    Raises:
        ValueError: where not 0 <= successes <= total.
    """
    successes, total = np.asarray(successes, "float64"), np.asarray(total, "float64")
    if not np.all((successes >= 0) & (successes <= total)):
        raise ValueError(f"`successes` must be from 0 to `total`. Received: successes={successes}, total={total}")
    z = _quantile(confidence)
    n = np.maximum(total, 1)
    p = successes / n
    centre = p + z**2 / (2 * n)
    spread = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = (centre - spread) / (1 + z**2 / n), (centre + spread) / (1 + z**2 / n)
    # At the ends the formula gives exactly 0 and 1, but for rounding.
    low = np.where((total == 0) | (successes == 0), 0.0, low)
    high = np.where((total == 0) | (successes == total), 1.0, high)
    return low, high


def required_votes(width: float, confidence: float = CONFIDENCE) -> int:
    """The least number of votes whose Wilson interval is at most `width` wide, whatever the accuracy.

    The interval is widest at one half, where it is z / sqrt(n + z^2) wide: n = z^2 (1 / width^2 - 1).

    Raises:
        ValueError: where not 0 < width <= 1.
    """
    if not 0 < width <= 1:
        raise ValueError(f"`width` must be above 0 and at most 1. Received: width={width}")
    # The rounding keeps what is whole but for floating point from being rounded up.
    return max(1, math.ceil(round(_quantile(confidence) ** 2 * (1 / width**2 - 1), 9)))


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Part of all votes that is right."""
    correct = counts[..., 0] + counts[..., 2]
    return _ratio(correct, counts[..., 1] + counts[..., 3])


def balanced_accuracy(counts: np.ndarray) -> np.ndarray:
    """Mean of the parts right of real and of generated images: the accuracy on a mixture half and half."""
    return (_ratio(counts[..., 0], counts[..., 1]) + _ratio(counts[..., 2], counts[..., 3])) / 2


def generated_error(counts: np.ndarray) -> np.ndarray:
    """Part of the generated images that is taken for real.

    Where people cannot tell, it is how often they say "real", which need not be one half: the accuracy is, and d' 0.
    """
    return 1 - _ratio(counts[..., 2], counts[..., 3])


def real_error(counts: np.ndarray) -> np.ndarray:
    """Part of the real images that is taken for generated."""
    return 1 - _ratio(counts[..., 0], counts[..., 1])


def d_prime(counts: np.ndarray) -> np.ndarray:
    """Sensitivity d' = z(H) - z(F), apart from any liking for one of the answers; 0 is chance.

    H is the part of generated images, F the part of real images that is called generated, each from (count + 1/2) /
    (total + 1), which keeps d' finite (M. J. Hautus, 1995, the log-linear correction).
    """
    real_correct, real_total, generated_correct, generated_total = np.moveaxis(np.asarray(counts, "float64"), -1, 0)
    hits = (generated_correct + 0.5) / (generated_total + 1)
    false_alarms = (real_total - real_correct + 0.5) / (real_total + 1)
    value = ndtri(hits) - ndtri(false_alarms)
    return np.where((real_total > 0) & (generated_total > 0), value, np.nan)


def estimate(statistic: Statistic, counts: np.ndarray, seed: int = 0, draws: int = BOOTSTRAP_DRAWS) -> Estimate:
    """A statistic of a study with its interval.

    With the bootstrap's standard error s over annotators: value -+ t(A - 1) sqrt(A / (A - 1)) s, cut off at the
    statistic's range. The root makes up for drawing from A people what the world draws from all; Student's t for
    s being an estimate. A percentile interval has neither, and misses far too often when there are few annotators.

    A is the effective number of people, (sum n_i)^2 / sum n_i^2 (L. Kish, 1965), at least 2. n_i is how many images
    person i saw, of the kind that the statistic is of, or of the rarer kind. A is their number where all saw as many;
    three who went to the end beside twelve who left early are hardly more than three.

    One such annotator, or several in whom s is 0, tell nothing of how people differ; then the votes are taken as
    independent: Wilson's interval, Newcombe's (1998, sum of squares about two of Wilson's) for the balanced accuracy,
    Gourevitch and Galanter's (1967) for d'.

    Args:
        statistic: One of this module's functions of counts.
        counts: `(annotators, 4)`, see `COLUMNS`.
        seed, draws: Of the bootstrap.

    Returns:
        An `Estimate`, its method "bootstrap over annotators" or "votes as independent".
    """
    counts = np.asarray(counts, "float64").reshape(-1, len(COLUMNS))
    counts = counts[counts[:, 1] + counts[:, 3] > 0]
    value = float(statistic(counts.sum(axis=0)))
    if math.isnan(value):
        return Estimate(math.nan, math.nan, math.nan, "no votes")
    kinds: dict[Statistic, np.ndarray] = {
        accuracy: counts[:, 1] + counts[:, 3],
        generated_error: counts[:, 3],
        real_error: counts[:, 1],
    }
    seen = kinds.get(statistic, np.minimum(counts[:, 1], counts[:, 3]))
    people = int((seen > 0).sum())
    error = bootstrap_error(statistic, counts, seed, draws) if people > 1 else 0.0
    # Rounding alone is not spread.
    if error < 1e-9:
        low, high = _interval_of_votes(statistic, counts.sum(axis=0))
        return Estimate(value, low, high, "votes as independent")
    effective = max(2.0, float(seen.sum() ** 2 / (seen**2).sum()))
    freedom = effective - 1
    margin = stdtrit(freedom, (1 + CONFIDENCE) / 2) * math.sqrt(effective / freedom) * error
    lowest, highest = (-math.inf, math.inf) if statistic is d_prime else (0.0, 1.0)
    return Estimate(value, max(lowest, value - margin), min(highest, value + margin), "bootstrap over annotators")


def bootstrap_error(statistic: Statistic, counts: np.ndarray, seed: int = 0, draws: int = BOOTSTRAP_DRAWS) -> float:
    """Standard deviation of `statistic` over `draws` samples of the annotators, as many as there are, with replacement.

    Samples in which the statistic has no value, such as those without a generated image, are left out.
    """
    generator = np.random.default_rng(seed)
    people = len(counts)
    times = generator.multinomial(people, np.full(people, 1 / people), size=draws)
    values = statistic(times @ counts)
    values = values[np.isfinite(values)]
    return float(values.std()) if len(values) else 0.0


def _interval_of_votes(statistic: Statistic, totals: np.ndarray) -> tuple[float, float]:
    """The interval of a statistic of one row of counts, every vote taken as independent."""
    real_correct, real_total, generated_correct, generated_total = totals
    if statistic is accuracy:
        return _floats(wilson_interval(real_correct + generated_correct, real_total + generated_total))
    if statistic is generated_error:
        return _floats(wilson_interval(generated_total - generated_correct, generated_total))
    if statistic is real_error:
        return _floats(wilson_interval(real_total - real_correct, real_total))
    if statistic is balanced_accuracy:
        parts = np.array([real_correct / real_total, generated_correct / generated_total])
        low, high = wilson_interval(totals[[0, 2]], totals[[1, 3]])
        middle = parts.mean()
        below, above = (np.sqrt(((parts - end) ** 2).sum()) / 2 for end in (low, high))
        return float(max(0, middle - below)), float(min(1, middle + above))
    hits = (generated_correct + 0.5) / (generated_total + 1)
    false_alarms = (real_total - real_correct + 0.5) / (real_total + 1)
    variance = sum(
        p * (1 - p) / (n * _density(ndtri(p)) ** 2) for p, n in ((hits, generated_total), (false_alarms, real_total))
    )
    margin = _quantile(CONFIDENCE) * math.sqrt(variance)
    value = float(d_prime(totals))
    return value - margin, value + margin


def _floats(pair: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


def _quantile(confidence: float) -> float:
    return float(ndtri((1 + confidence) / 2))


def _density(z: float) -> float:
    """The standard normal density."""
    return math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)
