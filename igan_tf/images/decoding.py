"""Decodes image files to square RGB images. The content says what a file is, never its name."""

import io
import struct
import warnings
from typing import Any

from PIL import Image

# The formats of photographs, as far as this Pillow reads them. Others start programs (EPS) or hold no picture.
Image.init()
_FORMATS: list[str] = [
    name for name in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF") if name in Image.OPEN
]
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
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")


class UnreadableImage(ValueError):
    """The bytes are no whole image; the message is the reason, the same on every machine."""


def convert_image(data: bytes, size: int, encoding: str, jpeg_quality: int) -> bytes:
    """Decodes one image, cuts it square, resizes and encodes it.

    Args:
        data: The bytes of an image file.
        size: Height and width of the result.
        encoding: "raw" or "jpeg".
        jpeg_quality: 1 to 100, of "jpeg".

    Returns:
        `size * size * 3` bytes by rows, or a JPEG file at full colour resolution (4:4:4).

    Raises:
        UnreadableImage: with the reason.
    """
    image = square_image(data, size)
    if encoding == "raw":
        return image.tobytes()
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=jpeg_quality, subsampling=0)
    return buffer.getvalue()


def square_image(data: bytes, size: int) -> Image.Image:
    """Resizes the largest centre square of an image to `size` pixels.

    CMYK (in JPEGs taken as inverted, with the Adobe marker or without), palettes and grey become RGB as Pillow converts
    them; transparency is dropped; of 16 bits the upper eight stay; EXIF's rotation is applied; of several frames the
    first is taken. The square's corner is at ((width - side) // 2, (height - side) // 2). Lanczos resizes,
    antialiased when it makes smaller.

    Args:
        data: The bytes of an image file.
        size: Height and width of the result.

    Returns:
        A PIL image of mode RGB.

    Raises:
        UnreadableImage: with the reason.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of images over 89 million pixels and of damaged metadata; over 179 million it raises.
            warnings.simplefilter("ignore")
            image = _load(data)
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        # `resize(box=...)` would filter pixels beside the box in.
        image = image.crop((left, top, left + side, top + side))
        return image.resize((size, size), Image.Resampling.LANCZOS)
    except UnreadableImage:
        raise
    # Damaged files make Pillow's readers raise nearly everything; none of it may end a conversion.
    except Exception as error:
        raise UnreadableImage(_reason(error)) from error


def _load(data: bytes) -> Image.Image:
    """The whole image, RGB and upright."""
    if not data:
        raise UnreadableImage("the file is empty")
    image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
    image.load()
    upright = _UPRIGHT.get(_orientation(image))
    image = to_rgb(image)
    return image if upright is None else image.transpose(upright)


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(_ORIENTATION)
    # Damaged metadata does not make an image unreadable.
    except Exception:
        return None


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts a PIL image to mode RGB; of 16 bits the upper eight stay.

    Raises:
        UnreadableImage: for pixels without a known range.
    """
    if image.mode == "RGB":
        return image
    if image.mode in _SIXTEEN_BITS:
        # Pillow would clip everything above 255 to white.
        import numpy as np

        return Image.fromarray((np.asarray(image) >> 8).astype("uint8")).convert("RGB")
    if image.mode in ("I", "F"):
        raise UnreadableImage(f"pixels of mode {image.mode} have no known range")
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image of a known format"
    if isinstance(error, struct.error | IndexError | KeyError | TypeError | AttributeError):
        return f"damaged: {type(error).__name__}: {error}"
    return str(error) or type(error).__name__
