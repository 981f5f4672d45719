"""Draws images side by side, and writes pictures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from igan_tf.files import StrPath, durable
from igan_tf.images.arrays import rounded

if TYPE_CHECKING:
    from PIL import Image


# Pixels a side, about, that smaller images are drawn with: each of their pixels is a square.
_SMALLEST = 24


def _enlarged(images: np.ndarray) -> np.ndarray:
    times = max(1, _SMALLEST // max(images.shape[1:3]))
    return images.repeat(times, axis=1).repeat(times, axis=2)


def image_grid(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Puts images side by side on white, a pixel apart; those of at most 12 pixels a side are drawn larger.

    Args:
        images: `(N, height, width, channels)` in [0, 1].
        columns: Images in a row; None: as many as make the grid nearly square.

    Returns:
        The picture, float32 `(height, width, channels)`.
    """
    images = _enlarged(images)
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    grid = np.ones((rows * (height + 1) + 1, columns * (width + 1) + 1, channels), "float32")
    for index, image in enumerate(images):
        top = 1 + index // columns * (height + 1)
        left = 1 + index % columns * (width + 1)
        grid[top : top + height, left : left + width] = image
    return grid


def as_picture(pixels: np.ndarray) -> Image.Image:
    """An array of bytes `(height, width, 1 or 3)` as Pillow has it."""
    from PIL import Image

    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def write_gif(path: StrPath, images: np.ndarray, milliseconds: int = 100) -> None:
    """Writes images `(N, height, width, channels)` in [0, 1] as the frames of a film without an end."""
    first, *others = map(as_picture, rounded(_enlarged(images)))
    with durable.durable_file(path) as file:
        first.save(file, format="GIF", save_all=True, append_images=others, duration=milliseconds, loop=0)


def write_png(path: StrPath, image: np.ndarray) -> None:
    """Writes an image `(height, width, channels)` in [0, 1]."""
    picture = as_picture(rounded(image))
    with durable.durable_file(path) as file:
        picture.save(file, format="PNG")
