"""The Fréchet distance against closed forms, an exact oracle and TF-GAN; running moments against NumPy's."""

import numpy as np
import pytest

from igan_tf.errors import EvaluationError
from igan_tf.evaluation import FeatureMoments, frechet_distance


def exact(a, b):
    """The distance by a singular value decomposition of centred features themselves: no covariance is ever formed."""
    x, y = ((side - side.mean(axis=0)) / np.sqrt(len(side) - 1) for side in (a, b))
    root = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum() + (x**2).sum() + (y**2).sum() - 2 * root


def pair(count, dimensions, decay=None, seed=0):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(dimensions, dimensions))
    if decay:
        mixing *= np.exp(-np.arange(dimensions) / decay)
    return rng.normal(size=(count, dimensions)) @ mixing, rng.normal(size=(count + 7, dimensions)) @ mixing * 1.2 + 0.3


CASES = {
    "full": pair(300, 20),
    "fewer_samples_than_dimensions": pair(15, 40),
    "badly_conditioned": pair(400, 60, decay=3),
    "dead_features": tuple(side * (np.arange(20) % 3 > 0) for side in pair(100, 20)),
    "one_dimension": pair(50, 1),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_the_exact_oracle(case):
    a, b = CASES[case]
    # Covariances carry the rounding of their own sums; a root of eigenvalues would be 1e-6 off where they decay.
    assert frechet_distance(a, b) == pytest.approx(exact(a, b), rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-9)


@pytest.mark.parametrize("case", ["full", "fewer_samples_than_dimensions", "dead_features", "one_dimension"])
def test_equals_tfgan(case):
    tf = pytest.importorskip("tensorflow")
    from igan_tf.evaluation import tfgan

    a, b = CASES[case]
    theirs = float(tfgan.eval.frechet_classifier_distance_from_activations(tf.constant(a), tf.constant(b)))
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-6)


def test_where_tfgan_is_inexact_it_is_nearer_to_the_truth():
    tf = pytest.importorskip("tensorflow")
    from igan_tf.evaluation import tfgan

    a, b = CASES["badly_conditioned"]
    theirs = float(tfgan.eval.frechet_classifier_distance_from_activations(tf.constant(a), tf.constant(b)))
    assert abs(frechet_distance(a, b) - exact(a, b)) < 1e-3 * abs(theirs - exact(a, b))


def test_closed_forms():
    # Points at +-s on each axis: mean 0, diagonal covariance.
    def cross(scales):
        points = np.vstack([np.diag(scales), -np.diag(scales)])
        return points, np.diag(2 * np.square(scales) / (len(points) - 1))

    (a, covariance_a), (b, covariance_b) = cross([1.0, 2, 3]), cross([2.0, 2, 5])
    expected = np.sum((np.sqrt(np.diag(covariance_a)) - np.sqrt(np.diag(covariance_b))) ** 2)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)
    # A shift alone costs its squared length.
    assert frechet_distance(a, a + np.array([3, 4, 0])) == pytest.approx(25, rel=1e-12)
    # In one dimension: (mu - nu)^2 + (s - t)^2.
    x, y = np.random.default_rng(0).normal(size=(2, 30, 1))
    expected = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dimensions", [1, 2, 20, 100])
def test_equal_features_have_no_distance_and_rounding_below_0_is_none(dimensions):
    """A negative one is rounding and no line in anybody's record: which pairs give one depends on the machine."""
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        same = rng.normal(size=(300, dimensions)) @ rng.normal(size=(dimensions, dimensions))
        found.append(frechet_distance(same, rng.permutation(same)) / same.var(axis=0, ddof=1).sum())
    assert 0 <= min(found) <= max(found) < 1e-12


@pytest.mark.filterwarnings("error")
def test_a_distance_further_below_0_than_rounding_is_said():
    def distance(of_bound):
        # Of 19 variances of 1 and one of -x the distance to itself is -2x. Rounding is up to 4 D eps of the traces, 38.
        negative = of_bound * 4 * 20 * np.finfo("float64").eps * 38 / 2
        covariance = np.diag([1.0] * 19 + [-negative])
        moments = FeatureMoments.from_arrays(np.zeros(20), covariance, 2)
        return frechet_distance(moments, moments)

    assert distance(0.9) == 0
    with pytest.warns(RuntimeWarning, match="e-13 beside traces of 38, further below 0 than rounding: 0 is"):
        assert distance(1.1) == 0


def test_a_matrix_that_is_no_covariance_is_refused():
    good = FeatureMoments.of(CASES["full"][0])
    for arrays, message in (
        ((np.zeros(3), np.eye(2), 9), "the shapes"),
        ((np.zeros(2), np.array([[1.0, 0.5], [0.0, 1.0]]), 9), "symmetric"),
        ((np.zeros(2), np.eye(2), 1), "count=1"),
    ):
        with pytest.raises(EvaluationError, match=message):
            FeatureMoments.from_arrays(*arrays)
    bad = FeatureMoments.from_arrays(np.zeros(20), np.diag([1.0] * 19 + [-0.5]), 100)
    with pytest.raises(EvaluationError, match=r"no negative eigenvalue. Received: a matrix that is none by 0\.5"):
        frechet_distance(good, bad)


def test_constant_features():
    constant = np.ones((10, 3))
    assert frechet_distance(constant, constant + 1) == pytest.approx(3)


# Running moments.


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
def test_moments_equal_numpys_however_they_are_cut(batch):
    # A mean a million deviations away: one pass of sums of squares would keep no digit.
    features = np.random.default_rng(0).normal(size=(1300, 5)) @ np.random.default_rng(1).normal(size=(5, 5)) + 1e6
    moments = FeatureMoments(5)
    for start in range(0, len(features), batch):
        moments.update(features[start : start + batch])
        if start == 0:
            # Asking in between changes nothing.
            np.testing.assert_allclose(moments.mean, features[:batch].mean(axis=0), rtol=1e-12)
    assert moments.count == 1300
    np.testing.assert_allclose(moments.mean, features.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(moments.covariance, np.cov(features.T), rtol=1e-9, atol=1e-9)


def test_moments_take_what_is_saved_and_go_on():
    features = CASES["full"][0]
    first = FeatureMoments.of(features[:100])
    second = FeatureMoments.from_arrays(first.mean, first.covariance, first.count)
    second.update(features[100:])
    np.testing.assert_allclose(second.covariance, np.cov(features.T), rtol=1e-10)


def test_moments_leave_the_callers_array_alone():
    features = CASES["full"][0].copy()
    before = features.copy()
    FeatureMoments.of(features).covariance  # noqa: B018 - has to be computed.
    np.testing.assert_array_equal(features, before)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((5, 3)), np.zeros((5, 4)), "same number of dimensions, of one extractor. Received: 3 and 4"),
        (np.zeros((1, 3)), np.zeros((5, 3)), "`features_a` must have at least 2 rows"),
        (np.zeros((5, 3)), np.full((5, 3), np.nan), "`features_b` must be finite. Received: NaN or infinity in row 0"),
        (np.zeros((5, 3)), np.zeros((5, 3, 1)), r"`features_b` must have the shape \(N, D\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(a, b, message):
    with pytest.raises(EvaluationError, match=message):
        frechet_distance(a, b)


def test_moments_refuse_other_widths_and_single_samples():
    moments = FeatureMoments(3)
    with pytest.raises(EvaluationError, match=r"must have 3 dimensions"):
        moments.update(np.zeros((2, 4)))
    moments.update(np.zeros((1, 3)))
    with pytest.raises(EvaluationError, match=r"needs at least 2 samples. Received: 1"):
        moments.covariance  # noqa: B018
