"""Where real and generated images may come from, and how images become files."""

import io

import numpy as np
import pytest
from PIL import Image

from igan_tf.experiments.configs import config_from_lines
from igan_tf.experiments.training_runs import train
from igan_tf.turing_test.encoding import decode_image, encode_images
from igan_tf.turing_test.settings import StudyError, StudySettings
from igan_tf.turing_test.sources import parse_sources, read_sources
from tests.command_line import FLAGS


def save(path, images):
    np.savez(path, images=images)
    return str(path)


def grey(count=10, size=6):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 1)).astype("uint8")


@pytest.mark.parametrize(
    ("real", "generated", "words"),
    [
        ("", ["a=x"], "`real` must name the real images"),
        ("x", [], "`generated` must name generated images"),
        ("x", ["a"], "Received: generated=a"),
        ("x", ["=y"], "Received: generated==y"),
        ("x", ["a="], "Received: generated=a="),
        ("x", ["=cmd()=y"], "Received: generated==cmd"),
        ("x", ["<b>=y"], "Received: generated=<b>=y"),
        ("x", ["a=y", "a=z"], "`generated` must have a name of its own. Received: generated=a=z"),
        ("x", ["real=y"], "`generated` must have a name of its own. Received: generated=real=y"),
        ("x", ["n" * 41 + "=y"], "name of up to 40"),
    ],
)
def test_names_that_are_refused(real, generated, words):
    with pytest.raises(StudyError) as caught:
        parse_sources(real, generated)
    assert words in str(caught.value)


def test_a_place_may_hold_an_equals_sign():
    real, generated = parse_sources("r", ["gan 1.0=runs/lr=3"])
    assert (generated.name, generated.place, generated.generated) == ("gan 1.0", "runs/lr=3", True)
    assert (real.name, real.place, real.generated) == ("real", "r", False)


def test_other_sizes_are_refused_with_both_places(tmp_path):
    places = save(tmp_path / "a.npz", grey()), save(tmp_path / "b.npz", grey(size=7))
    with pytest.raises(StudyError) as caught:
        read_sources(parse_sources(places[0], [f"b={places[1]}"]), 100, seed=1)
    assert f"`generated=b={places[1]}` with 7x7 pixels, `real={places[0]}` with 6x6 pixels" in str(caught.value)


def test_a_bad_source_is_named_by_its_argument(tmp_path):
    good = save(tmp_path / "a.npz", grey())
    (tmp_path / "empty").mkdir()
    for place, words in ((tmp_path / "empty", "holds no images"), (tmp_path / "nowhere", "does not exist")):
        with pytest.raises(StudyError, match=f"^`generated=b={place}`:? .*{words}"):
            read_sources(parse_sources(good, [f"b={place}"]), 100, seed=1)
        with pytest.raises(StudyError, match=f"^`real={place}`:? .*{words}"):
            read_sources(parse_sources(str(place), [f"b={good}"]), 100, seed=1)
    place = save(tmp_path / "c.npz", grey().transpose(0, 3, 1, 2))
    with pytest.raises(StudyError, match=rf"^`real={place}`: the array \w+ must have its channels last"):
        read_sources(parse_sources(place, [f"b={good}"]), 100, seed=1)


def test_grey_and_colour_are_made_alike(tmp_path):
    places = save(tmp_path / "a.npz", grey()), save(tmp_path / "b.npz", np.repeat(grey(), 3, axis=-1))
    real, generated = read_sources(parse_sources(places[0], [f"b={places[1]}"]), 100, seed=1)
    assert real.images.shape == generated.images.shape == (10, 6, 6, 3)
    np.testing.assert_array_equal(real.images, generated.images)
    assert encode_images(real.images) == encode_images(generated.images)


def test_a_limit_holds_for_each_source(tmp_path):
    place = save(tmp_path / "a.npz", grey(30))
    real, generated = read_sources(parse_sources(place, [f"b={place}"]), 12, seed=1)
    assert len(real.images) == len(generated.images) == 12
    # Each source's draw is its own.
    assert not np.array_equal(real.images, generated.images)


def test_a_run_directory_generates(tmp_path):
    train(config_from_lines([*FLAGS, "--epochs=1"]), tmp_path / "run", report=lambda line: None)
    sources = parse_sources("digits:test", [f"gan={tmp_path}/run"])
    real, generated = read_sources(sources, 40, seed=1)
    assert generated.images.shape == (40, 8, 8, 1) == real.images.shape and generated.images.dtype == np.uint8
    assert not np.array_equal(read_sources(sources, 40, seed=2)[1].images, generated.images)
    for path in (tmp_path / "run" / "checkpoints").rglob("state.npz"):
        path.write_bytes(b"")
    with pytest.raises(StudyError, match=f"^`generated=gan={tmp_path}/run`: no checkpoint in .* is whole"):
        read_sources(sources, 40, seed=1)


# Files.


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (17, 5, 3), (128, 128, 3)])
def test_files_have_one_length_whatever_they_show(shape):
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (4, *shape)).astype("uint8")
    flat = np.broadcast_to(np.array([0, 7, 128, 255], "uint8")[:, None, None, None], (4, *shape))
    ramp = np.broadcast_to(np.arange(shape[1], dtype="uint8")[:, None], (4, *shape))
    images = np.concatenate([noise, flat, ramp])
    files = encode_images(images)
    assert len({len(file) for file in files}) == 1
    for file, image in zip(files, images):
        np.testing.assert_array_equal(decode_image(file), image)


def test_files_hold_pixels_and_nothing_else():
    (file,) = encode_images(grey(1))
    chunks, place = [], 8
    while place < len(file):
        length = int.from_bytes(file[place : place + 4], "big")
        chunks.append(file[place + 4 : place + 8])
        place += 12 + length
    assert file.startswith(b"\x89PNG\r\n\x1a\n") and chunks == [b"IHDR", b"IDAT", b"IEND"]
    with Image.open(io.BytesIO(file)) as image:
        assert image.info == {}


# Settings.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "`trials` must be at least 2. Received: trials=0"),
        ({"trials": 7}, "`trials` must be even: half of the images are real. Received: trials=7"),
        ({"practice": 3}, "`practice` must be even: half of the images are real. Received: practice=3"),
        ({"practice": -2}, "`practice` must be at least 0. Received: practice=-2"),
        ({"block_size": 0}, "`block_size` must be at least 1. Received: block_size=0"),
        ({"feedback": "some"}, "`feedback` must be one of off, on, both. Received: feedback=some"),
        (
            {"feedback_seconds": float("nan")},
            "`feedback_seconds` must be a finite number. Received: feedback_seconds=nan",
        ),
        ({"feedback_seconds": 11.0}, "`feedback_seconds` must be at most 10. Received: feedback_seconds=11.0"),
        ({"interval_width": 0.0}, "`interval_width` must be at least 0.001. Received: interval_width=0.0"),
        ({"images_per_source": 0}, "`images_per_source` must be at least 1. Received: images_per_source=0"),
        ({"title": " "}, "`title` must not be empty. Received: title= "),
        ({"consent": ""}, "`consent` must not be empty. Received: consent="),
    ],
)
def test_settings_that_are_refused(changes, message):
    with pytest.raises(StudyError) as caught:
        StudySettings(**changes)
    assert str(caught.value) == message


@pytest.mark.parametrize(("trials", "block_size", "blocks"), [(100, 25, 4), (100, 30, 4), (10, 50, 1)])
def test_the_number_of_blocks(trials, block_size, blocks):
    assert StudySettings(trials=trials, block_size=block_size).num_blocks == blocks
