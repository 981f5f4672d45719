"""The Inception Score against a loop in plain Python, TF-GAN, and what is known of it in closed form."""

import math

import numpy as np
import pytest

from igan_tf.errors import EvaluationError
from igan_tf.evaluation import inception_score, sample_divergences


def softmax(row):
    largest = max(row)
    exponentials = [math.exp(value - largest) for value in row]
    return [value / math.fsum(exponentials) for value in exponentials]


def score_of(rows):
    """exp(mean KL(p || q)) of a list of probability rows, in the order in which the formula stands."""
    q = [math.fsum(column) / len(rows) for column in zip(*rows)]
    divergences = [math.fsum(p * math.log(p / q[k]) for k, p in enumerate(row) if p > 0) for row in rows]
    return math.exp(math.fsum(divergences) / len(rows))


def oracle(logits, splits, seed, from_logits=True):
    rows = [softmax(row) if from_logits else [p / sum(row) for p in row] for row in logits.tolist()]
    if seed is not None:
        rows = [rows[index] for index in np.random.default_rng(seed).permutation(len(rows))]
    scores = []
    for index in range(splits):
        start, stop = math.floor(index * len(rows) / splits), math.floor((index + 1) * len(rows) / splits)
        scores.append(score_of(rows[start:stop]))
    mean = math.fsum(scores) / splits
    return mean, math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / splits)


def random_logits(count=53, classes=7, scale=3.0, seed=0):
    return np.random.default_rng(seed).normal(scale=scale, size=(count, classes))


# Both sum in float64; the oracle's order of operations differs.
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


@pytest.mark.parametrize("splits", [1, 2, 10, 53])
@pytest.mark.parametrize("seed", [0, 5, None])
def test_equals_the_oracle(splits, seed):
    logits = random_logits()
    np.testing.assert_allclose(inception_score(logits, splits, seed), oracle(logits, splits, seed), **CLOSE)


def test_float32_input_is_summed_in_float64():
    logits = random_logits().astype("float32")
    np.testing.assert_allclose(inception_score(logits), oracle(logits.astype("float64"), 10, 0), **CLOSE)


def test_blocks_change_nothing(monkeypatch):
    from igan_tf.evaluation import inception_score as function

    logits = random_logits(count=100)
    whole = inception_score(logits, 3)
    divergences = sample_divergences(logits)
    import sys

    module = sys.modules[function.__module__]
    monkeypatch.setattr(module, "slices", lambda count: [slice(i, min(i + 7, count)) for i in range(0, count, 7)])
    np.testing.assert_allclose(inception_score(logits, 3), whole, **CLOSE)
    np.testing.assert_allclose(sample_divergences(logits), divergences, **CLOSE)


def test_huge_logits_neither_overflow_nor_underflow():
    logits = 1e4 * np.eye(4)[np.arange(40) % 4] - 5e3
    mean, deviation = inception_score(logits, splits=1)
    assert mean == pytest.approx(4, rel=1e-12) and deviation == 0
    assert inception_score(np.array([[1e308, -1e308], [-1e308, 1e308]]), splits=1) == (2.0, 0.0)


def test_probabilities_equal_their_logits():
    logits = random_logits()
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        inception_score(probabilities, 5, 1, from_logits=False), inception_score(logits, 5, 1), **CLOSE
    )
    # Rows that do not sum to 1, as of a quantized network, are taken for what they are in proportion.
    scaled = probabilities * np.random.default_rng(1).uniform(0.3, 2, (len(logits), 1))
    np.testing.assert_allclose(inception_score(scaled, 5, 1, from_logits=False), inception_score(logits, 5, 1), **CLOSE)


def test_zero_log_zero_is_zero():
    # One-hot rows, evenly over 5 of 6 classes: the marginal too has a zero. The score is 5 in closed form.
    probabilities = np.eye(6)[np.arange(50) % 5]
    assert inception_score(probabilities, 1, from_logits=False)[0] == pytest.approx(5, rel=1e-12)
    rng = np.random.default_rng(0)
    sparse = rng.random((40, 6)) * (rng.random((40, 6)) < 0.4) + np.eye(6)[np.arange(40) % 5]
    np.testing.assert_allclose(inception_score(sparse, 4, 3, False), oracle(sparse, 4, 3, False), **CLOSE)


def test_its_bounds():
    # Nothing is known of an image: 1. Everything, and all classes are there: their number.
    assert inception_score(np.zeros((30, 9)))[0] == pytest.approx(1, abs=1e-12)
    assert inception_score(np.ones((30, 9)), splits=30)[0] >= 1
    assert inception_score(np.eye(9)[np.arange(900) % 9], 1, from_logits=False)[0] == pytest.approx(9, rel=1e-12)


def test_sorted_by_class_gives_the_same_with_one_split_and_near_it_with_ten():
    """Without the permutation, class-ordered samples, split in order, score near 1."""
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(10), 100)
    logits = rng.normal(size=(1000, 10)) + 5 * np.eye(10)[classes]
    shuffled = logits[rng.permutation(1000)]
    assert inception_score(logits, 1)[0] == pytest.approx(inception_score(shuffled, 1)[0], rel=1e-12)
    (mean, deviation), (other, _) = inception_score(logits, 10), inception_score(shuffled, 10)
    assert abs(mean - other) < deviation
    assert inception_score(logits, 10, seed=None)[0] < 0.5 * mean


def test_the_seed_is_of_the_splits_alone():
    logits = random_logits()
    assert inception_score(logits, 10, 0) == inception_score(logits, 10, 0)
    assert inception_score(logits, 10, 0) != inception_score(logits, 10, 1)
    np.testing.assert_allclose(inception_score(logits, 1, 0), inception_score(logits, 1, 1), **CLOSE)


def test_equals_tfgan():
    tf = pytest.importorskip("tensorflow")
    from igan_tf.evaluation import tfgan

    logits = random_logits(200, 11)
    theirs = [float(tfgan.eval.classifier_score_from_logits(tf.constant(part))) for part in np.split(logits, 4)]
    mean, deviation = inception_score(logits, 4, seed=None)
    # Both are float64.
    assert mean == pytest.approx(np.mean(theirs), rel=1e-10) and deviation == pytest.approx(np.std(theirs), rel=1e-8)


def test_the_mean_of_sample_divergences_is_the_logarithm_of_the_score():
    logits = random_logits()
    divergences = sample_divergences(logits)
    rows = [softmax(row) for row in logits.tolist()]
    q = [math.fsum(column) / len(rows) for column in zip(*rows)]
    expected = [math.fsum(p * math.log(p / q[k]) for k, p in enumerate(row)) for row in rows]
    np.testing.assert_allclose(divergences, expected, **CLOSE)
    assert math.exp(divergences.mean()) == pytest.approx(inception_score(logits, 1)[0], rel=1e-12)
    sparse = np.eye(3)[[0, 1, 1, 2]]
    np.testing.assert_allclose(sample_divergences(sparse, False), np.log([4, 2, 2, 4]), **CLOSE)


@pytest.mark.parametrize(
    ("logits", "arguments", "message"),
    [
        (np.zeros((5, 3)), {"splits": 0}, "`splits` must be a whole number of at least 1. Received: splits=0"),
        (np.zeros((5, 3)), {"splits": 2.5}, "splits=2.5"),
        (np.zeros((5, 3)), {"splits": True}, "splits=True"),
        (np.zeros((5, 3)), {"splits": 6}, "`splits` must be at most the number of samples, 5. Received: splits=6"),
        (np.zeros((5, 3)), {"splits": 1, "seed": -1}, "`seed` must be a whole number of at least 0. Received: seed=-1"),
        (np.zeros((5,)), {}, r"`logits` must have the shape \(N, D\). Received: logits of shape \(5,\)"),
        (np.zeros((5, 0)), {}, r"\(5, 0\)"),
        (np.zeros((0, 3)), {"splits": 1}, "`logits` must have at least 1 row"),
        (np.zeros((5, 3), complex), {}, "complex128"),
        (np.array([[0.0, 1], [np.nan, 0]]), {"splits": 1}, "`logits` must be finite. Received: NaN .* in row 1 of 2"),
        (np.array([[0.0, np.inf]]), {"splits": 1}, "`logits` must be finite"),
        (np.array([[0.5, 0.5], [-1, 3]]), {"splits": 1, "from_logits": False}, "not be negative.*Received: -1 .*row 1"),
        (np.array([[0.5, 0.5], [0, 0]]), {"splits": 1, "from_logits": False}, "only zeros in row 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(logits, arguments, message):
    with pytest.raises(EvaluationError, match=message):
        inception_score(logits, **arguments)


def test_probabilities_are_not_taken_for_logits():
    rows = np.random.default_rng(0).dirichlet(np.ones(5), 40)
    for score in (inception_score, sample_divergences):
        with pytest.raises(EvaluationError, match=r"`logits` must be logits, .*`from_logits=False` takes them"):
            score(rows)
        score(rows, from_logits=False)
        score(rows - 1)
    # One column: nothing tells it from a logit of 1.
    assert inception_score(np.ones((20, 1)))[0] == 1
