import io
import os
import random
import re
import tarfile

import pytest

from igan_tf.errors import DataError
from igan_tf.images.decoding import UnreadableImage
from igan_tf.images.settings import IMAGE_FILES
from igan_tf.records.sources import open_source, read_entry
from igan_tf.records.tfrecords import record_spans
from tests.images.tfds_data import prepare
from tests.records.image_files import jpeg

FILES = {
    "n02/b.JPEG": b"second",
    "n02/a.JPEG": b"first",
    "n01/z.JPEG": b"x" * 2000,
    "n10/no suffix": b"\xff\xd8\xff cut",
}


def make_folder(root, files=FILES):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def inner_tar(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files:
            add(archive, name, content)
    return buffer.getvalue()


def add(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def make_tar(path, files=FILES):
    """A tar of one tar a class, in the order of the files, as ImageNet's comes in any."""
    classes = {}
    for name, content in files.items():
        class_name, file = name.split("/")
        classes.setdefault(class_name, []).append((file, content))
    with tarfile.open(path, "w") as archive:
        for class_name, members in classes.items():
            add(archive, f"{class_name}.tar", inner_tar(members))
    return path


def read_all(source):
    return {entry.name: read_entry(entry, source.example_keys, IMAGE_FILES) for entry in source.entries}


def refused(source, *words):
    with pytest.raises(DataError) as caught:
        open_source(str(source))
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize("make", [make_folder, make_tar])
def test_classes_and_files_are_sorted_and_read(tmp_path, make):
    source = open_source(str(make(tmp_path / "source")))
    assert source.class_names == ("n01", "n02", "n10")
    assert [entry.name for entry in source.entries] == ["n01/z.JPEG", "n02/a.JPEG", "n02/b.JPEG", "n10/no suffix"]
    labels = {"n01": 0, "n02": 1, "n10": 2}
    assert read_all(source) == {name: (content, labels[name[:3]]) for name, content in FILES.items()}


def test_folder_and_tar_are_the_same_input(tmp_path):
    folder, tar = (open_source(str(make(tmp_path / make.__name__))) for make in (make_folder, make_tar))
    assert folder.digest() == tar.digest()


@pytest.mark.parametrize(
    "change",
    [{"n02/a.JPEG": b"firsts"}, {"n02/c.JPEG": b"third"}, {"n03/a.JPEG": b"new"}, {"n02/a.JPEG": None}],
    ids=["longer", "file", "class", "missing"],
)
def test_another_input_has_another_digest(tmp_path, change):
    files = {name: content for name, content in {**FILES, **change}.items() if content is not None}
    first, second = (open_source(str(make_folder(tmp_path / str(n), f))) for n, f in enumerate((FILES, files)))
    assert first.digest() != second.digest()


@pytest.mark.parametrize("make", [make_folder, make_tar])
def test_hidden_files_are_left_out(tmp_path, make):
    files = {**FILES, "n01/.DS_Store": b"hidden", "n02/._a.JPEG": b"hidden"}
    assert len(open_source(str(make(tmp_path / "source", files))).entries) == len(FILES)


def test_a_file_that_vanishes_or_shrinks_is_noticed(tmp_path):
    source = open_source(str(make_folder(tmp_path / "source")))
    (tmp_path / "source/n01/z.JPEG").write_bytes(b"short")
    (tmp_path / "source/n02/a.JPEG").unlink()
    with pytest.raises(UnreadableImage, match="ends after 5 of 2000 bytes"):
        read_entry(source.entries[0], (), IMAGE_FILES)
    with pytest.raises(OSError):
        read_entry(source.entries[1], (), IMAGE_FILES)


def test_a_pipe_is_no_image(tmp_path):
    root = make_folder(tmp_path / "source")
    os.mkfifo(root / "n01/pipe.JPEG")
    assert len(open_source(str(root)).entries) == len(FILES)


def test_a_dangling_link_is_listed_as_an_image(tmp_path):
    root = make_folder(tmp_path / "source")
    (root / "n01/link.JPEG").symlink_to(tmp_path / "nowhere")
    assert "n01/link.JPEG" in [entry.name for entry in open_source(str(root)).entries]


# What is refused.


def test_wrong_paths_are_named(tmp_path):
    refused("", "`source` must be", "Received: source=")
    refused(tmp_path / "none", f"`source={tmp_path}/none` does not exist")
    refused(tmp_path, f"`source={tmp_path}` must hold one folder of images a class, and holds none")


def test_what_is_left_out_is_said(tmp_path):
    files = {
        **FILES,
        "beside.png": b"",
        "unlabelled/a.png": b"",
        "n05/notes.txt": b"",
        "n01/notes": b"",
        "n01/.b.png": b"",
    }
    source = open_source(str(make_folder(tmp_path, files)))
    assert source.class_names == ("n01", "n02", "n10") and len(source.entries) == len(FILES)
    assert source.left_out == (
        "left out: 1 hidden, 2 of no image format (notes, .txt), 1 folder without images (n05), 2 without a class"
    )


def test_what_is_left_out_of_a_tar_is_said(tmp_path):
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as archive:
        for name in ("a.JPEG", "notes.txt", ".hidden"):
            add(archive, name, b"x")
        add(archive, "camera.NEF", b"II*\0" + bytes(20))
        for name, kind in (("soft.JPEG", tarfile.SYMTYPE), ("hard.JPEG", tarfile.LNKTYPE), ("sub", tarfile.DIRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "a.JPEG"
            archive.addfile(member)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in ("n01.tar", ".n02.tar", "n03.tar.gz", "loose.JPEG"):
            add(archive, name, inner.getvalue())
    source = open_source(str(tmp_path / "a.tar"))
    assert [entry.name for entry in source.entries] == ["n01/a.JPEG"]
    assert source.left_out == (
        "left out: 2 hidden, 2 beside the tars, 2 that are links, pipes or devices, 2 of no image format"
    )


def test_the_training_split_of_a_layout_of_splits_is_converted(tmp_path):
    files = {f"{split}/{name}": content for split in ("train", "val") for name, content in FILES.items()}
    source = open_source(str(make_folder(tmp_path, files)))
    assert source.left_out == "left out: 4 in its own test split"
    assert [entry.name for entry in source.entries] == ["n01/z.JPEG", "n02/a.JPEG", "n02/b.JPEG", "n10/no suffix"]
    assert all(entry.path.startswith(f"{tmp_path}/train/") for entry in source.entries)


def test_a_folder_one_level_too_high_is_refused(tmp_path):
    make_folder(tmp_path / "images")
    refused(
        tmp_path, f"`source={tmp_path}`", "images must hold images, and holds the folder n", f"Is {tmp_path}/images"
    )


def test_a_tar_of_images_is_refused(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(inner_tar([("a.JPEG", b"x")]))
    refused(path, f"`source={path}` must hold one tar a class", "ILSVRC2012_img_train.tar")


def test_what_is_no_tar_is_refused(tmp_path):
    path = tmp_path / "a.tar"
    for content in (b"", b"some text", jpeg(0)):
        path.write_bytes(content)
        refused(path, f"`source={path}`", "not a whole uncompressed tar")


def test_a_compressed_tar_is_refused(tmp_path):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        add(archive, "n01.tar", inner_tar([("a", b"x")]))
    refused(path, "not a whole uncompressed tar")


def test_a_file_that_is_not_all_in_its_tar_is_refused(tmp_path):
    """A sparse file says a size that the archive does not have: to read so much would take all memory."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w", format=tarfile.PAX_FORMAT) as archive:
        image = tarfile.TarInfo("000.JPEG")
        image.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(10**12)}
        image.size = 512
        archive.addfile(image, io.BytesIO(b"0\n".ljust(512, b"\0")))
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        add(archive, "n01.tar", inner.getvalue())
    refused(path, "n01.tar in it holds the sparse file 000.JPEG")


@pytest.mark.parametrize("twice", ["class", "file"])
def test_a_name_twice_is_refused(tmp_path, twice):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for _ in range(2 if twice == "class" else 1):
            add(archive, "n01.tar", inner_tar([("a", b"x")] * (1 if twice == "class" else 2)))
    refused(path, "twice")


def test_every_cut_of_a_tar_is_refused(tmp_path):
    whole = make_tar(tmp_path / "whole.tar")
    content = whole.read_bytes()
    with tarfile.open(whole) as archive:
        last = archive.getmembers()[-1]
    # Two blocks of zeros end a tar, and fill up its ten kilobytes. One block is enough to know that it ends.
    end = last.offset_data + last.size
    path = tmp_path / "cut.tar"
    for length in [*range(0, end, 511), end, end + 511]:
        path.write_bytes(content[:length])
        refused(path, f"`source={path}`")


def test_a_damaged_header_within_a_tar_is_refused(tmp_path):
    content = bytearray(make_tar(tmp_path / "a.tar").read_bytes())
    generator = random.Random(0)
    headers = [match.start() - 257 for match in re.finditer(rb"ustar", bytes(content))]
    assert len(headers) == 3 + len(FILES)
    for header in headers:
        damaged = bytearray(content)
        damaged[header + generator.randrange(100)] ^= 0x20
        (tmp_path / "damaged.tar").write_bytes(damaged)
        refused(tmp_path / "damaged.tar", "damaged.tar")


# TFDS.


def test_tfds(real_data_dir):
    source = open_source("tfds:cifar10", str(real_data_dir / "tfds"), "test")
    assert len(source.entries) == 10000 and len(source.class_names) == 10
    assert source.class_names[3] == "cat"
    import tensorflow_datasets as tfds

    data = tfds.load("cifar10", data_dir=real_data_dir / "tfds", split="test", download=False)
    for entry, example in zip(source.entries[:50], tfds.as_numpy(data)):
        content, label = read_entry(entry, source.example_keys, IMAGE_FILES)
        assert label == example["label"]
        # That the bytes are the image's is the converter's test; here, that they are an image.
        assert content[:2] == b"\xff\xd8" or content[:4] == b"\x89PNG"


def test_an_unknown_split_of_tfds_is_named(tmp_path):
    prepare(tmp_path)
    for split in ("all", "train[:2]"):
        words = rf"^`source=tfds:tiny`: `split` must be one of \w+, \w+\. Received: split={re.escape(split)}$"
        with pytest.raises(DataError, match=words):
            open_source("tfds:tiny", str(tmp_path), split)


def test_tfds_without_one_image_and_its_label_is_refused(tmp_path):
    prepare(tmp_path, image=None)
    with pytest.raises(DataError, match=r"one image with one class label\. Received: images \[\], labels \['label'\]"):
        open_source("tfds:tiny", str(tmp_path))


def test_floats_of_tfds_are_refused(tmp_path):
    prepare(tmp_path / "deep", dtype="uint16")
    assert len(open_source("tfds:tiny", str(tmp_path / "deep")).entries) == 5
    prepare(tmp_path, dtype="float32")
    with pytest.raises(DataError, match=r"`source=tfds:tiny`: .* must be uint8 or uint16\. Received: float32$"):
        open_source("tfds:tiny", str(tmp_path))


@pytest.mark.parametrize(
    ("content_of", "words"), [("cut", "is cut at byte 5000"), ("short", "1 record instead of 10000")]
)
def test_damaged_files_of_tfds_are_named(real_data_dir, tmp_path, content_of, words):
    prepared = real_data_dir / "tfds/cifar10/3.0.2"
    copy = tmp_path / "cifar10/3.0.2"
    copy.mkdir(parents=True)
    for path in prepared.iterdir():
        if "test" not in path.name:
            (copy / path.name).symlink_to(path)
    [file] = prepared.glob("*test*")
    first_record = record_spans(file)[0][:2]
    length = 5000 if content_of == "cut" else sum(first_record) + 4
    with open(file, "rb") as opened:
        (copy / file.name).write_bytes(opened.read(length))
    with pytest.raises(DataError, match=words) as caught:
        open_source("tfds:cifar10", str(tmp_path), "test")
    assert file.name in str(caught.value)
