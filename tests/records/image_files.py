"""Image files of every odd kind that ImageNet holds, and damaged ones, made from a seed."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from igan_tf.images.decoding import decode, fitted
from igan_tf.images.settings import IMAGE_FILES

ORIENTATION = 0x0112


def picture(seed, width=40, height=30, bands=3):
    """Smooth pixels `(height, width, bands)`, uint8, which JPEG keeps nearly as they are."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (3, 4, bands), dtype="uint8")
    planes = [
        np.asarray(Image.fromarray(coarse[..., band]).resize((width, height), Image.Resampling.BICUBIC))
        for band in range(bands)
    ]
    return np.stack(planes, -1)


def saved(image, kind, **options):
    """The bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(seed, width=40, height=30, **options):
    return saved(Image.fromarray(picture(seed, width, height)), "JPEG", quality=95, **options)


def png(pixels):
    return saved(Image.fromarray(pixels), "PNG")


def cmyk_jpeg(seed, adobe=True, width=40, height=30):
    """A CMYK JPEG, inverted as all are, with or without the Adobe marker (APP14) that says so."""
    content = saved(Image.fromarray(picture(seed, width, height, bands=4), "CMYK"), "JPEG", quality=95)
    start = _adobe_marker(content)
    length = struct.unpack(">H", content[start + 2 : start + 4])[0]
    return content if adobe else content[:start] + content[start + 2 + length :]


def ycck_jpeg(seed):
    """A JPEG whose Adobe marker says that the first three of its four bands are luminance and chrominance."""
    content = cmyk_jpeg(seed)
    transform = _adobe_marker(content) + 15
    assert content[transform] == 0
    return content[:transform] + b"\x02" + content[transform + 1 :]


def _adobe_marker(content):
    start = content.index(b"\xff\xee")
    assert content[start + 4 : start + 9] == b"Adobe"
    return start


def square_image(content, size):
    """An image file as a PIL image of mode RGB, its largest centre square resized to `size`."""
    return fitted(decode(content, IMAGE_FILES), (size, size), IMAGE_FILES).convert("RGB")


def rotated(pixels, orientation, kind="PNG"):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return saved(Image.fromarray(pixels), kind, exif=exif)


def odd_files(count):
    """`count` distinct readable files: (kind, bytes, pixels), pixels RGB as Pillow or the file's maker has them."""
    return [_odd_file(seed) for seed in range(count)]


def _odd_file(seed):
    pixels = picture(seed)
    maker = _ODD[seed % len(_ODD)]
    kind, content, expected = maker(seed, pixels)
    return kind, content, _pillow_rgb(content) if expected is None else expected


def _pillow_rgb(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def _sixteen_bits(seed, pixels):
    grey = pixels[..., 0].astype("uint16") * 256 + np.uint16(seed % 256)
    return "16-bit grey", png(grey), np.repeat(pixels[..., :1], 3, -1)


def _sixteen_bit_colour(seed, pixels):
    """A PNG of 16 bits a colour, which Pillow reads and does not write."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, _ = pixels.shape
    lower = np.random.default_rng(seed).integers(0, 256, pixels.shape, "uint8")
    rows = np.stack([pixels, lower], -1).reshape(height, -1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return "16-bit RGB", b"\x89PNG\r\n\x1a\n" + chunks, pixels


def _transparent(seed, pixels):
    alpha = picture(seed + 1000, bands=1)
    return "RGBA", png(np.concatenate([pixels, alpha], -1)), over_white(pixels, alpha)


def over_white(pixels, alpha):
    """Pixels laid over white."""
    return np.round((pixels * alpha.astype(float) + 255.0 * (255 - alpha.astype(float))) / 255).astype("uint8")


_ODD = [
    lambda seed, pixels: ("CMYK with Adobe marker", cmyk_jpeg(seed), None),
    lambda seed, pixels: ("CMYK without Adobe marker", cmyk_jpeg(seed, adobe=False), None),
    lambda seed, pixels: ("YCCK", ycck_jpeg(seed), None),
    lambda seed, pixels: ("grey JPEG", saved(Image.fromarray(pixels[..., 0]), "JPEG", quality=95), None),
    lambda seed, pixels: ("PNG", png(pixels), pixels),
    _transparent,
    _sixteen_bits,
    _sixteen_bit_colour,
    lambda seed, pixels: ("EXIF rotation 6", rotated(np.rot90(pixels, 1), 6), pixels),
    lambda seed, pixels: ("EXIF rotation 3", rotated(np.rot90(pixels, 2), 3), pixels),
    lambda seed, pixels: ("progressive JPEG", jpeg(seed, progressive=True), None),
    lambda seed, pixels: ("5 x 3 pixels", png(pixels[:3, :5]), pixels[:3, :5]),
    lambda seed, pixels: ("one pixel", png(pixels[:1, :1]), pixels[:1, :1]),
    lambda seed, pixels: ("palette", saved(Image.fromarray(pixels).quantize(200), "GIF"), None),
    lambda seed, pixels: ("BMP", saved(Image.fromarray(pixels), "BMP"), pixels),
    lambda seed, pixels: ("WebP", saved(Image.fromarray(pixels), "WEBP", lossless=True), pixels),
    lambda seed, pixels: (
        "grey and alpha",
        png(np.stack([pixels[..., 0], pixels[..., 1]], -1)),
        over_white(pixels[..., [0] * 3], pixels[..., 1:2]),
    ),
    lambda seed, pixels: ("black and white", saved(Image.fromarray(pixels[..., 0] > 127), "PNG"), None),
    # The directory of tags begins beyond the end of the block; Pillow warns. The block begins wrongly; Pillow raises.
    lambda seed, pixels: ("EXIF nowhere", _damaged_exif(seed), _pillow_rgb(jpeg(seed))),
    lambda seed, pixels: ("EXIF of no kind", saved(Image.fromarray(pixels), "PNG", exif=b"X" * 12), pixels),
]


def _damaged_exif(seed):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    content = jpeg(seed, exif=exif)
    place = content.index(b"Exif\0\0") + 10
    return content[:place] + b"\xff" * 4 + content[place + 4 :]


def damaged_files(count):
    """`count` distinct unreadable files: (kind, bytes)."""
    return [_DAMAGED[seed % len(_DAMAGED)](seed) for seed in range(count)]


def _cut(content, seed):
    return content[: len(content) * (1 + seed % 97) // 100]


_DAMAGED = [
    lambda seed: ("cut JPEG", _cut(jpeg(seed), seed)),
    lambda seed: ("JPEG without its end marker", jpeg(seed)[:-2]),
    lambda seed: ("cut progressive JPEG", _cut(jpeg(seed, progressive=True), seed)),
    lambda seed: ("cut PNG", _cut(png(picture(seed)), seed)),
    lambda seed: ("PNG with damaged pixels", _overwritten(png(picture(seed)), seed)),
    lambda seed: ("text", f"<html>404 Not Found {seed}</html>".encode()),
    lambda seed: ("zeros", bytes(100 + seed)),
    lambda seed: ("the head of a JPEG, then noise", jpeg(seed)[:20] + np.random.default_rng(seed).bytes(500)),
    lambda seed: ("cut CMYK", _cut(cmyk_jpeg(seed, adobe=seed % 2 == 0), seed)),
    lambda seed: ("of unknown range", saved(Image.fromarray(picture(seed)[..., 0].astype("float32")), "TIFF")),
]


def _overwritten(content, seed):
    place = content.index(b"IDAT") + 30 + seed
    return content[:place] + bytes(8) + content[place + 8 :]
