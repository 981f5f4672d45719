"""The Fréchet distance of features (FID with Inception's), from arrays or from running moments."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from igan_tf.errors import EvaluationError
from igan_tf.metrics.moments import FeatureMoments, one_thread
from igan_tf.metrics.registry import ClassifiedSet, Metric, Needs, register

# How far below 0 a distance of D dimensions may be by rounding: so many times `D eps` of the traces. The roots of equal
# covariances sum up to the traces themselves; the factors' diagonals, their product and its singular values err by at
# most about D roundings of eps / 2 each, twice over. Seen with kernels for AVX2 and AVX-512, on covariances flat,
# decaying, of one large variance and of low rank: at most 1.3 D eps, at 2 dimensions, and below 0.2 D eps from 20 on.
_ROUNDINGS = 4


def frechet_distance(features_a: ArrayLike | FeatureMoments, features_b: ArrayLike | FeatureMoments) -> float:
    """Fréchet distance of two Gaussians fitted to features: FID, where the features are Inception's.

    `d^2 = |mu_a - mu_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2))`, covariances divided by `N - 1`.

    With `S = L L^T` the trace of the root is the sum of the singular values of `L_a^T L_b`: real and not negative
    by construction, and exact to `eps` of the largest where roots of eigenvalues are to `sqrt(eps)`. `L` is the
    Cholesky factor with pivoting, which serves covariances of fewer samples than dimensions too.

    Args:
        features_a, features_b: `(N, D)` and `(M, D)` features, or their `FeatureMoments`.

    Returns:
        The distance, float64. It is biased upwards, more for fewer samples: compare only figures of equal N.
        Never negative: what rounding leaves below 0, as of equal features, is 0. So is what is further below 0 than
        `4 D eps` of the traces, which covariances with an eigenvalue below 0 give; a RuntimeWarning says so.

    Raises:
        EvaluationError: for NaN, a wrong shape, fewer than two samples, different dimensions.

    Example:
        >>> round(frechet_distance([[0.0], [2.0]], [[3.0], [5.0]]), 6)
        9.0

    Reference:
        [Heusel et al., 2017](https://arxiv.org/abs/1706.08500), section 2.
    """
    a, b = _moments(features_a, "features_a"), _moments(features_b, "features_b")
    if a.dimensions != b.dimensions:
        raise EvaluationError(
            "`features_a` and `features_b` must have the same number of dimensions, of one extractor. "
            f"Received: {a.dimensions} and {b.dimensions}"
        )
    covariance_a, covariance_b = a.covariance, b.covariance
    means = np.sum((a.mean - b.mean) ** 2)
    traces = np.trace(covariance_a) + np.trace(covariance_b)
    distance = float(means + (traces - 2 * trace_of_root(covariance_a, covariance_b)))
    if distance < -_ROUNDINGS * a.dimensions * np.finfo("float64").eps * traces:
        warnings.warn(
            f"the Fréchet distance is {distance:.3g} beside traces of {traces:.3g}, further below 0 than rounding: "
            "0 is returned. Has a covariance an eigenvalue below 0?",
            RuntimeWarning,
            stacklevel=2,
        )
    return max(distance, 0.0)


def trace_of_root(covariance_a: np.ndarray, covariance_b: np.ndarray) -> float:
    """`Tr (S_a S_b)^(1/2)` of two covariances `(D, D)`: the sum of the singular values of `L_a^T L_b`.

    Raises:
        EvaluationError: for a matrix that is no covariance, with an eigenvalue clearly below 0.
    """
    with one_thread():
        product = covariance_factor(covariance_a).T @ covariance_factor(covariance_b)
        singular = scipy.linalg.svdvals(product, overwrite_a=True, check_finite=False) if product.size else np.zeros(1)
    return float(singular.sum())


def covariance_factor(covariance: np.ndarray) -> np.ndarray:
    """L of `(D, rank)` with `S = L L^T`, of a covariance `(D, D)`.

    Raises:
        EvaluationError: for a matrix with an eigenvalue clearly below 0.
    """
    largest = covariance.diagonal().max(initial=0.0)
    if not covariance.any():
        return np.zeros((len(covariance), 0))
    lower, pivots, rank, _ = scipy.linalg.lapack.dpstrf(covariance, lower=1)
    factor = np.tril(lower)[:, :rank]
    unpivoted = np.empty_like(factor)
    unpivoted[pivots - 1] = factor
    # The factorization leaves out no more than rounding, unless the matrix is no covariance.
    left_out = np.abs(covariance.diagonal() - np.einsum("ij,ij->i", unpivoted, unpivoted)).max()
    # Nor is any entry above the largest variance.
    left_out = max(left_out, np.abs(covariance).max() - largest)
    if left_out > 1e-8 * largest:
        raise EvaluationError(
            "a covariance must have no negative eigenvalue. "
            f"Received: a matrix that is none by {left_out:.3g}, beside a largest variance of {largest:.3g}"
        )
    return unpivoted


def _moments(features: ArrayLike | FeatureMoments, name: str) -> FeatureMoments:
    return features if isinstance(features, FeatureMoments) else FeatureMoments.of(features, name)


@register
class _FrechetDistance(Metric):
    names = ("frechet_distance",)
    needs = Needs.MOMENTS
    curves: ClassVar = {"frechet_distance": ("frechet_distance",)}

    def warnings(self, generated: ClassifiedSet, real: ClassifiedSet, options: Any) -> list[str]:
        return [
            f"{images.name}: {images.moments.count} images are few for a covariance of {images.moments.dimensions} "
            "features; the Fréchet distance is biased upwards"
            for images in (generated, real)
            if 0 < images.moments.count <= images.moments.dimensions
        ]

    def record(self, generated: ClassifiedSet, real: ClassifiedSet, options: Any, seed: int | None) -> dict[str, Any]:
        return {"frechet_distance": frechet_distance(generated.moments, real.moments)}
