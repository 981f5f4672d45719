import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from igan_tf.data.image_sources import read_images
from igan_tf.errors import DataError
from igan_tf.images.arrays import as_bytes
from igan_tf.images.settings import ImageFileSettings
from tests.images.tfds_data import prepare

_ORIENTATION = 0x0112


def pixels(count=6, shape=(5, 7, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype("uint8")


def save(folder, images, suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(folder / f"{number:03d}{suffix}")
    return folder


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_bit_for_bit(tmp_path, channels):
    images = pixels(shape=(5, 7, channels))
    found = read_images(str(save(tmp_path / "a", images)))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, images)


def test_folders_within_and_other_files(tmp_path):
    images = pixels()
    save(tmp_path / "a", images[:3])
    save(tmp_path / "b" / "c", images[3:])
    (tmp_path / "notes.txt").write_text("")
    np.testing.assert_array_equal(read_images(str(tmp_path)), images)


def test_grey_beside_colour_becomes_colour(tmp_path):
    save(tmp_path / "a", pixels(1))
    save(tmp_path / "b", pixels(1, (5, 7, 1)))
    found = read_images(str(tmp_path))
    assert found.shape == (2, 5, 7, 3) and (found[1] == found[1][..., :1]).all()


def test_a_limit_draws_without_replacement_in_order(tmp_path):
    images = pixels(50)
    save(tmp_path / "a", images)
    np.savez(tmp_path / "a.npz", images=images)
    for place in (tmp_path / "a", tmp_path / "a.npz"):
        found = read_images(str(place), 20, np.random.default_rng(1))
        rows = [int(np.flatnonzero((images == image).all((1, 2, 3)))[0]) for image in found]
        assert len(rows) == 20 and rows == sorted(set(rows)) and rows != list(range(20))
        assert len(read_images(str(place), 99, np.random.default_rng(1))) == 50


@pytest.mark.parametrize("name", ["images", "x"])
def test_npz(tmp_path, name):
    images = pixels(shape=(5, 7, 1))
    np.savez(tmp_path / "a.npz", **{name: images[..., 0]})
    np.testing.assert_array_equal(read_images(str(tmp_path / "a.npz")), images)


def test_npy(tmp_path):
    images = pixels(70, shape=(5, 7, 1))
    np.save(tmp_path / "a.npy", images[..., 0])
    np.testing.assert_array_equal(read_images(str(tmp_path / "a.npy")), images)
    np.testing.assert_array_equal(read_images(str(tmp_path)), images)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_first_are_named(tmp_path, channels):
    np.save(tmp_path / "a.npy", pixels(2, (5, 7, channels)).transpose(0, 3, 1, 2))
    words = rf"a.npy: its array must have its channels last: .*Received: shape \(2, {channels}, 5, 7\), channels first$"
    for place in (tmp_path / "a.npy", tmp_path):
        with pytest.raises(DataError, match=words):
            read_images(str(place))


def test_three_grey_images_need_an_axis_more(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 28, 28), "uint8"))
    with pytest.raises(
        DataError, match=r"grey ones, 1 or 3 of them .*, \(N, height, width, 1\)\. Received: shape \(3,"
    ):
        read_images(str(tmp_path / "a.npy"))


def test_npz_of_several_arrays(tmp_path):
    images = pixels()
    np.savez(tmp_path / "a.npz", images, np.arange(6))
    np.testing.assert_array_equal(read_images(str(tmp_path / "a.npz")), images)
    np.savez(tmp_path / "a.npz", labels=np.arange(6), images=images)
    np.testing.assert_array_equal(read_images(str(tmp_path / "a.npz")), images)
    np.savez(tmp_path / "b.npz", labels=np.arange(6), x=images)
    with pytest.raises(
        DataError, match=r"b.npz must hold one array, or one named images or arr_0\. Received: labels, x"
    ):
        read_images(str(tmp_path / "b.npz"))


def test_a_folder_of_npz_files(tmp_path):
    images = pixels(5)
    np.savez(tmp_path / "b.npz", images=images[3:])
    np.savez(tmp_path / "a.npz", x=images[:3] / 255)
    np.testing.assert_array_equal(read_images(str(tmp_path)), images)
    found = read_images(str(tmp_path), 2, np.random.default_rng(1))
    assert len(found) == 2 and all((images == image).all((1, 2, 3)).any() for image in found)
    np.savez(tmp_path / "c.npz", images=pixels(1, (6, 7, 3)))
    with pytest.raises(DataError, match=f"Received: {tmp_path}/c.npz with 7x6 pixels, {tmp_path}/a.npz with 7x5"):
        read_images(str(tmp_path))
    # Beside image files they are something else.
    save(tmp_path / "pictures", images[:1])
    np.testing.assert_array_equal(read_images(str(tmp_path)), images[:1])


def test_floats_round_to_the_nearest_byte():
    values = np.array([0, 1, 0.5, 127.49 / 255, 127.51 / 255, 1 + 5e-7, -5e-7]).reshape(1, 1, 7, 1)
    assert as_bytes(values, "x").ravel().tolist() == [0, 255, 128, 127, 128, 255, 0]
    images = pixels()
    np.testing.assert_array_equal(as_bytes(images.astype("float32") / np.float32(255), "x"), images)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((0, 5, 5, 1), "uint8"), r"shape \(0, 5, 5, 1\)"),
        (np.zeros((3, 5, 5, 2), "uint8"), r"shape \(3, 5, 5, 2\)"),
        (np.zeros((3, 5), "uint8"), r"shape \(3, 5\)"),
        (np.zeros((3, 5, 5, 1), "int32"), "Received: int32"),
        (np.full((3, 5, 5, 1), 1.5), r"in \[0, 1\]. Received: values from 1.5 to 1.5"),
        (np.full((3, 5, 5, 1), -1.0), "values from -1.0"),
        (np.full((3, 5, 5, 1), np.nan), "values from nan"),
    ],
    ids=["none", "channels", "rank", "type", "high", "low", "nan"],
)
def test_arrays_that_are_no_images(images, words):
    with pytest.raises(DataError, match=f"^here: .*{words}"):
        as_bytes(images, "here")


def test_mixed_sizes_name_both_files(tmp_path):
    save(tmp_path / "a", pixels(1))
    save(tmp_path / "b", pixels(1, (6, 7, 3)))
    message = (
        r"images must all have one size; `fit` .*\. Received: .*b/000.png with 7x6 pixels, .*a/000.png with 7x5 pixels"
    )
    with pytest.raises(DataError, match=message):
        read_images(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"no image", None], ids=["empty", "text", "cut"])
def test_an_unreadable_file_is_named(tmp_path, content):
    save(tmp_path, pixels(2, (60, 60, 3)))
    path = tmp_path / "001.png"
    path.write_bytes(path.read_bytes()[:200] if content is None else content)
    words = rf"the folder {tmp_path}: 1 of 2 images cannot be read, more than `max_unreadable=0.01` .*\n  001.png: "
    with pytest.raises(DataError, match=words):
        read_images(str(tmp_path))
    lines = []
    settings = ImageFileSettings(max_unreadable=0.5)
    found = read_images(str(tmp_path), settings=settings, report=lines.append)
    np.testing.assert_array_equal(found, pixels(2, (60, 60, 3))[:1])
    assert lines[0] == f"{tmp_path}: 1 image; left out: 1 that cannot be read"
    assert lines[1].startswith("left out: 001.png: ")


def test_transparent_and_deep_images(tmp_path):
    Image.new("RGBA", (5, 5), (0, 0, 0, 51)).save(tmp_path / "clear.png")
    Image.fromarray(np.full((5, 5), 40_000, "uint16")).save(tmp_path / "deep.png")
    assert read_images(str(tmp_path))[:, 0, 0].tolist() == [[204] * 3, [40_000 // 256] * 3]
    settings = ImageFileSettings(background="#640000")
    assert read_images(str(tmp_path), settings=settings)[0, 0, 0].tolist() == [80, 0, 0]


def test_files_are_brought_to_a_size(tmp_path):
    save(tmp_path / "a", pixels(1, (8, 10, 3)))
    save(tmp_path / "b", pixels(1, (8, 8, 1)))
    found = read_images(str(tmp_path), size=(8, 8))
    np.testing.assert_array_equal(found[0], pixels(1, (8, 10, 3))[0, :, 1:9])
    np.testing.assert_array_equal(found[1], np.repeat(pixels(1, (8, 8, 1))[0], 3, -1))


def test_the_cameras_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    Image.fromarray(pixels(1)[0]).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_images(str(tmp_path))[0], np.rot90(pixels(1)[0], -1))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut"], ids=["empty", "text", "cut"])
def test_a_damaged_npz_is_named(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=f"{tmp_path}/a.npz cannot be read"):
        read_images(str(tmp_path / "a.npz"))


def test_an_npz_with_pickled_objects_is_not_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.array([print], dtype=object))
    with pytest.raises(DataError, match=r"must be images, .*dtype object"):
        read_images(str(tmp_path / "a.npz"))


def test_an_empty_folder_and_an_unknown_form(tmp_path):
    with pytest.raises(DataError, match=f"the folder {tmp_path} holds no images"):
        read_images(str(tmp_path))
    for place in ("nowhere", "mnist:test", "tfds:mnist", str(tmp_path / "a.txt")):
        with pytest.raises(DataError, match=r"`place` must name a folder of images .* Received: place="):
            read_images(place)
    with pytest.raises(DataError, match=r"one of digits:train, digits:test\. Received: place=digits:all"):
        read_images("digits:all")


def test_digits():
    found = read_images("digits:test")
    assert found.shape == (599, 8, 8, 1) and found.max() == 255


def test_tfds(real_data_dir):
    found = read_images("tfds:mnist:test", 50, np.random.default_rng(0), str(real_data_dir / "tfds"))
    assert found.shape == (50, 28, 28, 1) and found.dtype == np.uint8 and found.max() == 255
    part = read_images("tfds:mnist:test[:7]", data_dir=str(real_data_dir / "tfds"))
    assert len(part) == 7


def test_tfds_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=f"^tfds:mnist:test: no prepared data set mnist in `data_dir={tmp_path}`"):
        read_images("tfds:mnist:test", data_dir=str(tmp_path))


def test_a_limit_holds_no_more_than_it_draws(tmp_path):
    images = pixels(3000, (32, 32, 3))
    (tmp_path / "parts").mkdir()
    np.savez(tmp_path / "a.NPZ", images=images)
    (tmp_path / "a.NPZ.npz").rename(tmp_path / "a.NPZ")
    for number, part in enumerate(np.split(images, [1000, 1007])):
        np.save(tmp_path / "parts" / f"{number}.npy", part)
    expected = images[np.sort(np.random.default_rng(4).permutation(3000)[:20])]
    for place in ("a.NPZ", "parts"):
        tracemalloc.start()
        found = read_images(str(tmp_path / place), limit=20, generator=np.random.default_rng(4))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        np.testing.assert_array_equal(found, expected)
        # Of 9.2 MB.
        assert peak < 2e6, place


def test_a_limit_of_tfds_is_the_same_draw(tmp_path):
    prepare(tmp_path)
    whole, found = (
        read_images("tfds:tiny:train", limit, np.random.default_rng(1), str(tmp_path)) for limit in (None, 3)
    )
    np.testing.assert_array_equal(found, whole[np.sort(np.random.default_rng(1).permutation(5)[:3])])


def test_tfds_images_of_several_sizes_are_refused(tmp_path):
    prepare(tmp_path, sizes=(4, 5))
    with pytest.raises(DataError, match=r"^tfds:tiny:train: .* one size\. Received: \[\(4, 4, 1\), \(5, 5"):
        read_images("tfds:tiny:train", data_dir=str(tmp_path))


def test_tensorflow_is_not_imported_for_files(tmp_path):
    save(tmp_path / "a", pixels())
    program = (
        "import sys; from igan_tf.data.image_sources import read_images; import igan_tf.turing_test.server;"
        f"read_images({str(tmp_path / 'a')!r}); read_images('digits:test');"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
