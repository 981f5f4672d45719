"""Techniques as a user writes them, in both models: terms, state, saving, and the order of the sum."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from igan_tf.layers import CrossBatchNorm, TableGaussianNoise, WeightNorm
from igan_tf.losses import FeatureMatching, HistoricalAveraging, R1Penalty, Technique, feature_matching_loss
from igan_tf.models import ImageNetGAN, SemiSupervisedGAN
from igan_tf.models.randomness import fold_in, step_key
from igan_tf.networks import digits
from igan_tf.training.distribution import mirrored_strategy

PLAYERS = ("discriminator", "generator")
RATE = 0.5
SHAPE = (2, 2, 1)


@keras.saving.register_keras_serializable("tests")
class Pull(Technique):
    """Pulls logits to a running mean of the real ones; notes what it was given."""

    def track(self, model):
        self.seen = []
        self.average = self.add_weight(
            shape=(), initializer="zeros", trainable=False, aggregation="mean", name="average"
        )

    def discriminator_terms(self, step):
        self.seen.append(("discriminator", step))
        again = ops.mean(step.gan_logit(step.discriminate(step.real_images)["logits"]))
        self.average.assign(self.average + 1.0)
        return {"pull_real_loss": ops.mean(step.real("logits")), "pull_again_loss": again}

    def generator_terms(self, step):
        self.seen.append(("generator", step))
        real, generated = (step.gan_logit(output("logits")) for output in (step.real, step.generated))
        return {"pull_difference_loss": ops.mean(generated) - ops.mean(real)}

    def after_update(self, player, variables):
        self.seen.append((f"{player} updated", [variable.numpy() for variable in variables]))

    def restart(self, model):
        self.average.assign(-1.0)


class Idle(Technique):
    """Runs the discriminator and adds nothing."""

    def discriminator_terms(self, step):
        return {"idle_loss": 0.0 * ops.stop_gradient(ops.sum(step.discriminate(step.real_images)["logits"]))}


def digits_batch(seed):
    draw = np.random.default_rng(seed)
    images = draw.random((2, 10, 8, 8, 1), "float32")
    batch = {"labelled_images": images[0], "labels": np.arange(10), "unlabelled_images": images[1]}
    return {name: tf.constant(array) for name, array in batch.items()}


def networks(noise=0.0, norm=False):
    latents, images = keras.Input((3,)), keras.Input(SHAPE)
    pixels = layers.Dense(4, "sigmoid")(latents)
    generator = keras.Model(latents, layers.Reshape(SHAPE)(pixels), name="generator")
    hidden = layers.Flatten()(images)
    if noise:
        hidden = TableGaussianNoise(noise)(hidden)
    features = layers.Dense(6, "tanh")(hidden)
    if norm:
        features = CrossBatchNorm()(features)
    logits = WeightNorm(layers.Dense(3), name="logits")(features)
    return generator, keras.Model(images, {"logits": logits, "features": features}, name="discriminator")


def make(kind, techniques=(), noise=0.0, norm=False, **settings):
    keras.utils.set_random_seed(0)
    model = kind(*networks(noise, norm), seed=5, **({"joint_passes": None} if kind is SemiSupervisedGAN else {}))
    model.compile(keras.optimizers.SGD(RATE), keras.optimizers.SGD(RATE), techniques=techniques, **settings)
    return model


def batch_of(kind, seed=0, count=6):
    draw = np.random.default_rng(seed)
    images, more = draw.random((2, count, *SHAPE), "float32")
    labels = draw.integers(0, 2, count)
    if kind is ImageNetGAN:
        return {"images": tf.constant(images), "labels": tf.constant(labels)}
    return {
        "labelled_images": tf.constant(images),
        "labels": tf.constant(labels),
        "unlabelled_images": tf.constant(more),
    }


def real_images(kind, batch):
    return batch["images" if kind is ImageNetGAN else "unlabelled_images"]


def values(model):
    return {name: variable.numpy() for name, variable in model.state_variables().items()}


kinds = pytest.mark.parametrize("kind", [SemiSupervisedGAN, ImageNetGAN])
ADVERSARIAL = {SemiSupervisedGAN: {"generator_objective": "minimax"}, ImageNetGAN: {}}


@kinds
def test_a_users_technique_gets_what_the_step_has(kind):
    technique = Pull(0.25)
    model = make(kind, [technique], noise=0.3, **ADVERSARIAL[kind])
    before = {name: [v.numpy() for v in getattr(model, name).trainable_variables] for name in PLAYERS}
    batch = batch_of(kind)
    logs = model.train_step(batch)
    seen = dict(technique.seen)
    # Both players' losses come before any update in the joint step, in turn otherwise.
    order = ["discriminator", "discriminator updated", "generator", "generator updated"]
    if kind is ImageNetGAN:
        order = ["discriminator", "generator", "discriminator updated", "generator updated"]
    assert [event for event, _ in technique.seen] == order
    for player in PLAYERS:
        network = getattr(model, player)
        assert seen[player].variables == network.trainable_variables
        assert all(np.any(new != old) for new, old in zip(seen[f"{player} updated"], before[player]))
    np.testing.assert_array_equal(seen["discriminator"].real_images, real_images(kind, batch))
    # The term is logged without its weight, and is in the loss with it.
    plain = make(kind, noise=0.3, **ADVERSARIAL[kind]).train_step(batch)
    terms = float(logs["pull_real_loss"] + logs["pull_again_loss"])
    assert float(logs["discriminator_loss"]) == pytest.approx(float(plain["discriminator_loss"]) + 0.25 * terms, 1e-5)
    assert set(logs) - set(plain) == {"pull_real_loss", "pull_again_loss", "pull_difference_loss"}


@kinds
def test_a_technique_in_its_own_pass_sees_the_steps_discriminator(kind):
    """Without noise the pass on the real images gives the step's own outputs, in the joint batch too."""
    technique = Pull(1.0)
    model, plain = (make(kind, techniques, norm=kind is ImageNetGAN) for techniques in ([technique], []))
    for each in (model, plain):
        for name in PLAYERS:
            getattr(each, f"{name}_optimizer").learning_rate = 0.0
        each.train_step(batch_of(kind))
    step = dict(technique.seen)["discriminator"]
    again = step.discriminate(step.real_images)
    for output in ("logits", "features"):
        np.testing.assert_allclose(again[output], step.real(output), rtol=1e-5, atol=1e-6)
    assert np.abs(step.discriminate(1 - step.real_images)["logits"] - step.real("logits")).max() > 1e-2
    # Moving averages take the step's own pass in and no other.
    for found, expected in zip(model.discriminator.weights, plain.discriminator.weights):
        np.testing.assert_array_equal(found.numpy(), expected.numpy(), err_msg=found.path)


@kinds
def test_every_pass_of_a_technique_draws_the_same_noise_another_in_the_next_step(kind):
    technique = Pull(1.0)
    model = make(kind, [technique], noise=0.5)
    images = real_images(kind, batch_of(kind))
    found = []
    for _ in range(2):
        technique.seen.clear()
        model.train_step(batch_of(kind))
        discriminate = dict(technique.seen)["discriminator"].discriminate
        found.append([discriminate(images)["features"].numpy() for _ in range(2)])
        np.testing.assert_array_equal(*found[-1])
    assert np.abs(found[0][0] - found[1][0]).max() > 1e-2


@kinds
def test_the_order_of_techniques_and_a_weight_of_0(kind):
    techniques = [FeatureMatching(0.0), Pull(0.1), HistoricalAveraging(0.2)]
    model = make(kind, techniques, **ADVERSARIAL[kind])
    assert [technique.name for technique in model.techniques] == ["pull", "historical_averaging"]
    assert "feature_matching_loss" not in model.train_step(batch_of(kind))


@kinds
def test_state_is_saved_with_the_model_and_continued(kind, tmp_path):
    techniques = [Pull(0.1), HistoricalAveraging(0.2), FeatureMatching(0.3, norm="l1")]
    model = make(kind, techniques, noise=0.3, **ADVERSARIAL[kind])
    for seed in range(2):
        model.train_step(batch_of(kind, seed))
    state = values(model)
    assert state["pull/000"] == 2
    assert [name for name in state if "history" in name] == [
        *(f"discriminator_history/{index:03d}" for index in range(6)),
        *(f"generator_history/{index:03d}" for index in range(3)),
    ]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_compile_config() == model.get_compile_config()
    for steps in range(2):
        for name, value in values(model).items():
            np.testing.assert_array_equal(values(loaded)[name], value, err_msg=f"{name}, {steps} steps later")
        logs = [{name: float(v) for name, v in each.train_step(batch_of(kind, 7)).items()} for each in (loaded, model)]
        assert logs[0] == logs[1]
    assert "pull_real_loss" in logs[0] and "feature_matching_loss" in logs[0]


@kinds
def test_files_from_before_techniques_are_compiled_with_theirs(kind):
    former = {"historical_averaging": 0.25}
    if kind is ImageNetGAN:
        former["feature_matching"] = 2.0
    model = make(kind)
    config = {name: value for name, value in model.get_compile_config().items() if name != "techniques"}
    model.compile_from_config({**config, **former})
    expected = [("feature_matching", 2.0)] * (kind is ImageNetGAN) + [("historical_averaging", 0.25)]
    assert [(technique.name, technique.weight) for technique in model.techniques] == expected
    # Where such a file has the means.
    assert model.discriminator_history is model.techniques[-1].histories["discriminator"]
    assert "discriminator_history_loss" in model.train_step(batch_of(kind))
    model.compile_from_config({**config, **dict.fromkeys(former, 0.0)})
    assert model.techniques == []


def test_feature_matching_beside_an_adversarial_objective():
    """Where the generator's step has no real images in the discriminator, a pass of the technique's own is made."""
    model = make(SemiSupervisedGAN, [FeatureMatching(2.0)], generator_objective="non_saturating")
    plain = make(SemiSupervisedGAN, generator_objective="non_saturating")
    for each in (model, plain):
        each.discriminator_optimizer.learning_rate = 0.0
    batch = batch_of(SemiSupervisedGAN)
    # The generator's weights of before the step, and the latents of its update.
    generated = model._generate(6, fold_in(fold_in(step_key(model.seed, 0), 1), 0))
    logs, plain_logs = model.train_step(batch), plain.train_step(batch)
    features = [model.discriminator(images)["features"] for images in (batch["unlabelled_images"], generated)]
    expected = float(feature_matching_loss(*features))
    assert float(logs["feature_matching_loss"]) == pytest.approx(expected, rel=1e-4) and expected > 1e-4
    assert float(logs["generator_loss"]) == pytest.approx(float(plain_logs["generator_loss"]) + 2 * expected, rel=1e-5)


def test_initialization_from_data_restarts_techniques():
    technique = Pull(1.0)
    model = make(SemiSupervisedGAN, [technique])
    called = []
    technique.restart = called.append
    model.initialize_from(batch_of(SemiSupervisedGAN)["labelled_images"], seed=1)
    assert called == [model]


@pytest.fixture
def float64():
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


@kinds
def test_r1_penalty_moves_the_discriminator_by_its_gradient(float64, kind):
    """What it adds to a step of SGD, along three directions, against central differences of what it logs."""
    batch = {name: tf.cast(array, "float64" if "images" in name else "int32") for name, array in batch_of(kind).items()}
    models = [make(kind, techniques, norm=kind is ImageNetGAN) for techniques in ([R1Penalty(0.5)], [])]
    variables = models[0].discriminator.trainable_variables
    start = [variable.numpy() for variable in variables]
    logs = [model.train_step(batch) for model in models]
    assert float(logs[0]["discriminator_loss"]) == pytest.approx(
        float(logs[1]["discriminator_loss"]) + 0.5 * float(logs[0]["r1_loss"]), 1e-12
    )
    gradient = [
        (other.numpy() - variable.numpy()) / (RATE * 0.5)
        for variable, other in zip(variables, models[1].discriminator.trainable_variables)
    ]

    def penalty_at(values):
        model = make(kind, [R1Penalty(0.5)], norm=kind is ImageNetGAN)
        for variable, value in zip(model.discriminator.trainable_variables, values):
            variable.assign(value)
        return float(model.train_step(batch)["r1_loss"])

    draw = np.random.default_rng(1)
    assert np.sqrt(sum(np.sum(part**2) for part in gradient)) > 1e-2
    for _ in range(3):
        direction = [1e-5 * draw.normal(size=value.shape) for value in start]
        ahead, behind = (penalty_at([v + sign * d for v, d in zip(start, direction)]) for sign in (1, -1))
        expected = sum(np.sum(part * step) for part, step in zip(gradient, direction))
        assert (ahead - behind) / 2 == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_a_techniques_defaults_trace_without_a_warning(caplog):
    model = make(SemiSupervisedGAN, [Technique(1.0)])
    tf.get_logger().addHandler(caplog.handler)
    try:
        tf.function(model.train_step)(batch_of(SemiSupervisedGAN))
    finally:
        tf.get_logger().removeHandler(caplog.handler)
    assert "AutoGraph" not in caplog.text


def test_on_two_replicas():
    strategy = mirrored_strategy()
    with strategy.scope():
        model = make(ImageNetGAN, [HistoricalAveraging(0.1), FeatureMatching(0.1), R1Penalty(1.0)], noise=0.3)
    batch = batch_of(ImageNetGAN)
    step = tf.function(lambda: strategy.run(model.train_step, args=(batch,)))
    for _ in range(2):
        logs = step()
    assert float(strategy.reduce("MEAN", logs["generator_history_loss"], axis=None)) > 0
    for name, variable in model.state_variables().items():
        first, second = (copy.numpy() for copy in strategy.experimental_local_results(variable.value))
        np.testing.assert_array_equal(first, second, err_msg=name)


@kinds
def test_techniques_that_would_overwrite_a_state_or_a_log_are_refused(kind):
    class Stateful(HistoricalAveraging):
        def state_groups(self):
            return {self.name: [variable for history in self.histories.values() for variable in history.variables]}

    for techniques in (
        [HistoricalAveraging(0.1, name="a"), HistoricalAveraging(0.2, name="b")],
        [Stateful(0.1, name="generator")],
    ):
        with pytest.raises(ValueError, match="`techniques` must keep their state under names of their own"):
            make(kind, techniques)
    model = make(kind, [R1Penalty(0.1, name="a"), R1Penalty(0.2, name="b")])
    with pytest.raises(ValueError, match=r"must log their terms under different names\. Received: \['r1_loss'\]"):
        model.train_step(batch_of(kind))


def test_a_history_is_of_one_model():
    technique = HistoricalAveraging(0.1)
    model = make(SemiSupervisedGAN, [technique])
    with pytest.raises(ValueError, match=r"`techniques` must be of this model alone.* Received: historical_averaging"):
        make(SemiSupervisedGAN, [technique])
    # The first keeps what it had; compiled again, it begins anew.
    for _ in range(2):
        logs = model.train_step(batch_of(SemiSupervisedGAN))
    assert float(logs["generator_history_loss"]) > 0
    model.compile(keras.optimizers.SGD(RATE), keras.optimizers.SGD(RATE), techniques=[technique])
    assert float(model.train_step(batch_of(SemiSupervisedGAN))["generator_history_loss"]) == 0


def test_refused_techniques():
    with pytest.raises(ValueError, match=r"`techniques` must have different names\. Received: .*\['pull', 'pull'\]"):
        make(ImageNetGAN, [Pull(1.0), Pull(2.0)])
    with pytest.raises(ValueError, match=r"`techniques` must be `igan_tf\.losses\.Technique`s\. Received: .*\[0\.1\]"):
        make(SemiSupervisedGAN, [0.1])
    assert make(ImageNetGAN, [Pull(1.0), Pull(2.0, name="other")]).state_variables().keys() > {"pull/000", "other/000"}


def test_spectral_normalization_in_training(tmp_path):
    """The players' steps keep its state, a technique's pass leaves it alone, a saved model continues the same."""

    def train(techniques=(), steps=1):
        keras.utils.set_random_seed(0)
        discriminator = digits.build_discriminator(width=0.1, weight_norm="spectral")
        model = SemiSupervisedGAN(digits.build_generator(width=0.1), discriminator)
        model.compile(keras.optimizers.SGD(0.01), keras.optimizers.SGD(0.01), techniques=techniques)
        for seed in range(steps):
            logs = model.train_step(digits_batch(seed))
        return model, logs

    model, logs = train(steps=6)
    assert all(np.isfinite(value) for value in logs.values())
    for layer in model.discriminator.layers:
        if isinstance(layer, keras.layers.SpectralNormalization):
            # The generator's step is the last to normalize, by a value that one power iteration a pass has found.
            assert np.linalg.norm(layer.layer.kernel.numpy(), 2) == pytest.approx(1, abs=0.1)
    for found, expected in zip(train([Idle(1.0)])[0].weights, train()[0].weights):
        np.testing.assert_array_equal(found.numpy(), expected.numpy(), err_msg=expected.path)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        each.train_step(digits_batch(9))
    for name, variable in model.state_variables().items():
        np.testing.assert_array_equal(loaded.state_variables()[name].numpy(), variable.numpy(), err_msg=name)
