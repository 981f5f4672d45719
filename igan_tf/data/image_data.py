"""Data sets in memory."""

import dataclasses
import hashlib

import numpy as np

from igan_tf.errors import counted

# With more, classes are counted and not named.
_MOST_CLASSES = 20


@dataclasses.dataclass(frozen=True)
class ImageData:
    """A data set in memory.

    Attributes:
        train_images: `(N, height, width, channels)`, uint8, or float32 in [0, 1].
        train_labels: `(N,)` int64, -1 where an example has no label.
        test_images, test_labels: The same for the test set, which is labelled throughout; may be empty.
        class_names: One name a class; empty where nothing is labelled.
        left_out: What else was found where they come from, in words.
        unreadable: A line on each image that was left out because it is damaged.
        unreadable_in_training: How many of these, the first ones, are of training images.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    left_out: str = ""
    unreadable: tuple[str, ...] = ()
    unreadable_in_training: int = 0

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)`."""
        return self.train_images.shape[1:]

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    def in_words(self) -> str:
        """What was read, in one line: "180 images, 24x24x3, classes bird (60), cat (60), dog (60); 36 held out"."""
        shape = "x".join(map(str, self.image_shape))
        images = f"{counted(len(self.train_images) + len(self.test_images), 'image')}, {shape}"
        labels = np.concatenate([self.train_labels, self.test_labels])
        counts = np.bincount(labels[labels >= 0], minlength=self.num_classes)
        if self.num_classes > _MOST_CLASSES:
            images += f", {self.num_classes} classes of {counts.min()} to {counts.max()}"
        elif self.num_classes:
            images += ", classes " + ", ".join(f"{name} ({n})" for name, n in zip(self.class_names, counts))
        if without := np.count_nonzero(labels < 0):
            images += f", {without} without a class" if self.num_classes else ", no classes"
        parts = [images, f"{len(self.test_images)} held out" if len(self.test_images) else "none held out"]
        return "; ".join(filter(None, [*parts, self.left_out]))

    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of every array and class name: equal for equal data, wherever it was read from."""
        digest = hashlib.sha256(repr(tuple(self.class_names)).encode())
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()
