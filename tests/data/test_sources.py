import dataclasses
import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from igan_tf.data import ImageData, labelled_subset, load_data
from igan_tf.data.sources import in_memory
from igan_tf.errors import DataError
from igan_tf.experiments.configs import build_config
from igan_tf.images.tfds import PreparedData

_ORIENTATION = 0x0112
RED, GREEN = (255, 0, 0), (0, 255, 0)


def save_image(path, colour=RED, size=(6, 6), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


def folder_config(path, **changes):
    return build_config(
        **{"dataset": "folder", "data_dir": str(path), "image_size": 4, "test_fraction": 0.0, **changes}
    )


def fill(folder, counts):
    """Makes images in folders; every one of its own brightness, beginning with 1."""
    brightness = iter(range(1, 256))
    for name, count in counts.items():
        for index in range(count):
            save_image(folder / name / f"{index:02d}.png", (next(brightness), 0, 0))


def test_digits():
    data = load_data(build_config(dataset="digits"))
    assert data.train_images.shape == (1198, 8, 8, 1) and data.test_images.shape == (599, 8, 8, 1)
    assert data.image_shape == (8, 8, 1) and data.num_classes == 10
    for images in (data.train_images, data.test_images):
        assert images.dtype == "float32" and images.min() == 0 and images.max() == 1
    assert np.bincount(data.train_labels).min() > 100 and np.bincount(data.test_labels).min() > 50
    # No image stands on both sides.
    train = {image.tobytes() for image in data.train_images}
    assert not any(image.tobytes() in train for image in data.test_images)


def test_mnist(real_data_dir):
    data = load_data(build_config(data_dir=str(real_data_dir / "tfds")))
    assert data.train_images.shape == (60000, 28, 28, 1) and data.test_images.shape == (10000, 28, 28, 1)
    assert data.train_images.dtype == "uint8" and data.train_images.max() == 255
    assert np.bincount(data.train_labels)[[0, 1, 5]].tolist() == [5923, 6742, 5421]
    assert np.bincount(data.test_labels)[[0, 1, 5]].tolist() == [980, 1135, 892]
    assert data.class_names == tuple("0123456789")
    assert np.bincount(data.train_labels[labelled_subset(data.train_labels, 10, 1)]).tolist() == [10] * 10


def test_parts_of_mnist(real_data_dir):
    test_set = PreparedData("mnist", real_data_dir / "tfds").arrays("test")
    splits = {"train_split": "test[:8000]", "test_split": "test[8000:]"}
    config = build_config(data_dir=str(real_data_dir / "tfds"), **splits)
    data = load_data(config)
    np.testing.assert_array_equal(data.train_images, test_set["image"][:8000])
    np.testing.assert_array_equal(data.test_images, test_set["image"][8000:])
    np.testing.assert_array_equal(np.append(data.train_labels, data.test_labels), test_set["label"])
    for name, split, message in (
        ("train_split", "tset", "`train_split` must be one of train, test"),
        ("test_split", "test[:0]", "`test_split=test\\[:0\\]` of mnist is empty"),
        ("test_split", "", "must have no images in common, and have 8000"),
    ):
        with pytest.raises(DataError, match=message):
            load_data(dataclasses.replace(config, **{name: split}))


def test_cifar10(real_data_dir):
    data = load_data(build_config(dataset="cifar10", data_dir=str(real_data_dir / "tfds")))
    assert data.train_images.shape == (50000, 32, 32, 3) and data.test_images.shape == (10000, 32, 32, 3)
    assert data.train_images.dtype == "uint8" and data.class_names[:2] == ("airplane", "automobile")
    assert np.bincount(data.train_labels).tolist() == [5000] * 10
    assert np.bincount(data.test_labels).tolist() == [1000] * 10


def test_svhn_in_tfdss_format(tmp_path):
    """TFDS's own builder writes a few of its cropped digits, with the splits that the real set has."""
    import tensorflow_datasets as tfds

    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), "uint8")

    def generate(self, split_manager, *args):
        return {
            name: ((str(index), {"id": str(index), "image": images[index], "label": index % 10}) for index in rows)
            for name, rows in (("train", range(8)), ("test", range(8, 11)), ("extra", range(11, 12)))
        }

    builder = tfds.builder("svhn_cropped", data_dir=str(tmp_path))
    type(builder)._split_generators, original = generate, type(builder)._split_generators
    try:
        builder.download_and_prepare()
    finally:
        type(builder)._split_generators = original
    data = load_data(build_config(dataset="svhn", data_dir=str(tmp_path)))
    order, test_order = (np.argsort(labels) for labels in (data.train_labels, data.test_labels))
    np.testing.assert_array_equal(data.train_images[order], images[:8])
    np.testing.assert_array_equal(data.test_images[test_order], images[[10, 8, 9]])
    assert data.test_labels[test_order].tolist() == [0, 8, 9] and data.num_classes == 10


def test_fewer_training_images():
    whole = load_data(build_config(dataset="digits"))
    data = load_data(build_config(dataset="digits", train_images=17))
    assert data.train_images.shape == (17, 8, 8, 1)
    # Some of the images, each once, in their order, with their labels.
    rows = [np.flatnonzero((whole.train_images == image).all((1, 2, 3)))[0] for image in data.train_images]
    assert rows == sorted(np.random.default_rng(0).permutation(1198)[:17])
    np.testing.assert_array_equal(data.train_labels, whole.train_labels[rows])
    np.testing.assert_array_equal(data.test_images, whole.test_images)
    again = load_data(build_config(dataset="digits", train_images=17, seed=5, seed_data=7))
    np.testing.assert_array_equal(again.train_images, data.train_images)
    with pytest.raises(DataError, match=r"at most .* 1198. Received: train_images=1199"):
        load_data(build_config(dataset="digits", train_images=1199))


def test_records_that_memory_cannot_hold_are_refused():
    class Records:
        folder, image_shape = "records", (128, 128, 3)

        def __len__(self):
            return 10**9

    with pytest.raises(DataError, match=r"records: 1000000000 images of .* are 49152\.0 GB, too many to be held in"):
        in_memory(Records())


@pytest.mark.parametrize(("classes", "words"), [(2, "classes c0 (2), c1 (1)"), (21, "21 classes of 0 to 2")])
def test_many_classes_are_counted_and_not_named(classes, words):
    images, labels = np.zeros((3, 4, 4, 1), "uint8"), np.array([0, 1, 0])
    data = ImageData(images, labels, images[:0], labels[:0], tuple(f"c{number}" for number in range(classes)))
    assert data.in_words() == f"3 images, 4x4x1, {words}; none held out"


def test_data_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=f"^`dataset=svhn`: no prepared data set svhn_cropped in `data_dir={tmp_path}`"):
        load_data(build_config(dataset="svhn", data_dir=str(tmp_path)))


def test_class_folders_unlabelled_and_loose_images(tmp_path):
    fill(tmp_path, {"b": 2, "a": 3, "Unlabeled": 2, ".": 1})
    (tmp_path / "a" / "notes.txt").write_text("no image")
    save_image(tmp_path / "Unlabeled" / "deeper" / "x.PNG", (200, 0, 0))
    data = load_data(folder_config(tmp_path))
    assert data.class_names == ("a", "b")
    found = sorted(zip(data.train_images[:, 0, 0, 0].tolist(), data.train_labels.tolist()))
    assert found == [(1, 1), (2, 1), (3, 0), (4, 0), (5, 0), (6, -1), (7, -1), (8, -1), (200, -1)]
    assert data.train_images.dtype == "uint8" and data.train_images.shape[1:] == (4, 4, 3)
    assert len(data.test_images) == 0 and len(data.test_labels) == 0


def test_images_without_classes(tmp_path):
    fill(tmp_path, {".": 3})
    data = load_data(folder_config(tmp_path, test_fraction=0.5))
    assert data.num_classes == 0 and data.train_labels.tolist() == [-1] * 3 and len(data.test_images) == 0


def test_train_and_test_folders(tmp_path):
    fill(tmp_path, {"train/a": 2, "train/b": 1, "train/unlabelled": 1, "test/a": 1, "test/b": 2, "test/unlabelled": 1})
    data = load_data(folder_config(tmp_path, test_fraction=0.5))
    assert data.train_labels.tolist() == [0, 0, 1, -1]
    assert data.test_labels.tolist() == [0, 1, 1]
    assert data.train_images[:, 0, 0, 0].tolist() == [1, 2, 3, 4]
    assert data.test_images[:, 0, 0, 0].tolist() == [5, 6, 7]


def test_unlabelled_images_beside_splits_and_two_spellings_of_a_class(tmp_path):
    spellings = [unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD")]
    fill(tmp_path, {f"train/{spellings[0]}": 2, "unlabelled": 2, f"test/{spellings[1]}": 1, ".": 1})
    data = load_data(folder_config(tmp_path))
    assert data.class_names == (spellings[0],)
    assert data.train_images[:, 0, 0, 0].tolist() == [1, 2, 3, 4] and data.train_labels.tolist() == [0, 0, -1, -1]
    assert data.test_images[:, 0, 0, 0].tolist() == [5] and data.left_out == "left out: 1 beside train"


def test_a_class_in_test_alone_is_named(tmp_path):
    fill(tmp_path, {"train/a": 1, "test/a": 1, "test/zebra": 1})
    with pytest.raises(DataError, match=f"`data_dir={tmp_path}`: .*classes that train has not: zebra"):
        load_data(folder_config(tmp_path))


@pytest.mark.parametrize(("fraction", "held_out"), [(0.25, [2, 1, 0]), (0.5, [4, 2, 1]), (0.9, [7, 3, 1])])
def test_a_part_of_each_class_is_held_out(tmp_path, fraction, held_out):
    fill(tmp_path, {"a": 8, "b": 4, "c": 2, "unlabelled": 5})
    data = load_data(folder_config(tmp_path, test_fraction=fraction))
    assert np.bincount(data.test_labels, minlength=3).tolist() == held_out
    assert (data.train_labels == -1).sum() == 5
    both = [*data.train_images[:, 0, 0, 0].tolist(), *data.test_images[:, 0, 0, 0].tolist()]
    assert sorted(both) == list(range(1, 20))
    again = load_data(folder_config(tmp_path, test_fraction=fraction))
    np.testing.assert_array_equal(again.test_images, data.test_images)
    # Of every version: figures are compared on the same images.
    assert fraction != 0.5 or data.test_images[:, 0, 0, 0].tolist() == [3, 4, 5, 7, 10, 11, 13]


def test_every_label_draw_has_the_same_test_set(tmp_path):
    fill(tmp_path, {"a": 30, "b": 30})
    first, second = (load_data(folder_config(tmp_path, test_fraction=0.5, seed_data=seed)) for seed in (1, 2))
    np.testing.assert_array_equal(first.test_images, second.test_images)


@pytest.mark.parametrize(("size", "channels"), [(4, 3), (9, 3), (9, 1)])
def test_size_and_channels_are_the_flags(tmp_path, size, channels):
    save_image(tmp_path / "colour.png", GREEN, (20, 12))
    save_image(tmp_path / "grey.png", 100, (3, 5), mode="L")
    data = load_data(folder_config(tmp_path, image_size=size, channels=channels))
    assert data.train_images.shape == (2, size, size, channels)
    green = GREEN if channels == 3 else [150]
    assert (data.train_images[0] == np.array(green)).all()
    assert (data.train_images[1] == 100).all()


def test_the_centre_square_is_taken(tmp_path):
    pixels = np.zeros((4, 12, 3), "uint8")
    pixels[:, 4:8] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert (load_data(folder_config(tmp_path)).train_images == 255).all()


def test_exif_rotation_is_applied(tmp_path):
    pixels = np.zeros((8, 8, 3), "uint8")
    pixels[:4] = 255
    exif = Image.Exif()
    exif[_ORIENTATION] = 6  # The camera lay on its side: the top of the file is the right of the picture.
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    image = load_data(folder_config(tmp_path, image_size=8)).train_images[0]
    assert (image[:, 4:] == 255).all() and (image[:, :4] == 0).all()


def test_grey_images_padded_with_a_colour(tmp_path):
    save_image(tmp_path / "a.png", 7, (4, 8), mode="L")
    config = folder_config(tmp_path, image_size=8, channels=1, fit="pad", background="red")
    columns = load_data(config).train_images[0, :, :, 0]
    # The luma of red.
    assert (columns[:, :2] == 76).all() and (columns[:, 2:6] == 7).all() and (columns[:, 6:] == 76).all()
    config = folder_config(tmp_path, image_size="4x12", fit="crop")
    assert load_data(config).train_images.shape == (1, 4, 12, 3)


@pytest.mark.parametrize("content", [b"", b"not an image", None], ids=["empty", "text", "cut"])
def test_an_unreadable_image_is_named(tmp_path, content):
    fill(tmp_path, {"a": 3})
    path = tmp_path / "a" / "broken.png"
    save_image(path, size=(64, 64))
    path.write_bytes(path.read_bytes()[:60] if content is None else content)
    words = (
        rf"`data_dir={tmp_path}`: 1 of 4 images cannot be read, more than `max_unreadable=0.01` .*\n  a/broken.png: "
    )
    with pytest.raises(DataError, match=words):
        load_data(folder_config(tmp_path))
    data = load_data(folder_config(tmp_path, max_unreadable=0.25))
    assert data.train_images[:, 0, 0, 0].tolist() == [1, 2, 3] and data.train_labels.tolist() == [0, 0, 0]
    assert data.in_words() == "3 images, 4x4x3, classes a (3); none held out; left out: 1 that cannot be read"
    assert len(data.unreadable) == 1 and data.unreadable[0].startswith("a/broken.png: ")


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=f"`data_dir={tmp_path}` holds no images"):
        load_data(folder_config(tmp_path))


def test_a_train_folder_without_images_is_refused(tmp_path):
    fill(tmp_path, {"test/unlabelled": 1})
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match=f"`data_dir={tmp_path}` holds test, and no train"):
        load_data(folder_config(tmp_path))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(
        DataError, match=f"needs a folder of images. Received: data_dir={tmp_path}/none, which does not"
    ):
        load_data(folder_config(tmp_path / "none"))
    (tmp_path / "one.png").write_bytes(b"")
    with pytest.raises(DataError, match=f"Received: data_dir={tmp_path}/one.png, which is a file"):
        load_data(folder_config(tmp_path / "one.png"))


def test_a_folder_that_memory_does_not_hold_is_refused_before_it_is_read(tmp_path, monkeypatch):
    fill(tmp_path, {"a": 3})
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 2 * 3 * 16 * 3 - 1}.get)
    words = rf"^`data_dir={tmp_path}`: 3 images of \(4, 4, 3\) are .* a smaller `image_size` .* image_size=4$"
    with pytest.raises(DataError, match=words):
        load_data(folder_config(tmp_path))
    assert len(load_data(folder_config(tmp_path, channels=1)).train_images) == 3
