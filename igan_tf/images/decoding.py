"""Decodes image files. The content says what a file is, never its name."""

from __future__ import annotations

import contextlib
import io
import struct
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from igan_tf.images.folders import FORMATS
from igan_tf.images.settings import DecodingSettings

# As far as this Pillow knows them. Other formats start programs (EPS) or hold no photograph.
Image.init()
_FORMATS: list[str] = [name for name in FORMATS if name in Image.OPEN]
# More than any format takes; of small images metadata may be larger than the pixels.
_MOST_BYTES_A_PIXEL, _MOST_BYTES_OF_METADATA = 16, 2**26
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_GREY = ("1", "L", "LA", "La")
_BITS_PER_SAMPLE = 258
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
# Of threads that decode.
_lock = threading.Lock()
_threads_inside = 0
_caught = contextlib.ExitStack()


class UnreadableImage(ValueError):
    """The bytes are no whole image; the message is the reason, the same on every machine."""


def refuse_too_large(size: int, settings: DecodingSettings) -> None:
    """Raises an UnreadableImage, before a file is read, where its bytes are more than the pixels allowed take."""
    if size > max(_MOST_BYTES_OF_METADATA, settings.max_megapixels * 1e6 * _MOST_BYTES_A_PIXEL):
        raise UnreadableImage(f"{size} bytes are more than `max_megapixels={settings.max_megapixels:g}`")


def decode(data: bytes, settings: DecodingSettings) -> Image.Image:
    """Decodes one image file.

    EXIF's rotation is applied; of several frames the first is taken. CMYK (in JPEGs taken as inverted, with the Adobe
    marker or without) and palettes become RGB as Pillow converts them; transparent pixels are laid over
    `settings.background`; of 16 bits the upper eight stay; floating-point pixels in [0, 1] run from black to white.

    Args:
        data: The bytes of an image file.
        settings: How.

    Returns:
        A PIL image of mode "L" where the file is grey, and of mode "RGB" where it is not.

    Raises:
        UnreadableImage: with the reason.
        MemoryError: where there is not enough for this image.
    """
    try:
        with _without_warnings():
            return _load(data, settings)
    # Another time there may be enough memory.
    except (UnreadableImage, MemoryError):
        raise
    # Damaged files make Pillow's readers raise nearly everything; none of it may end a training or a conversion.
    except Exception as error:
        raise UnreadableImage(_reason(error)) from error


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Keeps warnings off, in all threads while one is in the scope: Pillow warns of large images and damaged metadata.

    `catch_warnings` in each thread would put back what another one had set.
    """
    global _threads_inside
    with _lock:
        if not _threads_inside:
            _caught.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        _threads_inside += 1
    try:
        yield
    finally:
        with _lock:
            _threads_inside -= 1
            if not _threads_inside:
                _caught.close()


def fitted(image: Image.Image, size: tuple[int, int], settings: DecodingSettings) -> Image.Image:
    """Brings an image to `size`: first its aspect ratio by `settings.fit`, then Lanczos, antialiased where it shrinks.

    Args:
        image: Of mode "L" or "RGB".
        size: `(height, width)`.
        settings: How; padding is of `settings.background`.
    """
    shape = (image.height, image.width)
    if settings.fit == "pad":
        # The part of the result that the image fills: a canvas around a long image as it is could be huge.
        top, left, height, width = window(size, shape, "crop")
        colour = settings.background_rgb
        mode = "L" if image.mode == "L" and len(set(colour)) == 1 else "RGB"
        whole = Image.new(mode, size[::-1], colour[0] if mode == "L" else colour)
        whole.paste(image.resize((width, height), Image.Resampling.LANCZOS), (left, top))
        return whole
    top, left, height, width = window(shape, size, settings.fit)
    if (height, width) != shape:
        # `resize(box=...)` would filter pixels beside the box in.
        image = image.crop((left, top, left + width, top + height))
    return image.resize(size[::-1], Image.Resampling.LANCZOS)


def window(image_size: Sequence[int], size: Sequence[int], fit: str) -> tuple[int, int, int, int]:
    """The window, inside an image (crop) or around it (pad), that has the aspect ratio of `size`.

    Args:
        image_size: `(height, width)` of the image.
        size: `(height, width)` that it is to have.
        fit: "crop": the largest part in the centre, of an odd rest one more left away at the bottom and the right;
            "pad": the smallest window around the image; "stretch": the image itself.

    Returns:
        `(top, left, height, width)` of the window in the image, negative at the top and the left of a padded one.
    """
    height, width = image_size
    wanted_height, wanted_width = size
    # Too wide: the width is cut in "crop", the height added to in "pad".
    if fit != "stretch" and (width * wanted_height > height * wanted_width) == (fit == "crop"):
        width = max(1, round(height * wanted_width / wanted_height))
    elif fit != "stretch":
        height = max(1, round(width * wanted_height / wanted_width))
    # As the rest is negative in "pad", division by 2 rounds the other way there.
    top, left = (int((whole - part) / 2) for whole, part in zip(image_size, (height, width)))
    return top, left, height, width


def _load(data: bytes, settings: DecodingSettings) -> Image.Image:
    """The whole image, upright, grey or RGB."""
    if not data:
        raise UnreadableImage("the file is empty")
    image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
    if image.width * image.height > settings.max_megapixels * 1e6:
        raise UnreadableImage(
            f"{image.width}x{image.height} pixels are more than `max_megapixels={settings.max_megapixels:g}`"
        )
    _scale_transparency(image)
    image.load()
    upright = _UPRIGHT.get(_orientation(image))
    image = _eight_bits(image)
    # Older programs write BMPs of 32 bits whose fourth byte means nothing.
    if image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        image = image.convert("RGB")
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        behind = Image.new("RGBA", clear.size, (*settings.background_rgb, 255))
        grey = image.mode in _GREY and len(set(settings.background_rgb)) == 1
        image = Image.alpha_composite(behind, clear).convert("L" if grey else "RGB")
    else:
        image = image.convert("L" if image.mode in _GREY else "RGB")
    return image if upright is None else image.transpose(upright)


def _scale_transparency(image: Image.Image) -> None:
    """Brings the clear level of a PNG of 2, 4 or 16 bits to eight, as Pillow brings its pixels alone."""
    tiles = getattr(image, "tile", None)
    mode = str(tiles[0][3]) if image.format == "PNG" and tiles else ""
    clear = image.info.get("transparency")
    if mode in ("L;2", "L;4") and isinstance(clear, int):
        image.info["transparency"] = clear * 255 // (2 ** int(mode[2:]) - 1)
    if mode == "RGB;16B" and isinstance(clear, tuple):
        image.info["transparency"] = tuple(level >> 8 for level in clear)


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(_ORIENTATION)
    # Damaged metadata does not make an image unreadable.
    except Exception:
        return None


def _eight_bits(image: Image.Image) -> Image.Image:
    """Brings grey pixels of more bits to eight; Pillow would clip everything above 255 to white.

    Raises:
        UnreadableImage: for pixels without a known range.
    """
    if image.mode == "F":
        values = np.asarray(image)
        # NaN fails, too.
        if not (values.min() >= 0 and values.max() <= 1):
            raise UnreadableImage(
                f"floating-point pixels must be in [0, 1], and go from {values.min()} to {values.max()}"
            )
        return Image.fromarray(np.round(_from_black(image, values, 1) * 255).astype("uint8"))
    if not image.mode.startswith("I"):
        return image
    # Pillow's mode I is of 16 bits where it comes from a PPM or a PNG.
    if image.mode == "I" and image.format not in ("PPM", "PNG"):
        raise UnreadableImage("pixels of 32 bits have no known range")
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0]
    values = _from_black(image, np.asarray(image), 2**bits - 1)
    grey = Image.fromarray((values >> (bits - 8)).astype("uint8"))
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype("uint8")))
    return grey


def _from_black(image: Image.Image, levels: np.ndarray, white: int) -> np.ndarray:
    """Turns the levels of a TIFF that begin with white round; Pillow does so at eight bits alone."""
    return white - levels if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO else levels


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image of a known format"
    if isinstance(error, struct.error | IndexError | KeyError | TypeError | AttributeError):
        return f"damaged: {type(error).__name__}: {error}"
    return str(error) or type(error).__name__
