"""`LatentSampling`: what an image depends on, and that sampling and training leave each other alone.

The frozen copy against the generator itself: float32 sums in another order, 1e-5.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from igan_tf.errors import InputError
from igan_tf.layers import (
    ConcatenateNoise,
    DropReference,
    PrependReference,
    VirtualBatchNorm,
    freeze_reference,
    unfreeze_reference,
)
from igan_tf.models import ImageNetGAN, SemiSupervisedGAN, sampling
from igan_tf.models.randomness import drawing_from, fold_in
from igan_tf.models.sampling import LatentSampling
from igan_tf.networks import imagenet
from igan_tf.optimizers import InsideRootAdam
from igan_tf.training.distribution import mirrored_strategy

REFERENCE = 5


def virtual_generator():
    """Two branches of equal shapes, each with noise: a copy that paired weights or noise wrongly would differ."""
    latents = keras.Input((3,))
    joint = PrependReference(REFERENCE, name="reference")(latents)
    branches = []
    for name in ("b", "a"):
        hidden = ConcatenateNoise(2, REFERENCE, name=f"noise_{name}")(joint)
        hidden = layers.Dense(4, name=f"dense_{name}")(hidden)
        branches.append(layers.ReLU()(VirtualBatchNorm(REFERENCE, name=f"norm_{name}")(hidden)))
    hidden = layers.Concatenate()([branches[0], layers.Dense(4, name="last")(branches[1])])
    hidden = VirtualBatchNorm(REFERENCE, scale=False, name="norm")(layers.Dense(8)(hidden))
    pixels = layers.Dense(8, "sigmoid", name="pixels")(DropReference(REFERENCE)(hidden))
    return keras.Model(latents, layers.Reshape((2, 2, 2))(pixels), name="generator")


def plain_generator():
    latents = keras.Input((3,))
    return keras.Model(latents, layers.Reshape((2, 2, 2))(layers.Dense(8, "sigmoid", name="pixels")(latents)))


def lambda_generator():
    latents = keras.Input((3,))
    hidden = layers.Lambda(lambda values: 2 * values)(latents)
    pixels = keras.Sequential([layers.Dense(8, "sigmoid", name="pixels"), layers.Lambda(lambda values: values / 2)])
    return keras.Model(latents, layers.Reshape((2, 2, 2))(pixels(hidden)))


def make_model(generator=virtual_generator, **settings):
    keras.utils.set_random_seed(0)
    images = keras.Input((2, 2, 2))
    features = layers.Dense(6, "tanh")(layers.Flatten()(images))
    discriminator = keras.Model(images, {"logits": layers.Dense(1)(features), "features": features})
    model = SemiSupervisedGAN(generator(), discriminator, latent_range=(-1.0, 1.0), name="gan")
    model.compile(InsideRootAdam(0.01), InsideRootAdam(0.01), **settings)
    return model


def expected_images(model, seed, batch_size, index):
    """A batch by the generator itself, its reference in front."""
    key = fold_in(tf.constant([seed, 1]), index)
    latents = tf.random.stateless_uniform((batch_size, 3), fold_in(key, 0), -1.0, 1.0)
    with drawing_from(model.generator, fold_in(key, 1)):
        return model.generator(latents, training=False).numpy()


def images_of(seed=0, count=6):
    return tf.constant(np.random.default_rng(seed).uniform(size=(count, 2, 2, 2)).astype("float32"))


@pytest.mark.parametrize("generator", [virtual_generator, plain_generator])
def test_images_are_the_generators(generator):
    model = make_model(generator)
    found = model.generate(7, seed=3, batch_size=3)
    expected = np.concatenate([expected_images(model, 3, 3, index) for index in range(3)])[:7]
    assert found.shape == (7, 2, 2, 2) and found.dtype == "float32" and found.std() > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("generator", [virtual_generator, plain_generator])
def test_an_image_is_a_function_of_seed_and_place(generator):
    model = make_model(generator)
    images = model.generate(7, seed=3, batch_size=3)
    np.testing.assert_array_equal(model.generate(5, seed=3, batch_size=3), images[:5])
    np.testing.assert_array_equal(make_model(generator).generate(7, seed=3, batch_size=3), images)
    assert np.all(model.generate(7, seed=4, batch_size=3) != images)
    chosen = list(model.generate_batches(7, 3, batch_size=3, batches=[2, 0]))
    np.testing.assert_array_equal(chosen[0], images[6:])
    np.testing.assert_array_equal(chosen[1], images[:3])
    assert list(model.generate_batches(7, 3, batch_size=3, batches=[])) == []


def test_virtual_batch_normalization_passes_its_reference_once(monkeypatch):
    rows = []
    call = VirtualBatchNorm.call

    def noting(self, inputs, training=None):
        if self.name == "norm":
            rows.append(inputs.shape[0])
        return call(self, inputs, training=training)

    model = make_model()
    model.generate(1, seed=0)
    monkeypatch.setattr(VirtualBatchNorm, "call", noting)
    tf.config.run_functions_eagerly(True)
    try:
        model.generate(9, seed=0, batch_size=3)
    finally:
        tf.config.run_functions_eagerly(False)
    assert rows == [REFERENCE + 1, 3, 3, 3]


def test_a_generator_without_it_is_not_copied(monkeypatch):
    monkeypatch.setattr(keras.models, "clone_model", None)
    assert make_model(plain_generator).generate(2, seed=0).shape == (2, 2, 2, 2)


@pytest.mark.parametrize(
    "name", ["norm_a/gamma", "norm_b/beta", "dense_a/kernel", "pixels/bias", "reference/reference"]
)
def test_new_weights_are_sampled_with_and_nothing_is_traced_again(name):
    model = make_model()
    before = model.generate(4, seed=3)
    variable = next(variable for variable in model.generator.variables if variable.path.endswith(name))
    old = variable.numpy()
    variable.assign(old + np.random.default_rng(0).normal(size=old.shape))
    after = model.generate(4, seed=3, batch_size=100)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, expected_images(model, 3, 100, 0)[:4], rtol=0, atol=1e-5)
    variable.assign(old)
    np.testing.assert_array_equal(model.generate(4, seed=3), before)
    assert model._sampler().draw.experimental_get_tracing_count() == 1


def test_a_paused_sampler_keeps_the_weights_of_its_first_batch():
    model = make_model()
    batches = list(model.generate_batches(6, seed=3, batch_size=3))
    paused = model.generate_batches(6, seed=3, batch_size=3)
    np.testing.assert_array_equal(next(paused), batches[0])
    model.train_step({"unlabelled_images": images_of()})
    np.testing.assert_array_equal(next(paused), batches[1])


@pytest.mark.parametrize("when", ["before", "between", "paused"])
def test_training_is_the_same_bits_with_and_without_sampling(when):
    trained = []
    for samples in (False, True):
        model = make_model()
        step = tf.function(model.train_step)
        sampler = model.generate_batches(200, seed=1, batch_size=2)
        if samples and when != "between":
            next(sampler)
        if when == "before":
            sampler.close()
        for number in range(4):
            step({"unlabelled_images": images_of(number)})
            if samples and when != "before":
                next(sampler) if when == "paused" else model.generate(3, seed=number)
        trained.append({name: variable.numpy() for name, variable in model.state_variables().items()})
    assert trained[0].keys() == trained[1].keys()
    for name, value in trained[0].items():
        np.testing.assert_array_equal(trained[1][name], value, err_msg=name)


def test_sampling_adds_nothing_to_the_model(tmp_path):
    model = make_model()
    paths = [[variable.path for variable in network.variables] for network in (model, model.generator)]
    parts = [layer.name for layer in model._flatten_layers()]
    images = model.generate(3, seed=0)
    assert [[variable.path for variable in network.variables] for network in (model, model.generator)] == paths
    assert [layer.name for layer in model._flatten_layers()] == parts
    assert not any(getattr(layer, "frozen", False) for layer in model.generator.layers)
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(reloaded.generate(3, seed=0), images)


def test_a_generator_that_its_user_froze_stays_frozen():
    model = make_model()
    images = model.generate(3, seed=0)
    freeze_reference(model.generator)
    np.testing.assert_array_equal(model.generate(3, seed=0), images)
    np.testing.assert_array_equal(make_model(lambda: freeze_reference(virtual_generator())).generate(3, seed=0), images)
    assert all(layer.frozen for layer in model.generator.layers if hasattr(layer, "frozen"))


def test_a_generator_frozen_after_training_began_is_not_trained_on():
    """The traced step knows no frozen reference: on it goes, and what samples with stored statistics stays behind."""
    model = make_model()
    model.fit(images_of(), verbose=0)
    freeze_reference(model.generator)
    with pytest.raises(ValueError, match=r"is frozen and cannot be called with training=True.*unfreeze_reference"):
        model.fit(images_of(), verbose=0)
    unfreeze_reference(model.generator)
    model.fit(images_of(), verbose=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "`count` must be an integer of at least 1. Received: count=0"),
        ({"count": -1}, "`count` must be an integer of at least 1. Received: count=-1"),
        ({"count": 1.5}, "`count` must be an integer of at least 1. Received: count=1.5"),
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 1. Received: batch_size=0"),
        ({"seed": 0.5}, "`seed` must be an integer of at least 0. Received: seed=0.5"),
    ],
)
def test_refused_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        make_model(plain_generator).generate(**{"count": 3, "seed": 0, **arguments})


def test_replicas_variables_are_copied():
    images = make_model().generate(7, seed=3, batch_size=3)
    with mirrored_strategy().scope():
        model = make_model()
        within = model.generate(7, seed=3, batch_size=3)
    np.testing.assert_allclose(within, images, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(model.generate(7, seed=3, batch_size=3), within)


# What a few sums lose: float16 keeps 11 bits, bfloat16 8.
@pytest.mark.parametrize(("kept", "tolerance"), [("bfloat16", 0.05), ("float16", 5e-3)])
def test_the_copy_has_the_generators_precision(kept, tolerance):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(f"mixed_{kept}")
    try:
        model = make_model()
    finally:
        keras.config.set_dtype_policy(before)
    found = model.generate(4, seed=0, batch_size=4)
    assert found.dtype == "float32"
    np.testing.assert_array_equal(tf.cast(tf.cast(found, kept), "float32"), found)
    np.testing.assert_allclose(found, expected_images(model, 0, 4, 0), rtol=0, atol=tolerance)


def test_another_model_inherits_it():
    class Generating(LatentSampling, keras.Model):
        def __init__(self, generator):
            super().__init__()
            self.generator, self.latent_range = generator, (-1.0, 1.0)

    trained = make_model()
    model = Generating(trained.generator)
    assert model.latent_size == 3
    np.testing.assert_array_equal(model.generate(5, seed=2), trained.generate(5, seed=2))
    assert len(list(model.generate_batches(201, seed=0))) == 3 == -(-201 // sampling.BATCH_SIZE)


def test_imagenets_generator():
    keras.utils.set_random_seed(0)
    generator = imagenet.build_generator((32, 32, 3), latent_size=3, reference_size=REFERENCE, gf_dim=8)
    model = ImageNetGAN(generator, imagenet.build_discriminator((32, 32, 3), num_outputs=1, df_dim=2))
    found = model.generate(6, seed=2, batch_size=4)
    expected = np.concatenate([expected_images(model, 2, 4, index) for index in range(2)])[:6]
    assert found.shape == (6, 32, 32, 3) and found.std() > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


# The running average of the generator's parameters.

DECAY = 0.75


def trained(generator, steps=3, **settings):
    """A model after some steps, and the generator's parameters after each of its updates."""
    model = make_model(generator, generator_steps=2, **settings)
    history = []
    update = model._update

    def noting(player, gradients):
        update(player, gradients)
        if player == "generator":
            history.append([variable.numpy() for variable in model.generator.trainable_variables])

    model._update = noting
    for step in range(steps):
        model.train_step({"unlabelled_images": images_of(step)})
    return model, history


@pytest.mark.parametrize("generator", [virtual_generator, plain_generator, lambda_generator])
def test_images_by_the_average_are_those_of_averaged_parameters(generator):
    model, history = trained(generator, generator_average_decay=DECAY)
    weights = DECAY ** np.arange(len(history))[::-1]
    expected = [np.average(values, axis=0, weights=weights) for values in zip(*history)]
    assert len(history) == 6
    averaged, present = (model.generate(5, seed=3, batch_size=3, averaged=each) for each in (True, False))
    np.testing.assert_array_equal(model.generate(5, seed=3, batch_size=3), averaged)
    assert np.abs(averaged - present).max() > 1e-3
    other, _ = trained(generator)
    np.testing.assert_array_equal(other.generate(5, seed=3, batch_size=3), present)
    for variable, value in zip(other.generator.trainable_variables, expected):
        variable.assign(value)
    np.testing.assert_allclose(averaged, other.generate(5, seed=3, batch_size=3), rtol=0, atol=1e-5)
    # Weights that are frozen after the training have averages still.
    model.generator.trainable = False
    model._samplings.clear()
    np.testing.assert_array_equal(model.generate(5, seed=3, batch_size=3), averaged)
    model.generator.trainable = True
    # Each sampler goes with the steps.
    model.train_step({"unlabelled_images": images_of(9)})
    for kind, before in ((True, averaged), (False, present)):
        assert np.abs(model.generate(5, seed=3, batch_size=3, averaged=kind) - before).max() > 1e-4


@pytest.mark.parametrize("generator", [virtual_generator, plain_generator])
def test_before_the_first_update_the_average_is_the_parameters_themselves(generator):
    model = make_model(generator, generator_average_decay=DECAY)
    expected = make_model(generator).generate(5, seed=3, batch_size=3)
    np.testing.assert_allclose(model.generate(5, seed=3, batch_size=3), expected, rtol=0, atol=1e-6)


def test_the_average_changes_no_step_and_is_saved(tmp_path):
    model, _ = trained(virtual_generator, generator_average_decay=DECAY)
    plain, _ = trained(virtual_generator)
    states = [each.state_variables() for each in (model, plain)]
    added = {name for name in states[0] if name.startswith("generator_average/")}
    assert len(added) == len(model.generator.trainable_variables) + 1
    assert set(states[0]) - set(states[1]) == added
    for name, variable in states[1].items():
        np.testing.assert_array_equal(states[0][name].numpy(), variable.numpy(), err_msg=name)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.generator_average.decay == DECAY and plain.get_compile_config()["generator_average_decay"] == 0
    np.testing.assert_array_equal(loaded.generate(4, seed=3), model.generate(4, seed=3))
    for each in (model, loaded):
        each.train_step({"unlabelled_images": images_of(7)})
    for name, variable in model.state_variables().items():
        np.testing.assert_array_equal(loaded.state_variables()[name].numpy(), variable.numpy(), err_msg=name)


def test_imagenets_generator_is_averaged_too():
    keras.utils.set_random_seed(0)
    model = ImageNetGAN(
        imagenet.build_generator((32, 32, 3), latent_size=6, reference_size=3, gf_dim=8),
        imagenet.build_discriminator((32, 32, 3), 1, df_dim=2),
    )
    model.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1), generator_average_decay=DECAY)
    images = np.random.default_rng(0).random((4, 32, 32, 3), "float32")
    for _ in range(2):
        model.train_step(images)
    assert int(model.generator_average.count) == 2
    assert np.abs(model.generate(4, 0) - model.generate(4, 0, averaged=False)).max() > 1e-4


def test_on_two_replicas_the_average_is_one():
    strategy = mirrored_strategy()
    with strategy.scope():
        model = make_model(plain_generator, generator_average_decay=DECAY)
    step = tf.function(lambda: strategy.run(model.train_step, args=({"unlabelled_images": images_of()},)))
    for _ in range(2):
        step()
    for variable in model.generator_average.variables:
        first, second = (copy.numpy() for copy in strategy.experimental_local_results(variable.value))
        np.testing.assert_array_equal(first, second)
    assert int(model.generator_average.count.value.numpy()) == 2
    assert model.generate(3, seed=0).shape == (3, 2, 2, 2)


def test_refused_averaging():
    with pytest.raises(ValueError, match=r"`averaged` needs a model compiled with .* Received: averaged=True"):
        make_model(plain_generator).generate(2, 0, averaged=True)
    with pytest.raises(ValueError, match=r"`decay` must be in \[0, 1\). Received: decay=1.0"):
        make_model(plain_generator, generator_average_decay=1.0)
