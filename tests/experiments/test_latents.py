"""Latents that are chosen: given, walked between, swept, and those of one class."""

import numpy as np
import pytest
from PIL import Image

from igan_tf import load_run
from igan_tf.errors import ConfigError, DataError
from igan_tf.experiments import training_runs
from igan_tf.experiments.configs import build_config
from igan_tf.experiments.latents import OneClass, between, read_latents, round_trip, sweeps
from igan_tf.experiments.sampling import sample_run, walk

SETTINGS = {"dataset": "digits", "labels": 50, "batch_size": 400, "initialization_examples": 50, "epochs": 1}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    training_runs.train(build_config(**SETTINGS), folder, lambda line: None)
    return folder


@pytest.fixture(scope="module")
def run(run_dir):
    return load_run(run_dir)


def test_walks_by_the_formula():
    starts, ends = np.array([[0.0, 1.0], [4.0, 4.0]]), np.array([[1.0, 1.0], [0.0, 2.0]])
    expected = [[0, 1], [0.5, 1], [1, 1], [4, 4], [2, 3], [0, 2]]
    np.testing.assert_allclose(between(starts, ends, 3), expected)
    np.testing.assert_allclose(round_trip(np.array([[0.0], [2.0], [8.0]]), 2), [[0], [1], [2], [5], [8], [4]])
    swept = sweeps(np.array([7.0, 8.0, 9.0]), -1, 1, 2, 3)
    np.testing.assert_allclose(swept, [[-1, 8, 9], [0, 8, 9], [1, 8, 9], [7, -1, 9], [7, 0, 9], [7, 1, 9]])


def test_an_image_is_its_latents(run, run_dir, tmp_path):
    """Given alone or among others; the file of one is the file of all, but for float32's rounding."""
    latents = np.random.default_rng(0).uniform(0, 1, (25, run.latent_size))
    images = np.concatenate(list(run.generate_from(latents, seed=1)))
    assert images.shape == (25, 8, 8, 1) and np.ptp(images, axis=0).max() > 0.01
    np.testing.assert_array_equal(images, np.concatenate(list(run.generate_from(latents, seed=1))))
    np.save(tmp_path / "z.npy", latents)
    found = sample_run(run_dir, str(tmp_path / "s.npz"), 100, 1, latents=str(tmp_path / "z.npy"))
    assert found["images"] == 25
    np.testing.assert_array_equal(np.load(tmp_path / "s.npz")["images"], images)
    # Of latents that are all alike, batch statistics alone would make another image.
    alike = np.concatenate(list(run.generate_from(np.repeat(latents[:1], 100, axis=0), seed=1)))
    np.testing.assert_allclose(alike, np.repeat(images[:1], 100, axis=0), atol=0.1)


def test_the_samples_of_one_class(run, run_dir, tmp_path):
    images = run.generate(300, seed=2)
    classes = np.argmax(np.asarray(run(images)), axis=1)
    label = np.bincount(classes).argmax()
    count = np.sum(classes == label) - 1
    found = sample_run(run_dir, str(tmp_path / "s.npz"), int(count), 2, sample_class=int(label))
    places = np.flatnonzero(classes == label)[:count]
    np.testing.assert_array_equal(np.load(tmp_path / "s.npz")["images"], images[places])
    assert found["of_the_class"] == f"{count} of {places[-1] + 1} samples"


def test_a_class_that_is_never_drawn_ends_with_the_rate(run, monkeypatch):
    monkeypatch.setattr("igan_tf.experiments.latents._PATIENCE", 200)
    rare = OneClass(run, 3)
    monkeypatch.setattr(type(run), "__call__", lambda self, images: np.eye(10)[np.zeros(len(images), int)])
    with pytest.raises(DataError, match="`sample_class=3`: the discriminator takes 0 of 200 samples for this class"):
        list(rare.batches(1, 0))


@pytest.mark.parametrize("kind", ["interpolate", "sweep"])
def test_a_grid_of_walks(run, run_dir, tmp_path, kind):
    assert walk(run_dir, str(tmp_path / "w.png"), kind, 12, 3, 5) == {"images": 12, "output": str(tmp_path / "w.png")}
    with Image.open(tmp_path / "w.png") as grid:
        assert grid.size == (76, 101)
        pixels = np.asarray(grid, "float32")
    rows = pixels[:-1].reshape(4, 25, 76)[:, 1:, :-1].reshape(4, 24, 3, 25)[..., 1:].transpose(0, 2, 1, 3)
    # What lies between two ends lies nearer to either than they to each other.
    ends = np.linalg.norm((rows[:, 0] - rows[:, 2]).reshape(4, -1), axis=1)
    halves = np.linalg.norm((rows[:, 0] - rows[:, 1]).reshape(4, -1), axis=1)
    assert (halves < ends).all() and ends.min() > 0
    if kind == "sweep":
        # All rows are of one latent but for one coordinate of many; a walk's are of others.
        assert np.linalg.norm(rows[0, 1] - rows[1, 1]) < np.linalg.norm(rows[0, 0] - rows[0, 2]) * 3


def test_a_film(run_dir, tmp_path):
    walk(run_dir, str(tmp_path / "w.gif"), "interpolate", 12, 3, 5)
    with Image.open(tmp_path / "w.gif") as film:
        assert (film.n_frames, film.size, film.info["loop"], film.info["duration"]) == (12, (24, 24), 0, 100)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 4)), r"holds float64 of shape \(2, 3, 4\)"),
        (np.array([["a"]]), "holds <U1"),
        (np.array([[None]]), "holds object"),
    ],
)
def test_what_is_no_array_of_latents_is_named(tmp_path, array, message):
    np.save(tmp_path / "z.npy", array)
    with pytest.raises(DataError, match=f"`latents={tmp_path}/z.npy` cannot be read: it {message}"):
        read_latents(tmp_path / "z.npy")


def test_promised_latents_allocate_nothing(tmp_path):
    np.save(tmp_path / "z.npy", np.zeros((10**3, 100)))
    content = (tmp_path / "z.npy").read_bytes().replace(b"(1000, 100)", b"(9**9, 100)").replace(b"9**9", b"9999")
    (tmp_path / "z.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"it does not have the bytes of its shape \(9999, 100\)"):
        read_latents(tmp_path / "z.npy")


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (
            lambda run, to: walk(run, f"{to}/a.npz", "sweep", 10, 5, 1),
            "`output` of `mode=sweep` must be a .png or .gif",
        ),
        (
            lambda run, to: walk(run, f"{to}/a.png", "sweep", 11, 5, 1),
            "`num_samples` must be a multiple of `walk_steps`",
        ),
        (lambda run, to: walk(run, f"{to}/a.png", "sweep", 1020, 2, 1), r"`num_samples` must be at most \d+: z has"),
        (lambda run, to: sample_run(run, f"{to}/a.png", 4, 1, sample_class=10), "knows, 0 to 9. .* sample_class=10"),
        (
            lambda run, to: sample_run(run, f"{to}/a/", 4, 1, sample_class=1),
            "`sample_class` goes with `output=FILE.npz`",
        ),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(run_dir, tmp_path, work, message):
    with pytest.raises(ConfigError, match=message):
        work(run_dir, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("latents", [np.zeros((2, 3)), np.zeros(100), np.full((2, 100), np.nan)])
def test_latents_of_another_form_are_refused(run, latents):
    if latents.ndim == 2 and np.isnan(latents).any():
        latents = np.full((2, run.latent_size), np.nan)
    with pytest.raises(DataError, match="`latents` must be"):
        next(run.generate_from(latents))
