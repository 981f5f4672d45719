"""Images as the browser gets them: nothing but their pixels may tell a real one from a generated one."""

import io
import struct
from collections.abc import Sequence

import numpy as np
from PIL import Image

from igan_tf.turing_test.settings import StudyError


def encode_images(images: np.ndarray) -> list[bytes]:
    """PNG files without compression and without metadata, all of the same number of bytes.

    Compression would turn content into length: sharp and blurred images would differ in bytes, which the network shows
    to anyone who counts them. A stored PNG's length is a function of its height and width alone.

    Args:
        images: uint8 `(N, height, width, 1 or 3)`.

    Returns:
        A list of N bytes objects.

    Raises:
        StudyError: should two of them differ in length.
    """
    files = [_encode(image) for image in images]
    if len({len(file) for file in files}) > 1:
        raise StudyError(f"images of shape {images.shape[1:]} cannot be encoded in the same number of bytes")
    return files


def _encode(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, format="PNG", compress_level=0)
    return buffer.getvalue()


def png_head(shape: Sequence[int]) -> bytes:
    """What every PNG file of 8-bit images `(height, width, 1 or 3)` begins with, and the size that it will take."""
    height, width, channels = shape
    chunk = struct.pack(">I4sII5B", 13, b"IHDR", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk


def decode_image(file: bytes) -> np.ndarray:
    """The pixels of a file of `encode_images`: uint8 `(height, width, 1 or 3)`.

    Raises:
        StudyError: where it cannot be read.
    """
    try:
        with Image.open(io.BytesIO(file)) as image:
            pixels = np.asarray(image)
    # A SyntaxError is Pillow's of a damaged PNG file.
    except (OSError, ValueError, SyntaxError) as error:
        raise StudyError(f"an image of the study cannot be read: {error}") from error
    return pixels if pixels.ndim == 3 else pixels[..., None]
