"""The kernel distance against a double loop and TF-GAN."""

import numpy as np
import pytest

from igan_tf.errors import EvaluationError
from igan_tf.evaluation import kernel_distance


def kernel(x, y):
    return (sum(p * q for p, q in zip(x, y)) / len(x) + 1) ** 3


def block_oracle(a, b):
    a, b = a.tolist(), b.tolist()
    n, m = len(a), len(b)
    within_a = sum(kernel(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_b = sum(kernel(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_a + within_b - 2 * sum(kernel(x, y) for x in a for y in b) / (n * m)


def parts(rows, count):
    """`count` consecutive parts of nearly equal size, the longer ones last."""
    size, longer = divmod(len(rows), count)
    cuts, start = [], 0
    for index in range(count):
        stop = start + size + (index >= count - longer)
        cuts.append(rows[start:stop])
        start = stop
    return cuts


def features(count, seed, shift=0.0, dimensions=4):
    return np.random.default_rng(seed).normal(shift, 1, (count, dimensions))


@pytest.mark.parametrize(("sizes", "block", "blocks"), [((20, 20), 50, 1), ((23, 17), 7, 4), ((12, 31), 6, 6)])
@pytest.mark.parametrize("seed", [None, 3])
def test_equals_the_oracle(sizes, block, blocks, seed):
    a, b = features(sizes[0], 0), features(sizes[1], 1, 0.3)
    if seed is None:
        rows_a, rows_b = a, b
    else:
        rows_a = a[np.random.default_rng([seed, 0]).permutation(len(a))]
        rows_b = b[np.random.default_rng([seed, 1]).permutation(len(b))]
    expected = [block_oracle(x, y) for x, y in zip(parts(rows_a, blocks), parts(rows_b, blocks))]
    distance, error = kernel_distance(a, b, block, seed)
    assert distance == pytest.approx(np.mean(expected), rel=1e-11)
    if blocks == 1:
        assert np.isnan(error)
    else:
        variance = sum((value - np.mean(expected)) ** 2 for value in expected) / (blocks - 1)
        assert error == pytest.approx(np.sqrt(variance / blocks), rel=1e-10)


@pytest.mark.parametrize("sizes", [(100, 100), (130, 97)])
def test_equals_tfgan(sizes):
    tf = pytest.importorskip("tensorflow")
    from igan_tf.evaluation import tfgan

    a, b = features(sizes[0], 0), features(sizes[1], 1, 0.3)
    theirs = tfgan.eval.kernel_classifier_distance_and_std_from_activations(
        tf.constant(a), tf.constant(b), max_block_size=32
    )
    # Both are float64.
    np.testing.assert_allclose(kernel_distance(a, b, 32, seed=None), [float(value) for value in theirs], rtol=1e-9)


def test_it_has_no_bias():
    """Of two samples of one distribution it is 0 on average, whatever their size, where a biased form would not be."""
    distances = [kernel_distance(features(10, 2 * s), features(10, 2 * s + 1))[0] for s in range(400)]
    # Within four standard errors.
    assert abs(np.mean(distances)) < 4 * np.std(distances) / 20
    assert min(distances) < 0 < max(distances)


def test_blocks_estimate_the_whole_for_altered_copies_in_the_same_order():
    """As of images and the same ones resized: by one permutation each would meet its copy in every block."""
    a = features(400, 0, dimensions=20)
    b = a + 0.3 * features(400, 1, dimensions=20)
    in_blocks = [kernel_distance(a, b, 40, seed)[0] for seed in range(40)]
    # Within four standard errors; by one permutation it is ten times as far below 0.
    assert abs(np.mean(in_blocks) - kernel_distance(a, b, 400)[0]) < 4 * np.std(in_blocks) / np.sqrt(40)


def test_float32_is_computed_in_float64():
    a, b = features(30, 0).astype("float32"), features(30, 1, 0.1).astype("float32")
    assert kernel_distance(a, b) == pytest.approx(
        kernel_distance(a.astype("float64"), b.astype("float64")), nan_ok=True
    )


@pytest.mark.parametrize(
    ("a", "b", "arguments", "message"),
    [
        (np.zeros((5, 3)), np.zeros((5, 4)), {}, r"same number of dimensions, .* \(5, 3\) and \(5, 4\)"),
        (np.zeros((1, 3)), np.zeros((5, 3)), {}, "`features_a` must have at least 2 rows"),
        (np.zeros((5, 3)), np.full((5, 3), np.inf), {}, "`features_b` must be finite"),
        (np.zeros((5, 3)), np.zeros((5, 3)), {"block_size": 1}, "`block_size` must be .* at least 2.*block_size=1"),
        (np.zeros((50, 3)), np.zeros((5, 3)), {"block_size": 10}, "makes 5 blocks, .* of 50 and 5 rows.*block_size=10"),
        (np.zeros((5, 3)), np.zeros((5, 3)), {"seed": "a"}, "seed='a'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(a, b, arguments, message):
    with pytest.raises(EvaluationError, match=message):
        kernel_distance(a, b, **arguments)
