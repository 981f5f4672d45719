"""The Fréchet distance of features (FID with Inception's), from arrays or from running moments."""

import warnings

import numpy as np
import scipy.linalg
import threadpoolctl

from igan_tf.errors import EvaluationError
from igan_tf.metrics.checks import matrix, mean_and_covariance, slices, whole_number

# Rows gathered before they are added to the moments: each addition passes over the whole covariance.
_PENDING_ROWS = 512

# How far below 0 a distance of D dimensions may be by rounding: so many times `D eps` of the traces. The roots of equal
# covariances sum up to the traces themselves; the factors' diagonals, their product and its singular values err by at
# most about D roundings of eps / 2 each, twice over. Seen with kernels for AVX2 and AVX-512, on covariances flat,
# decaying, of one large variance and of low rank: at most 1.3 D eps, at 2 dimensions, and below 0.2 D eps from 20 on.
_ROUNDINGS = 4


class FeatureMoments:
    """Running mean and covariance of features, in float64 and in memory of `D^2`, whatever the number of samples.

    With `mu_n` and `M_n` of the first `n` rows and a block of `m` rows more (Chan, Golub and LeVeque, 1979):

    `M_{n+m} = M_n + M_block + (mu_block - mu_n) (mu_block - mu_n)^T n m / (n + m)`, covariance `M_n / (n - 1)`

    so that nothing is lost where means are large beside deviations.

    Args:
        dimensions: Length of a feature vector.
    """

    def __init__(self, dimensions):
        self.dimensions = dimensions
        self._count = 0
        self._mean = np.zeros(dimensions)
        self._scatter = np.zeros((dimensions, dimensions))
        self._pending = []

    @classmethod
    def of(cls, features, name="features"):
        """The moments of an array `(N, D)`."""
        features = matrix(features, name, rows=2)
        moments = cls(features.shape[1])
        moments.update(features)
        return moments

    @classmethod
    def from_arrays(cls, mean, covariance, count):
        """Moments that were computed before: `(D,)`, `(D, D)` and the number of samples.

        Raises:
            EvaluationError: for other shapes, NaN, a matrix that is not symmetric, a count below 2.
        """
        mean, covariance = mean_and_covariance(mean, covariance)
        moments = cls(len(mean))
        moments._count = whole_number(count, "count", low=2)
        moments._mean = mean
        moments._scatter = covariance * (moments._count - 1)
        return moments

    def update(self, features):
        """Takes up a batch `(n, D)`.

        Raises:
            EvaluationError: for NaN or another number of dimensions.
        """
        features = matrix(features, "features", rows=0)
        if features.shape[1] != self.dimensions:
            raise EvaluationError(
                f"`features` must have {self.dimensions} dimensions. Received: features of shape {features.shape}"
            )
        for block in slices(len(features), _PENDING_ROWS):
            self._pending.append(np.array(features[block], "float64"))
            if sum(map(len, self._pending)) >= _PENDING_ROWS:
                self._merge()

    @property
    def count(self):
        """Number of samples."""
        return self._count + sum(map(len, self._pending))

    @property
    def mean(self):
        """`(D,)` float64."""
        self._merge()
        return self._mean

    @property
    def covariance(self):
        """`(D, D)` float64, divided by `count - 1`.

        Raises:
            EvaluationError: with fewer than two samples.
        """
        if self.count < 2:
            raise EvaluationError(f"a covariance needs at least 2 samples. Received: {self.count}")
        self._merge()
        return self._scatter / (self._count - 1)

    def _merge(self):
        if not self._pending:
            return
        block = np.concatenate(self._pending)
        self._pending = []
        total = self._count + len(block)
        block_mean = block.mean(axis=0)
        block -= block_mean
        shift = block_mean - self._mean
        # Both terms in one product: the means' shift is one row more.
        rows = np.vstack([block, shift * np.sqrt(self._count * len(block) / total)])
        with _one_thread():
            self._scatter += rows.T @ rows
        self._mean = self._mean + shift * (len(block) / total)
        self._count = total


def frechet_distance(features_a, features_b):
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


def trace_of_root(covariance_a, covariance_b):
    """`Tr (S_a S_b)^(1/2)` of two covariances `(D, D)`: the sum of the singular values of `L_a^T L_b`.

    Raises:
        EvaluationError: for a matrix that is no covariance, with an eigenvalue clearly below 0.
    """
    with _one_thread():
        product = _factor(covariance_a).T @ _factor(covariance_b)
        singular = scipy.linalg.svdvals(product, overwrite_a=True, check_finite=False) if product.size else np.zeros(1)
    return float(singular.sum())


def _one_thread():
    """Keeps NumPy's and SciPy's matrix routines to one thread.

    Those of OpenBLAS wait for each other in a busy loop: beside other work on the same cores, such as the classifier's,
    two threads took 20 to 30 s for a root that one takes 3 for.
    """
    return threadpoolctl.threadpool_limits(1, user_api="blas")


def _factor(covariance):
    """L of `(D, rank)` with `S = L L^T`."""
    largest = covariance.diagonal().max(initial=0.0)
    if largest <= 0:
        return np.zeros((len(covariance), 0))
    lower, pivots, rank, _ = scipy.linalg.lapack.dpstrf(covariance, lower=1)
    factor = np.tril(lower)[:, :rank]
    unpivoted = np.empty_like(factor)
    unpivoted[pivots - 1] = factor
    # What the factorization left out is below rounding, unless the matrix was no covariance.
    left_out = np.abs(covariance.diagonal() - np.einsum("ij,ij->i", unpivoted, unpivoted)).max()
    if left_out > 1e-8 * largest:
        raise EvaluationError(
            "a covariance must have no negative eigenvalue. "
            f"Received: a matrix that is none by {left_out:.3g}, beside a largest variance of {largest:.3g}"
        )
    return unpivoted


def _moments(features, name):
    return features if isinstance(features, FeatureMoments) else FeatureMoments.of(features, name)
