"""Data sets in memory."""

import dataclasses
import hashlib

import numpy as np


@dataclasses.dataclass(frozen=True)
class ImageData:
    """A data set in memory.

    Attributes:
        train_images: `(N, height, width, channels)`, uint8, or float32 in [0, 1].
        train_labels: `(N,)` int64, -1 where an example has no label.
        test_images, test_labels: The same for the test set, which is labelled throughout; may be empty.
        class_names: One name a class; empty where nothing is labelled.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)`."""
        return self.train_images.shape[1:]

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of every array and class name: equal for equal data, wherever it was read from."""
        digest = hashlib.sha256(repr(tuple(self.class_names)).encode())
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()
