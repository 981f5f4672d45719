"""Records as a set of images to be scored: all of them, in the order of storage, a piece at a time."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("records are read by TensorFlow", allow_module_level=True)

from igan_tf.data import ImageRecords
from igan_tf.errors import DataError
from igan_tf.evaluation.record_source import RecordSource
from tests.records.image_files import square_image
from tests.records.record_sets import convert_here, make_numbered, make_photos

# More than two pieces of 64.
CLASSES, PER_CLASS = 3, 45
IMAGES, SIZE = CLASSES * PER_CLASS, 5


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """135 raw images in four shards, each of one number in all its pixels."""
    folder = tmp_path_factory.mktemp("records")
    make_numbered(folder / "photos", CLASSES, PER_CLASS)
    convert_here(folder / "photos", folder / "records", encoding="raw", image_size=SIZE)
    return ImageRecords(folder / "records")


@pytest.fixture(scope="module")
def stored(records):
    """All images, read one by one."""
    return np.concatenate([records.decode(records.read([index]))[0].numpy() for index in range(IMAGES)])


def gather(source, batch_size=50, indices=None):
    batches = list(source.batches(batch_size, indices))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    return np.concatenate(batches)


def test_what_it_says_of_itself(records):
    source = RecordSource(records)
    assert (source.count, source.name, source.split) == (IMAGES, str(records.folder), "all records")
    # Bytes have no range of their own.
    assert source.image_range is None


@pytest.mark.parametrize("batch_size", [1, 50, 64, 135, 500])
def test_all_images_come_in_the_order_of_storage(records, stored, batch_size):
    source = RecordSource(records)
    # It can be gone through again.
    for _ in range(2):
        found = gather(source, batch_size)
        assert found.dtype == np.uint8 and found.shape == (IMAGES, SIZE, SIZE, 3)
        np.testing.assert_array_equal(found, stored)
    # Every image is there once, and they were shuffled when they were stored.
    assert sorted(found[:, 0, 0, 0].tolist()) == list(range(IMAGES)) != found[:, 0, 0, 0].tolist()


def test_some_images_by_their_places(records, stored):
    chosen = np.array([0, 5, 63, 64, 127, 128, 134])
    np.testing.assert_array_equal(gather(RecordSource(records), 3, chosen), stored[chosen])


def test_it_reads_a_piece_at_a_time_and_no_more_than_is_wanted(records, monkeypatch):
    read, original = [], ImageRecords.read
    monkeypatch.setattr(
        ImageRecords, "read", lambda self, indices: (read.append(list(indices)), original(self, indices))[1]
    )
    rows = RecordSource(records).rows()
    assert len(next(rows)) == 64 and [len(piece) for piece in read] == [64]
    assert [len(piece) for piece in rows] == [64, 7]
    assert [index for piece in read for index in piece] == list(range(IMAGES))
    del read[:]
    gather(RecordSource(records), 10, np.arange(70))
    assert [len(piece) for piece in read] == [64, 64]


def test_jpeg_records_are_decoded(tmp_path):
    source = make_photos(tmp_path / "photos", images=2)
    convert_here(source, tmp_path / "records", image_size=32, encoding="jpeg")
    found = gather(RecordSource(ImageRecords(tmp_path / "records")))
    expected = [np.asarray(square_image(path.read_bytes(), 32)).astype(int) for path in source.rglob("*.JPEG")]
    assert found.shape == (6, 32, 32, 3) and found.dtype == np.uint8
    # Each is one of the photos, but for JPEG's loss at quality 95: of a level or so; other photos are off by 50.
    distances = np.array([[abs(image - photo).mean() for photo in expected] for image in found.astype(int)])
    assert sorted(distances.argmin(axis=1)) == list(range(6)) and distances.min(axis=1).max() < 4


def test_damage_after_opening_is_named(tmp_path):
    make_numbered(tmp_path / "photos")
    convert_here(tmp_path / "photos", tmp_path / "records", image_size=SIZE)
    records = ImageRecords(tmp_path / "records")
    path = tmp_path / "records" / records.manifest.shards[1].name
    content = bytearray(path.read_bytes())
    content[100] ^= 4
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path.name}: the record at byte \d+ is damaged"):
        gather(RecordSource(records))
