"""Draws images side by side, and writes pictures."""

import math

import numpy as np

from igan_tf.files import StrPath, durable


def image_grid(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Puts images side by side on white, a pixel apart.

    Args:
        images: `(N, height, width, channels)` in [0, 1].
        columns: Images in a row; None: as many as make the grid nearly square.

    Returns:
        The picture, float32 `(height, width, channels)`.
    """
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    grid = np.ones((rows * (height + 1) + 1, columns * (width + 1) + 1, channels), "float32")
    for index, image in enumerate(images):
        top = 1 + index // columns * (height + 1)
        left = 1 + index % columns * (width + 1)
        grid[top : top + height, left : left + width] = image
    return grid


def write_gif(path: StrPath, images: np.ndarray, milliseconds: int = 100) -> None:
    """Writes images `(N, height, width, channels)` in [0, 1] as the frames of a film without an end."""
    from PIL import Image

    first, *others = (Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame) for frame in _as_bytes(images))
    with durable.durable_file(path) as file:
        first.save(file, format="GIF", save_all=True, append_images=others, duration=milliseconds, loop=0)


def _as_bytes(images: np.ndarray) -> np.ndarray:
    return np.round(np.clip(images, 0, 1) * 255).astype("uint8")


def write_png(path: StrPath, image: np.ndarray) -> None:
    """Writes an image `(height, width, channels)` in [0, 1]."""
    from PIL import Image

    pixels = _as_bytes(image)
    with durable.durable_file(path) as file:
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, format="PNG")
