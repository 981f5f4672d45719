"""Images side by side, and pictures as files."""

import math

import numpy as np

from igan_tf.files import durable


def image_grid(images, columns=None, margin=1):
    """Puts `(N, height, width, channels)` images side by side on a white ground, as near a square as may be."""
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    grid = np.ones((rows * (height + margin) + margin, columns * (width + margin) + margin, channels), "float32")
    for index, image in enumerate(images):
        top = margin + index // columns * (height + margin)
        left = margin + index % columns * (width + margin)
        grid[top : top + height, left : left + width] = image
    return grid


def write_png(path, image):
    """Writes a `(height, width, channels)` image in [0, 1]."""
    from PIL import Image

    pixels = np.round(np.clip(image, 0, 1) * 255).astype("uint8")
    with durable.durable_file(path) as file:
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, format="PNG")
