"""The flag files: each can be read, and the six rows of the Inception Score table differ in what they say, alone."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from igan_tf.data import ImageData
from igan_tf.experiments.configs import build_config, config_from_lines
from igan_tf.experiments.experiment import Experiment
from igan_tf.experiments.run_configs import expand_flagfiles
from igan_tf.layers import BatchStatisticsNorm, MinibatchDiscrimination, VirtualBatchNorm
from igan_tf.tables.published import TABLES

FOLDER = Path(__file__).parent.parent / "run_configs"
ROWS = {row.name: row.flagfile for row in TABLES["inception_score"].rows}
# Twenty steps of networks a tenth as wide on a few images.
SMALL = ["--network_width=0.05", "--batch_size=4", "--reference_size=4", "--initialization_examples=8", "--epochs=1"]


def read(name, *more):
    return config_from_lines(expand_flagfiles([f"--flagfile={FOLDER / name}", *more]))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.cfg")), ids=lambda path: path.stem)
def test_every_line_says_something(path):
    """A flag file states differences: each line changes the outcome, but that it may name its data and labels."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    config = read(path.name, "--data_dir=d")
    for line in lines:
        if line.startswith(("--dataset=", "--labels=")):
            continue
        others = [f"--flagfile={FOLDER / other[11:]}" if other.startswith("--flagfile=") else other for other in lines]
        others.pop(lines.index(line))
        # A lone --supervised_baseline or the like may need the line that is left out.
        try:
            without = config_from_lines(expand_flagfiles([*others, "--data_dir=d"]))
        except ValueError:
            continue
        assert without != config, line


def test_every_table_has_its_flag_files():
    for table in TABLES.values():
        names = [table.flagfile] if hasattr(table, "flagfile") else [row.flagfile for row in table.rows]
        assert all((FOLDER / name).is_file() for name in names)


def test_the_small_table_leaves_out_what_the_papers_does():
    def changed(config, ours):
        return {name: value for name, value in dataclasses.asdict(config).items() if getattr(ours, name) != value}

    small, whole = TABLES["ablation_small"], TABLES["inception_score"]
    assert [row.name for row in small.rows] == [row.name for row in whole.rows]
    for row, other in zip(small.rows, whole.rows):
        ours = read("mnist_ablation.cfg", "--data_dir=d")
        theirs = read("cifar10_ours.cfg", "--data_dir=d")
        expected = changed(read(other.flagfile, "--data_dir=d"), theirs)
        assert changed(read(row.flagfile, *row.flags, "--data_dir=d"), ours) == expected, row.name


def test_the_published_settings():
    """As published."""
    mnist = read("mnist_feature_matching.cfg")
    assert mnist == build_config() and (mnist.epochs, mnist.batch_size, mnist.discriminator_learning_rate) == (
        300,
        100,
        0.003,
    )
    for name, epochs, labels in (("cifar10", 1200, 4000), ("svhn", 900, 1000)):
        for variant in ("feature_matching", "minibatch"):
            config = read(f"{name}_{variant}.cfg")
            assert config.dataset == config.network_name == name
            assert (config.epochs, config.anneal_epochs, config.labels) == (epochs, epochs, labels)
            assert config.discriminator_learning_rate == config.generator_learning_rate == 0.0003
            assert (config.beta_1, config.batch_size, config.adam) == (0.5, 100, "inside_root")
        assert (config.minibatch_discrimination, config.generator_steps) == (True, 3)
        assert config.generator_objective == "minimax"
        config = read(f"{name}_feature_matching.cfg")
        assert (config.generator_objective, config.feature_matching_norm) == ("feature_matching", "l1")
        assert (config.minibatch_discrimination, config.generator_steps) == (False, 1)


def test_the_published_mnist_with_minibatch_discrimination():
    """As published in the code's commit 2b81a186: 400 labels a class, rate * min(2.5 - epoch / 200, 1), 500 epochs."""
    config = read("mnist_minibatch.cfg")
    assert (config.dataset, config.network_name, config.labels) == ("mnist", "mnist_convolutional", 4000)
    assert (config.epochs, config.anneal_epochs, config.anneal_start) == (500, 500, 0.6)
    assert config.discriminator_learning_rate == config.generator_learning_rate == 0.0003
    assert (config.minibatch_discrimination, config.generator_objective) == (True, "minimax")
    assert (config.generator_steps, config.beta_1, config.batch_size) == (3, 0.5, 100)
    assert (config.initialization_examples, config.adam) == (500, "inside_root")


def test_the_published_mnist_with_labels_of_ones_own():
    """As published: the first 8,000 test images to train on, the others to test on, all else as feature matching."""
    config = read("mnist_custom_labels.cfg")
    assert (config.train_split, config.test_split) == ("test[:8000]", "test[8000:]")
    assert (config.labels, config.balance, config.seed_data, config.epochs) == (100, True, 1, 300)
    plain = read("mnist_feature_matching.cfg")
    assert dataclasses.replace(config, train_split="", test_split="", balance=None) == plain


def test_the_published_imagenet_settings():
    """As published."""
    config = read("imagenet128.cfg", "--data_dir=d")
    assert (config.gf_dim, config.df_dim, config.latent_size, config.batch_size) == (64, 64, 8192, 16)
    assert (config.generator_norm, config.reference_size, config.discriminator_norm) == ("virtual", 16, "cross")
    assert (config.label_smoothing, config.minibatch_discrimination, config.use_labels) == (0.25, True, True)
    assert (config.discriminator_learning_rate, config.generator_learning_rate) == (0.0004, 0.0004)
    assert (config.beta_1, config.adam, config.historical_averaging, config.feature_matching) == (0.5, "outside", 0, 0)
    assert (config.early_sample_steps, config.sample_minutes, config.checkpoint_minutes) == (10, 5, 60)
    four = read("imagenet128_4gpu.cfg", "--data_dir=d")
    assert (four.strategy, four.expected_replicas) == ("mirrored", 4)
    baseline = read("imagenet128_dcgan.cfg", "--data_dir=d")
    assert (baseline.generator_norm, baseline.discriminator_norm, baseline.label_smoothing) == ("batch", "batch", 0)
    assert not (baseline.minibatch_discrimination or baseline.use_labels or baseline.feature_matching)
    assert not baseline.historical_averaging


def techniques(experiment):
    """What the built model trains with."""
    model = experiment.model
    kinds = {type(layer) for layer in model.generator.layers} & {BatchStatisticsNorm, VirtualBatchNorm}
    (norm,) = kinds
    discriminator = [type(layer) for layer in model.discriminator.layers]
    batch = next(iter(experiment.batches.epoch(0)))
    return {
        "generator norm": norm.__name__,
        "minibatch features": MinibatchDiscrimination in discriminator,
        "corruption": type(model.discriminator.get_layer("corruption")).__name__,
        "label smoothing": model.label_smoothing,
        "labels": ("labelled_images" in batch, model.num_outputs),
        "techniques": [(technique.name, technique.weight) for technique in model.techniques],
        "objective": (model.generator_objective, model.generator_steps, model.unlabelled_weight),
        "rates": [
            (type(optimizer).__name__, float(optimizer.learning_rate), optimizer.beta_1)
            for optimizer in (model.discriminator_optimizer, model.generator_optimizer)
        ],
    }


@pytest.fixture(scope="module")
def cifar10_like():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (80, 32, 32, 3), "uint8")
    return ImageData(images, np.arange(80) % 10, images[:10], np.arange(10), tuple("abcdefghij"))


def build(name, data, folder):
    labels = [] if read(name).labels == 0 else ["--labels=20"]
    return Experiment(read(name, *SMALL, *labels), data, folder, report=lambda line: None)


# What each row of the paper's table changes.
CHANGES = {
    "our methods": {},
    "-VBN+BN": {"generator norm": "BatchStatisticsNorm"},
    "-L+HA": {"labels": (False, 1), "techniques": [("historical_averaging", 0.001)]},
    "-LS": {"label smoothing": 0.0},
    "-L": {"labels": (False, 1)},
    "-MBF": {"minibatch features": False},
}


@pytest.mark.parametrize("row", CHANGES)
def test_a_row_differs_from_ours_in_its_technique_alone(row, cifar10_like, tmp_path):
    ours = {
        "generator norm": "VirtualBatchNorm",
        "minibatch features": True,
        "corruption": "TableGaussianNoise",
        "label smoothing": 0.1,
        "labels": (True, 10),
        "techniques": [],
        "objective": ("minimax", 3, 1.0),
        "rates": [("InsideRootAdam", pytest.approx(0.0003), 0.5)] * 2,
    }
    experiment = build(ROWS[row], cifar10_like, tmp_path)
    assert techniques(experiment) == {**ours, **CHANGES[row]}


# The others are built from the same parts: most of the time goes into tracing each row's graph.
_ALWAYS = ("our methods",)


@pytest.mark.parametrize(
    "row", [row if row in _ALWAYS else pytest.param(row, marks=pytest.mark.slow) for row in CHANGES]
)
def test_a_row_trains_twenty_steps(row, cifar10_like, tmp_path):
    experiment = build(ROWS[row], cifar10_like, tmp_path)
    result = experiment.run()
    assert result["steps"] == experiment.batches.steps_per_epoch == 20
    assert int(experiment.model.generator_optimizer.iterations) == 60


def test_both_players_start_from_data_on_cifar10(cifar10_like, tmp_path):
    """As published: D from the tiled labelled set, G from a batch of latents, the image 0.1 wide."""
    experiment = build("cifar10_minibatch.cfg", cifar10_like, tmp_path)
    before = experiment.model.generator.get_layer("pixels").scale.numpy().copy()
    experiment.recipe.initialize(experiment.model, experiment.batches)
    assert np.all(experiment.model.generator.get_layer("pixels").scale.numpy() != before)
    # As in `_initialize`: a batch of latents of the range, through tanh; its deviation before it is 0.1.
    images = np.concatenate(list(experiment.model.generate_batches(400, seed=5, batch_size=4)))
    spread = np.arctanh(2 * images - 1).std(axis=(0, 1, 2))
    # Other latents than the four that it was set by.
    np.testing.assert_allclose(spread, 0.1, rtol=0.3)
