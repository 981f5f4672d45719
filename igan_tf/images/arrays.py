"""The type and range of arrays of images."""

from typing import Any

import numpy as np

from igan_tf.errors import DataError


def as_unit_range(images: Any) -> Any:
    """Divides uint8 images by 255, for NumPy arrays and TensorFlow tensors alike; floating-point ones stay as they are.

    Raises:
        DataError: for another type.
    """
    name = getattr(images.dtype, "name", images.dtype)
    if name in ("float16", "bfloat16", "float32", "float64"):
        return images
    if name != "uint8":
        raise DataError(f"`images` must be uint8, or floats in [0, 1]. Received: images.dtype={name}")
    if isinstance(images, np.ndarray):
        return images.astype("float32") / np.float32(255)
    import tensorflow as tf

    return tf.cast(images, tf.float32) / 255


def holds_range(image_range: tuple[float, float], lowest: Any, highest: Any) -> bool:
    """Whether pixels from `lowest` to `highest` lie in a declared range of (black, white); False for NaN."""
    # Rounding may carry a tanh or a resize past its end by a few units in the last place.
    slack = 1e-4 * (image_range[1] - image_range[0])
    return bool(lowest >= image_range[0] - slack and highest <= image_range[1] + slack)


def as_bytes(images: np.ndarray, place: Any) -> np.ndarray:
    """Makes images uint8: floats in [0, 1] are multiplied by 255 and rounded.

    Args:
        images: `(N, height, width)` or `(N, height, width, 1 or 3)`, uint8 or floating point.
        place: Where they come from, for messages.

    Returns:
        uint8 `(N, height, width, 1 or 3)`.

    Raises:
        DataError: for another type, shape or range.
    """
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise DataError(
            f"{place}: images must be an array (N, height, width) or (N, height, width, 1 or 3), none of them 0. "
            f"Received: shape {images.shape}"
        )
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise DataError(f"{place}: images must be uint8, or floats in [0, 1]. Received: {images.dtype}")
    # NaN fails, too. The margin is float32's rounding of a sigmoid or of a division by 255.
    if not (images.min() >= -1e-6 and images.max() <= 1 + 1e-6):
        raise DataError(
            f"{place}: images of type {images.dtype} must be in [0, 1]. "
            f"Received: values from {images.min()} to {images.max()}"
        )
    return rounded(images)


def rounded(images: np.ndarray) -> np.ndarray:
    """Floats from 0 to 1, clipped, as the nearest bytes."""
    return np.round(np.clip(images, 0, 1) * 255).astype("uint8")
