"""`TableGaussianNoise`: is what it adds normal, independent between positions and calls, and off at inference?

Tolerances: for n = 2^20 values the standard errors are 1 / sqrt(n), about 0.001, for mean and correlation, and
sqrt(24 / n), 0.005, for the kurtosis; bounds are four of them, seeds are fixed.
"""

import contextlib
import zipfile

import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import ndtr

from igan_tf.layers import GaussianNoise, TableGaussianNoise
from tests.layers.conformance import call, check_layer
from tests.layers.gradients import float64_enabled, layer_gradients

tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow's graphs")
COUNT = 2**20
BOUND = 4 / np.sqrt(COUNT)


def noise(*shape, stddev=1.0, seed=1, exact=False, layer=None):
    layer = layer or TableGaussianNoise(stddev, seed=seed, exact=exact)
    return call(layer, np.zeros(shape, "float32"), training=True)


@pytest.fixture(scope="module", params=[False, True], ids=["table", "exact"])
def sample(request):
    """Rows of 1,000: no multiple of the 16 values that are drawn together."""
    return noise(COUNT // 1000, 1000, exact=request.param).astype("float64")


@pytest.mark.parametrize("exact", [False, True])
def test_conformance(exact):
    check_layer(
        lambda: TableGaussianNoise(0.5, seed=3, exact=exact),
        (3, 2, 5),
        expected_output_shape=(3, 2, 5),
        expected_weights=[],
        training_matters=True,
    )


def test_moments(sample):
    assert abs(sample.mean()) < BOUND
    assert abs(sample.var() - 1) < BOUND * np.sqrt(2)
    assert abs((sample**3).mean()) < BOUND * np.sqrt(15)
    assert abs((sample**4).mean() - 3) < BOUND * np.sqrt(96)
    assert 4.4 < np.abs(sample).max() < 6


def test_distribution_is_the_normal_one(sample):
    """Kolmogorov's distance; 1.95 / sqrt(n) is exceeded by one sample of true normals in a thousand."""
    values = np.sort(sample.ravel())
    steps = np.arange(len(values) + 1) / len(values)
    distance = max(np.max(steps[1:] - ndtr(values)), np.max(ndtr(values) - steps[:-1]))
    assert distance < 1.95 / np.sqrt(len(values))


def test_neighbours_do_not_correlate(sample):
    """Inside the blocks of 16, across their edges, and between the rows of a batch."""
    flat = sample.ravel()
    for lag in (*range(1, 33), 160, 1000, 2000, 16000):
        assert abs(np.mean(flat[lag:] * flat[:-lag])) < BOUND, lag
        # Nor do the sizes: a block of large values would be noise of another kind.
        assert abs(np.mean((flat[lag:] ** 2 - 1) * (flat[:-lag] ** 2 - 1))) < 2 * BOUND, lag


def test_columns_do_not_correlate():
    """Rows of 32, so that a column always falls on the same place in a block."""
    columns = noise(COUNT // 32, 32).astype("float64")
    correlation = np.corrcoef(columns.T) - np.eye(32)
    assert np.abs(correlation).max() < 5 / np.sqrt(len(columns))
    assert np.abs(columns.mean(0)).max() < 5 / np.sqrt(len(columns))
    np.testing.assert_allclose(columns.std(0), 1, atol=5 / np.sqrt(len(columns)))


def test_calls_differ_and_do_not_correlate():
    layer = TableGaussianNoise(1.0, seed=1)
    first, second = (noise(1000, 100, layer=layer).astype("float64") for _ in range(2))
    # Blocks repeat by chance, 6,250 out of 65,536, but not at the same place.
    assert np.mean(first == second) < 1e-3
    assert abs(np.mean(first * second)) < 5 / np.sqrt(first.size)


def test_exact_is_keras_own_draw_and_the_table_is_not():
    seed = 1
    expected = keras.random.normal((300, 300), stddev=0.5, seed=keras.random.SeedGenerator(seed))
    np.testing.assert_array_equal(noise(300, 300, stddev=0.5, seed=seed, exact=True), ops.convert_to_numpy(expected))
    # Of 90,000 values from a table of 2^20 that are drawn in blocks, many come twice.
    unique = [len(np.unique(noise(300, 300, exact=exact))) for exact in (False, True)]
    assert unique[0] < 88_000 < 89_500 < unique[1]


def test_seed():
    np.testing.assert_array_equal(noise(7, 9, seed=5), noise(7, 9, seed=5))
    assert np.mean(noise(7, 9, seed=5) == noise(7, 9, seed=6)) < 0.1
    assert np.mean(noise(7, 9, seed=None) == noise(7, 9, seed=None)) < 0.1


def test_identity_at_inference_and_without_deviation():
    inputs = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    np.testing.assert_array_equal(call(TableGaussianNoise(0.5), inputs, training=False), inputs)
    np.testing.assert_array_equal(ops.convert_to_numpy(TableGaussianNoise(0.5)(ops.convert_to_tensor(inputs))), inputs)
    np.testing.assert_array_equal(call(TableGaussianNoise(0.0), inputs, training=True), inputs)


@pytest.mark.parametrize("stddev", [0.3, 20.0])
def test_deviation_scales_the_noise_that_is_added(stddev):
    inputs = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    outputs = call(TableGaussianNoise(stddev, seed=2), inputs, training=True)
    np.testing.assert_allclose(outputs, inputs + stddev * noise(4, 5, seed=2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(1,), (3,), (16,), (2, 17), (2, 3, 4, 5), (0, 4)])
def test_any_shape(shape):
    found = noise(*shape)
    assert found.shape == shape
    assert len(np.unique(found)) == found.size


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtype(dtype):
    with float64_enabled():
        layer = TableGaussianNoise(0.5, seed=1, dtype=dtype)
        outputs = layer(ops.zeros((300, 300), dtype=dtype), training=True)
        assert keras.backend.standardize_dtype(outputs.dtype) == dtype
        values = ops.convert_to_numpy(ops.cast(outputs, "float32"))
    # float16's smallest numbers are 6e-8 apart.
    rtol = 2**-7 if dtype == "bfloat16" else 2**-10
    np.testing.assert_allclose(values, noise(300, 300, stddev=0.5), rtol=rtol, atol=6e-8)


def test_gradient_passes_unchanged():
    cotangent = np.random.default_rng(1).normal(size=(4, 5)).astype("float32")
    gradient, _ = layer_gradients(TableGaussianNoise(0.5), np.zeros((4, 5), "float32"), cotangent, training=True)
    np.testing.assert_array_equal(gradient, cotangent)


@tensorflow_only
def test_on_a_gpu_the_table_is_not_looked_up_by_way_of_the_host(monkeypatch):
    import tensorflow as tf

    from benchmarks.placement import placement

    layer = TableGaussianNoise(1.0, seed=1)

    def to_host():
        def draw(inputs, seed):
            with keras.StatelessScope([(layer.seed_generator.state, seed)]):
                return layer(inputs, training=True)

        signature = [tf.TensorSpec((4, 20)), tf.TensorSpec((2,), tf.int64)]
        function = tf.function(draw, input_signature=signature, autograph=False)
        return placement(function.get_concrete_function()).to_host, function(tf.zeros((4, 20)), [5, 6]).numpy()

    on_cpu, found = to_host()
    monkeypatch.setattr("igan_tf.layers.table_gaussian_noise.has_gpu", lambda: True)
    on_gpu, same = to_host()
    assert on_cpu and not on_gpu
    np.testing.assert_array_equal(found, same)


@tensorflow_only
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graphs_draw_anew_at_every_call(jit_compile):
    import tensorflow as tf

    layer = TableGaussianNoise(1.0, seed=1)
    shape = (4, 20) if jit_compile else (None, 20)
    function = tf.function(
        lambda inputs: layer(inputs, training=True),
        input_signature=[tf.TensorSpec(shape)],
        jit_compile=jit_compile,
    )
    first, second = (function(tf.zeros((4, 20))).numpy() for _ in range(2))
    assert np.mean(first == second) < 0.1
    np.testing.assert_array_equal(first, noise(4, 20, seed=1))


@tensorflow_only
def test_functional_model_of_open_batch_size():
    model = keras.Sequential([keras.Input((3,)), TableGaussianNoise(1.0, seed=1)])
    for rows in (1, 5):
        assert np.all(ops.convert_to_numpy(model(np.zeros((rows, 3), "float32"), training=True)) != 0)


@pytest.mark.parametrize("stddev", [-0.1, float("nan")])
def test_refused_deviation(stddev):
    with pytest.raises(ValueError, match=f"`stddev` must not be negative. Received: stddev={stddev}"):
        TableGaussianNoise(stddev)


def test_its_first_name(tmp_path):
    """Files saved under the name GaussianNoise, without `exact`, load."""
    assert GaussianNoise is TableGaussianNoise
    model = keras.Sequential([keras.Input((20,)), TableGaussianNoise(0.5, seed=1, name="noise")])
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as file, zipfile.ZipFile(tmp_path / "old.keras", "w") as old:
        for name in file.namelist():
            content = file.read(name)
            if name == "config.json":
                text = content.decode().replace("TableGaussianNoise", "GaussianNoise").replace(', "exact": false', "")
                text = text.replace("igan_tf.layers.table_gaussian_noise", "igan_tf.layers.gaussian_noise")
                assert "igan_tf>GaussianNoise" in text and "exact" not in text and "Table" not in text
                content = text.encode()
            old.writestr(name, content)
    loaded = keras.saving.load_model(tmp_path / "old.keras")
    assert loaded.layers[0].get_config()["exact"] is False
    inputs = np.ones((3, 20), "float32")
    found, expected = (ops.convert_to_numpy(each(inputs, training=True)) for each in (loaded, model))
    np.testing.assert_array_equal(found, expected)


@tensorflow_only
def test_a_graph_of_tensorflow_1_and_eager_calls_do_not_disturb_each_other():
    import tensorflow as tf

    for stddev, in_graph_first in ((0.31, True), (0.32, False)):
        for in_graph in (in_graph_first, not in_graph_first, in_graph_first):
            with tf.Graph().as_default() if in_graph else contextlib.nullcontext():
                noisy = TableGaussianNoise(stddev, seed=1)(np.zeros((4, 16), "float32"), training=True)
                assert noisy.shape == (4, 16)


def test_a_deviation_may_be_a_numpy_scalar():
    assert TableGaussianNoise(np.float32(0.5), seed=1)(np.zeros((4, 16)), training=True).shape == (4, 16)
    assert TableGaussianNoise(np.array(0.5)).stddev == 0.5
