"""Training, scoring, the visual Turing test and the records converter read the same folders alike."""

import collections
import dataclasses
import io
import os

import keras
import numpy as np
import pytest
from PIL import Image

if keras.backend.backend() != "tensorflow":
    pytest.skip("scoring and training need TensorFlow", allow_module_level=True)

from igan_tf.data import load_data
from igan_tf.data.image_sources import read_images
from igan_tf.errors import InputError
from igan_tf.evaluation.folder_images import FolderSource
from igan_tf.experiments.configs import build_config
from igan_tf.images.decoding import UnreadableImage
from igan_tf.images.reading import too_many
from igan_tf.images.settings import ImageFileSettings
from igan_tf.records.settings import ConversionSettings
from igan_tf.records.shards import convert_image
from igan_tf.records.sources import open_source, read_entry
from tests.records.image_files import damaged_files, jpeg, odd_files, picture, png, rotated, saved

SIZE = 24


@dataclasses.dataclass
class Read:
    """What a reader made of a folder: the images as bytes, and its lines."""

    images: collections.Counter
    words: str


def by_training(folder, **settings):
    config = build_config(dataset="folder", data_dir=str(folder), image_size=SIZE, **settings)
    data = load_data(config)
    return Read(as_bytes([*data.train_images, *data.test_images]), "\n".join([data.in_words(), *data.unreadable]))


def by_scoring(folder, **settings):
    source = FolderSource(folder, settings=ImageFileSettings(**settings))
    source.fitting = ImageFileSettings(**settings)
    source.fit((SIZE, SIZE))
    images = [image for batch in source.batches(7) for image in batch]
    return Read(as_bytes(images), "\n".join([source.in_words(), *source.unreadable.values()]))


def by_turing_test(folder, **settings):
    lines = []
    images = read_images(str(folder), settings=ImageFileSettings(**settings), size=(SIZE, SIZE), report=lines.append)
    return Read(as_bytes(images), "\n".join(lines))


def by_records(folder, **settings):
    source = open_source(str(folder))
    limit = settings.pop("max_unreadable", ImageFileSettings.max_unreadable)
    conversion = ConversionSettings(image_size=SIZE, encoding="raw", **settings)
    images, faults = [], []
    for entry in source.entries:
        try:
            data = convert_image(read_entry(entry, (), conversion)[0], conversion)
            images.append(np.frombuffer(data, "uint8").reshape(SIZE, SIZE, 3))
        except UnreadableImage as error:
            faults.append(f"{entry.name}: {error}")
    # As the converter itself, whose processes the tests of the converter start.
    if too_many(len(faults), len(source.entries), limit):
        raise InputError("cannot be read, more than `max_unreadable`\n" + "\n".join(faults))
    return Read(as_bytes(images), "\n".join([source.left_out, *faults]))


READERS = {"training": by_training, "scoring": by_scoring, "turing test": by_turing_test, "records": by_records}


def as_bytes(images):
    images = [np.asarray(image).astype("uint8") for image in images]
    return collections.Counter(np.broadcast_to(image, (*image.shape[:2], 3)).tobytes() for image in images)


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def pixels(seed):
    return picture(seed, SIZE, SIZE)


def classes(count=3, names=("cat", "dog")):
    """Files of class folders, and what they show."""
    files = {f"{name}/{index}.png": png(pixels(len(name) + 10 * index)) for name in names for index in range(count)}
    shown = [pixels(len(name) + 10 * index) for name in names for index in range(count)]
    return files, shown


def hidden(files):
    return {
        **files,
        ".ipynb_checkpoints/0-checkpoint.png": png(pixels(1)),
        "__MACOSX/cat/._0.png": b"\0\5\x16\7 Mac OS X",
        "cat/.DS_Store": b"x",
        "cat/Thumbs.db": b"x",
    }


def content_says(files):
    image = Image.fromarray(pixels(3))
    return {
        **files,
        "cat/no suffix": jpeg(3, SIZE, SIZE),
        "cat/a.jfif": jpeg(3, SIZE, SIZE),
        "cat/b.JPEG": jpeg(3, SIZE, SIZE),
        "cat/wrong.png": jpeg(3, SIZE, SIZE),
        "cat/wrong.txt": saved(image, "WEBP", lossless=True),
        "cat/labels.csv": b"1,2",
        "cat/raw.NEF": saved(image, "TIFF"),
        "dog/drawing.eps2": saved(image, "EPS"),
    }


JPEG_PIXELS = np.asarray(Image.open(io.BytesIO(jpeg(3, SIZE, SIZE))))
CLEAR = np.dstack([pixels(5), np.zeros((SIZE, SIZE, 1), "uint8")])
TURNED = rotated(np.rot90(pixels(8), 1), 6)
DEEP = pixels(6)[..., 0].astype("uint16") * 256 + 200
PLAIN, SHOWN = classes()
CASES = {
    "plain": (PLAIN, SHOWN, {}, ""),
    "hidden": (hidden(PLAIN), SHOWN, {}, "1 in .ipynb_checkpoints, 1 in __MACOSX, 2 hidden"),
    "content": (
        content_says(PLAIN),
        [*SHOWN, *[JPEG_PIXELS] * 4, pixels(3)],
        {},
        "3 of no image format (.csv, .NEF, .eps2)",
    ),
    "transparent": ({**PLAIN, "cat/c.png": png(CLEAR)}, [*SHOWN, np.full((SIZE, SIZE, 3), 255)], {}, ""),
    "transparent on black": (
        {**PLAIN, "cat/c.png": png(CLEAR)},
        [*SHOWN, np.zeros((SIZE, SIZE, 3))],
        {"background": "black"},
        "",
    ),
    "deep": ({**PLAIN, "dog/d.png": png(DEEP)}, [*SHOWN, pixels(6)[..., :1]], {}, ""),
    "turned": ({**PLAIN, "dog/t.png": TURNED}, [*SHOWN, pixels(8)], {}, ""),
    "wide": (
        {**PLAIN, "dog/w.png": png(np.hstack([pixels(1), pixels(7), pixels(2)]))},
        [*SHOWN, pixels(7)],
        {},
        "",
    ),
    "damaged, allowed": (
        {**PLAIN, "dog/x.png": png(pixels(1))[:200]},
        SHOWN,
        {"max_unreadable": 0.2},
        "x.png: image file is truncated",
    ),
    "bomb, allowed": (
        {**PLAIN, "dog/x.png": png(np.zeros((100, 100, 3), "uint8"))},
        SHOWN,
        {"max_unreadable": 0.2, "max_megapixels": 0.009},
        "x.png: 100x100 pixels are more than `max_megapixels=0.009`",
    ),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", CASES)
def test_each_case_by_each_reader(tmp_path, reader, case):
    files, shown, settings, words = CASES[case]
    found = READERS[reader](write(tmp_path, files), **settings)
    assert found.images == as_bytes(shown)
    assert words in found.words, found.words
    if not words:
        assert "left out" not in found.words


@pytest.mark.parametrize("reader", READERS)
def test_links_to_folders_are_followed_and_loops_named(tmp_path, reader):
    files, shown = classes(names=("cat",))
    more, elsewhere = classes(names=("hare",))
    write(tmp_path / "photos", files)
    write(tmp_path / "elsewhere", more)
    (tmp_path / "photos/hare").symlink_to(tmp_path / "elsewhere/hare")
    assert READERS[reader](tmp_path / "photos").images == as_bytes([*shown, *elsewhere])
    for link, target in (("up", ".."), ("itself", "itself")):
        (tmp_path / "photos/cat" / link).symlink_to(target)
        with pytest.raises(InputError, match=f"the link {tmp_path}/photos/cat/{link} leads to "):
            READERS[reader](tmp_path / "photos")
        (tmp_path / "photos/cat" / link).unlink()


@pytest.mark.parametrize("reader", READERS)
def test_too_many_damaged_files_are_an_error_with_the_whole_list(tmp_path, reader):
    files = dict(PLAIN)
    files.update({f"cat/x{index}.jpg": jpeg(index)[:200] for index in range(30)})
    with pytest.raises(InputError, match="cannot be read, more than `max_unreadable") as caught:
        READERS[reader](write(tmp_path, files))
    assert all(f"x{index}.jpg: " in str(caught.value) for index in range(30))


@pytest.mark.parametrize("reader", READERS)
def test_as_many_damaged_files_as_allowed(tmp_path, reader):
    files = {f"cat/{index}.png": png(pixels(0)) for index in range(71)} | {f"cat/x{i}.png": b"" for i in range(29)}
    # In floating point 0.29 * 100 is less than 29.
    assert READERS[reader](write(tmp_path, files), max_unreadable=0.29).images.total() == 71


@pytest.mark.parametrize("layout", ["train and val", "train and test", "train alone"])
@pytest.mark.parametrize("reader", ["training", "records"])
def test_splits_are_never_classes(tmp_path, layout, reader):
    files, shown = classes(4)
    splits = {"train and val": ("train", "val"), "train and test": ("train", "test"), "train alone": ("train",)}[layout]
    write(tmp_path, {f"{split}/{name}": content for split in splits for name, content in files.items()})
    if reader == "records":
        source = open_source(str(tmp_path))
        assert source.class_names == ("cat", "dog") and len(source.entries) == 8
    else:
        data = load_data(build_config(dataset="folder", data_dir=str(tmp_path), image_size=SIZE, test_fraction=0.25))
        assert data.class_names == ("cat", "dog")
        assert len(data.test_images) == (2 if layout == "train alone" else 8)
        if layout != "train alone":
            assert as_bytes(data.test_images) == as_bytes(data.train_images) == as_bytes(shown)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["cat/deep/1.png"], "the class folder cat must hold images, and holds the folder deep"),
        (["train/cat/deep/1.png"], "the class folder cat must hold images, and holds the folder deep"),
        (["train/cat/1.png", "extra/2.png"], "the class folder train must hold images, and holds the folder cat"),
        (["val/cat/1.png"], "holds val, and no train"),
        (["train/1.png", "test/1.png", "other/2.png"], "holds the splits test, train, and beside them other"),
        (["train/cat/1.png", "Training/cat/1.png"], "holds Training and train: which is the split train?"),
        (["train/cat/1.png", "test/eel/1.png"], "the test set has classes that train has not: eel"),
    ],
)
@pytest.mark.parametrize("reader", ["training", "records"])
def test_other_nesting_is_refused_with_what_was_found(tmp_path, files, words, reader):
    write(tmp_path, {name: png(pixels(0)) for name in files})
    with pytest.raises(InputError, match=words):
        READERS[reader](tmp_path)


def test_names_of_any_bytes(tmp_path):
    write(tmp_path, PLAIN)
    with open(os.fsencode(tmp_path / "cat") + b"/\xff\n.png", "wb") as file:
        file.write(b"no image")
    for name, reader in READERS.items():
        found = reader(tmp_path, max_unreadable=0.2)
        assert found.images == as_bytes(SHOWN)
        if name != "records":
            assert "cat/\\udcff\\n.png: not an image of a known format" in found.words, name


@pytest.mark.parametrize("reader", READERS)
def test_a_file_larger_than_any_image_is_not_read(tmp_path, reader):
    write(tmp_path, PLAIN)
    with open(tmp_path / "cat/huge.png", "wb") as file:
        file.write(png(pixels(0)))
        file.truncate(2**40)
    found = READERS[reader](tmp_path, max_unreadable=0.2)
    assert "huge.png: 1099511627776 bytes are more than `max_megapixels=89`" in found.words


@pytest.mark.parametrize("place", [".", "cat"])
@pytest.mark.parametrize("reader", READERS)
def test_samples_of_which_files_are_missing_are_refused(tmp_path, reader, place):
    write(tmp_path, {**PLAIN, f"{place}/samples.unfinished.json": b"{}"})
    with pytest.raises(InputError, match=f"the folder {tmp_path / place} is not finished: it holds samples.unfinished"):
        READERS[reader](tmp_path)


@pytest.mark.parametrize("reader", READERS)
def test_folders_too_deep_are_refused(tmp_path, reader):
    write(tmp_path, {"/".join(["cat", *["d"] * 150, "1.png"]): png(pixels(0))})
    with pytest.raises(InputError, match="lies more than 100 folders deep"):
        READERS[reader](tmp_path)


def damaged(count):
    """(name, bytes) of files that something happened to: many are unreadable, some are still whole."""
    generator = np.random.default_rng(0)
    image = Image.fromarray(pixels(0))
    kinds = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
    whole = [(kind.lower(), saved(image, kind)) for kind in kinds]
    whole += [(kind.replace(" ", "-"), content) for kind, content, _ in odd_files(20)]
    files = {f"{index:04d}-{kind.replace(' ', '-')}.png": data for index, (kind, data) in enumerate(damaged_files(200))}
    while len(files) < count:
        kind, content = whole[len(files) % len(whole)]
        data = bytearray(content)
        place = int(generator.integers(len(data)))
        what = ("cut", "flip", "zeros", "lost", "noise", "header")[len(files) % 6]
        if what == "cut":
            del data[place:]
        elif what == "flip":
            data[place] ^= 1 << int(generator.integers(8))
        elif what == "zeros":
            data[place : place + 16] = bytes(len(data[place : place + 16]))
        elif what == "lost":
            del data[place : place + 5]
        elif what == "noise":
            data[place : place + 4] = generator.bytes(len(data[place : place + 4]))
        else:
            data[place % 40] ^= 0xFF
        files[f"{len(files):04d}-{kind}-{what}.png"] = bytes(data)
    return files


def test_two_thousand_damaged_files(tmp_path):
    """No traceback; each is read, the same by every reader, or listed."""
    files = damaged(2000)
    write(tmp_path, {f"all/{name}": content for name, content in files.items()})
    # Many a damaged header promises a huge image.
    found = {name: reader(tmp_path, max_unreadable=1.0, max_megapixels=0.5) for name, reader in READERS.items()}
    listed = {
        name: {
            line.rpartition("left out: ")[2].split("/")[-1].split(":")[0]
            for line in read.words.splitlines()
            if ".png: " in line
        }
        for name, read in found.items()
    }
    assert 1000 < len(listed["training"]) < 2000
    for name, read in found.items():
        assert listed[name] == listed["training"], name
        assert read.images.total() == 2000 - len(listed[name]), name
    assert found["training"].images == found["turing test"].images == found["records"].images
