import random
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from igan_tf.data import load_data
from igan_tf.data.image_sources import read_images
from igan_tf.errors import DataError
from igan_tf.evaluation.images import TfdsSource
from igan_tf.experiments.configs import build_config
from igan_tf.images.tfds import PreparedData
from igan_tf.records.sources import open_source
from tests.images.tfds_data import LABELS, SPLITS, prepare, tiny_images

# Everything of the package that reads data of TFDS.
READERS = {
    "load_data": lambda folder: load_data(build_config(data_dir=folder)),
    "read_images": lambda folder: read_images("tfds:mnist:train", data_dir=folder),
    "TfdsSource": lambda folder: TfdsSource("mnist", "train", folder),
    "open_source": lambda folder: open_source("tfds:mnist", folder),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """TFDS's folder with the data set "tiny"."""
    folder = tmp_path_factory.mktemp("tfds")
    prepare(folder)
    return folder


def prepared_as(folder, file_format):
    """Files of the format that say that they are MNIST."""
    files = prepare(folder, file_format)
    for path in files.iterdir():
        if path.suffix == ".json":
            path.write_text(re.sub(r"\btiny\b", "mnist", path.read_text()).replace('"1.0.0"', '"3.0.1"'))
        path.rename(path.with_name(path.name.replace("tiny", "mnist")))
    files.rename(files.with_name("3.0.1"))
    (folder / "tiny").rename(folder / "mnist")


def test_what_a_data_set_holds(tiny):
    data = PreparedData("tiny", str(tiny))
    assert data.full_name == "tiny/1.0.0" and data.splits == tuple(sorted(SPLITS, reverse=True))
    assert data.features["label"].names == list(LABELS) and data.label_key is None
    assert data.count("train") == 5 and data.count_images("train[1:3]") == 2 and data.count("train+test") == 8
    assert sum(length for _, length in data.record_files("train")) == 5


def test_images_and_arrays(tiny):
    data = PreparedData("tiny", str(tiny))
    for split in SPLITS:
        images, arrays = np.stack(list(data.images(split))), data.arrays(split)
        # TFDS shuffles as it prepares.
        order = np.argsort(images[:, 0, 0, 0])
        np.testing.assert_array_equal(images[order], tiny_images(split))
        np.testing.assert_array_equal(arrays["image"], images)
        assert arrays["label"][order].tolist() == [number % 2 for number in range(SPLITS[split])]


@pytest.mark.parametrize("split", ["validation", "", "train[", "train[2:9]", "all[:50%]"])
def test_a_split_that_it_has_not(tiny, split):
    words = rf"`split` must be one of .*, or a part of it such as \w+\[:100\]\. Received: split={re.escape(split)}$"
    for read in (PreparedData.count, lambda data, split: next(data.images(split)), PreparedData.arrays):
        with pytest.raises(DataError, match=words):
            read(PreparedData("tiny", str(tiny)), split)


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("train", "test", 0),
        ("train[:2]", "train[2:]", 0),
        ("train[:3]", "train[1:]", 2),
        ("test", "train[:1]+test[1:]", 2),
        ("train", "train", 5),
    ],
)
def test_what_splits_have_in_common(tiny, one, other, shared):
    data = PreparedData("tiny", tiny)
    assert data.count_shared(one, other) == data.count_shared(other, one) == shared


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        PermissionError(13, "Permission denied"),
        tf.errors.ResourceExhaustedError(None, None, "allocating"),
        tf.errors.PermissionDeniedError(None, None, "denied"),
    ],
)
def test_nothing_is_to_be_removed_for_want_of_memory_or_permission(tiny, monkeypatch, error):
    data = PreparedData("tiny", str(tiny))
    monkeypatch.setattr(data._builder, "as_dataset", lambda **options: (_ for _ in ()).throw(error))
    with pytest.raises(DataError, match="cannot be read: ") as caught:
        data.arrays("train")
    assert "remove" not in str(caught.value)


def test_an_empty_split(tiny):
    with pytest.raises(DataError, match=r"`split=train\[3:1\]` of tiny is empty"):
        PreparedData("tiny", str(tiny)).count("train[3:1]")


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_without_data_every_reader_tells_how_to_prepare_it_and_makes_nothing(tmp_path, monkeypatch, read):
    import tensorflow_datasets as tfds

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", pytest.fail)
    place = tmp_path / "nowhere"
    with pytest.raises(DataError) as caught:
        read(str(place))
    message = str(caught.value)
    assert f"no prepared data set mnist in `data_dir={place}`" in message
    assert f"tfds.load('mnist', data_dir='{place}')\"" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", ["", "tfds/mnist", "tfds/mnist/"])
def test_a_folder_too_high_or_too_low_names_the_right_one(tmp_path, given):
    (tmp_path / "tfds" / "mnist" / "3.0.1").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no prepared data set mnist in [^,]*\. To prepare"):
        PreparedData("mnist", tmp_path / given)
    shutil.rmtree(tmp_path / "tfds")
    (tmp_path / "tfds").mkdir()
    prepared_as(tmp_path / "tfds", "tfrecord")
    right = re.escape(str(tmp_path / "tfds"))
    for name in ("mnist", "mnist:3.0.1"):
        with pytest.raises(
            DataError, match=rf"no prepared .*, but there is in {right}: pass `data_dir={right}`\. To prepare"
        ):
            PreparedData(name, tmp_path / given)


def test_half_prepared_data_is_not_prepared(tmp_path):
    (tmp_path / "mnist" / "3.0.1").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no prepared data set mnist in .*\n.*tfds\.load"):
        PreparedData("mnist", str(tmp_path))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_without_data_dir_the_default_folder_is_named(monkeypatch, tmp_path):
    import tensorflow_datasets as tfds

    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: (_ for _ in ()).throw(FileNotFoundError(name)))
    message = f"mnist in TFDS's default folder, {tmp_path} .`data_dir` names another.: mnist.*\n.*data_dir=None"
    with pytest.raises(DataError, match=message):
        PreparedData("mnist")


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_array_records_are_refused_in_the_same_words(tmp_path, read):
    prepared_as(tmp_path, "tfrecord")
    description = tmp_path / "mnist/3.0.1/dataset_info.json"
    description.write_text(description.read_text().replace('"tfrecord"', '"array_record"'))
    words = r"mnist in `data_dir=.*` must be prepared as TFRecords, .*\n.*\nReceived: files of the format array_record$"
    with pytest.raises(DataError, match=words):
        read(str(tmp_path))


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"name": "\xff"}'], ids=["empty", "cut", "list", "{}", "bytes"]
)
def test_a_damaged_description_ends_in_the_command_that_prepares_the_data(tmp_path, read, content):
    prepared_as(tmp_path, "tfrecord")
    (tmp_path / "mnist/3.0.1/dataset_info.json").write_bytes(content)
    with pytest.raises(DataError, match=r"no prepared data set mnist in `data_dir=.*`.*\n.*tfds\.load\('mnist'"):
        read(str(tmp_path))


def test_the_converter_reads_tfrecords_alone(tmp_path):
    pytest.importorskip("pyarrow")
    prepare(tmp_path, "parquet")
    assert len(read_images("tfds:tiny:train", data_dir=str(tmp_path))) == 5
    with pytest.raises(
        DataError, match=r"`source=tfds:tiny`: tiny in .* as TFRecords, .*\n.*\nReceived: files of the format parquet$"
    ):
        open_source("tfds:tiny", str(tmp_path))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nosuchset", "nosuchset is no data set of TFDS, nor prepared in `data_dir="),
        ("mnist/nosuchconfig", "no prepared data set mnist/nosuchconfig in .*nosuchconfig not found"),
        ("mnist:0.0.1", "no prepared data set mnist:0.0.1 in .* cannot be loaded at version 0.0.1"),
        ("mnist/a=1", "no prepared data set mnist/a=1 in .* unexpected keyword"),
        ("", "no prepared data set  in .*: Parsing builder name string  failed"),
        ("../mnist", r"no prepared data set \.\./mnist in .*: Parsing builder name"),
    ],
)
def test_names_of_nothing(tmp_path, name, words):
    with pytest.raises(DataError, match=words):
        PreparedData(name, str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def damages(content, cuts, flips):
    """Cut and altered copies of a file's content; None for no file."""
    generator = random.Random(0)
    yield from (None, b"", b"[]", b"{}", bytes(range(128, 255)))
    for _ in range(cuts):
        yield content[: generator.randrange(len(content))]
    for _ in range(flips):
        altered = bytearray(content)
        altered[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        yield bytes(altered)


@pytest.mark.parametrize(("cuts", "flips"), [(3, 3), pytest.param(15, 50, marks=pytest.mark.slow)])
def test_damaged_files_end_in_a_data_error_or_do_not_matter(tiny, tmp_path, cuts, flips):
    expected, refused = sorted(tiny_images("train")[:, 0, 0, 0]), 0
    for path in sorted((tiny / "tiny/1.0.0").iterdir()):
        for content in damages(path.read_bytes(), cuts, flips):
            shutil.rmtree(tmp_path / "tiny", ignore_errors=True)
            shutil.copytree(tiny / "tiny", tmp_path / "tiny")
            damaged = tmp_path / "tiny/1.0.0" / path.name
            damaged.unlink() if content is None else damaged.write_bytes(content)
            try:
                data = PreparedData("tiny", str(tmp_path))
                data.record_files("train")
                images = [image[0, 0, 0] for image in data.images("train")]
            except DataError:
                refused += 1
            else:
                assert sorted(images) == expected, (path.name, content)
    assert refused >= 4 * (5 + cuts)
