"""From image files to squares: NumPy oracles for cropping and resizing, Pillow's colours for odd files."""

import io
import math
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageFile

from igan_tf.images import decoding
from igan_tf.images.decoding import UnreadableImage, decode, fitted, window
from igan_tf.images.folders import SIGNATURE_BYTES, begins_as_image
from igan_tf.images.settings import IMAGE_FILES, DecodingSettings
from tests.records.image_files import (
    cmyk_jpeg,
    damaged_files,
    odd_files,
    picture,
    png,
    rotated,
    saved,
    square_image,
)


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


def test_a_larger_image_than_allowed_is_refused_before_it_is_decoded(monkeypatch):
    content = png(np.zeros((100, 101, 3), "uint8"))
    assert decode(content, DecodingSettings(max_megapixels=0.0101)).size == (101, 100)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(UnreadableImage, match=r"101x100 pixels are more than `max_megapixels=0.0100"):
        decode(content, DecodingSettings(max_megapixels=0.010099))


def test_every_format_by_its_content():
    image = Image.fromarray(picture(0))
    kinds = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "MPO")
    for kind in kinds:
        more = {"append_images": [image], "save_all": True} if kind == "MPO" else {}
        content = saved(image, kind, **more)
        assert begins_as_image("a", content[:SIGNATURE_BYTES]), kind
        # GIF's palette and strong compression are the furthest off.
        assert abs(np.asarray(decode(content, IMAGE_FILES)).astype(int) - picture(0)).mean() < 8, kind
    assert not begins_as_image("a", saved(image, "EPS")[:SIGNATURE_BYTES])
    for text in (b"BMW, Porsche and others", b"Python", b"P5ych", b"<svg>", b""):
        assert not begins_as_image("a", text[:SIGNATURE_BYTES]), text


@pytest.mark.parametrize("background", ["white", "black", "#0a141e"])
@pytest.mark.parametrize("kind", ["RGBA", "LA", "palette", "16 bits", "grey with a colour that is clear"])
def test_transparent_pixels_are_laid_over_the_background(kind, background):
    settings = DecodingSettings(background=background)
    behind = {"white": (255, 255, 255), "black": (0, 0, 0), "#0a141e": (10, 20, 30)}[background]
    clear = np.zeros((6, 8), bool)
    clear[:3] = True
    pixels = picture(1, 8, 6)
    # What is clear hides other levels.
    shown = np.where(clear[..., None], behind, pixels)
    grey = pixels[..., 0] | 1
    if kind == "RGBA":
        content = png(np.dstack([pixels, np.where(clear, 0, 255).astype("uint8")]))
    elif kind == "palette":
        image = Image.fromarray(np.where(clear, 0, 1).astype("uint8"), "P")
        image.putpalette([1, 2, 3, 200, 100, 50])
        content = saved(image, "PNG", transparency=0)
        shown = np.where(clear[..., None], behind, (200, 100, 50))
    else:
        shown = np.where(clear[..., None], behind, grey[..., None])
        if kind == "LA":
            content = png(np.dstack([grey, np.where(clear, 0, 255).astype("uint8")]))
        elif kind == "16 bits":
            deep = np.where(clear, 4, grey.astype("uint16") * 256)
            content = saved(Image.fromarray(deep.astype("uint16")), "PNG", transparency=4)
        else:
            content = saved(Image.fromarray(np.where(clear, 4, grey).astype("uint8")), "PNG", transparency=4)
    image = decode(content, settings)
    assert image.mode == ("RGB" if kind in ("RGBA", "palette") or background[0] == "#" else "L")
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), shown)


def test_half_transparent_pixels_are_mixed():
    content = png(np.full((2, 2, 4), (200, 100, 0, 51), "uint8"))
    # A fifth of the colour, four fifths of white.
    assert decode(content, IMAGE_FILES).getpixel((0, 0)) == (244, 224, 204)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [([0.0, 0.25, 1.0], [0, 64, 255]), ([0.0, 0.5, 1.001], None), ([-0.001, 0.5, 1], None), ([0, np.nan, 1], None)],
)
def test_floating_point_levels_run_from_black_to_white(levels, expected):
    content = saved(Image.fromarray(np.array([levels], "float32")), "TIFF")
    if expected is None:
        with pytest.raises(UnreadableImage, match=r"must be in \[0, 1\]"):
            decode(content, IMAGE_FILES)
    else:
        image = decode(content, IMAGE_FILES)
        assert image.mode == "L" and np.asarray(image).tolist() == [expected]


@pytest.mark.parametrize("kind", ["uint16", "float32"])
def test_a_tiff_whose_levels_begin_with_white(kind):
    levels = np.array([[0, 1]], kind) * {"uint16": 65535, "float32": 1}[kind]
    content = saved(Image.fromarray(levels.astype(kind)), "TIFF")
    image = Image.open(io.BytesIO(content))
    assert np.asarray(decode(content, IMAGE_FILES)).tolist() == [[0, 255]]
    image.tag_v2[262] = 0
    content = saved(image, "TIFF", tiffinfo=image.tag_v2)
    assert np.asarray(decode(content, IMAGE_FILES)).tolist() == [[255, 0]]


@pytest.mark.parametrize(("bits", "clear"), [(2, 1), (4, 3), (8, 51)])
def test_the_clear_level_of_a_png_of_few_bits(bits, clear):
    """Written by hand: Pillow writes grey PNGs of 8 bits alone."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 2, 1, bits, 0, 0, 0, 0)
    row = bytes([clear, 0]) if bits == 8 else bytes([clear << (8 - bits)])
    chunks = chunk(b"IHDR", header) + chunk(b"tRNS", struct.pack(">H", clear))
    content = b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    assert np.asarray(decode(content, IMAGE_FILES).convert("RGB"))[0].tolist() == [[255] * 3, [0] * 3]


def test_the_clear_colour_of_a_png_of_sixteen_bits():
    _, content, shown = next(file for file in odd_files(20) if file[0] == "16-bit RGB")
    clear = struct.pack(">HHH", *(int(level) << 8 for level in shown[0, 0]))
    chunk = b"tRNS" + clear
    place = content.index(b"IDAT") - 4
    content = content[:place] + struct.pack(">I", 6) + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[place:]
    expected = np.where((shown == shown[0, 0]).all(-1, keepdims=True), 255, shown)
    np.testing.assert_array_equal(np.asarray(decode(content, IMAGE_FILES)), expected)


def test_a_bmp_whose_fourth_byte_means_nothing():
    opaque = saved(Image.fromarray(np.dstack([picture(0), np.full((30, 40, 1), 255, "uint8")])), "BMP")
    start = int.from_bytes(opaque[10:14], "little")
    pixels = np.frombuffer(opaque[start:], "uint8").reshape(-1, 4).copy()
    pixels[:, 3] = 0
    content = opaque[:start] + pixels.tobytes()
    np.testing.assert_array_equal(np.asarray(decode(content, IMAGE_FILES)), picture(0))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_sixteen_bits_in_every_format(kind):
    grey = picture(2)[..., 0]
    content = saved(Image.fromarray(grey.astype("uint16") * 256 + 77), kind)
    np.testing.assert_array_equal(np.asarray(decode(content, IMAGE_FILES)), grey)


def test_thirty_two_bits_have_no_known_range():
    with pytest.raises(UnreadableImage, match="no known range"):
        decode(saved(Image.fromarray(np.full((3, 3), 70_000, "int32")), "TIFF"), IMAGE_FILES)


@pytest.mark.parametrize(("height", "width"), [(30, 40), (41, 30), (7, 7), (50, 9)])
@pytest.mark.parametrize("size", [(8, 8), (8, 12), (12, 8), (31, 17)])
def test_the_window_has_the_aspect_ratio(height, width, size):
    top, left, part_height, part_width = window((height, width), size, "crop")
    assert (part_height == height or part_width == width) and part_height <= height and part_width <= width
    # The nearest whole number of pixels.
    assert abs(part_height * size[1] / size[0] - part_width) <= 0.5 * max(1, size[1] / size[0])
    assert (top, left) == ((height - part_height) // 2, (width - part_width) // 2)
    top, left, part_height, part_width = window((height, width), size, "pad")
    assert (part_height == height or part_width == width) and part_height >= height and part_width >= width
    assert (-top, -left) == ((part_height - height) // 2, (part_width - width) // 2)
    assert window((height, width), size, "stretch") == (0, 0, height, width)


def test_fits_by_hand():
    image = Image.fromarray(np.array([[10, 20, 30, 40], [50, 60, 70, 80]], "uint8"))

    def levels_of(fit, size, background="black"):
        return np.asarray(fitted(image, size, DecodingSettings(fit=fit, background=background))).tolist()

    assert levels_of("crop", (2, 2)) == [[20, 30], [60, 70]]
    assert levels_of("pad", (4, 4)) == [[0] * 4, [10, 20, 30, 40], [50, 60, 70, 80], [0] * 4]
    assert levels_of("pad", (4, 4), "red")[0] == [[255, 0, 0]] * 4
    # Not a canvas of 100,000 x 100,000.
    long = fitted(Image.new("L", (100_000, 1), 9), (4, 4), DecodingSettings(fit="pad", background="black"))
    assert np.asarray(long).tolist() == [[0] * 4, [9] * 4, [0] * 4, [0] * 4]
    assert levels_of("stretch", (2, 4)) == [[10, 20, 30, 40], [50, 60, 70, 80]]


def test_threads_leave_warnings_as_they_were(monkeypatch):
    both_inside, before = threading.Event(), list(warnings.filters)

    def load(data, settings):
        assert warnings.filters[0][0] == "ignore"
        if data == b"second":
            both_inside.set()
            # It began later and ends later.
            first.result(20)
        else:
            inside.set()
            assert both_inside.wait(20)

    monkeypatch.setattr(decoding, "_load", load)
    inside = threading.Event()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(decode, b"first", IMAGE_FILES)
        assert inside.wait(20)
        threads.submit(decode, b"second", IMAGE_FILES).result(20)
    assert warnings.filters == before


def test_too_little_memory_does_not_make_a_file_unreadable(monkeypatch):
    content = png(picture(0))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        decode(content, IMAGE_FILES)
