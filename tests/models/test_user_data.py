"""Arrays and data sets as users have them: read alike by `fit`, `evaluate`, `test_errors` and `initialize_from`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from igan_tf.errors import DataError, InputError
from igan_tf.layers import WeightNorm
from igan_tf.models import ImageNetGAN, SemiSupervisedGAN
from igan_tf.models.user_data import check_integer

SHAPE, CLASSES, COUNT = (4, 2, 1), 3, 12
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, *SHAPE)).astype("uint8")
IMAGES = PIXELS.astype("float32") / np.float32(255)
LABELS = np.arange(COUNT) % CLASSES
UNLABELLED = np.where(np.arange(COUNT) % 4, LABELS, -1)


def make(kind=SemiSupervisedGAN, optimizers=("sgd", "adam"), **settings):
    keras.utils.set_random_seed(0)
    latents, images = keras.Input((3,)), keras.Input(SHAPE)
    generator = keras.Model(latents, layers.Reshape(SHAPE)(layers.Dense(8, "sigmoid")(latents)))
    features = WeightNorm(layers.Dense(5, "tanh"))(layers.Flatten()(images))
    logits = layers.Dense(CLASSES + (kind is ImageNetGAN))(features)
    model = kind(generator, keras.Model(images, {"logits": logits, "features": features}))
    model.compile(*optimizers, **settings)
    return model


def pairs(images, *others):
    return tf.data.Dataset.from_tensor_slices((images, *others)).batch(6)


def named(images, labels):
    data = {"labelled_images": images, "labels": labels, "unlabelled_images": images}
    return tf.data.Dataset.from_tensor_slices(data).batch(6)


def weights_after(fit, kind, **settings):
    model = make(kind, **settings)
    fit(model)
    return np.concatenate([weight.numpy().ravel() for weight in model.trainable_variables])


TWO = (slice(6), slice(6, 12))
IN_TURN = {"shuffle": False, "verbose": 0}
FORMS = {
    "uint8": lambda model: model.fit(PIXELS, LABELS, batch_size=6, **IN_TURN),
    "float64": lambda model: model.fit(IMAGES.astype("float64"), LABELS, batch_size=6, **IN_TURN),
    "labels in a column": lambda model: model.fit(IMAGES, LABELS[:, None], batch_size=6, **IN_TURN),
    "a data set": lambda model: model.fit(pairs(PIXELS, LABELS[:, None]), **IN_TURN),
    "a data set of unknown shapes": lambda model: model.fit(
        tf.data.Dataset.from_generator(lambda: ((PIXELS[rows], LABELS[rows]) for rows in TWO), ("uint8", "int64")),
        **IN_TURN,
    ),
    "batches": lambda model: [model.train_on_batch(PIXELS[rows], LABELS[rows]) for rows in TWO],
}


@pytest.mark.parametrize("kind", [SemiSupervisedGAN, ImageNetGAN])
def test_every_form_of_the_same_data_trains_alike(kind):
    expected = weights_after(lambda model: model.fit(IMAGES, LABELS, batch_size=6, **IN_TURN), kind)
    for form, fit in FORMS.items():
        # A graph, with all that it does not know, for one of them: tracing takes long.
        found = weights_after(fit, kind, run_eagerly="unknown" not in form)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6, err_msg=form)


def test_every_form_of_the_same_data_is_tested_alike():
    model = make()
    expected = model.test_errors(IMAGES, LABELS, 6)
    assert 0 < expected["test_error"] < 1
    assert model.test_errors(PIXELS, LABELS[:, None], 6) == expected
    assert model.test_errors(IMAGES.astype("float64").tolist(), LABELS.tolist(), 6) == expected
    for images, labels in ((IMAGES, LABELS), (PIXELS, LABELS[:, None]), (pairs(PIXELS, LABELS), None)):
        found = model.evaluate(images, labels, verbose=0, return_dict=True)
        assert found == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(model.predict(PIXELS, verbose=0), model.predict(IMAGES, verbose=0), rtol=1e-5)
    initialized = make(), make()
    for each, images in zip(initialized, (IMAGES, PIXELS)):
        each.initialize_from(images, seed=0)
    for one, other in zip(*(model.get_weights() for model in initialized)):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_examples_without_a_label_have_no_supervised_loss_and_no_error():
    labelled = UNLABELLED >= 0
    expected = make().train_on_batch(IMAGES[labelled], LABELS[labelled], return_dict=True)
    model = make()
    assert model.test_errors(IMAGES, UNLABELLED, 6) == model.test_errors(IMAGES[labelled], LABELS[labelled], 6)
    found = model.evaluate(IMAGES, UNLABELLED, verbose=0, return_dict=True)
    assert found == pytest.approx(model.test_errors(IMAGES, UNLABELLED, 6), abs=1e-6)
    found = model.train_on_batch(IMAGES, UNLABELLED, return_dict=True)
    for name in ("supervised_loss", "train_error"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5)
    assert found["unlabelled_loss"] != expected["unlabelled_loss"]
    # A batch in which none is labelled, as images alone.
    none = make().train_on_batch(IMAGES, np.full(COUNT, -1), return_dict=True)
    alone = make().train_on_batch(IMAGES, return_dict=True)
    assert none["supervised_loss"] == 0
    assert none["discriminator_loss"] == pytest.approx(alone["discriminator_loss"], rel=1e-5)
    assert all(np.isfinite(v).all() for v in make().fit(named(PIXELS, UNLABELLED), verbose=0).history.values())


IMAGES_REFUSED = {
    "rank": (IMAGES[..., 0], r"must have the generator's shape, \(N, 4, 2, 1\). Received: {}.shape=\(12, 4, 2\)"),
    "size": (IMAGES[:, :3], r"must have the generator's shape, .*Received: {}.shape=\(12, 3, 2, 1\)"),
    "type": (PIXELS.astype("int32"), "must be uint8, or floats in .*Received: {}.dtype=int32"),
    "range": (255 * IMAGES, "must be uint8, or floats in .*Received: {} of type float32 from .* to "),
    "range about 0": (40 * IMAGES - 20, "must be uint8, or floats in .*Received: {} of type float32 from -"),
    "not finite": (np.where(IMAGES > 0.5, np.nan, IMAGES), "must be finite"),
    "none": (IMAGES[:0], "must be at least one"),
}
LABELS_REFUSED = {
    "too high": (LABELS + 1, "must be classes from 0 to 2, or -1 .*Received: labels with 3"),
    "too low": (LABELS - 2, "must be classes .*Received: labels with -2"),
    "one-hot": (
        np.eye(3)[LABELS],
        r"must be integers, of shape \(N,\) or \(N, 1\). Received: .*labels.shape=\(12, 3\)",
    ),
    "floats": (LABELS.astype("float32"), "must be integers, .*Received: labels.dtype=float32"),
}
CALLS = {
    "fit": lambda model, x, y: model.fit(x, y, verbose=0),
    "validation": lambda model, x, y: model.fit(IMAGES, LABELS, validation_data=(x, y), verbose=0),
    "train_on_batch": lambda model, x, y: model.train_on_batch(x, y),
    "test_on_batch": lambda model, x, y: model.test_on_batch(x, y),
    "evaluate": lambda model, x, y: model.evaluate(x, y, verbose=0),
    "test_errors": lambda model, x, y: model.test_errors(x, y, 6),
}
OF_IMAGES = {
    "initialize_from": lambda model, x: model.initialize_from(x, seed=0),
    "class_probabilities": lambda model, x: model.class_probabilities(x, 6),
}


def test_arrays_that_cannot_be_meant_are_refused_everywhere():
    model = make()
    before = model.get_weights()
    for call in CALLS.values():
        for images, message in IMAGES_REFUSED.values():
            with pytest.raises(DataError, match="`images` " + message.format("images")):
                call(model, images, LABELS)
        for labels, message in LABELS_REFUSED.values():
            with pytest.raises(DataError, match="`labels` " + message):
                call(model, IMAGES, labels)
    for of_images in OF_IMAGES.values():
        for images, message in IMAGES_REFUSED.values():
            with pytest.raises(DataError, match="`images` " + message.format("images")):
                of_images(model, images)
    for name in ("evaluate", "test_errors"):
        with pytest.raises(DataError, match="`labels` must have a class for one example"):
            CALLS[name](model, IMAGES, np.full(COUNT, -1))
    with pytest.raises(DataError, match=r"`labels` must be one for each image. Received: 6 labels, 12 images"):
        model.test_errors(IMAGES, LABELS[:6], 6)
    whole = {"labelled_images": IMAGES, "labels": LABELS, "unlabelled_images": IMAGES}
    for name, wrong in (("labelled_images", 255 * IMAGES), ("unlabelled_images", 255 * IMAGES), ("labels", LABELS + 1)):
        with pytest.raises(DataError, match=f"`{name}` must be "):
            model.fit({**whole, name: wrong}, verbose=0)
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(new, old)
    # ImageNet's last logit is the generated class's.
    with pytest.raises(DataError, match="`labels` must be classes from 0 to 2"):
        make(ImageNetGAN).fit(IMAGES, LABELS + 1, verbose=0)


def test_data_sets_of_another_form_are_refused():
    model = make()
    for data, message in (
        (pairs(IMAGES[:, :3], LABELS), r"`labelled_images` must have the generator's shape.*\(None, 3, 2, 1\)"),
        (named(IMAGES, np.eye(3)[LABELS]), "`labels` must be integers"),
        (pairs(PIXELS.astype("int64")), "`unlabelled_images` must be uint8"),
        (pairs(IMAGES, LABELS, np.ones(COUNT)), "`sample_weight` and `class_weight` must be left out"),
        (pairs({"images": IMAGES}), "`data` must hold unlabelled_images. Received: data of images"),
        (pairs({"unlabelled_images": IMAGES, "labels": LABELS}), "`data` must hold labelled_images"),
        (pairs({"unlabelled_images": IMAGES}, LABELS), "`labels` must be in the dict of images"),
    ):
        with pytest.raises(DataError, match=message):
            model.fit(data, verbose=0)
    with pytest.raises(DataError, match=r"`data` must hold labels. Received: data of images"):
        model.evaluate(pairs(IMAGES), verbose=0)
    with pytest.raises(DataError, match=r"`data` must hold labels. Received: data of images"):
        make(ImageNetGAN).fit(IMAGES, verbose=0)


@pytest.mark.parametrize("kind", [SemiSupervisedGAN, ImageNetGAN])
def test_weights_of_examples_are_refused(kind):
    model = make(kind)
    for weights in ({"sample_weight": np.ones(COUNT)}, {"class_weight": dict.fromkeys(range(CLASSES), 1.0)}):
        with pytest.raises(DataError, match="`sample_weight` and `class_weight` must be left out"):
            model.fit(IMAGES, LABELS, verbose=0, **weights)
        with pytest.raises(DataError, match="`sample_weight` and `class_weight` must be left out"):
            model.train_on_batch(IMAGES, LABELS, **weights)


@pytest.mark.parametrize("value", [1, 2.0, True, "2"])
def test_what_is_no_integer_or_too_small_is_refused(value):
    check_integer("count", np.int64(2), 2)
    with pytest.raises(InputError, match=f"`count` must be an integer of at least 2. Received: count={value!r}"):
        check_integer("count", value, 2)


@pytest.mark.parametrize("kind", [SemiSupervisedGAN, ImageNetGAN])
def test_optimizers_by_name(kind):
    model = make(kind, ("adam", {"class_name": "SGD", "config": {"learning_rate": 0.5}}), techniques=None)
    assert isinstance(model.discriminator_optimizer, keras.optimizers.Adam) and model.techniques == []
    assert float(model.generator_optimizer.learning_rate) == 0.5
    one = keras.optimizers.SGD()
    for optimizers, name in (
        (("foo", "sgd"), "discriminator"),
        (("sgd", 3), "generator"),
        (("sgd", None), "generator"),
    ):
        with pytest.raises(InputError, match=f"`{name}_optimizer` must be an optimizer, or the name"):
            make(kind, optimizers)
    with pytest.raises(InputError, match="`generator_optimizer` must be another object"):
        make(kind, (one, one))
