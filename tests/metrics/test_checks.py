"""Checks of the arrays that metrics are given."""

import numpy as np
import pytest

from igan_tf.errors import EvaluationError
from igan_tf.metrics.checks import matrix, mean_and_covariance


@pytest.mark.parametrize("kind", ["complex64", "bool", "str", "object"])
def test_what_are_no_real_numbers(kind):
    array = np.ones((3, 2)).astype(kind)
    with pytest.raises(EvaluationError) as caught:
        matrix(array, "features")
    assert str(caught.value) == f"`features` must be real numbers. Received: features of dtype {array.dtype}"


@pytest.mark.parametrize("kind", ["float16", "float64", "longdouble", ">f4", "int64", "uint8"])
def test_what_are(kind):
    array = np.ones((3, 2)).astype(kind)
    assert matrix(array, "features") is array


def test_rounding_leaves_a_covariance_symmetric():
    covariance = np.cov(np.random.default_rng(0).normal(size=(4, 30)))
    rounded = covariance * (1 + np.triu(np.full((4, 4), 1e-15)))
    mean, found = mean_and_covariance(np.zeros(4, "float32"), rounded)
    np.testing.assert_array_equal(found, rounded)
    assert mean.dtype == found.dtype == "float64"
    with pytest.raises(EvaluationError, match=r"`covariance` must be symmetric"):
        mean_and_covariance(np.zeros(4), covariance * (1 + np.triu(np.full((4, 4), 1e-6), k=1)))
