"""The bytes of one image in a shard."""

import io

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from igan_tf.records import shards
from igan_tf.records.entries import Entry
from igan_tf.records.settings import ConversionSettings
from igan_tf.records.shards import ShardTask, convert_image
from tests.records.image_files import jpeg, picture, png, saved, square_image


def test_raw_bytes_are_the_pixels_by_rows():
    content = png(picture(4, 12, 12))
    assert convert_image(content, ConversionSettings(image_size=12, encoding="raw")) == picture(4, 12, 12).tobytes()


def test_jpeg_has_the_quality_and_full_colour():
    def settings(quality):
        return ConversionSettings(image_size=64, jpeg_quality=quality)

    content = jpeg(5, 64, 64)
    images = {quality: Image.open(io.BytesIO(convert_image(content, settings(quality)))) for quality in (30, 95)}
    for quality, image in images.items():
        assert image.size == (64, 64) and image.mode == "RGB"
        assert image.quantization == Image.open(io.BytesIO(_saved_at(quality))).quantization
        # Every component is sampled once a pixel.
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3
    error = abs(np.asarray(images[95]).astype(int) - np.asarray(square_image(content, 64)).astype(int)).mean()
    assert (
        error < 2
        and error < abs(np.asarray(images[30]).astype(int) - np.asarray(square_image(content, 64)).astype(int)).mean()
    )


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "PNG", "JPEG2000"])
def test_a_comment_is_not_taken_along(kind):
    image, text = Image.fromarray(picture(6)), b"by a camera " * 5
    options = {"pnginfo": PngInfo()} if kind == "PNG" else {"comment": text}
    if kind == "PNG":
        options["pnginfo"].add_text("comment", text.decode())
    with_comment, without = (saved(image, kind, **more) for more in (options, {}))
    assert text in with_comment
    assert convert_image(with_comment, ConversionSettings(image_size=12)) == convert_image(
        without, ConversionSettings(image_size=12)
    )


def test_a_comment_longer_than_a_jpeg_holds():
    content = saved(Image.fromarray(picture(6)), "GIF", comment=b"x" * 70_000)
    assert b"x" * 200 not in convert_image(content, ConversionSettings(image_size=12))


@pytest.mark.parametrize("where", ["decode", "fitted", "encode_image"])
def test_an_image_that_memory_does_not_hold_is_tried_again(tmp_path, monkeypatch, where):
    content = jpeg(0)
    (tmp_path / "a.jpg").write_bytes(content)
    entry = Entry("n00/a.jpg", 0, str(tmp_path / "a.jpg"), 0, len(content))
    path = tmp_path / "train-00000-of-00001.tfrecord"
    task = ShardTask(path, tmp_path / "report.json", (entry,), (), 1, ConversionSettings(image_size=8, num_shards=1))
    with monkeypatch.context() as patch:
        patch.setattr(shards, where, lambda *arguments: (_ for _ in ()).throw(MemoryError))
        report = shards.write_shard(task)
    assert report.unreadable == (("n00/a.jpg", "there is not enough memory for it"),) and report.unread
    # So its report is not taken for a finished shard's.
    assert shards.finished_report(task) is None
    assert shards.write_shard(task).shard.records == 1


def _saved_at(quality):
    return saved(Image.new("RGB", (8, 8)), "JPEG", quality=quality)
