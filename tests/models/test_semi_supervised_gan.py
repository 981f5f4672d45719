"""`SemiSupervisedGAN`: each step against a plain TensorFlow reimplementation, and what its options change.

Tolerances: a few float32 steps of SGD on networks of a few dozen weights, computed in another order: 1e-6 absolute.
Replicas against one device 1e-5, the project's own bound. Reruns are compared bit by bit.
"""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from igan_tf.layers import (
    BatchStatisticsNorm,
    CrossBatchNorm,
    MinibatchDiscrimination,
    SeparateBatchNorm,
    TableGaussianNoise,
    VirtualBatchNorm,
    WeightNorm,
    data_dependent_initialization,
)
from igan_tf.losses import HistoricalAveraging, R1Penalty
from igan_tf.models import SemiSupervisedGAN
from igan_tf.models.randomness import is_seed_state, step_key
from igan_tf.optimizers import InsideRootAdam
from igan_tf.training.distribution import mirrored_strategy

CLASSES = 3
RATE = 0.5


def generator_network(noise=0.0):
    latents = keras.Input((3,))
    hidden = layers.Dense(5, "tanh", bias_initializer="normal")(latents)
    if noise:
        hidden = TableGaussianNoise(noise)(hidden)
    pixels = WeightNorm(layers.Dense(8, "sigmoid"), name="pixels")(hidden)
    return keras.Model(latents, layers.Reshape((2, 2, 2))(pixels), name="generator")


def discriminator_network(noise=0.0, classes=CLASSES, couple=None):
    images = keras.Input((2, 2, 2))
    hidden = layers.Flatten()(images)
    if noise:
        hidden = TableGaussianNoise(noise)(hidden)
    features = WeightNorm(layers.Dense(6, "tanh"), train_scale=False, epsilon=0.0, name="hidden")(hidden)
    last = couple(features) if couple else features
    logits = layers.Dense(classes, kernel_initializer=keras.initializers.RandomNormal(stddev=1.0), name="logits")(last)
    return keras.Model(images, {"logits": logits, "features": features}, name="discriminator")


def make_model(noise=0.0, classes=CLASSES, couple=None, seed=0, optimizer=None, kind=SemiSupervisedGAN, **settings):
    """A compiled model whose weights are the same at every call; `historical_averaging` is the technique's weight."""
    settings = {"techniques": [HistoricalAveraging(settings.pop("historical_averaging", 0))], **settings}
    compile_settings = {key: settings.pop(key) for key in list(settings) if key not in ("joint_passes", "latent_range")}
    keras.utils.set_random_seed(0)
    model = kind(
        generator_network(noise), discriminator_network(noise, classes, couple), seed=seed, name="gan", **settings
    )
    optimizer = optimizer or (lambda: keras.optimizers.SGD(RATE))
    model.compile(optimizer(), optimizer(), **compile_settings)
    return model


def make_batch(count=6, seed=1, labelled=None, classes=CLASSES):
    generator = np.random.default_rng(seed)

    def images(count):
        return generator.uniform(size=(count, 2, 2, 2)).astype("float32")

    return {
        "labelled_images": images(labelled or count),
        "labels": generator.integers(classes, size=labelled or count).astype("int32"),
        "unlabelled_images": images(count),
        "unlabelled_images_2": images(count),
    }


def tensors(batch):
    return tf.nest.map_structure(tf.constant, batch)


def weights_of(network):
    """Trainable weights by a name that says which."""
    return {weight.path: weight.numpy() for weight in network.trainable_variables}


def assert_same(found, expected, **tolerances):
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, err_msg=name, **{"rtol": 0, "atol": 0, **tolerances})


def changed(found, before):
    return any(np.any(found[name] != value) for name, value in before.items())


# The reimplementation: the same networks and the same losses in plain TensorFlow, with SGD by hand.


def plain_generator(weights, latents):
    kernel_1, bias_1, scale, kernel_2, bias_2 = weights
    hidden = tf.tanh(latents @ kernel_1 + bias_1)
    kernel_2 = kernel_2 * scale / tf.sqrt(tf.reduce_sum(kernel_2**2, 0) + 1e-6)
    return tf.reshape(tf.sigmoid(hidden @ kernel_2 + bias_2), (-1, 2, 2, 2))


def plain_discriminator(weights, images):
    kernel_1, bias_1, kernel_2, bias_2 = weights
    kernel_1 = kernel_1 / tf.sqrt(tf.reduce_sum(kernel_1**2, 0))
    features = tf.tanh(tf.reshape(images, (-1, 8)) @ kernel_1 + bias_1)
    return features @ kernel_2 + bias_2, features


def log_z(logits):
    return tf.math.log(tf.reduce_sum(tf.exp(logits), 1))


def penalty(weights, history):
    return sum(tf.reduce_sum((w - np.mean(past, 0)) ** 2) for w, past in zip(weights, zip(*history)))


class PlainTraining:
    """The published algorithm on lists of weights; `latents[i]` is what the i-th pass of G gets."""

    def __init__(self, model, latents, **settings):
        self.generator = [tf.constant(weight.numpy()) for weight in model.generator.trainable_variables]
        self.discriminator = [tf.constant(weight.numpy()) for weight in model.discriminator.trainable_variables]
        self.latents = iter(latents)
        self.settings = {
            "generator_objective": "feature_matching",
            "feature_matching_norm": "l2",
            "label_smoothing": 0.0,
            "historical_averaging": 0.0,
            "unlabelled_weight": 1.0,
            "generator_steps": 1,
            **settings,
        }
        self.histories = {"generator": [self.generator], "discriminator": [self.discriminator]}

    def step(self, batch):
        losses = {"discriminator_loss": self.update("discriminator", lambda w: self.discriminator_loss(w, batch))}
        for _ in range(self.settings["generator_steps"]):
            losses["generator_loss"] = self.update("generator", lambda w: self.generator_loss(w, batch))
        return losses

    def update(self, player, loss_of):
        weights = getattr(self, player)
        if player == "discriminator" and self.settings["unlabelled_weight"]:
            self.generated = plain_generator(self.generator, next(self.latents))
        elif player == "generator":
            self.z = next(self.latents)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            loss = loss_of(weights)
            if self.settings["historical_averaging"]:
                loss += self.settings["historical_averaging"] * penalty(weights, self.histories[player])
        gradients = tape.gradient(loss, weights)
        setattr(self, player, [w - RATE * g for w, g in zip(weights, gradients)])
        self.histories[player].append(getattr(self, player))
        return loss

    def discriminator_loss(self, weights, batch):
        loss = 0.0
        if "labels" in batch:
            logits, _ = plain_discriminator(weights, batch["labelled_images"])
            chosen = tf.gather(logits, batch["labels"], batch_dims=1)
            loss += tf.reduce_mean(log_z(logits) - chosen)
        if self.settings["unlabelled_weight"]:
            real = log_z(plain_discriminator(weights, batch["unlabelled_images"])[0])
            fake = log_z(plain_discriminator(weights, self.generated)[0])
            target = 1 - self.settings["label_smoothing"]
            entropy = -sum(p * np.log(p) for p in (target, 1 - target) if p)
            real_loss = target * tf.nn.softplus(-real) + (1 - target) * tf.nn.softplus(real) - entropy
            real_loss, fake_loss = tf.reduce_mean(real_loss) / 2, tf.reduce_mean(tf.nn.softplus(fake)) / 2
            loss += self.settings["unlabelled_weight"] * (real_loss + fake_loss)
        return loss

    def generator_loss(self, weights, batch):
        logits, fake_features = plain_discriminator(self.discriminator, plain_generator(weights, self.z))
        if self.settings["generator_objective"] == "minimax":
            return -tf.reduce_mean(tf.nn.softplus(log_z(logits)))
        if self.settings["generator_objective"] == "non_saturating":
            return tf.reduce_mean(tf.nn.softplus(-log_z(logits)))
        real = batch.get("unlabelled_images_2", batch["unlabelled_images"])
        _, real_features = plain_discriminator(self.discriminator, real)
        difference = tf.reduce_mean(real_features, 0) - tf.reduce_mean(fake_features, 0)
        l1 = self.settings["feature_matching_norm"] == "l1"
        return tf.reduce_mean(tf.abs(difference) if l1 else difference**2)


@pytest.fixture
def latents_given(monkeypatch):
    """Makes a model take its latents from a list: one entry for each pass of G."""

    def give(model, latents):
        remaining = iter(latents)
        monkeypatch.setattr(
            model, "_generate", lambda count, key: model.generator(next(remaining)[:count], training=True)
        )

    return give


def spy(monkeypatch, owner, name):
    """The positional arguments of every later call of a method, in a list that grows."""
    method, calls = getattr(owner, name), []

    def noted(*arguments, **keywords):
        calls.append(arguments)
        return method(*arguments, **keywords)

    monkeypatch.setattr(owner, name, noted)
    return calls


def latents(count, rows=6, seed=2):
    return [tf.constant(each) for each in np.random.default_rng(seed).uniform(size=(count, rows, 3)).astype("float32")]


STEPS = {
    "feature matching": {},
    "l1": {"feature_matching_norm": "l1"},
    "minimax": {"generator_objective": "minimax"},
    "non-saturating": {"generator_objective": "non_saturating"},
    "label smoothing": {"label_smoothing": 0.25},
    "historical averaging": {"historical_averaging": 0.3, "generator_objective": "minimax"},
    "three generator steps": {"generator_steps": 3, "historical_averaging": 0.1},
    "no generator step": {"generator_steps": 0},
    "unlabelled weight": {"unlabelled_weight": 0.25},
    "supervised": {"unlabelled_weight": 0.0, "generator_steps": 0},
}


@pytest.mark.parametrize("joint_passes", [None, False])
@pytest.mark.parametrize("settings", STEPS.values(), ids=STEPS)
def test_three_steps_equal_the_plain_reimplementation(latents_given, settings, joint_passes):
    model = make_model(joint_passes=joint_passes, **settings)
    drawn = latents(12)
    plain = PlainTraining(model, drawn, **settings)
    latents_given(model, drawn)
    for step in range(3):
        # As many labelled examples as unlabelled ones, or fewer: the halves of a joint pass are told apart.
        batch = tensors(make_batch(seed=step, labelled=4))
        logs = model.train_step(batch)
        expected_logs = plain.step(batch)
        for name, value in expected_logs.items():
            np.testing.assert_allclose(logs[name], value, rtol=1e-5, atol=1e-6, err_msg=f"step {step}: {name}")
    for network, expected in ((model.generator, plain.generator), (model.discriminator, plain.discriminator)):
        for weight, value in zip(network.trainable_variables, expected):
            np.testing.assert_allclose(weight.numpy(), value, rtol=0, atol=2e-6, err_msg=weight.path)


@pytest.mark.parametrize("form", ["no labels", "no second batch", "x and y", "x alone"])
def test_other_forms_of_data_equal_the_plain_reimplementation(latents_given, form):
    model = make_model()
    drawn = latents(2)
    plain = PlainTraining(model, drawn)
    latents_given(model, drawn)
    batch = tensors(make_batch())
    images, labels = batch["labelled_images"], batch["labels"]
    unlabelled = {"unlabelled_images": batch["unlabelled_images"]}
    labelled = {"labelled_images": images, "labels": labels}
    data, expected = {
        "no labels": (unlabelled, unlabelled),
        "no second batch": ({**labelled, **unlabelled}, {**labelled, **unlabelled}),
        "x and y": ((images, labels), {**labelled, "unlabelled_images": images}),
        "x alone": ((images,), {"unlabelled_images": images}),
    }[form]
    logs = model.train_step(data)
    plain.step(expected)
    assert ("train_error" in logs) == ("supervised_loss" in logs) == ("labels" in expected)
    for network, values in ((model.generator, plain.generator), (model.discriminator, plain.discriminator)):
        for weight, value in zip(network.trainable_variables, values):
            np.testing.assert_allclose(weight.numpy(), value, rtol=0, atol=1e-6, err_msg=weight.path)


def test_one_logit_without_labels_is_the_ordinary_gan(latents_given):
    """D = sigmoid(logit): half the sigmoid cross-entropy on both, and the minimax loss twice its half."""
    model = make_model(classes=1, generator_objective="minimax", generator_steps=0)
    drawn = latents(1)
    latents_given(model, drawn)
    batch = tensors({"unlabelled_images": make_batch()["unlabelled_images"]})
    generated = model.generator(drawn[0])
    real, fake = (model.discriminator(x)["logits"] for x in (batch["unlabelled_images"], generated))
    entropy = tf.nn.sigmoid_cross_entropy_with_logits
    expected = tf.reduce_mean(entropy(tf.ones_like(real), real)) + tf.reduce_mean(entropy(tf.zeros_like(fake), fake))
    logs = model.train_step(batch)
    np.testing.assert_allclose(logs["discriminator_loss"], expected / 2, rtol=1e-5)
    assert set(logs) == {"discriminator_loss", "unlabelled_loss", "generated_loss"}


# Who is updated by what.


@pytest.mark.parametrize("objective", ["feature_matching", "minimax", "non_saturating"])
def test_each_player_is_updated_by_its_own_step_alone(objective):
    model = make_model(noise=0.1, generator_objective=objective)
    batch = tensors(make_batch())
    before = weights_of(model.generator), weights_of(model.discriminator)
    model._train_discriminator(batch, tf.constant([1, 2]))
    assert_same(weights_of(model.generator), before[0])
    assert changed(weights_of(model.discriminator), before[1])
    between = weights_of(model.discriminator)
    fixed = [weight.numpy() for weight in model.discriminator.non_trainable_variables]
    model._train_generator(batch, tf.constant([1, 2]))
    assert_same(weights_of(model.discriminator), between)
    assert changed(weights_of(model.generator), before[0])
    for weight, value in zip(model.discriminator.non_trainable_variables, fixed):
        np.testing.assert_array_equal(weight.numpy(), value, err_msg=weight.path)


@pytest.mark.parametrize("generator_steps", [0, 1, 3])
def test_generator_steps_are_counted(generator_steps):
    model = make_model(generator_steps=generator_steps)
    for _ in range(2):
        logs = model.train_step(tensors(make_batch()))
    assert int(model.discriminator_optimizer.iterations) == 2
    assert int(model.generator_optimizer.iterations) == 2 * generator_steps
    assert ("generator_loss" in logs) == bool(generator_steps)


def test_every_generator_step_draws_its_own_latents(monkeypatch):
    model = make_model(generator_steps=3)
    calls = spy(monkeypatch, model, "_generate")
    for _ in range(2):
        model.train_step(tensors(make_batch()))
    keys = {tuple(key.numpy().tolist()) for _, key in calls}
    assert len(calls) == len(keys) == 8


def test_supervised_only_needs_no_unlabelled_data_and_leaves_the_generator():
    model = make_model(unlabelled_weight=0.0, generator_steps=0)
    batch = make_batch()
    before = weights_of(model.generator)
    logs = model.train_step(tensors({name: batch[name] for name in ("labelled_images", "labels")}))
    assert set(logs) == {"discriminator_loss", "supervised_loss", "train_error"}
    assert_same(weights_of(model.generator), before)


def test_label_smoothing_changes_the_real_term_alone():
    batch = tensors(make_batch())
    plain, smoothed = (make_model(label_smoothing=alpha).train_step(batch) for alpha in (0.0, 0.25))
    for name in ("supervised_loss", "generated_loss"):
        assert float(plain[name]) == float(smoothed[name])
    assert float(plain["unlabelled_loss"]) != float(smoothed["unlabelled_loss"])


def test_logs():
    logs = make_model(historical_averaging=0.5).train_step(tensors(make_batch()))
    assert set(logs) == {
        *("discriminator_loss", "supervised_loss", "train_error", "unlabelled_loss", "generated_loss"),
        *("generator_loss", "discriminator_history_loss", "generator_history_loss"),
    }
    total = logs["supervised_loss"] + logs["unlabelled_loss"] + logs["generated_loss"]
    np.testing.assert_allclose(logs["discriminator_loss"], total, rtol=1e-6)


def test_train_error():
    model = make_model()
    batch = make_batch(10)
    expected = np.mean(model(batch["labelled_images"]).numpy().argmax(1) != batch["labels"])
    assert 0 < expected < 1
    np.testing.assert_allclose(model.train_step(tensors(batch))["train_error"], expected, rtol=1e-6)


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_regularizers_of_weights_are_in_their_players_loss(player):
    batch, steps, logged = tensors(make_batch()), [], []
    strength = 0.25
    for regularizer in (None, keras.regularizers.L2(strength)):
        model = make_model()
        weight = getattr(model, player).trainable_variables[0]
        weight.regularizer = regularizer
        before = weight.numpy()
        logs = model.train_step(batch)
        steps.append(weight.numpy() - before)
        logged.append({name: float(value) for name, value in logs.items()})
    # SGD: the gradient of strength * sum of squares.
    np.testing.assert_allclose(steps[1] - steps[0], -RATE * 2 * strength * before, rtol=0, atol=1e-6)
    penalty = strength * np.sum(before.astype("float64") ** 2)
    assert logged[1].pop(f"{player}_regularization") == pytest.approx(penalty, rel=1e-5)
    loss = f"{player}_loss"
    assert logged[1][loss] - logged[0][loss] == pytest.approx(penalty, abs=1e-5) and set(logged[1]) == set(logged[0])


# Joint and separate passes.


def test_joint_and_separate_passes_agree_without_noise():
    joint, separate = (make_model(joint_passes=passes, historical_averaging=0.1) for passes in (True, False))
    for step in range(3):
        batch = tensors(make_batch(seed=step, labelled=4))
        logs = [model.train_step(batch) for model in (joint, separate)]
        for name, value in logs[1].items():
            np.testing.assert_allclose(logs[0][name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    for found, expected in zip(joint.trainable_variables, separate.trainable_variables):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=0, atol=1e-6)


class MeanOfBatch(layers.Layer):
    """A user's own layer that couples examples."""

    couples_examples = True

    def call(self, inputs):
        return inputs - keras.ops.mean(inputs, axis=0, keepdims=True)


class Rows(layers.Layer):
    """A user's own layer that does not."""

    def call(self, inputs):
        return 2 * inputs


class StillBatchNormalization(layers.BatchNormalization):
    couples_examples = False


def nested(layer):
    inner = keras.Sequential([keras.Input((6,)), layer], name="inner")
    return keras.Sequential([keras.Input((6,)), layers.Dense(6), inner], name="outer")


@pytest.mark.parametrize(
    ("couple", "joint"),
    [
        (None, True),
        (lambda: layers.Dropout(0.5), True),
        (lambda: Rows(), True),
        (lambda: StillBatchNormalization(), True),
        (lambda: nested(Rows()), True),
        (lambda: MeanOfBatch(), False),
        (lambda: nested(MeanOfBatch()), False),
        (lambda: MinibatchDiscrimination(4, 2), False),
        (lambda: nested(MinibatchDiscrimination(4, 2)), False),
        (lambda: layers.BatchNormalization(), False),
        (lambda: nested(layers.BatchNormalization()), False),
        (lambda: BatchStatisticsNorm(), False),
        (lambda: CrossBatchNorm(), False),
        (lambda: SeparateBatchNorm(), False),
    ],
    ids=[
        *("rows", "dropout", "own rows", "batch norm that says no", "nested rows"),
        *("own", "nested own", "minibatch discrimination", "nested minibatch discrimination"),
        *("batch norm", "nested batch norm", "batch statistics", "cross batch norm", "separate batch norm"),
    ],
)
def test_a_coupling_discriminator_sees_each_kind_of_data_by_itself(monkeypatch, couple, joint):
    model = make_model(couple=couple and (lambda x: couple()(x)))
    calls = spy(monkeypatch, model.discriminator, "call")
    model.train_step(tensors(make_batch(6, labelled=4)))
    assert [images.shape[0] for images, *_ in calls] == ([16, 12] if joint else [4, 6, 6, 6, 6])


def test_generated_data_does_not_reach_the_minibatch_features_of_real_data(latents_given):
    real_losses = []
    for seed in (1, 2):
        model = make_model(couple=lambda x: MinibatchDiscrimination(4, 2)(x), generator_steps=0)
        latents_given(model, latents(1, seed=seed))
        real_losses.append(model.train_step(tensors(make_batch())))
    assert float(real_losses[0]["unlabelled_loss"]) == float(real_losses[1]["unlabelled_loss"])
    assert float(real_losses[0]["generated_loss"]) != float(real_losses[1]["generated_loss"])


# The running average.


@pytest.mark.parametrize("debias", [True, False])
def test_averaged_logits_equal_the_oracle(debias):
    decay, steps = 0.75, 4
    model = make_model(average_decay=decay, average_debias=debias)
    history = []
    for step in range(steps):
        history.append([weight.numpy() for weight in model.discriminator.trainable_variables])
        model.train_step(tensors(make_batch(seed=step)))
    average = [np.zeros_like(value) for value in history[0]]
    for values in history:
        # The parameters as they were before that step's update.
        average = [a + (1 - decay) * (value - a) for a, value in zip(average, values)]
    if debias:
        average = [a / (1 - decay**steps) for a in average]
    images = make_batch(seed=9)["labelled_images"]
    found = model.averaged_logits(images)
    present = model(images)
    for weight, value in zip(model.discriminator.trainable_variables, average):
        weight.assign(value)
    np.testing.assert_allclose(found, model(images), rtol=1e-5, atol=1e-6)
    assert np.abs(found - present).max() > 1e-2


def test_errors_after_a_second_compile_are_by_the_new_average():
    model, images = make_model(average_decay=0.5), make_batch(40, seed=9)["labelled_images"]
    model.train_step(tensors(make_batch()))
    # Labels for which the first average is right.
    labels = model.averaged_logits(images).numpy().argmax(axis=1)
    assert model.test_errors(images, labels, 20)["averaged_test_error"] == 0
    model.compile(keras.optimizers.SGD(20.0), keras.optimizers.SGD(RATE), average_decay=0.5)
    for step in range(3):
        model.train_step(tensors(make_batch(seed=step)))
    expected = np.mean(model.averaged_logits(images).numpy().argmax(axis=1) != labels)
    assert model.test_errors(images, labels, 20)["averaged_test_error"] == expected > 0


@pytest.mark.parametrize("couple", [None, MinibatchDiscrimination(4, 2)], ids=["alone", "coupled"])
def test_the_last_batch_is_as_large_as_others_where_examples_are_coupled(couple):
    model = make_model(couple=couple)
    model.train_step(tensors(make_batch()))
    images = make_batch(7, seed=3)["labelled_images"]
    batches = [(images[:4], 0), (images[3:], 1)] if couple else [(images[:4], 0), (images[4:], 0)]
    logits = np.concatenate([model.averaged_logits(batch).numpy()[seen:] for batch, seen in batches])
    found = model.class_probabilities(images, 4)
    np.testing.assert_allclose(found, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), rtol=1e-5)
    labels = logits.argmax(axis=1)
    # One of the last batch's own is wrong, and one that both batches have, which counts once.
    labels[[3, 5]] = (labels[[3, 5]] + 1) % CLASSES
    assert model.test_errors(images, labels, 4)["averaged_test_error"] == pytest.approx(2 / 7)
    # Fewer than a batch.
    assert model.class_probabilities(images[:3], 4).shape == (3, CLASSES)


def test_before_the_first_update_the_averages_are_the_weights_themselves():
    model, images = make_model(), make_batch(seed=9)["labelled_images"]
    np.testing.assert_allclose(model.averaged_logits(images), model(images), rtol=0, atol=1e-6)


def test_averaged_logits_leave_the_weights():
    model = make_model()
    model.train_step(tensors(make_batch()))
    before = weights_of(model.discriminator)
    images = make_batch()["labelled_images"]
    found = model.averaged_logits(images)
    assert_same(weights_of(model.discriminator), before)
    # Weights that are frozen after the training have averages still.
    model.discriminator.get_layer("hidden").trainable = False
    np.testing.assert_array_equal(model.averaged_logits(images), found)


# Data-dependent initialization.


def test_initialize_from_is_the_layers_own_pass_without_noise():
    model, other = make_model(), make_model()
    images = make_batch(50)["labelled_images"]
    model.initialize_from(images, seed=3)
    data_dependent_initialization(other.discriminator, images)
    for found, expected in zip(model.discriminator.get_weights(), other.discriminator.get_weights()):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    # Of tanh's arguments.
    hidden = np.arctanh(model.discriminator(images)["features"].numpy().astype("float64"))
    np.testing.assert_allclose(hidden.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(hidden.std(0), 1, rtol=1e-3)


def test_initialize_from_draws_its_noise_by_seed_and_restarts_the_history():
    images = make_batch(50)["labelled_images"]
    results = []
    for seed in (3, 3, 4):
        model = make_model(noise=0.5, historical_averaging=0.1)
        generator = weights_of(model.generator)
        before = [state.numpy() for state in model.discriminator.variables if is_seed_state(state)]
        model.initialize_from(images, seed=seed)
        after = [state.numpy() for state in model.discriminator.variables if is_seed_state(state)]
        np.testing.assert_array_equal(after, before)
        assert_same(weights_of(model.generator), generator)
        # The values from before the initialization are no past to be held to.
        logs = model.train_step(tensors(make_batch()))
        assert float(logs["discriminator_history_loss"]) == 0
        results.append(model.discriminator.get_weights())
    for first, again in zip(results[0], results[1]):
        np.testing.assert_array_equal(first, again)
    assert any(np.any(first != other) for first, other in zip(results[0], results[2]))


def test_initialize_from_latents_initializes_the_generator_too():
    images = make_batch(50)["labelled_images"]
    results = []
    for seed, num_latents in ((3, 400), (3, 400), (4, 400), (3, 0)):
        model = make_model(historical_averaging=0.1)
        model.initialize_from(images, seed, num_latents)
        logs = model.train_step(tensors(make_batch()))
        assert float(logs["generator_history_loss"]) == 0
        model = make_model()
        before = weights_of(model.generator)
        model.initialize_from(images, seed, num_latents)
        changed_names = {name for name, value in weights_of(model.generator).items() if np.any(value != before[name])}
        assert {name.split("/")[-1] for name in changed_names} == ({"scale", "bias"} if num_latents else set())
        results.append(dict(enumerate(model.generator.get_weights())))
    assert_same(results[0], results[1])
    assert changed(results[2], results[0])
    model.initialize_from(images, 3, 2000)
    # Of the sigmoid's arguments, for other latents of the same range: near mean 0, deviation 1.
    pixels = model.generate(2000, seed=7).reshape(-1, 8).astype("float64")
    arguments = np.log(pixels / (1 - pixels))
    np.testing.assert_allclose(arguments.mean(0), 0, atol=0.1)
    np.testing.assert_allclose(arguments.std(0), 1, rtol=0.1)


# Randomness.


def step_of(seed=0, iterations=0, batch_seed=1):
    model = make_model(noise=0.5, seed=seed)
    model.discriminator_optimizer.iterations.assign(iterations)
    logs = model.train_step(tensors(make_batch(seed=batch_seed)))
    return [weight.numpy() for weight in model.trainable_variables], {
        name: float(value) for name, value in logs.items()
    }


def test_steps_whose_gradients_are_accumulated_draw_their_own_latents(monkeypatch):
    drawn = []
    model = make_model(optimizer=lambda: keras.optimizers.SGD(RATE, gradient_accumulation_steps=3))
    draw = model._draw_latents
    monkeypatch.setattr(model, "_draw_latents", lambda *arguments: drawn.append(draw(*arguments).numpy()) or drawn[-1])
    for _ in range(3):
        model.train_step(tensors(make_batch()))
    assert len({latents.tobytes() for latents in drawn}) == len(drawn) == 6


def test_what_draws_without_a_seed_is_a_function_of_seed_and_step_too():
    """As a layer of the user's, or a `Lambda`, may do."""

    def model():
        z = keras.Input((3,))
        halves = layers.Dense(4)(z), layers.Dense(4)(z)
        noisy = [layers.Lambda(lambda x: x + keras.random.normal(keras.ops.shape(x)))(half) for half in halves]
        noisy = layers.Concatenate()(noisy)
        gan = SemiSupervisedGAN(keras.Model(z, layers.Reshape((2, 2, 2))(noisy)), discriminator_network())
        gan.generator.set_weights([np.zeros_like(each) for each in gan.generator.get_weights()])
        return gan

    first, again = model(), model()
    # What Keras's own generator is, and whether there is one, does not matter.
    keras.utils.set_random_seed(0)
    images = first.generate(4, seed=1)
    np.testing.assert_array_equal(again.generate(4, seed=1), images)
    assert np.abs(first.generate(4, seed=2) - images).max() > 0.1
    # Each draw of a pass is another.
    assert np.abs(images[:, 0] - images[:, 1]).max() > 0.1
    expected = float(keras.random.uniform(()))
    keras.utils.set_random_seed(0)
    assert float(keras.random.uniform(())) == expected


def test_a_step_is_a_function_of_seed_and_step():
    weights, logs = step_of()
    again, logs_again = step_of()
    assert logs == logs_again
    for found, expected in zip(again, weights):
        np.testing.assert_array_equal(found, expected)
    for other in (step_of(seed=1), step_of(iterations=1)):
        assert other[1]["generated_loss"] != logs["generated_loss"]
        assert other[1]["supervised_loss"] != logs["supervised_loss"], "the discriminator's noise too"


def test_noise_differs_between_the_passes_of_a_step():
    """The same images as labelled and unlabelled batch, each in a pass of its own."""
    model = make_model(noise=0.5, joint_passes=False)
    images = make_batch()["labelled_images"]
    with tf.GradientTape():
        outputs = model._discriminate({"labelled": images, "unlabelled": images}, tf.constant([1, 2]))("logits")
    assert np.abs(outputs["labelled"] - outputs["unlabelled"]).min() > 0


def test_latent_range(monkeypatch):
    model = make_model(latent_range=(-3.0, -1.0))
    calls = spy(monkeypatch, model.generator, "call")
    model._generate(2000, tf.constant([1, 2]))
    drawn = calls[0][0].numpy()
    assert drawn.shape == (2000, 3)
    assert -3 <= drawn.min() < -2.99 and -1.01 < drawn.max() < -1
    assert abs(drawn.mean() + 2) < 0.05


# Keras's own loops.


def dataset(batches, **settings):
    data = [make_batch(seed=seed, **settings) for seed in range(batches)]
    arrays = {name: np.concatenate([each[name] for each in data]) for name in data[0]}
    return tf.data.Dataset.from_tensor_slices(arrays).batch(len(data[0]["labels"]), drop_remainder=True)


def test_fit_on_a_dataset_of_dicts_equals_single_steps():
    fitted, stepped = make_model(noise=0.2), make_model(noise=0.2)
    history = fitted.fit(dataset(3), epochs=2, verbose=0, shuffle=False).history
    logs = [stepped.train_step(batch) for _ in range(2) for batch in dataset(3)]
    assert set(history) == set(logs[0]) and len(history["generator_loss"]) == 2
    for name, variable in fitted.state_variables().items():
        expected = stepped.state_variables()[name].numpy()
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_fit_on_arrays_with_validation_and_evaluate():
    model = make_model(noise=0.2)
    batch = make_batch(12)
    images, labels = batch["labelled_images"], batch["labels"]
    history = model.fit(images, labels, batch_size=4, epochs=2, validation_data=(images, labels), verbose=0).history
    assert {"supervised_loss", "generator_loss", "val_test_error", "val_averaged_test_error"} <= set(history)
    found = model.evaluate(images, labels, batch_size=5, return_dict=True, verbose=0)
    assert set(found) == {"test_error", "averaged_test_error"}
    expected = np.mean(model.predict(images, verbose=0).argmax(1) != labels)
    averaged = np.mean(model.averaged_logits(images).numpy().argmax(1) != labels)
    np.testing.assert_allclose([found["test_error"], found["averaged_test_error"]], [expected, averaged], rtol=1e-6)
    assert history["val_test_error"][-1] == pytest.approx(found["test_error"])


def test_fit_on_images_alone():
    model = make_model(classes=1, generator_objective="non_saturating")
    before = weights_of(model.generator)
    history = model.fit(make_batch(12)["unlabelled_images"], batch_size=4, verbose=0).history
    assert set(history) == {"discriminator_loss", "unlabelled_loss", "generated_loss", "generator_loss"}
    assert changed(weights_of(model.generator), before)


def test_fit_on_another_last_batch():
    """Ten examples in batches of four: the last has two."""
    model = make_model()
    batch = make_batch(10)
    model.fit(batch["labelled_images"], batch["labels"], batch_size=4, verbose=0)
    assert int(model.discriminator_optimizer.iterations) == 3


# Saving.


@pytest.mark.parametrize(
    "settings",
    [
        {
            **{"historical_averaging": 0.1, "generator_steps": 2, "average_decay": 0.9},
            **{"feature_matching_norm": "l1", "generator_average_decay": 0.5},
        },
        {
            **{"generator_objective": "minimax", "label_smoothing": 0.1, "average_debias": False},
            **{"unlabelled_weight": 0.5, "joint_passes": False},
        },
    ],
    ids=["histories", "minimax"],
)
def test_saved_and_loaded_it_continues_the_same(tmp_path, settings):
    model = make_model(
        noise=0.3,
        seed=5,
        optimizer=lambda: InsideRootAdam(0.01),
        latent_range=(-1.0, 1.0),
        steps_per_execution=3,
        jit_compile=False,
        **settings,
    )
    for step in range(2):
        model.train_step(tensors(make_batch(seed=step)))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is SemiSupervisedGAN
    assert (loaded.steps_per_execution, loaded.jit_compile) == (3, False)
    assert (loaded.seed, loaded.latent_range, loaded.joint_passes) == (5, (-1.0, 1.0), settings.get("joint_passes"))
    found, expected = loaded.get_compile_config(), model.get_compile_config()
    assert found["techniques"] == expected["techniques"]
    for name in settings.keys() - {"historical_averaging", "joint_passes"}:
        assert found[name] == settings[name]
    assert isinstance(loaded.generator_optimizer, InsideRootAdam)
    for steps in range(2):
        found, expected = loaded.state_variables(), model.state_variables()
        assert list(found) == list(expected)
        for name, variable in expected.items():
            np.testing.assert_array_equal(found[name].numpy(), variable.numpy(), err_msg=f"{name}, {steps} steps later")
        for each in (loaded, model):
            each.train_step(tensors(make_batch(seed=7)))


def test_before_compile_it_is_saved_without_what_it_trains_by(tmp_path):
    model = SemiSupervisedGAN(generator_network(), discriminator_network(), seed=3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.seed == 3 and not loaded.compiled
    np.testing.assert_array_equal(loaded.generate(3, seed=0), model.generate(3, seed=0))


def test_weights_file_round_trip(tmp_path):
    model, other = (make_model(noise=0.3, historical_averaging=0.1) for _ in range(2))
    model.train_step(tensors(make_batch()))
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    for name, variable in model.state_variables().items():
        if "optimizer" not in name:
            np.testing.assert_array_equal(other.state_variables()[name].numpy(), variable.numpy(), err_msg=name)


def test_state_variables_hold_all_that_a_step_changes():
    model = make_model(noise=0.3, historical_averaging=0.1, optimizer=lambda: InsideRootAdam(0.01))
    state = model.state_variables()
    before = {name: variable.numpy() for name, variable in state.items()}
    known = {id(variable) for variable in state.values()}
    others = {v.path: (v, v.numpy()) for v in model.variables if id(v) not in known}
    for _ in range(2):
        model.train_step(tensors(make_batch()))
    for path, (variable, value) in others.items():
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=path)
    unchanged = {name for name, variable in state.items() if np.array_equal(variable.numpy(), before[name])}
    # The fixed scale of the hidden layer, and both learning rates.
    assert len(unchanged) == 3, unchanged
    assert sum(name.endswith("optimizer/001") for name in unchanged) == 2


# Several replicas.


class LatentsFromBatch(SemiSupervisedGAN):
    """Takes the latents that came with the batch, so that one device and two see the same."""

    def train_step(self, data):
        data = dict(data)
        # One thread a replica: an attribute would be the other replica's by the time G's step comes.
        GIVEN.latents = data.pop("latents")
        return super().train_step(data)

    def _generate(self, count, key):
        return self.generator(GIVEN.latents, training=True)


GIVEN = threading.local()


@pytest.fixture
def strategy():
    return mirrored_strategy()


def dataset_with_latents():
    arrays = {name: np.concatenate([make_batch(8, seed=s)[name] for s in range(5)]) for name in make_batch(8)}
    arrays["latents"] = np.concatenate([each.numpy() for each in latents(5, rows=8)])
    return tf.data.Dataset.from_tensor_slices(arrays).batch(8, drop_remainder=True)


@pytest.mark.parametrize(("name", "historical_averaging"), [("SGD", 0.2), ("InsideRootAdam", 0.0)])
def test_two_replicas_equal_one_device(strategy, name, historical_averaging):
    """Nothing couples the batch: five steps end where one device ends on the same global batches."""
    settings = {
        "kind": LatentsFromBatch,
        "generator_objective": "minimax",
        "generator_steps": 2,
        "label_smoothing": 0.1,
        "historical_averaging": historical_averaging,
        "optimizer": {"SGD": lambda: keras.optimizers.SGD(0.1), "InsideRootAdam": lambda: InsideRootAdam(0.01)}[name],
    }
    single = make_model(**settings)
    start = weights_of(single)
    single.fit(dataset_with_latents(), verbose=0, shuffle=False)
    with strategy.scope():
        mirrored = make_model(**settings)
    mirrored.fit(dataset_with_latents(), verbose=0, shuffle=False)
    assert int(mirrored.discriminator_optimizer.iterations.value.numpy()) == 5
    assert all(np.abs(weights_of(single)[path] - value).max() > 1e-3 for path, value in start.items())
    for key, variable in single.state_variables().items():
        found = mirrored.state_variables()[key]
        for copy in strategy.experimental_local_results(found.value):
            np.testing.assert_allclose(copy.numpy(), variable.numpy(), rtol=0, atol=1e-5, err_msg=key)


def test_replicas_draw_different_noise(strategy):
    with strategy.scope():
        model = make_model(noise=0.5)
    run = tf.function(lambda: strategy.run(lambda: model._generate(4, step_key(model.seed, 0))))
    first, second = strategy.experimental_local_results(run())
    assert np.all(first.numpy() != second.numpy())


@pytest.mark.slow
def test_fit_and_evaluate_on_two_replicas(strategy):
    """With all that a replica does by itself: noise, feature matching, minibatch discrimination."""
    with strategy.scope():
        model = make_model(
            noise=0.2,
            couple=lambda x: MinibatchDiscrimination(4, 2)(x),
            historical_averaging=0.1,
            optimizer=lambda: InsideRootAdam(0.01),
        )
    batch = make_batch(16)
    images, labels = batch["labelled_images"], batch["labels"]
    history = model.fit(dataset(3), epochs=2, validation_data=(images, labels), verbose=0).history
    assert all(np.all(np.isfinite(values)) for values in history.values())
    assert int(model.generator_optimizer.iterations.value.numpy()) == 6
    for variable in model.state_variables().values():
        copies = [copy.numpy() for copy in strategy.experimental_local_results(variable.value)]
        np.testing.assert_array_equal(copies[0], copies[-1], err_msg=variable.path)
    model.fit(images, labels, batch_size=8, verbose=0)
    found = model.evaluate(images, labels, batch_size=8, return_dict=True, verbose=0)
    assert 0 <= found["test_error"] <= 1


# What is refused.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"generator_objective": "hinge"}, r"`generator_objective` must be one of .*Received: .*='hinge'"),
        ({"feature_matching_norm": "l3"}, r"`feature_matching_norm` must be one of \('l1', 'l2'\). Received: .*='l3'"),
        ({"label_smoothing": 1.0}, r"`label_smoothing` must be in \[0, 1\). Received: label_smoothing=1.0"),
        ({"label_smoothing": -0.1}, r"`label_smoothing` must be in \[0, 1\). Received: label_smoothing=-0.1"),
        (
            {"historical_averaging": -1.0},
            "`weight` of HistoricalAveraging must not be .* Received: weight=-1.0",
        ),
        (
            {"unlabelled_weight": float("nan")},
            r"`unlabelled_weight` must not be negative or infinite. Received: .*=nan",
        ),
        (
            {"unlabelled_weight": float("inf")},
            r"`unlabelled_weight` must not be negative or infinite. Received: .*=inf",
        ),
        ({"generator_steps": -1}, "`generator_steps` must be an integer of at least 0. Received: generator_steps=-1"),
        ({"generator_steps": 1.5}, "`generator_steps` must be an integer of at least 0. Received: generator_steps=1.5"),
        ({"techniques": 1.0}, "`techniques` must be `igan_tf.losses.Technique`s. Received: techniques=1.0"),
        ({"loss": "mse"}, "`loss` must be left out"),
        ({"metrics": ["accuracy"]}, "`metrics` must be left out"),
        ({"average_decay": 1.0}, r"`decay` must be in \[0, 1\). Received: decay=1.0"),
        (
            {"optimizer": lambda: keras.optimizers.SGD(RATE, use_ema=True)},
            "`discriminator_optimizer` must be an optimizer.*use_ema=True",
        ),
    ],
)
def test_refused_compile_arguments(settings, message):
    with pytest.raises(ValueError, match=message):
        make_model(**settings)


def test_refused_networks():
    unbuilt = keras.Sequential([layers.Dense(3)], name="unbuilt")
    with pytest.raises(ValueError, match=r"`generator` must be a built keras.Model. Received: generator=.*unbuilt"):
        SemiSupervisedGAN(unbuilt, discriminator_network())
    with pytest.raises(ValueError, match=r"`discriminator` must be a built keras.Model. Received: .*unbuilt"):
        SemiSupervisedGAN(generator_network(), unbuilt)
    images = keras.Input((2, 2, 2))
    logits = layers.Dense(3)(layers.Flatten()(images))
    for outputs in (logits, {"logits": logits}):
        with pytest.raises(ValueError, match="`discriminator` must return a dict with the keys 'logits' and"):
            SemiSupervisedGAN(generator_network(), keras.Model(images, outputs))
    latents = keras.Input((3,))
    pixels = layers.Dense(8, activity_regularizer="l2", name="pixels")(latents)
    with pytest.raises(ValueError, match=r"`generator` must have no activity regularizer: .* of the layer pixels"):
        SemiSupervisedGAN(keras.Model(latents, layers.Reshape((2, 2, 2))(pixels)), discriminator_network())


def test_training_refuses_virtual_batch_normalization_without_its_reference():
    latents = keras.Input((3,))
    pixels = VirtualBatchNorm(2)(layers.Dense(8)(latents))
    model = SemiSupervisedGAN(keras.Model(latents, layers.Reshape((2, 2, 2))(pixels)), discriminator_network())
    model.compile(keras.optimizers.SGD(RATE), keras.optimizers.SGD(RATE))
    with pytest.raises(ValueError, match="has no reference batch: no PrependReference comes before it"):
        model.train_step(tensors(make_batch()))


def test_a_subclassed_generator_is_refused():
    class Subclassed(keras.Model):
        def call(self, latents):
            return keras.ops.reshape(keras.ops.tile(latents, (1, 8))[:, :8], (-1, 2, 2, 2))

    generator = Subclassed()
    generator(np.zeros((1, 3), "float32"))
    with pytest.raises(ValueError, match="`generator` must be a functional or Sequential model"):
        SemiSupervisedGAN(generator, discriminator_network())


# Mixed precision.


@pytest.fixture
def policy():
    """Sets the global policy for one test."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


# What the step's sums lose: float16 keeps 11 bits, bfloat16 8.
@pytest.mark.parametrize(("name", "tolerance"), [("mixed_float16", 1e-2), ("mixed_bfloat16", 8e-2)])
@pytest.mark.parametrize("joint_passes", [True, False])
@pytest.mark.parametrize("generator_objective", ["feature_matching", "non_saturating"])
def test_mixed_precision_takes_float32s_step(policy, name, tolerance, joint_passes, generator_objective):
    settings = {"joint_passes": joint_passes, "generator_objective": generator_objective}
    steps = []
    for precision in ("float32", name):
        policy(precision)
        model = make_model(**settings)
        networks = (model.discriminator, model.generator)
        before = [weights_of(network) for network in networks]
        tf.function(model.train_step)(tensors(make_batch()))
        after = [weights_of(network) for network in networks]
        assert all(weight.dtype == "float32" for network in after for weight in network.values())
        steps.append([np.concatenate([(a[key] - b[key]).ravel() for key in b]) for a, b in zip(after, before)])
        assert model.generate(2, seed=0).dtype == "float32"
    for plain, mixed in zip(*steps):
        assert np.abs(plain).max() > 1e-3
        assert np.linalg.norm(mixed - plain) < tolerance * np.linalg.norm(plain)


@pytest.mark.parametrize("name", ["float64", "bfloat16"])
def test_weights_that_are_not_float32_take_the_same_step_in_a_graph(policy, name):
    policy(name)
    models = [make_model(techniques=[HistoricalAveraging(1.0), R1Penalty(1.0)]) for _ in range(2)]
    batch = tensors(make_batch())
    models[0].train_step(batch)
    tf.function(models[1].train_step)(batch)
    for network in ("discriminator", "generator"):
        eager, graph = (weights_of(getattr(model, network)).values() for model in models)
        for found, expected in zip(graph, eager, strict=True):
            assert found.dtype.name == name
            found, expected = found.astype("float64"), expected.astype("float64")
            # A rounding or two of a weight: the graph may sum in another order.
            tolerance = {"float64": 1e-12, "bfloat16": 2.0**-6}[name]
            np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


def test_float16_scales_both_players_losses_and_bfloat16_none(policy):
    scaled = keras.optimizers.LossScaleOptimizer
    for name, expected in (("mixed_float16", True), ("mixed_bfloat16", False), ("float32", False)):
        policy(name)
        model = make_model(optimizer=InsideRootAdam)
        optimizers = (model.discriminator_optimizer, model.generator_optimizer)
        assert [isinstance(optimizer, scaled) for optimizer in optimizers] == [expected] * 2
    # One that the user has wrapped stays wrapped once.
    policy("mixed_float16")
    model = make_model(optimizer=lambda: scaled(InsideRootAdam()))
    assert isinstance(model.generator_optimizer.inner_optimizer, InsideRootAdam)
    # The scale is part of what a checkpoint holds.
    held = model.state_variables().values()
    for optimizer in (model.discriminator_optimizer, model.generator_optimizer):
        assert any(optimizer.dynamic_scale is variable for variable in held)


def test_a_step_that_overflows_float16_is_left_out_and_the_scale_halved(policy):
    policy("mixed_float16")
    model = make_model(optimizer=InsideRootAdam)
    optimizers = (model.discriminator_optimizer, model.generator_optimizer)
    for optimizer in optimizers:
        optimizer.dynamic_scale.assign(2.0**120)
    before = [weights_of(network) for network in (model.discriminator, model.generator)]
    step = tf.function(model.train_step)
    step(tensors(make_batch()))
    for network, weights in zip((model.discriminator, model.generator), before):
        assert_same(weights_of(network), weights)
    assert [float(optimizer.dynamic_scale) for optimizer in optimizers] == [2.0**119] * 2
    for optimizer in optimizers:
        optimizer.dynamic_scale.assign(2.0**8)
    step(tensors(make_batch()))
    for network, weights in zip((model.discriminator, model.generator), before):
        assert changed(weights_of(network), weights)
        assert all(np.isfinite(weight).all() for weight in weights_of(network).values())
