"""Whole conversions: what is written, what stays the same, what is refused, and what a death leaves behind."""

import contextlib
import dataclasses
import fcntl
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import termios

import numpy as np
import pytest
import tensorflow as tf

from igan_tf.data import ImageRecords
from igan_tf.errors import DataError
from igan_tf.files import locks
from igan_tf.records import converter, processes
from igan_tf.records.manifest import read_manifest
from igan_tf.records.settings import ConversionSettings
from igan_tf.records.sources import open_source
from tests.records.image_files import damaged_files, jpeg, odd_files, square_image
from tests.records.record_sets import (
    REPOSITORY,
    alive,
    contents,
    convert_here,
    descendants,
    finish,
    kill,
    make_numbered,
    make_photos,
    start,
    wait_until,
)
from tests.records.test_sources import make_tar


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """24 photos in three classes."""
    return make_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def converted(photos, tmp_path_factory):
    """Their conversion in four shards."""
    folder = tmp_path_factory.mktemp("converted") / "records"
    convert_here(photos, folder)
    return folder


def examples(folder):
    """(label, features) of every record in the order of the shards, read by TensorFlow."""
    paths = sorted(map(str, folder.glob("*.tfrecord")))
    for serialized in tf.data.TFRecordDataset(paths).as_numpy_iterator():
        features = tf.train.Example.FromString(serialized).features.feature
        yield features["label"].int64_list.value[0], features


def raw_images(folder):
    """The pixels of every record, with its label."""
    for label, features in examples(folder):
        shape = [features[name].int64_list.value[0] for name in ("height", "width", "depth")]
        yield np.frombuffer(features["image_raw"].bytes_list.value[0], "uint8").reshape(shape), label


# What is written.


def test_every_image_is_there_once_with_its_label(photos, tmp_path):
    manifest = convert_here(photos, tmp_path / "records", encoding="raw", image_size=6)
    expected = {
        np.asarray(square_image(path.read_bytes(), 6)).tobytes(): int(path.parent.name[1:])
        for path in photos.rglob("*.JPEG")
    }
    found = {image.tobytes(): label for image, label in raw_images(tmp_path / "records")}
    assert len(expected) == 24 and found == expected
    assert manifest.images == 24 and manifest.class_names == ("n00", "n01", "n02")
    assert {image.shape for image, _ in raw_images(tmp_path / "records")} == {(6, 6, 3)}


def test_jpeg_records_decode_to_nearly_the_same_pixels(photos, tmp_path):
    for encoding in ("raw", "jpeg"):
        convert_here(photos, tmp_path / encoding, encoding=encoding, image_size=32)
    pairs = list(zip(raw_images(tmp_path / "raw"), examples(tmp_path / "jpeg")))
    assert len(pairs) == 24
    for (image, label), (jpeg_label, features) in pairs:
        assert label == jpeg_label and "image_raw" not in features
        decoded = tf.io.decode_jpeg(features["image_jpeg"].bytes_list.value[0]).numpy()
        # JPEG's loss at quality 95; another image is off by dozens.
        assert abs(decoded.astype(int) - image).mean() < 3


def test_images_are_shuffled_once_over_all_shards(tmp_path):
    make_numbered(tmp_path / "photos", classes=2, images=50)
    orders = {}
    for seed in (1, 2):
        convert_here(tmp_path / "photos", tmp_path / str(seed), seed=seed, encoding="raw", num_shards=5)
        orders[seed] = [int(image[0, 0, 0]) for image, _ in raw_images(tmp_path / str(seed))]
        assert sorted(orders[seed]) == list(range(100))
    # A permutation leaves one of its hundred in place on average.
    assert sum(order == place for place, order in enumerate(orders[1])) < 8
    assert sum(a == b for a, b in zip(*orders.values())) < 8
    # No class has a shard to itself.
    for shard in range(5):
        assert {order // 50 for order in orders[1][20 * shard : 20 * shard + 20]} == {0, 1}


def test_the_manifest_describes_the_shards(converted):
    manifest = json.loads((converted / "manifest.json").read_text())
    assert manifest["images"] == 24 and manifest["class_names"] == ["n00", "n01", "n02"]
    assert manifest["settings"] == {
        **{"image_size": 8, "encoding": "jpeg", "jpeg_quality": 95, "num_shards": 4, "seed": 1},
        **{"fit": "crop", "background": "white", "max_megapixels": 89.0},
    }
    for shard in manifest["shards"]:
        path = converted / shard["name"]
        assert shard["bytes"] == path.stat().st_size
        assert shard["records"] == sum(1 for _ in tf.data.TFRecordDataset(str(path))) == 6
        digest = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
        assert shard["sha256"] == digest
    names = [shard["name"] for shard in manifest["shards"]]
    assert names == [f"train-{number:05d}-of-00004.tfrecord" for number in range(4)]
    assert sorted(contents(converted)) == sorted([*names, "manifest.json", "unreadable.jsonl"])


@pytest.mark.parametrize("processes", [1, 3, 7])
def test_the_bytes_do_not_depend_on_the_processes(photos, converted, tmp_path, processes):
    convert_here(photos, tmp_path / "records", processes=processes)
    assert contents(tmp_path / "records") == contents(converted)


def test_tar_and_folder_give_the_same_bytes(photos, converted, tmp_path):
    files = {f"{path.parent.name}/{path.name}": path.read_bytes() for path in photos.rglob("*.JPEG")}
    convert_here(make_tar(tmp_path / "a.tar", files), tmp_path / "records")
    ours, others = contents(tmp_path / "records"), contents(converted)
    # It says which of them it was made from.
    assert ours.pop("manifest.json") != others.pop("manifest.json")
    assert ours == others


def test_other_settings_give_other_bytes(photos, converted, tmp_path):
    for name, value in {"seed": 2, "jpeg_quality": 60, "image_size": 9, "num_shards": 3}.items():
        convert_here(photos, tmp_path / name, **{name: value})
        first = next(iter(contents(tmp_path / name).values()))
        assert first not in contents(converted).values(), name


@pytest.mark.parametrize(
    ("images", "shards"), [(1, 1), (100, 1), (101, 2), (1000, 10), (102_400, 1024), (1_281_167, 1024)]
)
def test_the_number_of_shards_left_to_the_program(images, shards):
    assert ConversionSettings().with_shards_for(images).num_shards == shards


def test_tfds(real_data_dir, tmp_path):
    source = open_source("tfds:cifar10", str(real_data_dir / "tfds"), "test")
    settings = ConversionSettings(image_size=32, encoding="raw")
    source = dataclasses.replace(source, entries=source.entries[:300])
    manifest = converter.convert(source, tmp_path / "records", settings, 2, 0.0, lambda line: None)
    assert manifest.images == 300 and manifest.class_names[3] == "cat" and len(manifest.shards) == 3
    import tensorflow_datasets as tfds

    data = tfds.load("cifar10", data_dir=real_data_dir / "tfds", split="test[:300]", download=False, batch_size=-1)
    order = np.random.default_rng(1).permutation(300)
    found = list(raw_images(tmp_path / "records"))
    assert [label for _, label in found] == data["label"].numpy()[order].tolist()
    images = data["image"].numpy()[order].astype(int)
    # TFDS decodes JPEGs by libjpeg's fast method, Pillow by the accurate one; other images are off by dozens.
    differences = abs(np.stack([image for image, _ in found]) - images)
    assert differences.max() <= 12 and differences.mean(axis=(1, 2, 3)).max() < 2


# Odd and damaged images.


def test_images_with_long_comments_are_read_again(tmp_path):
    make_photos(tmp_path / "photos", classes=1, images=1)
    (tmp_path / "photos/n00/a.jpg").write_bytes(jpeg(7, comment=b"x" * 60_000))
    convert_here(tmp_path / "photos", tmp_path / "records", image_size=32, num_shards=1)
    assert len(ImageRecords(tmp_path / "records")) == 2


def mixed_folder(root, odd, damaged):
    """Distinct odd and damaged files, `odd` and `damaged` of them, beside what is in `root`; returns the damaged."""
    expected, bad = {}, {}
    for index, (_, content, _) in enumerate(odd_files(odd)):
        name = f"n{index % 3:02d}/odd-{index:03d}.JPEG"
        expected[name] = content
    for index, (_, content) in enumerate(damaged_files(damaged)):
        bad[f"n{index % 3:02d}/damaged-{index:03d}.JPEG"] = content
    for name, content in {**expected, **bad}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    assert len({*expected.values(), *bad.values()}) == odd + damaged
    return bad


def listed(folder):
    lines = (folder / "unreadable.jsonl").read_text().splitlines()
    return {entry["name"]: entry["reason"] for entry in map(json.loads, lines)}


def assert_all_good_images_are_there(source, folder, bad, size):
    """Compares the records with every file of `source` but `bad`, converted one by one here."""
    expected = []
    names = [f"{path.parent.name}/{path.name}" for path in source.rglob("*") if path.is_file()]
    classes = sorted({name.split("/")[0] for name in names})
    for name in set(names) - set(bad):
        image = np.asarray(square_image((source / name).read_bytes(), size))
        expected.append((classes.index(name.split("/")[0]), image.tobytes()))
    found = sorted((label, image.tobytes()) for image, label in raw_images(folder))
    assert found == sorted(expected)


def test_damaged_images_are_listed_and_no_good_one_is_lost(tmp_path):
    source = make_photos(tmp_path / "photos", images=2)
    bad = mixed_folder(source, odd=40, damaged=20)
    manifest = convert_here(source, tmp_path / "records", max_unreadable=0.5, encoding="raw", image_size=8)
    assert manifest.images == 46 and manifest.unreadable == 20
    reasons = listed(tmp_path / "records")
    assert reasons.keys() == bad.keys() and list(reasons) == sorted(reasons) and all(reasons.values())
    assert_all_good_images_are_there(source, tmp_path / "records", bad, 8)
    assert len(ImageRecords(tmp_path / "records")) == 46


@pytest.mark.slow
def test_a_hundred_odd_and_damaged_files_among_a_thousand(real_data_dir, tmp_path):
    """The command line, with 1,000 real images."""
    source = tmp_path / "photos"
    for folder in (real_data_dir / "imagenet_sample/train").iterdir():
        (source / folder.name).mkdir(parents=True)
        for path in folder.iterdir():
            (source / folder.name / path.name).symlink_to(path)
    bad = mixed_folder(source, odd=57, damaged=43)
    arguments = [f"--source={source}", f"--output_dir={tmp_path}/records", "--encoding=raw", "--image_size=64"]
    code, text = finish(start(*arguments))
    assert code == 1 and "43 of 1100 images cannot be read" in text and "Traceback" not in text
    assert listed(tmp_path / "records").keys() == bad.keys()
    with pytest.raises(DataError, match="not finished"):
        ImageRecords(tmp_path / "records")
    before = contents(tmp_path / "records")
    code, text = finish(start(*arguments, "--max_unreadable=0.04"))
    assert code == 0 and "keeping 11 of 11 shards" in text and "1057 images" in text, text
    assert_all_good_images_are_there(source, tmp_path / "records", bad, 64)
    shards_before = {name: content for name, content in before.items() if name.endswith(".tfrecord")}
    assert shards_before.items() <= contents(tmp_path / "records").items()


def test_too_many_unreadable_images_are_an_error_and_finished_work_is_kept(tmp_path):
    source = make_photos(tmp_path / "photos", classes=1, images=97)
    for name in "xyz":
        (source / "n00" / f"{name}.png").write_bytes(b"no image")
    folder = tmp_path / "records"
    lines = []
    for allowed in (0.0, 0.02):
        with pytest.raises(DataError, match=f"3 of 100 images cannot be read, more than `max_unreadable={allowed}`"):
            convert_here(source, folder, max_unreadable=allowed, report=lines.append)
        assert not (folder / "manifest.json").exists() and len(listed(folder)) == 3
        with pytest.raises(DataError, match="not finished"):
            ImageRecords(folder)
    assert "left out: n00/x.png: not an image of a known format" in lines
    written = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.tfrecord")}
    assert convert_here(source, folder, max_unreadable=0.03).images == 97
    assert written == {path.name: path.stat().st_mtime_ns for path in folder.glob("*.tfrecord")}


def test_names_that_cannot_be_printed_are_told_of(tmp_path):
    source, lines = make_photos(tmp_path / "photos", classes=1, images=9), []
    with open(os.fsencode(source / "n00") + b"/\xff.png", "wb") as file:
        file.write(b"no image")
    convert_here(source, tmp_path / "records", max_unreadable=0.1, report=lambda line: lines.append(line.encode()))
    assert b"left out: n00/\\udcff.png: not an image of a known format" in lines


def test_no_image_at_all_is_an_error(tmp_path):
    source = tmp_path / "photos"
    (source / "n00").mkdir(parents=True)
    (source / "n00" / "a.JPEG").write_bytes(b"no image")
    with pytest.raises(DataError, match="1 of 1 image cannot be read"):
        convert_here(source, tmp_path / "records", max_unreadable=1.0, num_shards=1)


def test_a_file_that_could_not_be_read_is_tried_again(tmp_path):
    photos = make_photos(tmp_path / "photos", images=4)
    source, settings = open_source(str(photos)), ConversionSettings(image_size=8, num_shards=2)
    path = photos / "n01/002.JPEG"
    path.rename(tmp_path / "away")
    with pytest.raises(DataError, match="1 of 12 images"):
        converter.convert(source, tmp_path / "records", settings, 2, 0.0, lambda line: None)
    assert listed(tmp_path / "records") == {"n01/002.JPEG": "cannot be read: No such file or directory"}
    (tmp_path / "away").rename(path)
    assert converter.convert(source, tmp_path / "records", settings, 2, 0.0, lambda line: None).images == 12
    assert listed(tmp_path / "records") == {}


# Deaths and restarts.


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Photos that take a moment each, the flags to convert them, and what comes out undisturbed."""
    folder = tmp_path_factory.mktemp("large")
    source = make_photos(folder / "photos", classes=4, images=45, width=700, height=500)
    (source / "n02/bad.JPEG").write_bytes(b"no image")
    flags = [f"--source={source}", "--num_shards=12", "--image_size=16", "--processes=2"]
    code, text = finish(start(*flags, f"--output_dir={folder}/records"))
    assert code == 0, text
    return flags, contents(folder / "records")


def finished_shards(folder):
    return sorted((folder / "unfinished").glob("train-*.json")) if folder.exists() else []


def test_killed_again_and_again_it_ends_with_the_same_bytes(large, tmp_path):
    flags, undisturbed = large
    folder = tmp_path / "records"
    moments = [
        ("once the folder is there", folder.exists),
        ("while the first shards are written", lambda: any(folder.glob(".train*.tmp"))),
        ("after one shard", lambda: len(finished_shards(folder)) >= 1),
        ("after four shards", lambda: len(finished_shards(folder)) >= 4),
        ("after nine shards", lambda: len(finished_shards(folder)) >= 9),
        ("at the end", lambda: len(finished_shards(folder)) >= 12),
    ]
    kept, killed = {}, 0
    for name, moment in moments:
        process = start(*flags, f"--output_dir={folder}")
        if wait_until(moment, process):
            kill(process)
            killed += 1
        else:
            # Only the last may come too late.
            assert name == "at the end", finish(process)
            break
        if (folder / "manifest.json").exists():
            break
        # What was finished before was not written again.
        now = {path.name: path.stat().st_mtime_ns for path in folder.glob("train-*.tfrecord")}
        assert kept.items() <= now.items(), name
        # A shard without its report is not finished: the report was to follow.
        reports = {path.stem for path in finished_shards(folder)}
        kept = {file: time for file, time in now.items() if file.removesuffix(".tfrecord") in reports}
        # A death may come before anything but the folder is there.
        words = "not finished" if (folder / "unfinished").exists() else "no folder of image records"
        with pytest.raises(DataError, match=words):
            ImageRecords(folder)
    assert killed >= 5
    code, text = finish(start(*flags, f"--output_dir={folder}"))
    assert code == 0, text
    assert contents(folder) == undisturbed


def test_what_a_killed_shard_left_is_not_taken_for_whole(large, tmp_path):
    flags, undisturbed = large
    folder = tmp_path / "records"
    process = start(*flags, f"--output_dir={folder}")
    assert wait_until(lambda: len(finished_shards(folder)) >= 3, process)
    kill(process)
    # As a disk might that lied about its cache: one shard cut, one report cut.
    first, second, *_ = finished_shards(folder)
    shard = folder / f"{first.stem}.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-100])
    second.write_text(second.read_text()[:30])
    code, text = finish(start(*flags, f"--output_dir={folder}"))
    assert code == 0, text
    assert contents(folder) == undisturbed


def start_in_foreground(*arguments):
    """Starts the command as a terminal does: what runs in the background ignores Ctrl-C, and hands that down."""
    return start(
        *arguments,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def press_ctrl_c(process):
    # A terminal sends it to all processes.
    os.killpg(process.pid, signal.SIGINT)
    code, text = finish(process)
    assert code == 130 and "the same command continues" in text and "Traceback" not in text


def test_ctrl_c_keeps_finished_shards(large, tmp_path):
    flags, undisturbed = large
    folder = tmp_path / "records"
    process = start_in_foreground(*flags, f"--output_dir={folder}")
    assert wait_until(lambda: len(finished_shards(folder)) >= 2, process)
    others = descendants(process.pid)
    press_ctrl_c(process)
    wait_until(lambda: not alive(others))
    assert not any(folder.glob(".*.tmp")) and not (folder / "manifest.json").exists()
    code, text = finish(start(*flags, f"--output_dir={folder}"))
    assert code == 0 and "keeping" in text, text
    assert contents(folder) == undisturbed


def test_ctrl_c_does_not_wait_for_shards(large, tmp_path):
    flags, _ = large
    folder = tmp_path / "records"
    # All images in one shard.
    process = start_in_foreground(*flags, "--num_shards=1", f"--output_dir={folder}")
    assert wait_until(lambda: any(folder.glob(".train*.tmp")), process)
    press_ctrl_c(process)
    assert not any(folder.glob("*train*"))


def test_processes_leave_ctrl_c_to_the_main_one(tmp_path):
    # One that waits for work would print a traceback; one that is just starting would break the others' pool.
    program = f"""
import signal
from igan_tf.records import processes

processes.start_fork_server(without_interrupts=True)
with processes.pool(1, {str(tmp_path / "lock")!r}) as (pool, _):
    assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
    assert pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result() == {{signal.SIGINT}}
assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
"""
    # In a process of its own, which starts a fork server of its own.
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)


def test_a_worker_that_is_killed_ends_the_conversion_with_a_message(large, tmp_path):
    flags, undisturbed = large
    folder = tmp_path / "records"
    process = start(*flags, f"--output_dir={folder}")
    assert wait_until(lambda: any(folder.glob(".train*.tmp")), process)
    # The youngest is a worker: it is started last.
    os.kill(max(descendants(process.pid)), signal.SIGKILL)
    code, text = finish(process)
    assert code == 1 and "was ended from outside" in text and "Traceback" not in text, text
    assert finish(start(*flags, f"--output_dir={folder}"))[0] == 0
    assert contents(folder) == undisturbed


def test_a_disk_that_takes_no_more_is_named(large, tmp_path):
    flags, undisturbed = large
    folder = tmp_path / "records"

    def allow_small_files():
        # No file beyond 5,000 bytes: writing fails in the middle of a shard as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    code, text = finish(start(*flags, f"--output_dir={folder}", preexec_fn=allow_small_files))
    assert code == 1 and "Traceback" not in text
    assert f"--output_dir={folder}: train-" in text and "cannot be written: File too large" in text, text
    assert not any(folder.glob(".*.tmp")) and not (folder / "manifest.json").exists()
    with pytest.raises(DataError, match="not finished"):
        ImageRecords(folder)
    assert finish(start(*flags, f"--output_dir={folder}"))[0] == 0
    assert contents(folder) == undisturbed


def test_raw_images_that_will_not_fit_are_refused_before_the_work(photos, tmp_path, monkeypatch):
    usage = converter.shutil.disk_usage(tmp_path)._replace(free=24 * 3 * 64 - 1)
    monkeypatch.setattr(converter.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match=r"`output_dir=.*are free"):
        convert_here(photos, tmp_path / "records", encoding="raw")
    assert not any((tmp_path / "records").glob("*.tfrecord"))
    convert_here(photos, tmp_path / "jpeg")


# Finished before.


def test_a_second_run_changes_nothing(photos, converted):
    before = {path: path.stat().st_mtime_ns for path in converted.iterdir()}
    lines = []
    manifest = convert_here(photos, converted, report=lines.append)
    assert manifest.images == 24 and "finished before, every shard is whole" in lines[-1]
    assert before == {path: path.stat().st_mtime_ns for path in converted.iterdir()}


def test_lost_and_damaged_shards_are_written_anew(photos, converted, tmp_path):
    convert_here(photos, tmp_path / "records")
    lost, altered, *_ = sorted((tmp_path / "records").glob("*.tfrecord"))
    lost.unlink()
    altered.write_bytes(altered.read_bytes()[:-1] + b"?")
    lines = []
    convert_here(photos, tmp_path / "records", report=lines.append)
    assert any(lost.name in line and "missing" in line for line in lines)
    assert any(altered.name in line and "altered" in line for line in lines)
    assert contents(tmp_path / "records") == contents(converted)


def test_a_shard_that_cannot_be_written_anew_as_it_was_is_named(photos, tmp_path):
    source = make_photos(tmp_path / "photos")
    convert_here(source, tmp_path / "records")
    for path in source.rglob("*.JPEG"):
        # Of the same length, so that the list of images looks the same.
        content = bytearray(path.read_bytes())
        content[-10] ^= 1
        path.write_bytes(content)
    shard = tmp_path / "records/train-00002-of-00004.tfrecord"
    shard.unlink()
    with pytest.raises(DataError, match=r"train-00002-of-00004\.tfrecord came out differently"):
        convert_here(source, tmp_path / "records")


@pytest.mark.parametrize("finished", [True, False])
def test_other_settings_or_images_are_refused(photos, tmp_path, finished):
    folder = tmp_path / "records"
    convert_here(photos, folder)
    if not finished:
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").unlink()
        (folder / "unfinished").mkdir()
        plan = {name: manifest[name] for name in ("format", "settings", "source")}
        (folder / "unfinished/plan.json").write_text(json.dumps(plan))
    before = contents(folder)
    with pytest.raises(DataError, match=r"other settings:\n  seed: the conversion was started with 1, now 5$"):
        convert_here(photos, folder, seed=5)
    other = make_photos(tmp_path / "other", images=9)
    with pytest.raises(DataError, match="images: the conversion was started with 24, now 27"):
        convert_here(other, folder)
    assert contents(folder) == before


def test_sets_of_the_earlier_version_are_read_and_neither_continued_nor_mended(photos, tmp_path):
    folder = tmp_path / "records"
    convert_here(photos, folder)
    manifest = read_manifest(folder)
    settings = {
        name: manifest.settings[name] for name in ("image_size", "encoding", "jpeg_quality", "num_shards", "seed")
    }
    dataclasses.replace(manifest, format=1, settings=settings).write(folder)
    before = contents(folder)
    assert len(ImageRecords(folder)) == 24 and convert_here(photos, folder).format == 1
    assert contents(folder) == before
    shard = folder / "train-00002-of-00004.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"an earlier version of igan_tf, .*it has 1 damaged shard: convert into"):
        convert_here(photos, folder)
    (tmp_path / "begun/unfinished").mkdir(parents=True)
    plan = {"settings": settings, "source": manifest.source}
    (tmp_path / "begun/unfinished/plan.json").write_text(json.dumps(plan))
    with pytest.raises(DataError, match=r"an earlier version of igan_tf, .*it is not finished: convert into another"):
        convert_here(photos, tmp_path / "begun")


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b"{}", b'{"settings": 1, "source": {}}', b"\xff", b"[" * 100_000],
    ids=["cut", "list", "empty", "number", "binary", "deep"],
)
def test_a_damaged_plan_is_named(photos, tmp_path, content):
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished/plan.json").write_bytes(content)
    with pytest.raises(DataError, match=r"unfinished/plan\.json is damaged: .*; remove"):
        convert_here(photos, tmp_path)


def begun(photos, folder):
    """A conversion without its manifest: as it is before the last of its files is written."""
    convert_here(photos, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").unlink()
    (folder / "unfinished").mkdir()
    plan = {name: manifest[name] for name in ("format", "settings", "source")}
    (folder / "unfinished/plan.json").write_text(json.dumps(plan))
    for shard in manifest["shards"]:
        report = {"shard": shard, "unreadable": [], "unread": False}
        (folder / "unfinished" / shard["name"]).with_suffix(".json").write_text(json.dumps(report))
    return folder


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan["settings"].pop("image_size"),
        lambda plan: plan["settings"].update(num_shards=10**12),
        lambda plan: plan["settings"].update(path="/etc"),
        lambda plan: plan["source"].update(images=10**12),
        lambda plan: plan["source"].update(digest=7),
        lambda plan: plan.update(shards=[]),
    ],
    ids=["setting less", "shards", "setting more", "images", "digest", "more"],
)
def test_a_forged_plan_is_named(photos, tmp_path, change):
    folder = begun(photos, tmp_path / "records")
    path = folder / "unfinished/plan.json"
    plan = json.loads(path.read_text())
    change(plan)
    path.write_text(json.dumps(plan))
    with pytest.raises(DataError, match=r"unfinished/plan\.json is damaged: [^\n]*; remove [^\n]*$"):
        convert_here(photos, folder)


def test_true_reports_keep_their_shards(photos, converted, tmp_path):
    folder, lines = begun(photos, tmp_path / "records"), []
    convert_here(photos, folder, report=lines.append)
    assert any("keeping 4 of 4 shards" in line for line in lines)
    assert contents(folder) == contents(converted)


@pytest.mark.parametrize(
    "change",
    [
        lambda report: report["shard"].update(name="../outside.tfrecord"),
        lambda report: report["shard"].update(records=10**12),
        lambda report: report["shard"].update(records=report["shard"]["records"] - 1),
        lambda report: report["shard"].update(name="train-00003-of-00004.tfrecord"),
        lambda report: report.update(unreadable=[["of/another.JPEG", "reason"]]),
        lambda report: report.update(unreadable=[["one"]]),
        lambda report: report.update(unread="no"),
        lambda report: report.update(more=0),
        lambda report: report.clear(),
    ],
    ids=["outside", "records", "sum", "another", "unreadable", "pair", "flag", "more", "empty"],
)
def test_a_forged_report_is_named_and_its_shard_written_anew(photos, converted, tmp_path, change):
    folder, lines = begun(photos, tmp_path / "records"), []
    path = folder / "unfinished/train-00001-of-00004.json"
    report = json.loads(path.read_text())
    change(report)
    path.write_text(json.dumps(report))
    convert_here(photos, folder, report=lines.append)
    assert any(
        line.startswith(f"{path} is damaged: ") and line.endswith("; its shard is written anew") for line in lines
    )
    assert any("keeping 3 of 4 shards" in line for line in lines)
    assert contents(folder) == contents(converted)


@pytest.mark.parametrize(
    ("name", "finished"),
    [
        ("train-00000-of-00004.tfrecord", False),
        ("unfinished/notes.txt", False),
        ("unfinished/notes.txt", True),
        ("unfinished/plans/plan.json", False),
    ],
)
def test_files_of_something_else_are_left_alone(photos, tmp_path, name, finished):
    if finished:
        convert_here(photos, tmp_path)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"precious")
    before = contents(tmp_path)
    with pytest.raises(DataError, match=f"`output_dir={tmp_path}` holds files of something else, such as {name[:16]}"):
        convert_here(photos, tmp_path)
    assert contents(tmp_path) == before


def test_a_folder_begun_before_its_plan_is_no_reason_to_overwrite(photos, tmp_path):
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished/.lock").write_bytes(b"")
    (tmp_path / "train-00000-of-00004.tfrecord").write_bytes(b"precious")
    with pytest.raises(DataError, match="something else, such as train-00000"):
        convert_here(photos, tmp_path)


@pytest.mark.parametrize(("path", "shared"), [(".lock", False), ("unfinished/.lock", True)], ids=["main", "process"])
def test_a_second_converter_is_refused(photos, tmp_path, monkeypatch, path, shared):
    monkeypatch.setattr(processes, "_SECONDS_FOR_THE_DYING", 0)
    (tmp_path / "unfinished").mkdir()
    with (
        locks.held(tmp_path / path, AssertionError(), shared=shared),
        pytest.raises(DataError, match=f"`output_dir={tmp_path}` is in use by another converter"),
    ):
        convert_here(photos, tmp_path)
    assert contents(tmp_path) == {}
    convert_here(photos, tmp_path)


@pytest.mark.parametrize("place", ["file", "file/records", "/dev/null/records"])
def test_an_output_folder_that_cannot_be_is_named(photos, tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=f"`output_dir.*{place}"):
        convert_here(photos, tmp_path / place)


def test_no_tensorflow_is_needed(photos, tmp_path):
    code = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from igan_tf.data.imagenet_records import run\n"
        f"if __name__ == '__main__': run(['--source={photos}', '--output_dir={tmp_path}/records', '--image_size=8'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert len(ImageRecords(tmp_path / "records")) == 24


def test_images_a_second_are_shown_on_a_terminal(photos, tmp_path):
    terminal, end = os.openpty()
    # 24 lines of 100 characters.
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = start(f"--source={photos}", f"--output_dir={tmp_path}/records", stderr=end, stdout=subprocess.PIPE)
    os.close(end)
    output, _ = process.communicate(timeout=60)
    shown = b""
    # At the end a terminal fails to read.
    with contextlib.suppress(OSError):
        while more := os.read(terminal, 1000):
            shown += more
    os.close(terminal)
    shown = shown.decode()
    assert "24/24" in shown and "images/s" in shown, shown
    assert "24 images of 3 classes" in output and "images/s" in output
