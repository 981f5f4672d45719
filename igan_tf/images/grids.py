"""Draws images side by side, and writes pictures."""

import math

import numpy as np

from igan_tf.files import StrPath, durable


def image_grid(images: np.ndarray, columns: int | None = None, margin: int = 1) -> np.ndarray:
    """Puts images side by side on white.

    Args:
        images: `(N, height, width, channels)` in [0, 1].
        columns: Images in a row; None: as many as make the grid nearly square.
        margin: White pixels around each.

    Returns:
        The picture, float32 `(height, width, channels)`.
    """
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    grid = np.ones((rows * (height + margin) + margin, columns * (width + margin) + margin, channels), "float32")
    for index, image in enumerate(images):
        top = margin + index // columns * (height + margin)
        left = margin + index % columns * (width + margin)
        grid[top : top + height, left : left + width] = image
    return grid


def write_png(path: StrPath, image: np.ndarray) -> None:
    """Writes an image `(height, width, channels)` in [0, 1]."""
    from PIL import Image

    pixels = np.round(np.clip(image, 0, 1) * 255).astype("uint8")
    with durable.durable_file(path) as file:
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, format="PNG")
