"""Where images come from: in order, piece by piece, and with the fault named."""

import threading
import zipfile

import keras
import numpy as np
import pytest
from PIL import Image

if keras.backend.backend() != "tensorflow":
    pytest.skip("images are resized by TensorFlow", allow_module_level=True)

from igan_tf.errors import DataError, EvaluationError
from igan_tf.evaluation.folder_images import FolderSource
from igan_tf.evaluation.images import (
    ArraySource,
    GeneratedSource,
    NoiseSource,
    TfdsSource,
    chosen_indices,
    prefetched,
)
from igan_tf.evaluation.npz_images import NpzFolderSource, NpzSource
from igan_tf.images.settings import DecodingSettings, ImageFileSettings
from tests.evaluation.damage import altered
from tests.images.tfds_data import prepare


def images(count=10, size=(4, 5), channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *size, channels), dtype="uint8")


def gather(source, batch_size=3, indices=None):
    batches = list(source.batches(batch_size, indices))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    return np.concatenate(batches)


@pytest.mark.parametrize("batch_size", [1, 3, 10, 300])
def test_arrays(batch_size):
    source = ArraySource(images(600), "mine")
    for _ in range(2):
        np.testing.assert_array_equal(gather(source, batch_size), images(600))
    chosen = np.array([0, 3, 255, 256, 599])
    np.testing.assert_array_equal(gather(source, batch_size, chosen), images(600)[chosen])


def test_generated_batches_are_cut_anew():
    pieces = np.split(images(10), [1, 6])
    source = GeneratedSource(lambda: iter(pieces), 10, "generator")
    np.testing.assert_array_equal(gather(source), images(10))
    np.testing.assert_array_equal(gather(source), images(10))
    np.testing.assert_array_equal(gather(source, 3, np.array([2, 9])), images(10)[[2, 9]])
    with pytest.raises(EvaluationError, match=r"generator must hold 11 images. Received: 10"):
        gather(GeneratedSource(lambda: iter(pieces), 11, "generator"))


def test_noise_is_uniform_and_a_function_of_its_seed():
    noise = gather(NoiseSource(200, (8, 8, 3), seed=1), 64)
    assert noise.shape == (200, 8, 8, 3) and noise.dtype == "uint8"
    np.testing.assert_array_equal(noise, gather(NoiseSource(200, (8, 8, 3), seed=1), 7))
    assert not np.array_equal(noise, gather(NoiseSource(200, (8, 8, 3), seed=2), 7))
    # 38,400 values in 256 bins of 150: within six deviations.
    assert np.abs(np.bincount(noise.ravel(), minlength=256) - 150).max() < 6 * np.sqrt(150)


# Folders.


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(path)


def test_a_folder_is_searched_recursively_in_the_order_of_paths(tmp_path):
    expected = images(4)
    for name, image in zip(("a/1.png", "a/deep/er/0.PNG", "b.png", "c/0.bmp"), expected):
        save(tmp_path / name, image)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    source = FolderSource(tmp_path)
    assert source.count == 4 and source.image_range is None and source.name == str(tmp_path)
    np.testing.assert_array_equal(gather(source), expected)


def test_grey_images_and_orientation(tmp_path):
    grey = images(1, channels=1)[0]
    save(tmp_path / "grey.png", grey)
    np.testing.assert_array_equal(gather(FolderSource(tmp_path))[0], np.repeat(grey, 3, axis=-1))
    np.testing.assert_array_equal(gather(FolderSource(tmp_path, channels=1))[0], grey)
    turned = Image.fromarray(images(1)[0])
    exif = turned.getexif()
    exif[0x0112] = 3
    turned.save(tmp_path / "grey.png", exif=exif)
    np.testing.assert_array_equal(gather(FolderSource(tmp_path))[0], images(1)[0][::-1, ::-1])


def test_mixed_sizes_are_refused_or_fitted(tmp_path):
    wide, tall = images(1, (4, 8))[0], images(1, (6, 4))[0]
    save(tmp_path / "1.png", wide)
    save(tmp_path / "2.png", tall)
    for batch_size in (1, 2):
        with pytest.raises(EvaluationError, match=r"must have one size: .*\(4, 8, 3\) and \(6, 4, 3\)"):
            gather(FolderSource(tmp_path), batch_size)
    source = FolderSource(tmp_path)
    source.fit((4, 4))
    assert source.image_range == (0, 255)
    np.testing.assert_array_equal(gather(source), np.stack([wide[:, 2:6], tall[1:5]]))


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_fits_of_arrays(kind):
    """Every source is cut or padded alike, at its own size; only mixed sizes are resized."""
    bright = kind == "uint8"
    array = images(3, (4, 8)) if bright else (images(3, (4, 8)) / np.float32(255)).astype("float32")
    source = ArraySource(array)
    source.fit((9, 9))
    np.testing.assert_array_equal(gather(source), array[:, :, 2:6])
    source.fitting = DecodingSettings(fit="pad", background="#00ff33")
    padded = gather(source)
    assert padded.shape == (3, 8, 8, 3) and padded.dtype == array.dtype
    np.testing.assert_array_equal(padded[:, 2:6], array)
    edge = np.array([0, 255, 51]) if bright else np.array([0, 1, 51 / 255], "float32")
    assert (padded[:, :2] == edge).all() and (padded[:, 6:] == edge).all()
    source.fitting = DecodingSettings(fit="stretch")
    np.testing.assert_array_equal(gather(source), array)


def test_several_sizes_are_brought_to_one(tmp_path):
    """As by the classifier, by the same function."""
    for name, size in (("1", (6, 9)), ("2", (12, 12)), ("3", (7, 7))):
        save(tmp_path / f"{name}.png", images(1, size)[0])
    source = FolderSource(tmp_path)
    source.fit((6, 6))
    found = gather(source)
    np.testing.assert_array_equal(found[0], images(1, (6, 9))[0][:, 1:7])
    # Half the size, antialiased: weights 1, 3, 3, 1 of eight, at the edges what there is of them.
    weights = np.zeros((6, 12))
    for row in range(6):
        for offset, weight in zip((-1, 0, 1, 2), (1, 3, 3, 1)):
            if 0 <= 2 * row + offset < 12:
                weights[row, 2 * row + offset] = weight
    weights /= weights.sum(1, keepdims=True)
    expected = np.einsum("ih,jw,hwc->ijc", weights, weights, images(1, (12, 12))[0].astype(float))
    np.testing.assert_allclose(found[1], expected, atol=1e-3)


def test_a_folder_without_images_and_a_damaged_file(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(EvaluationError, match=f"`root` must hold images. Received: root={tmp_path}, left out: 1 that"):
        FolderSource(tmp_path)
    for name in "134":
        save(tmp_path / f"{name}.png", images(1, (40, 40), seed=int(name))[0])
    content = (tmp_path / "1.png").read_bytes()
    (tmp_path / "2.png").write_bytes(content[: len(content) // 2])
    for allowed in (0.01, 0.24):
        source = FolderSource(tmp_path, settings=ImageFileSettings(max_unreadable=allowed))
        with pytest.raises(
            DataError, match=r"1 of 4 images cannot be read, .*`max_unreadable=0\.\d+`.*\n  2\.png: image"
        ):
            gather(source)
    source = FolderSource(tmp_path, settings=ImageFileSettings(max_unreadable=0.25))
    expected = np.concatenate([images(1, (40, 40), seed=seed) for seed in (1, 3, 4)])
    np.testing.assert_array_equal(gather(source, 2), expected)
    assert list(source.unreadable) == [1] and "2.png" in source.unreadable[1]
    np.testing.assert_array_equal(gather(source, 2, np.array([0, 2])), expected[:2])


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_an_image_of_which_any_byte_is_altered(tmp_path, suffix):
    """Some formats have no checksum: read as something, or refused with the file's name."""
    path = tmp_path / f"a.{suffix}"
    save(path, images(1)[0])
    refused = 0
    for _ in altered(path, masks=(1, 8)):
        try:
            gather(FolderSource(tmp_path))
        except DataError as error:
            refused += 1
            assert "1 of 1 images cannot be read" in str(error) and path.name in str(error)
    assert refused > len(path.read_bytes()) / 3


# Npz files.


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_an_npz_is_read_piece_by_piece(tmp_path, write, kind):
    array = images(150) if kind == "uint8" else images(150).astype(kind) / 255
    write(tmp_path / "a.npz", samples=array)
    source = NpzSource(str(tmp_path / "a.npz"))
    assert source.count == 150 and source.image_range == (None if kind == "uint8" else (0, 1))
    np.testing.assert_array_equal(gather(source), array)
    np.testing.assert_array_equal(gather(source, 4, np.array([70, 149])), array[[70, 149]])


def test_which_array_of_an_npz(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, images=images(3), labels=np.arange(3), others=images(4).astype("float64"))
    assert NpzSource(path).count == 3
    other = NpzSource(path, "others", (0, 255))
    assert other.count == 4 and other.image_range == (0, 255)
    with pytest.raises(EvaluationError, match=r"`key` must be one of images, labels, others .*Received: key=x"):
        NpzSource(path, "x")
    with pytest.raises(EvaluationError, match=r"labels must be images .*Received: shape \(3,\), dtype int64"):
        NpzSource(path, "labels")


def test_a_folder_of_npz_files(tmp_path):
    np.savez(tmp_path / "b.npz", x=images(70))
    np.savez(tmp_path / "a.npz", images=images(3), others=images(4))
    source = NpzFolderSource(tmp_path)
    assert source.count == 73 and source.image_range is None
    np.testing.assert_array_equal(gather(source), np.concatenate([images(3), images(70)]))
    np.testing.assert_array_equal(
        gather(source, 2, np.array([2, 3, 72])), np.concatenate([images(3), images(70)])[[2, 3, 72]]
    )
    np.savez(tmp_path / "c.npz", x=images(2) / 255)
    with pytest.raises(EvaluationError, match=f"`root={tmp_path}`: some of its .npz files hold bytes, others floats"):
        NpzFolderSource(tmp_path)


def test_a_damaged_npz(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, images=images(200, (16, 16)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(EvaluationError, match=r"the array images is damaged"):
        gather(NpzSource(path))
    path.write_bytes(content[:1000])
    with pytest.raises(EvaluationError, match=f"`path={path}` cannot be read"):
        NpzSource(path)
    # A header that promises more than there is, in a whole zip file.
    np.save(tmp_path / "b.npy", images(200))
    short = (tmp_path / "b.npy").read_bytes()[:-100]
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images.npy", short)
    with pytest.raises(EvaluationError, match=r"its header says shape \(200, 4, 5, 3\) .* it holds 11900 bytes"):
        NpzSource(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("notes.txt", "no array")
    with pytest.raises(EvaluationError, match=f"`path={path}`: the array notes.txt cannot be read"):
        NpzSource(path)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_an_npz_of_which_any_byte_is_altered(tmp_path, write):
    """Refused, or read as it was: some bytes, such as a file's date, mean nothing here."""
    path = tmp_path / "a.npz"
    write(path, images=images())
    refused = 0
    for place in altered(path):
        try:
            found = gather(NpzSource(path))
        except EvaluationError as error:
            refused += 1
            assert str(path) in str(error)
        else:
            np.testing.assert_array_equal(found, images(), err_msg=str(place))
    assert refused > len(path.read_bytes())


@pytest.mark.parametrize("kind", ["longdouble", "int64", "complex64"])
def test_pixels_that_no_classifier_takes(tmp_path, kind):
    np.savez(tmp_path / "a.npz", images=images(2).astype(kind))
    name = np.dtype(kind).name
    with pytest.raises(EvaluationError, match=rf"uint8, or floating point of at most 64 bits.* dtype {name}"):
        NpzSource(tmp_path / "a.npz")


# TFDS.


def test_cifar10_of_tfds(real_data_dir):
    source = TfdsSource("cifar10", "test[:50]", str(real_data_dir / "tfds"))
    assert source.count == 50 and source.name == "tfds:cifar10/3.0.2" and source.split == "test[:50]"
    batch = gather(source, 16)
    assert batch.shape == (50, 32, 32, 3) and batch.dtype == "uint8" and batch.std() > 30
    np.testing.assert_array_equal(gather(source, 16), batch)


@pytest.mark.parametrize(("name", "split"), [("mnist", "test"), ("nothing_of_this_name", "test")])
def test_tfds_that_is_not_there(tmp_path, name, split):
    with pytest.raises(DataError, match=f"^tfds:{name}:{split}: .*{name}.* in `data_dir={tmp_path}`"):
        TfdsSource(name, split, str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_split_that_is_not_there(real_data_dir):
    with pytest.raises(DataError, match=r"tfds:mnist:validation: `split` must be one of train, test, or"):
        TfdsSource("mnist", "validation", str(real_data_dir / "tfds"))


def test_a_slice_that_ends_before_it_begins(real_data_dir):
    with pytest.raises(DataError, match=r"^tfds:mnist:test\[20:10\]: `split=test\[20:10\]` .* is empty$"):
        TfdsSource("mnist", "test[20:10]", str(real_data_dir / "tfds"))


def test_a_data_set_without_images(tmp_path):
    prepare(tmp_path, image="picture")
    with pytest.raises(DataError, match=r"tfds:tiny:test: tiny has no feature image\. Received: \w+, \w+$"):
        TfdsSource("tiny", "test", str(tmp_path))


def test_a_damaged_data_set(tmp_path):
    [path] = prepare(tmp_path).glob("*test*")
    source = TfdsSource("tiny", "test", str(tmp_path))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"`split=test` of tiny in .* cannot be read: .*truncated record"):
        gather(source)


# Which images.


def test_chosen_indices():
    np.testing.assert_array_equal(chosen_indices(5, 0, 0), np.arange(5))
    chosen = chosen_indices(1000, 100, 3)
    assert len(np.unique(chosen)) == 100 and (np.diff(chosen) > 0).all()
    # From all over: of a folder sorted by class, not the first classes.
    assert chosen[0] < 100 and chosen[-1] > 900
    np.testing.assert_array_equal(chosen, chosen_indices(1000, 100, 3))
    assert not np.array_equal(chosen, chosen_indices(1000, 100, 4))
    with pytest.raises(EvaluationError, match=r"`num_samples` must be at most .* 5. Received: num_samples=6"):
        chosen_indices(5, 6, 0)


# Drawing ahead.


def test_prefetched_keeps_order_and_passes_errors_on():
    assert list(prefetched(range(50))) == list(range(50))

    def fails():
        yield 1
        raise EvaluationError("in the thread")

    drawn = prefetched(fails())
    assert next(drawn) == 1
    with pytest.raises(EvaluationError, match=r"in the thread"):
        next(drawn)


def test_prefetched_stops_when_it_is_left():
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = threading.active_count()
    items = endless()
    drawn = prefetched(items)
    next(drawn)
    drawn.close()
    assert threading.active_count() == before
    items.close()
    assert closed.is_set()


def test_sixteen_bits_keep_their_upper_eight(tmp_path):
    ramp = np.linspace(0, 65535, 64).astype("uint16").reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    (images,) = FolderSource(tmp_path).batches(1)
    np.testing.assert_array_equal(images[0, ..., 0], ramp >> 8)


def test_floats_without_a_range_are_from_0_to_1():
    assert ArraySource(np.zeros((2, 4, 4, 3), "float32")).image_range == (0.0, 1.0)
    assert ArraySource(np.zeros((2, 4, 4, 3), "uint8")).image_range is None
