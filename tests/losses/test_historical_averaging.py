import keras
import numpy as np
import pytest
from keras import ops

from igan_tf.losses import HistoricalPenalty
from tests.layers.gradients import float64_enabled, value_and_gradients
from tests.losses.closeness import assert_close
from tests.parity import games
from tests.parity import losses as oracle

SHAPES = [(2, 3), (4,), ()]

on_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.function, tf.distribute")


def values(seed):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=shape).astype("float32") for shape in SHAPES]


def built(seed=0):
    history = HistoricalPenalty()
    variables = [keras.Variable(value) for value in values(seed)]
    history.track(variables)
    return history, variables


def assign(variables, seed):
    for variable, value in zip(variables, values(seed)):
        variable.assign(value)


def numpy_weights(history):
    return [np.array(ops.convert_to_numpy(weight)) for weight in history.weights]


def test_mean_and_penalty_over_the_past_values():
    history, variables = built()
    assert_close(history.penalty(variables), 0.0)
    past = [values(0)]
    for seed in range(1, 6):
        assign(variables, seed)
        history.update(variables)
        past.append(values(seed))
        assert int(ops.convert_to_numpy(history.count.value)) == len(past)
        for mean, theta in zip(history.means, zip(*past)):
            assert_close(mean.value, np.mean(theta, axis=0), rtol=1e-5, atol=1e-6)
        assert_close(history.penalty(variables), oracle.historical_penalty(past), rtol=1e-5)


def test_start_is_a_copy():
    # PyTorch changes a variable's memory in place.
    history, variables = built()
    assign(variables, 1)
    for mean, start in zip(history.means, values(0)):
        assert_close(mean, start, rtol=0)
    expected = sum(np.sum((now - start) ** 2) for now, start in zip(values(1), values(0)))
    assert_close(history.penalty(variables), expected, rtol=1e-5)


def test_players_are_independent():
    (first, variables), (second, _) = built(), built()
    before = numpy_weights(second)
    assign(variables, 1)
    first.update(variables)
    for now, then in zip(numpy_weights(second), before):
        np.testing.assert_array_equal(now, then)


def test_gradient_pulls_to_the_mean():
    history, _ = built()
    history.update(values(1))
    _, gradients = value_and_gradients(lambda *theta: history.penalty(theta), values(2))
    for gradient, mean, theta in zip(gradients, history.means, values(2)):
        assert_close(gradient, 2 * (theta - ops.convert_to_numpy(mean.value)), rtol=1e-5)


def test_gradient_reaches_the_variables_themselves():
    history, variables = built()
    assign(variables, 1)
    expected = [2 * (now - start) for now, start in zip(values(1), values(0))]

    def penalty(*theta):
        with keras.StatelessScope(state_mapping=list(zip(variables, theta))):
            return history.penalty(variables)

    for gradient, right in zip(value_and_gradients(penalty, values(1))[1], expected):
        assert_close(gradient, right)
    if keras.backend.backend() == "torch":
        history.penalty(variables).backward()
        for variable, right in zip(variables, expected):
            assert_close(variable.value.grad, right)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = history.penalty(variables)
        for gradient, right in zip(tape.gradient(loss, [variable.value for variable in variables]), expected):
            assert_close(gradient, right)


def test_no_gradient_through_the_mean():
    history, _ = built()

    def penalty_after_update(*theta):
        # The update and the penalty under one differentiation: the mean depends on theta here.
        with keras.StatelessScope():
            history.update(theta)
            return history.penalty(theta)

    _, gradients = value_and_gradients(penalty_after_update, values(1))
    for gradient, start, theta in zip(gradients, values(0), values(1)):
        assert_close(gradient, 2 * (theta - (start + theta) / 2), rtol=1e-4, atol=1e-6)

    def mean_after_update(*theta):
        with keras.StatelessScope() as scope:
            history.update(theta)
        return ops.sum(scope.get_current_value(history.means[0])) + ops.sum(theta[0])

    assert_close(value_and_gradients(mean_after_update, values(1))[1][0], np.ones((2, 3)))

    def penalty_of_means(theta, mean):
        with keras.StatelessScope(state_mapping=[(history.means[0], mean)]):
            return history.penalty([theta, *values(1)[1:]])

    _, (theta_gradient, mean_gradient) = value_and_gradients(penalty_of_means, [values(1)[0], values(2)[0]])
    assert_close(theta_gradient, 2 * (values(1)[0] - values(2)[0]), rtol=1e-5)
    assert mean_gradient is None or not mean_gradient.any()


def test_update_in_a_stateless_scope():
    history, _ = built()
    before = numpy_weights(history)
    with keras.StatelessScope() as scope:
        history.update(values(1))
    for now, then in zip(numpy_weights(history), before):
        np.testing.assert_array_equal(now, then)
    history.update(values(1))
    for weight in history.weights:
        assert_close(scope.get_current_value(weight), weight.value, rtol=1e-6)


def test_owns_means_and_count_alone():
    history, _ = built()
    assert [weight.name for weight in history.weights] == ["mean_0", "mean_1", "mean_2", "count"]
    assert history.trainable_weights == []
    assert [tuple(mean.shape) for mean in history.means] == SHAPES


@pytest.mark.parametrize(
    "dtype, expected", [("float16", "float32"), ("bfloat16", "float32"), ("float32", "float32"), ("float64", "float64")]
)
def test_precision(dtype, expected):
    with float64_enabled():
        variable = keras.Variable(np.full(3, 256.0), dtype=dtype)
        history = HistoricalPenalty(dtype="mixed_float16")
        history.track([variable])
        assert history.means[0].dtype == expected
        # A step that half precision would lose in the mean, and a square that float16 cannot hold.
        history.update([ops.convert_to_tensor(np.full(3, 257.0, "float32"))])
        assert_close(history.means[0].value, 256.5, rtol=1e-6)
        penalty = history.penalty([ops.convert_to_tensor(np.full(3, 1024.5, "float32"))])
        assert keras.backend.standardize_dtype(penalty.dtype) == expected
        assert_close(penalty, 3 * 768.0**2, rtol=1e-6)


class PenaltyInCall(keras.layers.Layer):
    """Reads the means where a mixed-precision policy casts float32 weights on being read."""

    def __init__(self, history):
        super().__init__(dtype="mixed_float16")
        self.history = history

    def call(self, inputs):
        self.history.update(values(1))
        return self.history.penalty(values(2))


def test_means_keep_float32_inside_a_mixed_precision_layer():
    history, _ = built()
    penalty = PenaltyInCall(history)(np.zeros((1, 1), "float32"))
    assert keras.backend.standardize_dtype(penalty.dtype) == "float32"
    means = [(first + second) / 2 for first, second in zip(values(0), values(1))]
    expected = sum(np.sum((theta - mean) ** 2) for theta, mean in zip(values(2), means))
    assert_close(penalty, expected, rtol=1e-6)


class Player(keras.Model):
    """A model that owns a player and its history."""

    def __init__(self):
        super().__init__()
        self.network = keras.layers.Dense(3)
        self.history = HistoricalPenalty()

    def build(self, input_shape):
        self.network.build(input_shape)
        self.history.track(self.network.trainable_variables)

    def call(self, inputs):
        return self.network(inputs)


def test_saved_and_restored_with_its_model(tmp_path):
    player = Player()
    player.build((None, 2))
    assert len(player.trainable_weights) == 2 and len(player.weights) == 5
    for seed in range(3):
        kernel = np.random.default_rng(seed).normal(size=(2, 3))
        player.network.kernel.assign(kernel)
        player.history.update(player.network.trainable_variables)
    player.save_weights(tmp_path / "player.weights.h5")
    restored = Player()
    restored.build((None, 2))
    restored.load_weights(tmp_path / "player.weights.h5")
    for now, then in zip(numpy_weights(restored.history), numpy_weights(player.history)):
        np.testing.assert_array_equal(now, then)
    assert int(ops.convert_to_numpy(restored.history.count.value)) == 4
    variables = player.network.trainable_variables
    assert_close(restored.history.penalty(variables), player.history.penalty(variables))


@on_tensorflow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_a_compiled_function(jit_compile):
    import tensorflow as tf

    (history, _), (eager, _) = built(), built()

    @tf.function(jit_compile=jit_compile)
    def step(*theta):
        history.update(theta)
        return history.penalty(theta)

    for seed in (1, 2):
        compiled_penalty = step(*values(seed))
        eager.update(values(seed))
        assert_close(compiled_penalty, eager.penalty(values(seed)), rtol=1e-5)
    assert_close(history.means[0].value, eager.means[0].value, rtol=1e-6)
    assert int(history.count.value) == 3


def two_replicas():
    """On the two logical CPUs of tests/conftest.py."""
    from igan_tf.training.distribution import mirrored_strategy

    return mirrored_strategy()


@on_tensorflow
def test_on_two_replicas():
    import tensorflow as tf

    def train(strategy):
        """Gradient descent on the penalty and a linear term, one update a step, in the replicas' context."""
        with strategy.scope():
            variable = keras.Variable(values(0)[0])
            history = HistoricalPenalty()
            history.track([variable])
            optimizer = keras.optimizers.SGD(0.1)
            optimizer.build([variable])

        @tf.function
        def step():
            def in_replica():
                with tf.GradientTape() as tape:
                    loss = ops.sum(variable) + history.penalty([variable])
                    loss = loss / strategy.num_replicas_in_sync
                optimizer.apply(tape.gradient(loss, [variable.value]), [variable])
                history.update([variable])

            strategy.run(in_replica)

        for _ in range(3):
            step()
        locals_of = strategy.experimental_local_results
        return [[local.numpy() for local in locals_of(weight.value)] for weight in [variable, *history.weights]]

    two = train(two_replicas())
    one = train(tf.distribute.get_strategy())
    assert [len(copies) for copies in two] == [2, 2, 2]
    for copies, (alone,) in zip(two, one):
        for copy in copies:
            assert_close(copy, alone, rtol=1e-5)
    assert one[-1][0] == 4


@on_tensorflow
def test_replicas_keep_equal_means():
    # Of a player that is equal on all of them each takes its own copy.
    import tensorflow as tf

    strategy = two_replicas()
    with strategy.scope():
        history = HistoricalPenalty()
        history.track([np.zeros(2, "float32")])

    @tf.function
    def step():
        def in_replica():
            history.update([tf.ones([2])])

        strategy.run(in_replica)

    step()
    for weight, expected in zip(history.weights, (0.5, 2)):
        copies = strategy.experimental_local_results(weight.value)
        assert len(copies) == 2
        for copy in copies:
            assert_close(copy.numpy(), np.full(copy.shape, expected))


def test_the_product_needs_it():
    game = games.PRODUCT
    # Plain simultaneous gradient descent moves away with every step.
    plain = games.relative_distances(game, games.play(game, weight=0.0))
    assert (np.diff(plain) > 0).all() and plain.min() >= 1.0
    # With historical averaging it is within 5 % of the start's distance after 200 of the 300 steps, for good.
    averaged = games.relative_distances(game, games.play(game, game.weight))
    assert len(averaged) == 301 and game.weight == 0.2
    assert averaged[200:].max() < 0.05


def test_the_game_of_section_3_3_needs_it():
    game = games.BENT
    plain = games.relative_distances(game, games.play(game, weight=0.0))
    # It circles the equilibrium, farther and farther out.
    assert plain.min() > 0.3 and plain[300:].max() > plain[:300].max() > 1
    averaged = games.relative_distances(game, games.play(game, game.weight))
    assert averaged[300:].max() < 0.05 and averaged[-1] < 0.01


def test_invalid_arguments():
    history, variables = built()
    with pytest.raises(ValueError, match="must name at least one variable"):
        HistoricalPenalty().track([])
    with pytest.raises(ValueError, match=r"must be floating, to have a mean. Received: steps of dtype int32"):
        HistoricalPenalty().track([keras.Variable(1, dtype="int32", trainable=False, name="steps")])
    for method in ("penalty", "update"):
        with pytest.raises(ValueError, match=r"Call `track\(variables\)` first"):
            getattr(HistoricalPenalty(), method)(variables)
        with pytest.raises(ValueError, match=r"those given to `track`, .* Received: shapes \[\(2, 3\)\], tracked"):
            getattr(history, method)(variables[:1])
        with pytest.raises(ValueError, match=r"Received: shapes \[\(4,\), \(2, 3\), \(\)\]"):
            getattr(history, method)([variables[1], variables[0], variables[2]])
