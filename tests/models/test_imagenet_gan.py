"""`ImageNetGAN`: a step against the plain form with a pass for each player, and what its options change.

Tolerances: float32 steps of SGD computed in another order, 1e-5 absolute on weights of order 0.1 to 1, which is the
project's bound for replicas against one device, too.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, logsumexp

from igan_tf import losses
from igan_tf.layers import ConcatenateNoise, TableGaussianNoise
from igan_tf.models import ImageNetGAN
from igan_tf.models.randomness import step_key
from igan_tf.networks import imagenet
from igan_tf.optimizers import FusedAdam
from igan_tf.training.distribution import mirrored_strategy

CLASSES = 3
SHAPE = (32, 32, 3)
TOLERANCE = {"rtol": 0, "atol": 1e-5}


def make_model(classes=CLASSES, norms=("virtual", "cross"), minibatch=True, optimizer=None, **settings):
    """A compiled model of the real networks, thin, whose weights are the same at every call.

    `feature_matching` and `historical_averaging` are weights of techniques.
    """
    keras.utils.set_random_seed(0)
    generator = imagenet.build_generator(SHAPE, latent_size=6, norm=norms[0], reference_size=3, gf_dim=8)
    discriminator = imagenet.build_discriminator(
        SHAPE, classes + 1 if classes else 1, norm=norms[1], minibatch_discrimination=minibatch, df_dim=2
    )
    model = ImageNetGAN(generator, discriminator, seed=3, name="gan")
    optimizer = optimizer or (lambda: keras.optimizers.SGD(0.1))
    techniques = [
        losses.FeatureMatching(settings.pop("feature_matching", 0)),
        losses.HistoricalAveraging(settings.pop("historical_averaging", 0)),
    ]
    model.compile(optimizer(), optimizer(), techniques=techniques, **settings)
    return model


def batch_of(count=4, seed=0):
    draw = np.random.default_rng(seed)
    return {
        "images": draw.random((count, *SHAPE), "float32"),
        "labels": draw.integers(0, CLASSES, count),
    }


def values(network):
    return [variable.numpy() for variable in network.trainable_variables]


def outputs_of_the_next_step(model, batch):
    _, real, generated = model._joint_pass(
        tf.constant(batch["images"]), step_key(model.seed, model.discriminator_optimizer.iterations)
    )
    return real, generated


def kl(target, logits):
    """Mean KL(target || sigmoid(logits)), written out."""
    p = expit(np.asarray(logits, "float64"))
    entropy = sum(t * np.log(t) for t in (target, 1 - target) if t)
    return np.mean(entropy - target * np.log(p) - (1 - target) * np.log(1 - p))


@pytest.mark.parametrize("smoothing", [0.25, 0.1, 0.0])
def test_the_losses_written_out(smoothing):
    model, batch = make_model(label_smoothing=smoothing), batch_of()
    real, generated = outputs_of_the_next_step(model, batch)
    logs = {name: float(value) for name, value in model.train_step(batch).items()}
    real_logits, fake_logits = (np.asarray(half["logits"], "float64") for half in (real, generated))
    real_logit, fake_logit = (
        logsumexp(logits[:, :-1], axis=1) - logits[:, -1] for logits in (real_logits, fake_logits)
    )
    expected = {
        "real_loss": kl(1 - smoothing, real_logit),
        "generated_loss": kl(0.0, fake_logit),
        "class_loss": np.mean(logsumexp(real_logits, axis=1) - real_logits[np.arange(4), batch["labels"]]),
        "generator_loss": kl((1 - smoothing) / 2 if smoothing else 1.0, fake_logit),
        "error": np.mean(np.argmax(real_logits, axis=1) != batch["labels"]),
    }
    expected["running_error"] = expected["error"]
    expected["discriminator_loss"] = expected["real_loss"] + expected["generated_loss"] + expected["class_loss"]
    assert set(logs) == set(expected)
    for name, value in expected.items():
        assert logs[name] == pytest.approx(value, abs=2e-5), name


def plain_step(model, batch):
    """Both players' new values from a forward pass of each one's own, both at the old weights."""
    key = step_key(model.seed, model.discriminator_optimizer.iterations)
    new = []
    for network, player in ((model.discriminator, "discriminator"), (model.generator, "generator")):
        with tf.GradientTape() as tape:
            _, real, generated = model._joint_pass(tf.constant(batch["images"]), key)
            if player == "discriminator":
                loss, _ = model._discriminator_loss(real, generated, batch["labels"])
            else:
                loss = model._generator_loss(generated)
            for technique in model.techniques:
                if isinstance(technique, losses.HistoricalAveraging):
                    loss += technique.weight * technique.histories[player].penalty(network.trainable_variables)
                elif player == "generator":
                    features = (half["features"] for half in (real, generated))
                    loss += technique.weight * losses.feature_matching_loss(*features)
        gradients = tape.gradient(loss, network.trainable_variables)
        new.append([v.numpy() - 0.1 * g.numpy() for v, g in zip(network.trainable_variables, gradients)])
    return new


@pytest.mark.parametrize(
    ("networks", "settings"),
    [
        ({}, {}),
        ({"norms": ("batch", "batch"), "minibatch": False}, {"label_smoothing": 0.0}),
        ({"norms": ("none", "none")}, {"feature_matching": 2.0, "historical_averaging": 0.5}),
    ],
    ids=["published", "dcgan", "others"],
)
def test_one_pass_gives_both_players_the_gradients_of_their_own_passes(networks, settings):
    model = make_model(**networks, **settings)
    for step in range(2):
        batch = batch_of(seed=step)
        expected = plain_step(model, batch)
        model.train_step(batch)
        for network, values_expected in zip((model.discriminator, model.generator), expected):
            for found, wanted in zip(values(network), values_expected):
                np.testing.assert_allclose(found, wanted, **TOLERANCE)
    assert int(model.discriminator_optimizer.iterations) == int(model.generator_optimizer.iterations) == 2


@pytest.mark.parametrize("still", ["discriminator", "generator"])
def test_each_players_loss_moves_that_player_alone(still):
    model = make_model()
    getattr(model, f"{still}_optimizer").learning_rate = 0.0
    before = {name: values(getattr(model, name)) for name in ("discriminator", "generator")}
    model.train_step(batch_of())
    for name, was in before.items():
        moved = any(np.any(old != new) for old, new in zip(was, values(getattr(model, name))))
        assert moved == (name != still)


def test_without_classes_it_is_the_ordinary_gan():
    model, batch = make_model(classes=0, label_smoothing=0.0), batch_of()
    real, generated = outputs_of_the_next_step(model, batch)
    logs = model.train_step({"images": batch["images"]})
    assert set(logs) == {"discriminator_loss", "real_loss", "generated_loss", "generator_loss"}
    assert float(logs["real_loss"]) == pytest.approx(np.mean(np.log1p(np.exp(-real["logits"].numpy()))), abs=1e-5)
    assert float(logs["generator_loss"]) == pytest.approx(
        np.mean(np.log1p(np.exp(-generated["logits"].numpy()))), abs=1e-5
    )


def test_feature_matching_is_added_to_the_generators_loss_alone():
    plain, matching = make_model(), make_model(feature_matching=3.0)
    first, second = plain.train_step(batch_of()), matching.train_step(batch_of())
    assert float(second["discriminator_loss"]) == float(first["discriminator_loss"])
    difference = float(second["generator_loss"]) - float(first["generator_loss"])
    assert difference == pytest.approx(3.0 * float(second["feature_matching_loss"]), rel=1e-5) and difference > 0


def test_historical_averaging_is_nothing_at_first_and_then_pulls_back():
    model = make_model(historical_averaging=1.0)
    first, second = model.train_step(batch_of()), model.train_step(batch_of(seed=1))
    for name in ("discriminator_history_loss", "generator_history_loss"):
        assert float(first[name]) == 0 and float(second[name]) > 0
    # A player's loss is what it lowers, the penalty included.
    terms = ("real_loss", "generated_loss", "class_loss", "discriminator_history_loss")
    assert float(second["discriminator_loss"]) == pytest.approx(sum(float(second[name]) for name in terms), rel=1e-6)


def test_the_running_error_is_a_mean_over_the_steps_so_far():
    model = make_model(optimizer=lambda: keras.optimizers.SGD(0.0))
    errors, averages = [], []
    for step in range(3):
        batch = batch_of(seed=step)
        real, _ = outputs_of_the_next_step(model, batch)
        errors.append(np.mean(np.argmax(real["logits"], axis=1) != batch["labels"]))
        logs = model.train_step(batch)
        assert float(logs["error"]) == pytest.approx(errors[-1])
        averages.append(float(logs["running_error"]))
    assert len(set(errors)) > 1
    np.testing.assert_allclose(averages, np.cumsum(errors) / [1, 2, 3], atol=1e-6)


def test_a_step_is_a_function_of_seed_and_step():
    logs = [{name: float(v) for name, v in make_model().train_step(batch_of()).items()} for _ in range(2)]
    assert logs[0] == logs[1]
    other = make_model()
    other.seed = 4
    assert float(other.train_step(batch_of())["generator_loss"]) != logs[0]["generator_loss"]


def test_the_discriminators_noise_is_a_function_of_seed_and_step():
    def real_loss(seed=3, iterations=0):
        # Real images are normalized by themselves: beside the noise on them, their loss depends on nothing drawn.
        model = make_model(norms=("virtual", "batch"), minibatch=False)
        model.seed = seed
        model.discriminator_optimizer.iterations.assign(iterations)
        return float(model.train_step(batch_of())["real_loss"])

    assert real_loss() == real_loss()
    assert real_loss() not in (real_loss(seed=4), real_loss(iterations=1))


def test_fit_on_dicts_on_pairs_and_on_images_alone():
    batch = batch_of()
    for data, classes in ((batch, CLASSES), ((batch["images"], batch["labels"]), CLASSES), (batch["images"], 0)):
        model = make_model(classes=classes)
        # What `fit` hands over is the same in a graph, which other tests trace.
        model.run_eagerly = True
        history = model.fit(tf.data.Dataset.from_tensors(data), verbose=0).history
        assert np.isfinite(history["generator_loss"][0]) and ("class_loss" in history) == bool(classes)
    with pytest.raises(ValueError, match="`data` must hold labels"):
        make_model().train_step(batch["images"])


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_takes_float32s_step(policy):
    def step(policy):
        keras.config.set_dtype_policy(policy)
        try:
            model = make_model()
        finally:
            keras.config.set_dtype_policy("float32")
        # Noise of another precision is another.
        for layer in (*model.generator._flatten_layers(), *model.discriminator._flatten_layers()):
            if isinstance(layer, TableGaussianNoise):
                layer.stddev = 0.0
            elif isinstance(layer, ConcatenateNoise):
                layer.minval = layer.maxval = 0.0
        optimizers = model.discriminator_optimizer, model.generator_optimizer
        scaled = [isinstance(optimizer, keras.optimizers.LossScaleOptimizer) for optimizer in optimizers]
        assert scaled == [policy == "mixed_float16"] * 2
        for optimizer in optimizers if all(scaled) else ():
            # Lower than the first, at which a step is skipped.
            optimizer.dynamic_scale.assign(8.0)
        networks = model.discriminator, model.generator
        before = [np.concatenate([value.ravel() for value in values(network)]) for network in networks]
        logs = {name: float(value) for name, value in model.train_step(batch_of(8)).items()}
        after = [np.concatenate([value.ravel() for value in values(network)]) for network in networks]
        return logs, [new - old for new, old in zip(after, before)]

    (expected, steps), (logs, mixed_steps) = step("float32"), step(policy)
    for name in set(expected) - {"error", "running_error"}:
        assert logs[name] == pytest.approx(expected[name], abs=0.01), name
    # Through fourteen layers of 8 or 11 significant bits and statistics of eight examples: 0.08 to 0.26.
    for plain, mixed in zip(steps, mixed_steps):
        assert np.linalg.norm(mixed - plain) < 0.4 * np.linalg.norm(plain)


def test_saved_and_loaded_it_continues_the_same(tmp_path):
    model = make_model(optimizer=lambda: FusedAdam(0.001, beta_1=0.5), historical_averaging=0.1)
    model.train_step(batch_of())
    model.save(tmp_path / "gan.keras")
    loaded = keras.saving.load_model(tmp_path / "gan.keras")
    first, second = model.train_step(batch_of(seed=1)), loaded.train_step(batch_of(seed=1))
    assert {name: float(v) for name, v in first.items()} == {name: float(v) for name, v in second.items()}
    for found, wanted in zip(values(loaded.generator), values(model.generator)):
        np.testing.assert_array_equal(found, wanted)


def test_state_variables_hold_all_that_a_step_changes():
    model = make_model(optimizer=lambda: FusedAdam(0.001), historical_averaging=0.1)
    model.train_step(batch_of())
    saved = {name: variable.numpy() for name, variable in model.state_variables().items()}
    expected = model.train_step(batch_of(seed=1))
    other = make_model(optimizer=lambda: FusedAdam(0.001), historical_averaging=0.1)
    for name, variable in other.state_variables().items():
        variable.assign(saved[name])
    found = other.train_step(batch_of(seed=1))
    assert {name: float(v) for name, v in found.items()} == {name: float(v) for name, v in expected.items()}
    for name, variable in other.state_variables().items():
        np.testing.assert_array_equal(variable.numpy(), model.state_variables()[name].numpy(), err_msg=name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_smoothing": 1.0}, "`label_smoothing` must be in .* Received: label_smoothing=1.0"),
        ({"feature_matching": -1}, "`weight` of FeatureMatching must not be negative, infinite .* Received: weight=-1"),
    ],
)
def test_refused_compile_arguments(settings, message):
    with pytest.raises(ValueError, match=message):
        make_model(**settings)


def test_refused_networks():
    model = make_model()
    with pytest.raises(ValueError, match=r"`generator` must be a built keras\.Model"):
        ImageNetGAN(keras.Sequential(), model.discriminator)
    images = keras.Input(SHAPE)
    plain = keras.Model(images, keras.layers.Flatten()(images))
    with pytest.raises(ValueError, match="`discriminator` must return a dict"):
        ImageNetGAN(model.generator, plain)


# Several replicas.


@pytest.fixture
def given_noise(monkeypatch):
    """Latents and noise from a table by an example's place in the joint batch, whatever the replicas."""
    table = np.random.default_rng(5)
    latents = tf.constant(table.uniform(-1, 1, (2, 4, 6)), tf.float32)
    of_shape = {}

    def rows(local, halves):
        """Places in the whole batch of `halves` times `local` rows here: (half, example)."""
        context = tf.distribute.get_replica_context()
        replica = 0 if context is None else context.replica_id_in_sync_group
        example = tf.range(local) + tf.cast(replica, tf.int32) * local
        return tf.stack([tf.repeat(tf.range(halves), local), tf.tile(example, [halves])], axis=1)

    def noise(shape, halves):
        key = (*shape[1:], halves)
        if key not in of_shape:
            of_shape[key] = table.uniform(-1, 1, (halves, 4, *shape[1:])).astype("float32")
        return tf.gather_nd(of_shape[key], rows(shape[0] // halves, halves))

    def concatenate(self, inputs):
        return tf.concat([inputs, noise((*inputs.shape[:-1], self.channels), 1)], -1)

    def draw_latents(self, count, key):
        return tf.gather_nd(latents, rows(count, 1))

    monkeypatch.setattr(ConcatenateNoise, "call", concatenate)
    monkeypatch.setattr(TableGaussianNoise, "call", lambda self, x, training=False: x + self.stddev * noise(x.shape, 2))
    monkeypatch.setattr(ImageNetGAN, "_draw_latents", draw_latents)


@pytest.mark.parametrize("classes", [CLASSES, 0])
def test_two_replicas_with_half_the_batch_equal_one_device(given_noise, classes):
    settings = {"classes": classes, "norms": ("none", "none"), "minibatch": False}
    strategy = mirrored_strategy()
    single = make_model(**settings)
    with strategy.scope():
        model = make_model(**settings)

    @tf.function
    def step(parts):
        return strategy.run(model.train_step, args=(parts,))

    for number in range(3):
        batch = batch_of(seed=number)
        parts = [{name: tf.constant(array[half]) for name, array in batch.items()} for half in (slice(2), slice(2, 4))]
        logs = step(
            strategy.experimental_distribute_values_from_function(
                lambda context, parts=parts: parts[context.replica_id_in_sync_group]
            )
        )
        expected = tf.function(single.train_step)(batch)
        for name, value in expected.items():
            mean = float(strategy.reduce("MEAN", logs[name], axis=None))
            assert mean == pytest.approx(float(value), abs=1e-5), name
    for network in ("generator", "discriminator"):
        for found, wanted in zip(values(getattr(model, network)), values(getattr(single, network))):
            np.testing.assert_allclose(found, wanted, **TOLERANCE)


def test_what_couples_a_batch_sees_its_replicas_part_alone(given_noise):
    """With the published layers a replica's losses are those of one device that has its part of the batch."""
    strategy, batch = mirrored_strategy(), batch_of()
    with strategy.scope():
        model = make_model(norms=("none", "cross"))
    parts = [{name: tf.constant(array[half]) for name, array in batch.items()} for half in (slice(2), slice(2, 4))]
    logs = strategy.run(
        tf.function(model.train_step),
        args=(
            strategy.experimental_distribute_values_from_function(
                lambda context: parts[context.replica_id_in_sync_group]
            ),
        ),
    )
    alone = make_model(norms=("none", "cross")).train_step(parts[0])
    together = make_model(norms=("none", "cross")).train_step(batch)
    first = float(strategy.experimental_local_results(logs["generator_loss"])[0])
    assert first == pytest.approx(float(alone["generator_loss"]), abs=1e-5)
    assert abs(first - float(together["generator_loss"])) > 1e-4


def test_the_reference_is_the_same_on_all_replicas_and_the_noise_is_not():
    strategy = mirrored_strategy()
    with strategy.scope():
        model = make_model()
    for name in ("reference/reference", "noise_8/reference_noise"):
        variable = next(v for v in model.generator.variables if v.path.endswith(name))
        first, second = strategy.experimental_local_results(variable.value)
        np.testing.assert_array_equal(first.numpy(), second.numpy())
    keys = strategy.run(lambda: step_key(model.seed, tf.constant(0)))
    first, second = (key.numpy() for key in strategy.experimental_local_results(keys))
    assert np.any(first != second)


def test_the_losses_are_those_of_the_losses_module():
    """The published pair of targets: 0.75 for real images, 0.375 for the generator's."""
    logits = np.random.default_rng(0).normal(0, 2, (5, CLASSES + 1)).astype("float32")
    model = make_model()
    loss = model._generator_loss({"logits": tf.constant(logits)})
    expected = losses.label_smoothing_generator_loss(losses.explicit_gan_logit(logits), target=0.375)
    assert float(loss) == pytest.approx(float(expected), abs=1e-6)
