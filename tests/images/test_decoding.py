"""From image files to squares: NumPy oracles for cropping and resizing, Pillow's colours for odd files."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from igan_tf.images.decoding import UnreadableImage, convert_image, square_image
from tests.records.image_files import cmyk_jpeg, damaged_files, jpeg, odd_files, picture, png, rotated, saved


def centre(pixels):
    """The largest centre square, by counting the pixels left away on each side."""
    height, width = pixels.shape[:2]
    while height > width:
        # From the bottom first: of an odd number, the bottom loses the one more.
        pixels = pixels[:-1] if (pixels.shape[0] - width) % 2 else pixels[1:]
        height = pixels.shape[0]
    while width > height:
        pixels = pixels[:, :-1] if (pixels.shape[1] - height) % 2 else pixels[:, 1:]
        width = pixels.shape[1]
    return pixels


def lanczos(x):
    if x == 0:
        return 1.0
    return math.sin(math.pi * x) / (math.pi * x) * math.sin(math.pi * x / 3) / (math.pi * x / 3) if abs(x) < 3 else 0.0


def resized_line(line, size):
    """A line of values resized by Lanczos, the filter stretched by the scale where it makes smaller."""
    scale = len(line) / size
    stretch = max(scale, 1.0)
    result = []
    for place in range(size):
        middle = (place + 0.5) * scale
        weights = [lanczos((x + 0.5 - middle) / stretch) for x in range(len(line))]
        result.append(sum(w * value for w, value in zip(weights, line)) / sum(weights))
    return np.clip(np.round(result), 0, 255)


def resized(pixels, size):
    """Lines first, then columns, each rounded to whole levels, as images in 8 bits are."""
    wide = np.stack([np.stack([resized_line(row[:, c], size) for row in pixels]) for c in range(3)], -1)
    return np.stack([np.stack([resized_line(wide[:, x, c], size) for x in range(size)], 1) for c in range(3)], -1)


def levels(content, size):
    return np.asarray(square_image(content, size)).astype(int)


@pytest.mark.parametrize(("width", "height", "size"), [(23, 17, 6), (16, 21, 8), (9, 9, 20), (4, 7, 11), (8, 8, 8)])
def test_the_centre_square_is_resized_by_lanczos(width, height, size):
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype="uint8")
    expected = resized(centre(pixels).astype(float), size)
    # Pillow's weights are fixed-point numbers: a level beside now and then.
    assert abs(levels(png(pixels), size) - expected).max() <= 1


def test_pixels_beside_the_square_are_without_influence():
    pixels = picture(0, 60, 20)
    other = pixels.copy()
    other[:, :20] = 255 - other[:, :20]
    other[:, 40:] = 255 - other[:, 40:]
    np.testing.assert_array_equal(levels(png(pixels), 7), levels(png(other), 7))


def test_a_fine_chequerboard_becomes_grey():
    chequers = np.indices((64, 64)).sum(0) % 2 * 255
    image = levels(png(np.stack([chequers] * 3, -1).astype("uint8")), 8)
    # Picking single pixels, or averaging a few, would leave black and white.
    assert abs(image - 127.5).max() <= 3


def test_an_even_image_keeps_its_colour():
    for size in (4, 64):
        assert (levels(png(np.full((9, 30, 3), (7, 100, 250), "uint8")), size) == (7, 100, 250)).all()


@pytest.mark.parametrize(("content", "pixels"), [pytest.param(*file, id=kind) for kind, *file in odd_files(20)])
def test_odd_files_have_pillows_colours(content, pixels):
    square = centre(pixels)
    size = len(square)
    # Of the same size, so that no resizing hides a difference. Decoders may differ by 2.
    assert abs(levels(content, size) - square.astype(int)).max() <= 2
    assert square_image(content, 24).size == (24, 24)


@pytest.mark.parametrize("adobe", [True, False])
def test_cmyk_with_and_without_the_adobe_marker(adobe):
    inks = picture(3, 30, 30, bands=4).astype(float)
    expected = (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    # JPEG's loss at quality 95 on four bands; a wrong reading is off by a hundred.
    assert abs(levels(cmyk_jpeg(3, adobe, 30, 30), 30) - expected).max() <= 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_every_exif_rotation(orientation, kind):
    # As the standard has it: where the zeroth row and the zeroth column of the stored image belong.
    turn = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }[orientation]
    pixels = picture(1, 32, 32)
    content = rotated(pixels, orientation, kind)
    stored = np.asarray(Image.open(io.BytesIO(saved(Image.fromarray(pixels), kind))))
    np.testing.assert_array_equal(levels(content, 32), turn(stored))


@pytest.mark.parametrize("content", [pytest.param(content, id=kind) for kind, content in damaged_files(40)])
def test_damaged_files_are_refused_with_a_reason(content):
    with pytest.raises(UnreadableImage) as caught:
        square_image(content, 8)
    reason = str(caught.value)
    assert reason and "0x" not in reason and "<_io" not in reason


def test_an_empty_file_says_so():
    with pytest.raises(UnreadableImage, match="the file is empty"):
        square_image(b"", 8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_every_cut_of_the_pixels_is_refused(kind):
    content = saved(Image.fromarray(picture(2)), kind)
    # The pixels of a PNG are followed by two checksums and a chunk that says nothing.
    whole = len(content) - (0 if kind == "JPEG" else 4 + 4 + 12)
    for length in range(0, whole, 7):
        with pytest.raises(UnreadableImage):
            square_image(content[:length], 8)


def test_programs_are_not_images():
    # Pillow reads PostScript by starting Ghostscript.
    with pytest.raises(UnreadableImage, match="not an image of a known format"):
        square_image(saved(Image.fromarray(picture(0)), "EPS"), 8)


def test_a_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(UnreadableImage, match="exceeds limit"):
        square_image(png(picture(0)), 8)


def test_raw_bytes_are_the_pixels_by_rows():
    content = png(picture(4, 12, 12))
    assert convert_image(content, 12, "raw", 95) == picture(4, 12, 12).tobytes()


def test_jpeg_has_the_quality_and_full_colour():
    content = jpeg(5, 64, 64)
    images = {quality: Image.open(io.BytesIO(convert_image(content, 64, "jpeg", quality))) for quality in (30, 95)}
    for quality, image in images.items():
        assert image.size == (64, 64) and image.mode == "RGB"
        assert image.quantization == Image.open(io.BytesIO(_saved_at(quality))).quantization
        # Every component is sampled once a pixel.
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3
    error = abs(np.asarray(images[95]).astype(int) - levels(content, 64)).mean()
    assert error < 2 and error < abs(np.asarray(images[30]).astype(int) - levels(content, 64)).mean()


def _saved_at(quality):
    return saved(Image.new("RGB", (8, 8)), "JPEG", quality=quality)
