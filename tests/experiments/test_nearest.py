"""Samples beside their nearest training images, against a comparison of every pair."""

import re

import numpy as np
import pytest
from PIL import Image

from igan_tf import load_run
from igan_tf.data import ImageRecords, load_data
from igan_tf.errors import ConfigError, DataError
from igan_tf.evaluation.settings import EvaluationSettings
from igan_tf.experiments import experiment, nearest, training_runs
from igan_tf.experiments.configs import build_config
from igan_tf.experiments.nearest import beside_nearest, nearest_images
from igan_tf.experiments.sampling import sample_run
from igan_tf.experiments.score_sources import open_both, open_run
from igan_tf.images.arrays import as_unit_range
from tests.command_line import run_here
from tests.experiments.imagenet_runs import make_records


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nearest") / "run"
    config = build_config(dataset="digits", labels=50, batch_size=400, initialization_examples=50, epochs=1)
    training_runs.train(config, folder, lambda line: None)
    return folder


def by_pairs(images, real):
    """Each image's nearest real one, of float32, and its distance, from the differences of every pair."""
    places, distances = [], []
    for image in images.astype("float64"):
        apart = [np.sqrt(np.sum((image - other.astype("float64")) ** 2)) for other in real]
        places.append(int(np.argmin(apart)))
        distances.append(min(apart))
    return places, distances


@pytest.mark.parametrize("shape", [(8, 8, 1), (5, 4, 3)])
@pytest.mark.parametrize("block", [7, 40])
def test_the_nearest_of_every_pair(shape, block):
    generator = np.random.default_rng(0)
    real = generator.integers(0, 256, (40, *shape), "uint8")
    images = generator.random((9, *shape), "float32")
    # A copy, and one of the last block.
    images[3], images[4] = real[11] / np.float32(255), real[39] / np.float32(255)
    found, distances = nearest_images(images, (real[start : start + block] for start in range(0, 40, block)))
    places, expected = by_pairs(images, real / np.float32(255))
    np.testing.assert_array_equal(found, real[places] / np.float32(255))
    # Differences are taken in float32.
    np.testing.assert_allclose(distances, expected, rtol=1e-6)
    assert distances[3] == distances[4] == 0


def test_a_grid_of_pairs(run_dir, tmp_path):
    found = sample_run(run_dir, str(tmp_path / "a.png"), 10, 3, nearest=True)
    images = load_run(run_dir).generate(10, 3)
    data = load_data(build_config(dataset="digits"))
    places, distances = by_pairs(images, data.train_images)
    assert found["nearest_distance"] == pytest.approx(np.median(distances), rel=1e-6)
    assert found["smallest_nearest_distance"] == pytest.approx(min(distances), rel=1e-6)
    chosen = np.sort(np.random.default_rng(3).permutation(len(data.test_images))[:10])
    _, of_test = by_pairs(as_unit_range(data.test_images[chosen]), as_unit_range(data.train_images))
    assert found["nearest_distance_of_test_images"] == pytest.approx(np.median(of_test), rel=1e-5)
    assert found["smallest_nearest_distance_of_test_images"] == pytest.approx(min(of_test), rel=1e-5)
    with Image.open(tmp_path / "a.png") as grid:
        pixels = np.asarray(grid)
    # Three pairs in a row; the last row has one.
    assert pixels.shape == (4 * 25 + 1, 6 * 25 + 1)
    for index, place in enumerate(places):
        top, left = 1 + index // 3 * 25, 1 + index % 3 * 50
        np.testing.assert_array_equal(
            pixels[top : top + 24 : 3, left : left + 24 : 3], np.round(images[index, ..., 0] * 255)
        )
        right = pixels[top : top + 24 : 3, left + 25 : left + 49 : 3]
        np.testing.assert_array_equal(right, np.round(data.train_images[place, ..., 0] * 255))


def test_of_records(tmp_path, monkeypatch):
    """Records are read block by block."""
    records = ImageRecords(make_records(tmp_path, images=4))
    real = np.asarray(records.decode(records.read(np.arange(len(records))))[0])
    config = build_config(
        recipe="imagenet", dataset="imagenet", data_dir=str(tmp_path / "records"), batch_size=2, latent_size=10
    )
    (tmp_path / "run").mkdir()
    experiment.save_config(tmp_path / "run", config)
    monkeypatch.setattr(nearest, "_BLOCK", 5 * 32 * 32 * 3)
    # There is no checkpoint to compare them with.
    monkeypatch.setattr(nearest, "refuse_other_data", lambda run_dir, data, saved: None)
    images = np.random.default_rng(0).random((3, *real.shape[1:]), "float32")
    pairs, found = beside_nearest(images, tmp_path / "run", saved=None, seed=0)
    places, _ = by_pairs(images, real / np.float32(255))
    np.testing.assert_array_equal(pairs[::2], images)
    np.testing.assert_array_equal(pairs[1::2], real[places] / np.float32(255))
    # Records hold no test images.
    assert set(found) == {"nearest_distance", "smallest_nearest_distance"}


def test_the_command_says_the_distances_and_takes_the_data_from_elsewhere(tmp_path, capfd):
    for name in ("cat", "dog"):
        (tmp_path / "here" / name).mkdir(parents=True)
        for index in range(10):
            pixels = np.random.default_rng([index, ord(name[0])]).integers(0, 256, (9, 9, 3), "uint8")
            Image.fromarray(pixels).save(tmp_path / "here" / name / f"{index}.png")
    settings = {"dataset": "folder", "labels": 0, "batch_size": 5, "initialization_examples": 5, "network_width": 0.1}
    config = build_config(data_dir=str(tmp_path / "here"), epochs=1, **settings)
    training_runs.train(config, tmp_path / "run", lambda line: None)
    own = ["--mode=sample", f"--run_dir={tmp_path}/run", "--num_samples=4", "--nearest"]
    found = []
    for more in ([], [f"--data_dir={tmp_path}/there"]):
        outcome = run_here(capfd, *own, f"--output={tmp_path}/a.png", *more)
        assert outcome.code == 0, outcome.text
        found.append(re.search(r"^nearest_distance: (.+)$", outcome.text, re.MULTILINE)[1])
        if not more:
            (tmp_path / "here").rename(tmp_path / "there")
    assert found[0] == found[1]
    with Image.open(tmp_path / "a.png") as grid:
        # Two pairs in a row of images of 32 x 32, the size of `dataset=folder`.
        assert grid.size == (4 * 33 + 1, 2 * 33 + 1)

    # Other data than it was trained on.
    (tmp_path / "there/cat/3.png").unlink()
    outcome = run_here(capfd, *own, f"--output={tmp_path}/b.png", f"--data_dir={tmp_path}/there")
    assert (
        outcome.code == 1
        and f"--run_dir={tmp_path}/run was trained on other data than there are now: 19 images" in (outcome.text)
    )
    assert not (tmp_path / "b.png").exists()
    settings = EvaluationSettings(source=f"{tmp_path}/run", reference="run:data", data_dir=f"{tmp_path}/there")
    with pytest.raises(DataError, match=r"`source=.*run` was trained on other data than there are now"):
        open_both(settings, open_run(settings.source), load_data)


def test_images_of_another_size_are_refused():
    with pytest.raises(DataError, match=r"`data_dir` holds .* another size .* \(9, 9, 1\), the run's: \(8, 8, 1\)"):
        nearest_images(np.zeros((2, 8, 8, 1), "float32"), [np.zeros((3, 9, 9, 1), "uint8")])


@pytest.mark.parametrize(("output", "count"), [("a.npz", 5), ("a/", 5), ("a.png", 513)])
def test_only_a_grid_has_pairs(run_dir, tmp_path, output, count):
    message = rf"`nearest` needs a grid, .* at most 512 samples. Received: output=.*{output} num_samples={count}"
    with pytest.raises(ConfigError, match=message):
        sample_run(run_dir, f"{tmp_path}/{output}", count, 1, nearest=True)
    assert not any(tmp_path.iterdir())
