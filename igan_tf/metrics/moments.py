"""Running mean and covariance of features."""

from __future__ import annotations

import numpy as np
import threadpoolctl
from numpy.typing import ArrayLike

from igan_tf.errors import EvaluationError, counted
from igan_tf.metrics.checks import matrix, mean_and_covariance, slices, whole_number

# Rows gathered before they are added to the moments: each addition passes over the whole covariance.
_PENDING_ROWS = 512


def one_thread() -> threadpoolctl.threadpool_limits:
    """Context that keeps NumPy's and SciPy's matrix routines to one thread.

    OpenBLAS's threads wait for each other in a busy loop: beside other work on the same cores, such as the
    classifier's, two threads took 20 to 30 s for a root that one takes 3 for.
    """
    return threadpoolctl.threadpool_limits(1, user_api="blas")


class FeatureMoments:
    """Running mean and covariance of features, in float64 and in memory of `D^2`, whatever the number of samples.

    With `mu_n` and `M_n` of the first `n` rows and a block of `m` rows more (Chan, Golub and LeVeque, 1979):

    `M_{n+m} = M_n + M_block + (mu_block - mu_n) (mu_block - mu_n)^T n m / (n + m)`, covariance `M_n / (n - 1)`

    so that nothing is lost where means are large beside deviations.

    Args:
        dimensions: Length of a feature vector.
    """

    def __init__(self, dimensions: int):
        self.dimensions = dimensions
        self._count = 0
        self._mean = np.zeros(dimensions)
        self._scatter = np.zeros((dimensions, dimensions))
        self._pending: list[np.ndarray] = []
        # Of an unknown number of samples.
        self._given_covariance: np.ndarray | None = None

    @classmethod
    def of(cls, features: ArrayLike, name: str = "features") -> FeatureMoments:
        """The moments of an array `(N, D)`, which messages call `name`.

        Raises:
            EvaluationError: for NaN, another shape, fewer than two rows.
        """
        features = matrix(features, name, rows=2)
        moments = cls(features.shape[1])
        moments.update(features)
        return moments

    @classmethod
    def from_arrays(cls, mean: ArrayLike, covariance: ArrayLike, count: int | None) -> FeatureMoments:
        """Restores moments from the mean `(D,)`, the covariance `(D, D)` and the number of samples.

        With None for a number that nobody recorded, `count` is 0, and nothing can be added.

        Raises:
            EvaluationError: for other shapes, NaN, a matrix that is not symmetric, a count below 2.
        """
        mean, covariance = mean_and_covariance(mean, covariance)
        moments = cls(len(mean))
        moments._mean = mean
        if count is None:
            moments._given_covariance = covariance
        else:
            moments._count = whole_number(count, "count", low=2)
            moments._scatter = covariance * (moments._count - 1)
        return moments

    def update(self, features: ArrayLike) -> None:
        """Adds a batch `(n, D)`.

        Raises:
            EvaluationError: for NaN, another number of dimensions, or moments of an unknown number of samples.
        """
        if self._given_covariance is not None:
            raise EvaluationError("features cannot be added to moments of an unknown number of samples")
        features = matrix(features, "features", rows=0)
        if features.shape[1] != self.dimensions:
            raise EvaluationError(
                f"`features` must have {counted(self.dimensions, 'dimension')}. "
                f"Received: features of shape {features.shape}"
            )
        for block in slices(len(features), _PENDING_ROWS):
            self._pending.append(np.array(features[block], "float64"))
            if sum(map(len, self._pending)) >= _PENDING_ROWS:
                self._merge()

    @property
    def count(self) -> int:
        """Number of samples; 0 where it is unknown."""
        return self._count + sum(map(len, self._pending))

    @property
    def mean(self) -> np.ndarray:
        """`(D,)` float64."""
        self._merge()
        return self._mean

    @property
    def covariance(self) -> np.ndarray:
        """`(D, D)` float64, divided by `count - 1`.

        Raises:
            EvaluationError: with fewer than two samples.
        """
        if self._given_covariance is not None:
            return self._given_covariance
        if self.count < 2:
            raise EvaluationError(f"a covariance needs at least 2 samples. Received: {self.count}")
        self._merge()
        return self._scatter / (self._count - 1)

    def _merge(self) -> None:
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
        with one_thread():
            self._scatter += rows.T @ rows
        self._mean = self._mean + shift * (len(block) / total)
        self._count = total
