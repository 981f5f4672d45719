"""Any recipe on any data set whose sizes it takes."""

import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.special import expit

from igan_tf import load_run
from igan_tf.data import ArrayBatches, ImageData, load_data
from igan_tf.errors import ConfigError, DataError
from igan_tf.experiments import preflight, runs, training_runs
from igan_tf.experiments.configs import build_config
from igan_tf.experiments.recipes import RECIPES, recipe_of
from igan_tf.layers import TableGaussianNoise, VirtualBatchNorm
from igan_tf.losses import gan_logit
from igan_tf.training.cluster import this_worker
from tests.command_line import metrics, result
from tests.experiments.imagenet_runs import make_records

SMALL = {"gf_dim": 8, "df_dim": 2, "latent_size": 10, "batch_size": 4, "epochs": 2, "reference_size": 2}


def train(config, run_dir):
    return training_runs.train(config, run_dir, report=lambda line: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten images of 32 x 32 of either of two classes."""
    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir()
        for index in range(10):
            Image.fromarray(random.integers(0, 256, (32, 32, 3), "uint8")).save(root / name / f"{index}.png")
    return root


def test_every_recipe_says_its_config():
    assert {name: recipe.Config.recipe for name, recipe in RECIPES.items()} == {name: name for name in RECIPES}


def test_the_imagenet_gan_trains_on_a_folder(folder, tmp_path):
    config = build_config(
        recipe="imagenet", dataset="folder", data_dir=str(folder), minibatch_discrimination=True, **SMALL
    )
    found = train(config, tmp_path / "run")
    # 16 images are left of 20 without the test set; all have classes.
    assert found == result(tmp_path / "run") and found["labels"] == 16 and found["steps"] == 8
    assert set(metrics(tmp_path / "run")[-1]) >= {"class_loss", "real_loss", "generated_loss", "error"}
    assert load_run(tmp_path / "run").generate(3, seed=1).shape == (3, 32, 32, 3)
    with pytest.raises(ConfigError, match=r"has no test error: .*`recipe=imagenet`"):
        runs.test_errors(tmp_path / "run")


def test_the_semi_supervised_gan_trains_on_records(tmp_path):
    records = make_records(tmp_path / "records", images=4)
    settings = {"dataset": "imagenet", "data_dir": str(records), "labels": 3, "batch_size": 4, "epochs": 1}
    config = build_config(
        recipe="semi_supervised", network_width=0.05, initialization_examples=4, network="svhn", **settings
    )
    found = train(config, tmp_path / "run")
    # No records are held out, so there are no test errors.
    assert found["labels"] == 3 and "test_error" not in found
    assert load_run(tmp_path / "run").num_outputs == 3
    assert load_data(config, streamed=False).test_images.shape[0] == 0


def test_records_in_memory_are_the_records(tmp_path):
    config = build_config(dataset="imagenet", data_dir=str(make_records(tmp_path / "records", images=4)))
    records, data = load_data(config), load_data(config, streamed=False)
    images, labels = records.decode(records.read(np.arange(len(records))))
    np.testing.assert_array_equal(data.train_images, images)
    np.testing.assert_array_equal(data.train_labels, labels)
    with pytest.raises(DataError, match="`train_images` is for images in memory"):
        load_data(build_config(dataset="imagenet", data_dir=config.data_dir, train_images=2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "digits"}, "`recipe=imagenet` takes square images .* with images of 8x8"),
        ({"dataset": "folder", "image_size": 48}, "`recipe=imagenet` takes square images .* with images of 48x48"),
        ({"dataset": "folder", "batch_size": 17}, "`batch_size` must be at most .* 16. Received: batch_size=17"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, message, folder):
    config = build_config(recipe="imagenet", data_dir=str(folder), **{**SMALL, **settings})
    with pytest.raises(ConfigError, match=message):
        preflight.check_against_data(config, load_data(config))


def test_images_without_a_class_are_refused_where_classes_are_learned(folder):
    config = build_config(recipe="imagenet", dataset="folder", data_dir=str(folder), **SMALL)
    data = load_data(config)
    unlabelled = ImageData(data.train_images, data.train_labels - 1, data.test_images, data.test_labels, ("cat", "dog"))
    with pytest.raises(ConfigError, match=r"`use_labels` needs a class .* 8 images without one"):
        recipe_of(config).check_against_data(unlabelled, replicas=1)


@pytest.fixture
def noisy(tmp_path):
    """A label file of 100 digits, of which each has the class of its index, and those below 5 more examples."""
    path = tmp_path / "labels.csv"
    path.write_text("".join(f"{index},{index % 5 if index < 80 else index % 10}\n" for index in range(99, -1, -1)))
    return path


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        ({}, [18] * 5 + [2] * 5),
        ({"balance": True, "labels": 20}, [2] * 10),
        ({"balance": False, "labels": 100}, [18] * 5 + [2] * 5),
        ({"balance": False, "labels": 33}, None),
    ],
)
def test_which_labels_of_a_file_are_used(noisy, settings, counts):
    config = build_config(dataset="digits", label_file=str(noisy), **settings)
    data = load_data(config)
    indices, labels = recipe_of(config).labelled_examples(data)
    # The file's labels, not the data's.
    assert [index % 5 if index < 80 else index % 10 for index in indices] == labels.tolist()
    assert len(set(indices.tolist())) == len(labels)
    assert counts is None or np.bincount(labels, minlength=10).tolist() == counts
    assert len(labels) == (settings["labels"] if settings else 100)
    again = recipe_of(dataclasses.replace(config, seed_data=2)).labelled_examples(data)[0]
    # Where there is a choice, `seed_data` makes it.
    assert np.array_equal(again, indices) == (len(labels) == 100)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"balance": True, "labels": 30},
            "`labels` must be at most 20, .*: of class '5' there are 2 to train",
        ),
        ({"balance": True, "labels": 25}, "`labels` must be a multiple of the 10 classes"),
        ({"balance": False, "labels": 101}, "`labels=101`: .* with a label, 100."),
    ],
)
def test_more_labels_than_a_file_has_are_refused(noisy, settings, message):
    config = build_config(dataset="digits", label_file=str(noisy), **settings)
    with pytest.raises(ConfigError, match=message):
        recipe_of(config).labelled_examples(load_data(config))


def test_a_number_of_labels_that_nobody_gave_is_called_the_default(tmp_path):
    for name in ("bird", "cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(5):
            Image.new("RGB", (32, 32)).save(tmp_path / name / f"{number}.png")
    config = build_config(dataset="folder", data_dir=str(tmp_path))
    with pytest.raises(ConfigError, match=r"of the 3 classes, such as 99; .* labels=100, the default"):
        recipe_of(config).labelled_examples(load_data(config))


def test_labels_need_classes():
    images, none = np.zeros((9, 8, 8, 1), "uint8"), np.full(9, -1)
    with pytest.raises(ConfigError, match=r"the data has no classes: only `labels=0` .* Received: labels=100"):
        recipe_of(build_config(dataset="digits")).labelled_examples(ImageData(images, none, images, none, ()))


def test_a_class_without_a_line_in_the_file_is_named(noisy):
    noisy.write_text("0,1\n")
    config = build_config(dataset="digits", label_file=str(noisy), labels=10, balance=True)
    with pytest.raises(ConfigError, match=f"is of class '0'. Received: labels=10 label_file={noisy}"):
        recipe_of(config).labelled_examples(load_data(config))


def test_unreadable_images_leave_no_place_for_a_label_file_and_are_named_where_a_class_is_missing(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "images")
    (tmp_path / "images/cat/3.png").write_bytes(b"")
    labels = tmp_path / "labels.csv"
    labels.write_text("4,0\n")
    settings = {"dataset": "folder", "data_dir": str(tmp_path / "images"), "max_unreadable": 0.9, "test_fraction": 0.0}
    config = build_config(label_file=str(labels), **settings)
    with pytest.raises(ConfigError, match=rf"1 file, the first cat/3.png: .*\. Received: label_file={labels}$"):
        recipe_of(config).labelled_examples(load_data(config))
    # Those of the test set have no numbers in the file.
    data = dataclasses.replace(load_data(build_config(**settings)), unreadable_in_training=0)
    recipe_of(config).labelled_examples(data)
    for path in (tmp_path / "images/cat").iterdir():
        path.write_bytes(b"")
    config = build_config(labels=2, **settings)
    with pytest.raises(ConfigError, match=r"class 'cat'\. .* train_images=0 and 10 images that cannot be read$"):
        recipe_of(config).labelled_examples(load_data(config))


@pytest.mark.parametrize("flip", [False, True])
def test_batches_of_arrays(flip):
    images = np.arange(7 * 2 * 3 * 1, dtype="uint8").reshape(7, 2, 3, 1)
    data = ImageData(images, np.arange(7) % 3, images[:0], np.zeros(0, "int64"), ("a", "b", "c"))
    batches = ArrayBatches(data, batch_size=2, seed=5, flip=flip)
    assert batches.steps_per_epoch == 3 and batches.num_labelled == 7
    order, flipped = batches.order(1), batches.flipped(1)
    assert sorted(order.ravel()) != list(order.ravel()) and len(set(order.ravel())) == 6
    assert flipped.any() == flip
    for rows, batch in zip(order[1:], batches.epoch(1, start_step=1), strict=True):
        expected = np.stack([images[row, :, ::-1] if flipped[row] else images[row] for row in rows])
        np.testing.assert_array_equal(batch["images"], expected.astype("float32") / np.float32(255))
        np.testing.assert_array_equal(batch["labels"], data.train_labels[rows])
    halves = [ArrayBatches(data, 2, 5, flip, worker=worker, num_workers=2) for worker in range(2)]
    for batch, *parts in zip(*(one.epoch(0) for one in (batches, *halves)), strict=True):
        np.testing.assert_array_equal(np.concatenate([part["images"] for part in parts]), batch["images"])


# Settings that are the defaults neither of a config nor of what it is passed to, all of them together.
OTHERS = {
    **{"seed": 7, "batch_size": 3, "generator_norm": "virtual", "reference_size": 3, "noise": "exact"},
    **{"discriminator_learning_rate": 0.25, "generator_learning_rate": 0.5, "beta_1": 0.75, "adam": "outside"},
    **{"anneal_epochs": 9, "anneal_start": 0.25, "precision": "mixed_bfloat16", "label_smoothing": 0.125},
    **{"historical_averaging": 2.5, "r1_penalty": 10.0, "augmentation": "color,cutout"},
    **{"generator_average_decay": 0.75},
}
OTHERS_OF = {
    "semi_supervised": {
        **{"network": "svhn", "network_width": 0.125, "labels": 4, "input_corruption": "noise"},
        **{"discriminator_weight_norm": "none", "feature_matching_norm": "l1", "unlabelled_weight": 0.5},
        **{"generator_steps": 3, "average_decay": 0.5, "average_debias": False},
    },
    "imagenet": {
        **{"gf_dim": 8, "df_dim": 2, "latent_size": 11, "discriminator_norm": "batch", "use_labels": False},
        **{"flip": True, "feature_matching": 0.5, "minibatch_discrimination": False},
    },
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_setting_arrives(recipe):
    settings = {**OTHERS, **OTHERS_OF[recipe]}
    config = build_config(recipe=recipe, dataset="folder", data_dir="d", **settings)
    images, labels = np.zeros((10, 32, 32, 3), "uint8"), np.arange(10) % 2
    made = recipe_of(config)
    batches = made.make_batches(ImageData(images, labels, images, labels, ("cat", "dog")), 1, this_worker())
    model = made.build_model((32, 32, 3), 2, batches.steps_per_epoch)
    assert (batches.seed, batches.batch_size, batches.steps_per_epoch, model.seed) == (7, 3, 3, 7)
    assert model.dtype_policy.name == config.precision
    compiled = model.get_compile_config()
    arguments = {name: compiled[name] for name in settings if name in compiled}
    assert arguments == {name: settings[name] for name in arguments} and "generator_average_decay" in arguments
    techniques = {technique.name: technique.weight for technique in model.techniques}
    assert techniques == {name: settings[name] for name in techniques} and len(techniques) >= 2
    for rate, updates, optimizer in (
        (config.discriminator_learning_rate, 1, model.discriminator_optimizer),
        (config.generator_learning_rate, compiled.get("generator_steps", 1), model.generator_optimizer),
    ):
        assert (type(optimizer).__name__, optimizer.beta_1, optimizer.epsilon) == ("FusedAdam", config.beta_1, 1e-8)
        annealed = {"rate": rate, "epochs": 9, "steps_per_epoch": 3 * updates, "start": config.anneal_start}
        assert optimizer.get_config()["learning_rate"]["config"] == annealed
    generator, discriminator = (
        {layer.name: layer for layer in network._flatten_layers()} for network in (model.generator, model.discriminator)
    )
    norms = [layer for layer in generator.values() if isinstance(layer, VirtualBatchNorm)]
    assert {layer.reference_size for layer in norms} == {3}
    assert discriminator["augmentation"].kinds == ["color", "cutout"]
    assert isinstance(discriminator["corruption"], TableGaussianNoise) and discriminator["corruption"].exact
    assert "minibatch_discrimination" not in discriminator
    if recipe == "semi_supervised":
        assert {"feature_matching_norm", "unlabelled_weight", "average_decay", "average_debias"} <= set(arguments)
        assert batches.num_labelled == 4
        # Here, as the networks are at hand: what the histograms show of real and of generated images.
        found, real = made.histograms(model, batches), model.discriminator(batches.take(np.arange(3)))
        np.testing.assert_allclose(found["probability/of_real"], expit(gan_logit(real["logits"])), rtol=1e-5)
        assert np.all(np.asarray(found["probability/of_generated"]) != np.asarray(found["probability/of_real"]))
        # Of 64 and 128 filters an eighth.
        assert (generator["deconv_2"].filters, discriminator["conv_1_1"].filters) == (32, 8)
    else:
        assert batches.flip and model.num_outputs == 1 and "feature_matching" in techniques
        assert type(discriminator["norm_1"]).__name__ == "SeparateBatchNorm"
        assert (model.latent_size, generator["deconv_32"].filters, discriminator["conv_1"].filters) == (11, 8, 2)
