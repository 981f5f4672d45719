"""Faults of shards, each found on opening; and folders that are no sets of records."""

import dataclasses
import json
import os
import random
import re
import shutil

import pytest

from igan_tf.data import ImageRecords
from igan_tf.errors import DataError
from igan_tf.records.manifest import read_manifest
from igan_tf.records.tfrecords import frame, record_spans
from tests.records.forgeries import FORGERIES, forge
from tests.records.record_sets import convert_here, make_numbered

HEADER, CHECKSUM = 12, 4


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """30 images in six shards of five; raw, so that all shards have the same size."""
    folder = tmp_path_factory.mktemp("records")
    make_numbered(folder / "photos", images=10)
    convert_here(folder / "photos", folder / "records", num_shards=6, encoding="raw", image_size=4)
    sizes = {path.stat().st_size for path in (folder / "records").glob("*.tfrecord")}
    assert len(sizes) == 1
    return folder / "records"


def shards_of(folder):
    return sorted(folder.glob("*.tfrecord"))


def rewrite(path, content):
    """Changes a file and gives it back the time of its last change."""
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


# Each fault: (shards, random generator) -> {name of a faulty shard: words of the message about it}.


def flip_a_bit(shards, generator):
    path = generator.choice(shards)
    content = bytearray(path.read_bytes())
    bit = generator.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    rewrite(path, content)
    return {path.name: "altered"}


def cut_within_a_record(shards, generator):
    path = generator.choice(shards)
    ends = [offset + length + CHECKSUM for offset, length, _ in record_spans(path)]
    length = generator.choice([n for n in range(1, path.stat().st_size) if n not in ends])
    rewrite(path, path.read_bytes()[:length])
    return {path.name: f"cut: {length} bytes"}


def cut_between_records(shards, generator):
    path = generator.choice(shards)
    offset, length, _ = generator.choice(record_spans(path)[:-1])
    end = offset + length + CHECKSUM
    rewrite(path, path.read_bytes()[:end])
    return {path.name: f"cut: {end} bytes"}


def empty(shards, generator):
    path = generator.choice(shards)
    rewrite(path, b"")
    return {path.name: "empty"}


def remove(shards, generator):
    path = generator.choice(shards)
    path.unlink()
    return {path.name: "missing"}


def swap_two(shards, generator):
    first, second = generator.sample(shards, 2)
    contents = first.read_bytes(), second.read_bytes()
    rewrite(first, contents[1])
    rewrite(second, contents[0])
    return {first.name: f"holds what belongs in {second.name}", second.name: f"holds what belongs in {first.name}"}


def replace_by_another(shards, generator):
    first, second = generator.sample(shards, 2)
    rewrite(first, second.read_bytes())
    return {first.name: f"holds what belongs in {second.name}"}


def exchange_records(shards, generator):
    path = generator.choice(shards)
    content = path.read_bytes()
    size = len(content) // 5
    parts = [content[start : start + size] for start in range(0, len(content), size)]
    one, other = generator.sample(range(5), 2)
    parts[one], parts[other] = parts[other], parts[one]
    rewrite(path, b"".join(parts))
    return {path.name: "altered"}


def another_whole_record(shards, generator):
    path = generator.choice(shards)
    offset, length, _ = generator.choice(record_spans(path))
    content = path.read_bytes()
    other = bytes(generator.randrange(256) for _ in range(length))
    start, end = offset - HEADER, offset + length + CHECKSUM
    rewrite(path, content[:start] + frame(other) + content[end:])
    return {path.name: "altered"}


def append(shards, generator):
    path = generator.choice(shards)
    more = generator.choice([b"\0", b"some text", frame(b"a record"), path.read_bytes()])
    rewrite(path, path.read_bytes() + more)
    return {path.name: "too long"}


def overwrite_with_zeros(shards, generator):
    path = generator.choice(shards)
    content = bytearray(path.read_bytes())
    start = generator.randrange(len(content) - 60)
    content[start : start + 60] = bytes(60)
    rewrite(path, content)
    return {path.name: "altered"}


def make_a_folder(shards, generator):
    path = generator.choice(shards)
    path.unlink()
    path.mkdir()
    # The size of a folder is the file system's own.
    return {path.name: ""}


FAULTS = {
    flip_a_bit: 60,
    cut_within_a_record: 30,
    cut_between_records: 24,
    empty: 6,
    remove: 6,
    swap_two: 15,
    replace_by_another: 15,
    exchange_records: 14,
    another_whole_record: 10,
    append: 10,
    overwrite_with_zeros: 8,
    make_a_folder: 2,
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_every_fault_is_found_on_opening_and_named(records, tmp_path, fault):
    for seed in range(FAULTS[fault]):
        folder = tmp_path / str(seed)
        shutil.copytree(records, folder)
        expected = fault(shards_of(folder), random.Random(seed))
        with pytest.raises(DataError) as caught:
            ImageRecords(folder)
        message = str(caught.value)
        assert f"{folder}: {len(expected)} of 6 shards not as written" in message
        lines = {line.split(":")[0].strip(): line for line in message.splitlines() if ".tfrecord: " in line}
        assert lines.keys() == expected.keys(), message
        for name, words in expected.items():
            assert words in lines[name]
        assert "python -m igan_tf.data.imagenet_records" in message
        shutil.rmtree(folder)


def test_whole_sets_are_opened_wherever_they_are(records, tmp_path):
    fingerprint = ImageRecords(records).fingerprint()
    copy = shutil.copytree(records, tmp_path / "copy")
    # What does not belong to the set does not matter.
    (copy / "train-00000-of-00009.tfrecord").write_bytes(b"")
    (copy / "notes.txt").write_text("")
    assert ImageRecords(copy).fingerprint() == ImageRecords(str(copy)).fingerprint() == fingerprint
    assert re.fullmatch("[0-9a-f]{16}", fingerprint)


def test_many_faults_are_counted_and_ten_are_shown(records, tmp_path):
    source = make_numbered(tmp_path / "photos")
    convert_here(source, tmp_path / "records", num_shards=13)
    for path in shards_of(tmp_path / "records"):
        path.unlink()
    with pytest.raises(DataError, match=r"(?s): 13 of 13 shards not as written:(.*missing){10}\n  and 3 more\n"):
        ImageRecords(tmp_path / "records")


# Manifests.


def change_manifest(folder, change):
    content = json.loads((folder / "manifest.json").read_text())
    change(content)
    (folder / "manifest.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(images=31),
        lambda content: content["shards"].pop(),
        lambda content: content["shards"].reverse(),
        lambda content: content["shards"][0].update(sha256="0" * 64),
        lambda content: content["class_names"].reverse(),
        lambda content: content["settings"].update(image_size=5),
        lambda content: content.update(digest="0" * 64),
    ],
    ids=["images", "shard less", "order", "digest of a shard", "classes", "settings", "digest"],
)
def test_a_changed_manifest_is_refused(records, tmp_path, change):
    copy = shutil.copytree(records, tmp_path / "copy")
    change_manifest(copy, change)
    with pytest.raises(DataError, match=rf"{copy}/manifest\.json is damaged: it does not have its own digest"):
        ImageRecords(copy)


def test_a_manifest_in_another_form_is_accepted(records, tmp_path):
    copy = shutil.copytree(records, tmp_path / "copy")
    change_manifest(copy, lambda content: None)
    assert read_manifest(copy) == read_manifest(records)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"format": 1, "digest": ""}', "null", '"text"', "\x00\xff"], ids=repr
)
def test_a_file_that_is_no_manifest_is_named(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content, encoding="latin-1")
    with pytest.raises(DataError, match=rf"{tmp_path}/manifest\.json is damaged: .* Remove {tmp_path} and run"):
        read_manifest(tmp_path)


def test_a_manifest_of_another_format_is_named(records, tmp_path):
    copy = shutil.copytree(records, tmp_path / "copy")
    change_manifest(copy, lambda content: content.update(format=3))
    with pytest.raises(DataError, match="has format 3; this version of igan_tf reads formats up to 2"):
        read_manifest(copy)


def test_every_cut_of_a_manifest_is_refused(records, tmp_path):
    text = (records / "manifest.json").read_text()
    for length in range(0, len(text.rstrip()), 13):
        (tmp_path / "manifest.json").write_text(text[:length])
        with pytest.raises(DataError):
            read_manifest(tmp_path)


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_manifest_with_a_digest_of_its_own_is_refused(records, tmp_path, name):
    copy = shutil.copytree(records, tmp_path / "copy")
    forge(copy, FORGERIES[name])
    with pytest.raises(DataError, match=rf"^{copy}/manifest\.json is damaged: .* Remove {copy} and run [^\n]*$"):
        ImageRecords(copy)


def test_forgeries_without_a_change_are_read(records, tmp_path):
    copy = shutil.copytree(records, tmp_path / "copy")
    forge(copy, lambda content: None)
    assert ImageRecords(copy).fingerprint() == ImageRecords(records).fingerprint()


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_shard_that_is_no_file_of_the_folder_is_not_opened(records, tmp_path, kind):
    copy = shutil.copytree(records, tmp_path / "copy")
    shard = shards_of(copy)[2]
    shard.rename(tmp_path / "elsewhere")
    shard.symlink_to(tmp_path / "elsewhere") if kind == "link" else os.mkfifo(shard)
    with pytest.raises(
        DataError, match=rf"1 of 6 shards not as written:\n  {shard.name}: no regular file of this folder"
    ):
        ImageRecords(copy)


def test_the_digest_depends_on_everything(records):
    manifest = read_manifest(records)
    changes = {"images": 1, "settings": {}, "source": {}, "unreadable": 9, "class_names": (), "shards": (), "format": 1}
    digests = {dataclasses.replace(manifest, **{name: value}).digest for name, value in changes.items()}
    assert len(digests | {manifest.digest}) == len(changes) + 1 == len(dataclasses.fields(manifest)) + 1


# Folders without a set.


def test_what_is_no_set_of_records_says_what_to_run(tmp_path):
    command = (
        f"python -m igan_tf.data.imagenet_records --source=<class folders, tar or tfds:name> --output_dir={tmp_path}"
    )
    with pytest.raises(DataError, match=f"{tmp_path}/none is no folder of image records: there is no such folder"):
        ImageRecords(tmp_path / "none")
    with pytest.raises(DataError, match=r"no folder of image records: it has no manifest\.json") as caught:
        ImageRecords(tmp_path)
    assert command in str(caught.value)
    (tmp_path / "train-00000-of-01024.tfrecord").write_bytes(frame(b"someone's"))
    with pytest.raises(DataError, match=r"holds TFRecords without a manifest\.json: another program") as caught:
        ImageRecords(tmp_path)
    assert command in str(caught.value)
    (tmp_path / "unfinished").mkdir()
    with pytest.raises(DataError, match="holds a conversion to image records that is not finished"):
        ImageRecords(tmp_path)
