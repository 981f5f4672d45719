"""Where images come from: in order, piece by piece, and with the fault named."""

import re
import threading
import zipfile

import keras
import numpy as np
import pytest
from PIL import Image

if keras.backend.backend() != "tensorflow":
    pytest.skip("images are resized by TensorFlow", allow_module_level=True)

from igan_tf.errors import DataError, EvaluationError
from igan_tf.evaluation.array_sources import ArrayFileSource, ArrayFolderSource
from igan_tf.evaluation.folder_images import FolderSource
from igan_tf.evaluation.images import (
    ArraySource,
    GeneratedSource,
    NoiseSource,
    TfdsSource,
    chosen_indices,
    prefetched,
)
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
    # In grey images a colour's luma, rounded as Pillow rounds it: lime's is 149.7.
    grey = ArraySource(array[..., :1])
    grey.fit((9, 9))
    grey.fitting = DecodingSettings(fit="pad", background="lime")
    assert (gather(grey)[:, :2] == (150 if bright else np.float32(150 / 255))).all()


def test_a_long_array_is_not_padded_to_any_size():
    source = ArraySource(images(1, (1, 1000)))
    source.fitting = DecodingSettings(fit="pad", max_megapixels=0.9)
    source.fit((8, 8))
    with pytest.raises(EvaluationError, match=r"`fit=pad` would make 1000x1000 pixels of an image of 1x1000 in"):
        gather(source)


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
    # Or each as it is, for a classifier that resizes by itself.
    source.fit((6, 6), resizes=False)
    batches = list(source.batches(3))
    assert [batch.shape for batch in batches] == [(1, 6, 6, 3), (1, 12, 12, 3), (1, 7, 7, 3)]
    np.testing.assert_array_equal(batches[1][0], images(1, (12, 12))[0])


def test_a_folder_without_images_and_a_damaged_file(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(EvaluationError, match=f"`root` must hold images. Received: root={tmp_path}, left out: 1 of"):
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
            assert "1 of 1 image cannot be read" in str(error) and path.name in str(error)
    assert refused > len(path.read_bytes()) / 3


# Files of arrays.


def write_array(path, array, **others):
    """An .npy, or an .npz by `path`'s suffix, of which `others` are more arrays."""
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        np.savez(path, **others, images=array)
    return path


@pytest.mark.parametrize("write", [np.save, np.savez, np.savez_compressed])
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_an_array_is_read_piece_by_piece(tmp_path, write, kind):
    array = images(150) if kind == "uint8" else images(150).astype(kind) / 255
    path = tmp_path / ("a.npy" if write is np.save else "a.npz")
    write(path, array)
    source = ArrayFileSource(str(path))
    assert source.count == 150 and source.image_range == (None if kind == "uint8" else (0, 1))
    assert source.split == ("" if write is np.save else "arr_0")
    np.testing.assert_array_equal(gather(source), array)
    np.testing.assert_array_equal(gather(source, 4, np.array([70, 149])), array[[70, 149]])


def test_which_array_of_an_npz(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, images(5), np.arange(5), images=images(3), others=images(4).astype("float64"))
    assert ArrayFileSource(path).count == 3
    other = ArrayFileSource(path, "others", (0, 255))
    assert other.count == 4 and other.image_range == (0, 255)
    assert ArrayFileSource(path, "arr_0", likely_keys=["others"]).count == 5
    assert ArrayFileSource(path, likely_keys=["nothing", "others"], image_range=(0, 255)).count == 4
    np.savez(path, images(5), np.arange(5))
    assert ArrayFileSource(path).count == 5
    with pytest.raises(DataError, match=r"`key` must be one of arr_0, arr_1 .*Received: key=x"):
        ArrayFileSource(path, "x")
    with pytest.raises(DataError, match=r"arr_1 must be images, .*Received: shape \(5,\), dtype int64"):
        ArrayFileSource(path, "arr_1")
    np.savez(path, x=images(5), y=images(5))
    with pytest.raises(DataError, match=r"`key` must be one of x, y, the arrays in .*a.npz\. Received: key=$"):
        ArrayFileSource(path)
    np.savez(path, mu=np.zeros(2), sigma=np.eye(2))
    with pytest.raises(DataError, match=r"a.npz holds statistics, for `reference`, and no images"):
        ArrayFileSource(path)
    np.save(tmp_path / "a.npy", images(3))
    with pytest.raises(DataError, match=r"`key` is for an .npz; .*a.npy is an .npy, .*Received: key=x"):
        ArrayFileSource(tmp_path / "a.npy", "x")


SHAPES = [
    # Stored; as read with `channels_first`, and without; None: refused.
    ((5, 3, 4, 6), (5, 4, 6, 3), None),
    ((5, 1, 4, 6), (5, 4, 6, 1), None),
    ((5, 4, 6, 3), (5, 4, 6, 3), (5, 4, 6, 3)),
    # Either.
    ((5, 3, 4, 3), (5, 4, 3, 3), (5, 3, 4, 3)),
    ((5, 1, 1, 1), (5, 1, 1, 1), (5, 1, 1, 1)),
    # Grey, without an axis of channels.
    ((5, 4, 6), (5, 4, 6, 1), (5, 4, 6, 1)),
]


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize(("stored", "first", "last"), SHAPES, ids=str)
def test_where_the_channels_are(tmp_path, stored, first, last, suffix):
    array = np.random.default_rng(0).integers(0, 256, stored, "uint8")
    path = write_array(tmp_path / f"a{suffix}", array)
    source = ArrayFileSource(path, channels_first=True)
    found = gather(source)
    assert found.shape == first and source.channels_first == (len(stored) == 4 and stored[1] in (1, 3))
    expected = array.transpose(0, 2, 3, 1) if source.channels_first else array.reshape(first)
    np.testing.assert_array_equal(found, expected)
    if last is None:
        words = rf"`channels_first` takes it so\. Received: channels_first=False and shape {re.escape(str(stored))}$"
        with pytest.raises(DataError, match=f"{path}: .*channels first, .*{words}"):
            ArrayFileSource(path)
    else:
        np.testing.assert_array_equal(gather(ArrayFileSource(path)), array.reshape(last))


@pytest.mark.parametrize("shape", [(5, 4, 6, 4), (5,), (4, 6, 3), (5, 3, 4, 6, 1), (0, 4, 6, 3), (5, 0, 6, 3)])
def test_shapes_of_no_images(tmp_path, shape):
    with pytest.raises(DataError, match=rf"must be images, .*Received: shape {re.escape(str(shape))}, dtype uint8$"):
        ArrayFileSource(write_array(tmp_path / "a.npy", np.zeros(shape, "uint8")))


def test_an_array_in_fortran_order(tmp_path):
    with pytest.raises(DataError, match=r"in C order, .*, Fortran order$"):
        ArrayFileSource(write_array(tmp_path / "a.npy", np.asfortranarray(images(5))))


@pytest.mark.parametrize(
    ("low", "high", "declared", "words"),
    [
        (-1, 1, None, "values from -1 to 1, such as `image_range=-1,1`. Received: image_range=0,1"),
        (0, 255, None, "values from 0 to 255, such as `image_range=0,255`. Received: image_range=0,1"),
        (0, 3, (-1, 1), "values from 0 to 3, such as `image_range=0,255`. Received: image_range=-1,1"),
        (-0.2, 0.9, (0, 0.9), "values from -0.2 to 0.9, such as `image_range=-1,1`. Received: image_range=0,0.9"),
        (-3, 7, None, "values from -3 to 7. Received: image_range=0,1"),
        (0, np.nan, None, "must be finite. Received: NaN or infinity"),
        (-np.inf, 1, None, "must be finite. Received: NaN or infinity"),
    ],
)
@pytest.mark.parametrize("place", [0, 149])
def test_floats_out_of_their_range(tmp_path, low, high, declared, words, place):
    """Found among the first as the file is opened; among later ones, while they are read."""
    array = np.full((150, 2, 2, 1), np.mean(declared or (0, 1)), "float32")
    array[place, 0, 0], array[place, 1, 1] = low, high
    path = write_array(tmp_path / "a.npy", array)

    def read():
        source = ArrayFileSource(path, image_range=declared)
        assert place, "it was not found as the file was opened"
        gather(source)

    with pytest.raises(EvaluationError) as caught:
        read()
    message = str(caught.value).replace(", and `image_range` must be those of black and white", "")
    assert f"{path}: its array" in message and words in message


def test_a_folder_of_array_files(tmp_path):
    np.savez(tmp_path / "b.npz", x=images(70))
    np.savez(tmp_path / "a.npz", images=images(3), others=images(4))
    np.save(tmp_path / "ab.npy", images(2))
    (tmp_path / "._b.npz").write_bytes(b"macOS")
    source = ArrayFolderSource(tmp_path)
    assert source.count == 75 and source.image_range is None
    whole = np.concatenate([images(3), images(2), images(70)])
    np.testing.assert_array_equal(gather(source), whole)
    np.testing.assert_array_equal(gather(source, 2, np.array([2, 3, 74])), whole[[2, 3, 74]])
    np.save(tmp_path / "c.npy", images(2) / 255)
    with pytest.raises(DataError, match=f"{tmp_path}: some of its arrays hold bytes, others floats"):
        ArrayFolderSource(tmp_path)
    np.save(tmp_path / "c.npy", images(2).transpose(0, 3, 1, 2))
    with pytest.raises(DataError, match=f"{tmp_path}/c.npy: its array has its channels first"):
        ArrayFolderSource(tmp_path)
    assert ArrayFolderSource(tmp_path, channels_first=True).count == 77


def test_a_damaged_array_file(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, images=images(200, (16, 16)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"the array images is damaged"):
        gather(ArrayFileSource(path))
    path.write_bytes(content[:1000])
    with pytest.raises(DataError, match=f"{path} cannot be read as an .npy or .npz"):
        ArrayFileSource(path)
    # A header that promises more than there is, in a whole zip file and alone.
    np.save(tmp_path / "b.npy", images(200))
    short = (tmp_path / "b.npy").read_bytes()[:-100]
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images.npy", short)
    (tmp_path / "b.npy").write_bytes(short)
    for damaged in (path, tmp_path / "b.npy"):
        with pytest.raises(DataError, match=r"its header says shape \(200, 4, 5, 3\) .* it holds 11900 bytes"):
            ArrayFileSource(damaged)
    (tmp_path / "b.npy").write_bytes(short[:20])
    with pytest.raises(DataError, match=r"b.npy: its array cannot be read"):
        ArrayFileSource(tmp_path / "b.npy")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("notes.txt", "no array")
    with pytest.raises(DataError, match=f"{path}: the array notes.txt cannot be read"):
        ArrayFileSource(path)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_an_npz_of_which_any_byte_is_altered(tmp_path, write):
    """Refused, or read as it was: some bytes, such as a file's date, mean nothing here."""
    path = tmp_path / "a.npz"
    write(path, images=images())
    refused = 0
    for place in altered(path):
        try:
            found = gather(ArrayFileSource(path))
        except DataError as error:
            refused += 1
            assert str(path) in str(error)
        else:
            np.testing.assert_array_equal(found, images(), err_msg=str(place))
    assert refused > len(path.read_bytes())


@pytest.mark.parametrize("kind", ["longdouble", "int64", "complex64", "object"])
def test_pixels_that_no_classifier_takes(tmp_path, kind):
    np.savez(tmp_path / "a.npz", images=images(2).astype(kind))
    name = np.dtype(kind).name
    with pytest.raises(DataError, match=rf"uint8, or floating point of at most 64 bits.* dtype {name}"):
        ArrayFileSource(tmp_path / "a.npz")


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


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_images_of_tfds_that_are_no_bytes(tmp_path, dtype):
    prepare(tmp_path, dtype=dtype)
    with pytest.raises(DataError, match=rf"^tfds:tiny:test: its images must be uint8\. Received: {dtype}$"):
        TfdsSource("tiny", "test", str(tmp_path))


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
