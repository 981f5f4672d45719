"""Batches: what is in them, in which order, from any step on, mirrored, and shared among workers."""

import io
import os
import resource

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from igan_tf.data import ImageRecords, RecordBatches
from igan_tf.errors import DataError
from igan_tf.records.example import decode_features
from igan_tf.training.distribution import mirrored_strategy
from tests.records.forgeries import example, forge_shard
from tests.records.image_files import jpeg, png, square_image
from tests.records.record_sets import convert_here, make_numbered, make_photos

IMAGES, SIZE = 26, 8


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """26 raw images in four shards; image n is n everywhere but in its left column, which is 200."""
    folder = tmp_path_factory.mktemp("records")
    for number in range(IMAGES):
        class_folder = folder / "photos" / f"n{number % 3}"
        class_folder.mkdir(parents=True, exist_ok=True)
        pixels = np.full((SIZE, SIZE, 3), number, "uint8")
        pixels[:, 0] = 200
        (class_folder / f"{number:02d}.png").write_bytes(png(pixels))
    convert_here(folder / "photos", folder / "records", encoding="raw", image_size=SIZE)
    return ImageRecords(folder / "records")


def huge_jpeg():
    """A small JPEG file that says of itself that it has 30,000 x 30,000 pixels."""
    content = bytearray(jpeg(0, 8, 8))
    start = content.index(b"\xff\xc0") + 5
    content[start : start + 4] = b"\x75\x30\x75\x30"
    return bytes(content)


def make_batches(records, batch_size=5, seed=1, **options):
    return RecordBatches(records, batch_size, seed, **{"as_float": False, **options})


def collect(dataset):
    """The batches of an epoch, stacked by name."""
    batches = list(dataset.as_numpy_iterator())
    return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}


def numbers(images):
    """Which image each is: by its middle column, which mirroring leaves alone."""
    return images[..., SIZE // 2, SIZE // 2, 0].astype(int)


def mirrored(images):
    left, right = (images[..., 0, column, 0] == 200 for column in (0, -1))
    assert (left ^ right).all()
    return right


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)


def test_the_set_says_what_it_holds(records):
    assert len(records) == IMAGES and records.image_shape == (SIZE, SIZE, 3)
    assert records.num_classes == 3 and records.class_names == ("n0", "n1", "n2")


@pytest.mark.parametrize("as_float", [False, True])
def test_batches_hold_images_and_their_labels(records, as_float):
    dataset = make_batches(records, as_float=as_float).epoch(0)
    # Shapes are known before the first batch: what is compiled is compiled once.
    assert dataset.element_spec == {
        "images": tf.TensorSpec((5, SIZE, SIZE, 3), tf.float32 if as_float else tf.uint8),
        "labels": tf.TensorSpec((5,), tf.int64),
    }
    epoch = collect(dataset)
    assert epoch["images"].shape == (5, 5, SIZE, SIZE, 3) and epoch["labels"].shape == (5, 5)
    images = epoch["images"]
    if as_float:
        assert images.max() == np.float32(200) / np.float32(255)
        images = np.round(images * 255)
    np.testing.assert_array_equal(numbers(images) % 3, epoch["labels"])
    expected = np.broadcast_to(numbers(images)[..., None, None, None], images.shape).copy()
    expected[..., 0, :] = 200
    np.testing.assert_array_equal(images, expected)


def test_every_image_comes_once_an_epoch(records):
    batches = make_batches(records)
    assert batches.steps_per_epoch == 5
    left_out = set()
    # One of 26 a time.
    for epoch in range(400):
        order = batches.order(epoch)
        assert order.shape == (5, 5) and len(set(order.ravel())) == 25
        left_out |= set(range(IMAGES)) - set(order.ravel().tolist())
    assert left_out == set(range(IMAGES))
    assert sorted(numbers(collect(make_batches(records, 2).epoch(0))["images"]).ravel()) == list(range(IMAGES))


def test_the_order_is_a_function_of_seed_and_epoch(records):
    batches = make_batches(records, flip=True)
    first = collect(batches.epoch(3))
    collect(batches.epoch(0))
    assert_same(collect(batches.epoch(3)), first)
    assert_same(collect(make_batches(records, flip=True).epoch(3)), first)
    for other in (batches.epoch(4), make_batches(records, seed=2, flip=True).epoch(3)):
        assert not np.array_equal(numbers(collect(other)["images"]), numbers(first["images"]))


def test_the_batches_are_in_the_order_that_is_given(records):
    batches = make_batches(records)
    # Index -> number, by way of the records themselves.
    stored = numbers(batches.take(np.arange(IMAGES)).numpy())
    for epoch in range(3):
        found = numbers(collect(batches.epoch(epoch))["images"])
        np.testing.assert_array_equal(found, stored[batches.order(epoch)])


@pytest.mark.parametrize("start_step", [0, 1, 4])
def test_an_epoch_from_a_step_on_is_the_tail_of_the_epoch(records, start_step):
    batches = make_batches(records, flip=True)
    whole = collect(batches.epoch(2))
    assert_same(collect(batches.epoch(2, start_step)), {name: rows[start_step:] for name, rows in whole.items()})


def test_nothing_is_left_at_the_end_of_an_epoch(records):
    assert list(make_batches(records).epoch(2, start_step=5)) == []


def test_shards_are_mixed_within_a_batch(records):
    shard_of = records._shard_of
    mixed = [len(set(shard_of[rows])) for epoch in range(20) for rows in make_batches(records).order(epoch)]
    # Five of 26 in four shards: 3.2 different ones on average.
    assert 2.7 < np.mean(mixed) < 3.7


# Mirroring.


def test_without_flip_nothing_is_mirrored(records):
    assert not mirrored(collect(make_batches(records).epoch(0))["images"]).any()


def test_half_of_the_images_are_mirrored_anew_each_epoch(records):
    batches = make_batches(records, 2, flip=True)
    epochs = []
    for epoch in range(12):
        images = collect(batches.epoch(epoch))["images"]
        turned = dict(zip(numbers(images).ravel(), mirrored(images).ravel()))
        epochs.append([turned[number] for number in range(IMAGES)])
    epochs = np.array(epochs)
    # 12 * 26 = 312 throws of a coin: 156, give or take 9.
    assert 120 < epochs.sum() < 192
    # No image always or never, no epoch all or none, no two epochs alike.
    assert epochs.mean(0).min() > 0 and epochs.mean(0).max() < 1
    assert len({tuple(row) for row in epochs}) == 12


def test_mirroring_is_a_function_of_seed_epoch_and_index(records):
    first, second = (make_batches(records, size, flip=True) for size in (5, 13))
    for epoch in range(2):
        found = []
        for batches in (first, second):
            images = collect(batches.epoch(epoch))["images"]
            found.append(dict(zip(numbers(images).ravel().tolist(), mirrored(images).ravel().tolist())))
        common = found[0].keys() & found[1].keys()
        assert len(common) >= 25 and all(found[0][number] == found[1][number] for number in common)
    assert not np.array_equal(first.flipped(0), make_batches(records, seed=2, flip=True).flipped(0))


# JPEG.


def test_jpeg_records_are_decoded_as_pillow_does(tmp_path):
    convert_here(make_photos(tmp_path / "photos", images=4), tmp_path / "records", image_size=32)
    records = ImageRecords(tmp_path / "records")
    images = RecordBatches(records, 4, seed=1, as_float=False).take(np.arange(12)).numpy()
    for image, serialized in zip(images, records.read(np.arange(12))):
        [payload] = decode_features(serialized, "image_jpeg")
        expected = np.asarray(Image.open(io.BytesIO(payload)).convert("RGB")).astype(int)
        # Two versions of libjpeg-turbo, the same method.
        assert abs(image - expected).max() <= 2


def test_jpeg_and_raw_records_hold_the_same_images_in_the_same_places(tmp_path):
    source = make_photos(tmp_path / "photos", images=4)
    epochs = {}
    for encoding in ("raw", "jpeg"):
        convert_here(source, tmp_path / encoding, image_size=16, encoding=encoding)
        batches = RecordBatches(ImageRecords(tmp_path / encoding), 4, seed=1, flip=True)
        epochs[encoding] = collect(batches.epoch(1))
    np.testing.assert_array_equal(epochs["raw"]["labels"], epochs["jpeg"]["labels"])
    # JPEG's loss at quality 95; other images are off by a fifth.
    assert abs(epochs["raw"]["images"] - epochs["jpeg"]["images"]).mean() < 0.015
    expected = {
        (np.asarray(square_image(path.read_bytes(), 16)).astype("float32") / 255).tobytes()
        for path in source.rglob("*.JPEG")
    }
    batches = RecordBatches(ImageRecords(tmp_path / "raw"), 4, seed=1)
    assert {image.tobytes() for image in collect(batches.epoch(0))["images"].reshape(12, 16, 16, 3)} == expected


# Workers and replicas.


@pytest.mark.parametrize("num_workers", [2, 3])
def test_the_workers_parts_are_the_batch_of_one_worker(records, num_workers):
    options = {"batch_size": 6, "flip": True}
    whole = collect(make_batches(records, **options).epoch(1, start_step=1))
    parts = [
        collect(make_batches(records, worker=worker, num_workers=num_workers, **options).epoch(1, start_step=1))
        for worker in range(num_workers)
    ]
    assert parts[0]["images"].shape[1] == 6 // num_workers
    assert_same({name: np.concatenate([part[name] for part in parts], axis=1) for name in whole}, whole)


def test_a_worker_reads_nothing_but_its_part(records, monkeypatch):
    read, wanted = [], make_batches(records, 6).order(0)[:, 3:]
    original = ImageRecords.read
    monkeypatch.setattr(ImageRecords, "read", lambda self, indices: (read.append(indices), original(self, indices))[1])
    collect(make_batches(records, 6, worker=1, num_workers=2).epoch(0))
    assert sorted(np.concatenate(read).tolist()) == sorted(wanted.ravel().tolist())


def test_two_replicas_share_a_batch(records):
    batches = make_batches(records, 6, as_float=True)
    strategy = mirrored_strategy()
    assert strategy.num_replicas_in_sync == 2
    whole = collect(batches.epoch(0))["images"]
    for expected, batch in zip(whole, strategy.experimental_distribute_dataset(batches.epoch(0))):
        parts = [part.numpy() for part in strategy.experimental_local_results(batch["images"])]
        assert [len(part) for part in parts] == [3, 3]
        np.testing.assert_array_equal(np.concatenate(parts), expected)


# Single images.


def test_images_are_taken_by_index(records):
    batches = make_batches(records, flip=True, as_float=True)
    images = batches.take([3, 0, 3])
    assert images.dtype == tf.float32 and images.shape == (3, SIZE, SIZE, 3)
    np.testing.assert_array_equal(images[0], images[2])
    assert not mirrored(np.round(images.numpy() * 255)).any()
    assert batches.take(np.arange(0)).shape == (0, SIZE, SIZE, 3)


# What is refused.


@pytest.mark.parametrize("batch_size", [0, -1, IMAGES + 1])
def test_a_batch_larger_than_the_data_is_refused(records, batch_size):
    with pytest.raises(DataError, match=f"`batch_size` must be from 1 to .*, 26. Received: batch_size={batch_size}"):
        make_batches(records, batch_size)


@pytest.mark.parametrize(("worker", "num_workers"), [(2, 2), (-1, 2), (0, 0)])
def test_a_worker_that_is_none_is_refused(records, worker, num_workers):
    with pytest.raises(DataError, match=f"`worker` must be .* worker={worker}, num_workers={num_workers}"):
        make_batches(records, worker=worker, num_workers=num_workers)


def test_a_batch_that_cannot_be_divided_is_refused(records):
    with pytest.raises(DataError, match=r"multiple of `num_workers`\. Received: batch_size=5, num_workers=2"):
        make_batches(records, num_workers=2)


def test_damage_after_opening_is_not_read(tmp_path):
    convert_here(make_numbered(tmp_path / "photos"), tmp_path / "records")
    records = ImageRecords(tmp_path / "records")
    path = tmp_path / "records" / records.manifest.shards[2].name
    content = bytearray(path.read_bytes())
    content[100] ^= 4
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path.name}: the record at byte \d+ is damaged"):
        records.read(np.arange(24))
    with pytest.raises(tf.errors.OpError, match=rf"{path.name}: the record at byte \d+ is damaged"):
        list(RecordBatches(records, 4, seed=1).epoch(0))


def test_what_changes_after_opening_is_not_read(tmp_path):
    """Whole records in the place of others, and a shard of another size; another file of the name is not looked at."""
    folder = tmp_path / "records"
    manifest = convert_here(make_numbered(tmp_path / "photos"), folder, encoding="raw")
    first, second = (folder / shard.name for shard in manifest.shards[:2])
    records, contents = ImageRecords(folder), (first.read_bytes(), second.read_bytes())
    expected = records.read(np.arange(24))
    first.write_bytes(contents[1])
    with pytest.raises(DataError, match=rf"{first.name}: the record at byte 12 is damaged"):
        records.read([0])
    first.write_bytes(contents[0][:100])
    with pytest.raises(DataError, match=rf"{first.name}: the record at byte 12 is cut"):
        records.read([0])
    first.write_bytes(contents[0] + b"more")
    second.unlink()
    second.write_bytes(contents[0])
    assert records.read(np.arange(24)) == expected


def forged_set(folder, payload, encoding="raw"):
    """Thirty images, the first five of them forged."""
    settings = {"num_shards": 6, "encoding": encoding, "image_size": 4}
    convert_here(make_numbered(folder / "photos", images=10), folder / "records", **settings)
    forge_shard(folder / "records", 0, [payload] * 5)
    return ImageRecords(folder / "records")


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (example(label=3), "its label 3 is none of the 3 classes"),
        (example(label=-1), "its label -1 is none of the 3 classes"),
        (example(size=8), "its image has 192 bytes instead of 48"),
        (example(payload=b""), "its image has 0 bytes"),
        (example(payload=7), "its image is int, its label int"),
        (example(encoding="jpeg"), "the example has no feature 'image_raw'"),
        (b"\xdc no example", "not a tf.train.Example"),
    ],
    ids=["label", "label below 0", "size", "nothing", "type", "encoding", "no example"],
)
def test_forged_records_are_not_read(tmp_path, payload, message):
    records = forged_set(tmp_path, payload)
    place = rf"{records.folder}/train-00000-of-00006\.tfrecord: the record at byte 12 cannot be used: {message}"
    with pytest.raises(DataError, match=f"^{place}"):
        records.read([0])
    with pytest.raises(tf.errors.OpError, match=r"train-00000-of-00006\.tfrecord: the record at byte \d+ cannot be"):
        list(RecordBatches(records, 30, seed=1).epoch(0))


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (jpeg(0, 5, 5), "an image in .* is not of the shape"),
        (huge_jpeg(), "an image in .* is not of the shape"),
        (png(np.zeros((4, 4, 3), "uint8")), "Invalid JPEG data"),
    ],
    ids=["size", "gigabytes", "png"],
)
def test_forged_jpegs_are_not_decoded(tmp_path, payload, message):
    records = forged_set(tmp_path, example(payload=payload, encoding="jpeg"), "jpeg")
    with pytest.raises(DataError, match=rf"^{records.folder} holds records that cannot be read: .*{message}"):
        records.decode(tf.constant(records.read(np.arange(5))))
    with pytest.raises(tf.errors.OpError, match=message):
        list(RecordBatches(records, 30, seed=1).epoch(0))


def test_records_that_are_larger_than_images_can_be_are_refused(tmp_path):
    folder = tmp_path / "records"
    convert_here(make_numbered(tmp_path / "photos", images=10), folder, num_shards=6, encoding="raw", image_size=4)
    forge_shard(folder, 0, [example(payload=bytes(20_000)), *[example() for _ in range(4)]])
    with pytest.raises(DataError, match=r"train-00000-of-00006\.tfrecord cannot be read: record 0 has .* bytes"):
        ImageRecords(folder)


def test_a_set_of_many_shards_is_opened_within_the_limit_of_open_files(tmp_path, monkeypatch):
    convert_here(make_numbered(tmp_path / "photos", images=20), tmp_path / "records", num_shards=60)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = set(map(int, os.listdir("/proc/self/fd")))
    limit = [number for number in range(len(in_use) + 60) if number not in in_use][20]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        with monkeypatch.context() as patch:
            patch.setattr("igan_tf.records.reader._allow_open_files", lambda count: None)
            with pytest.raises(DataError, match=r"60 shards must be open at once, .*: raise its limit, `ulimit -n`$"):
                ImageRecords(tmp_path / "records")
        assert len(ImageRecords(tmp_path / "records").read(np.arange(60))) == 60
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("gpu", [False, True])
def test_beside_a_gpu_images_are_read_by_threads_of_their_own(monkeypatch, records, gpu):
    monkeypatch.setattr("igan_tf.data.image_batches.has_gpu", lambda: gpu)
    size = make_batches(records).epoch(0).options().threading.private_threadpool_size
    assert (size is not None and size >= 1) == gpu
