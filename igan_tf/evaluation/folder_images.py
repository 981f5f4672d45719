"""Sets of images in the files of a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from igan_tf.errors import EvaluationError
from igan_tf.evaluation.images import ImageSource
from igan_tf.images.decoding import UnreadableImage
from igan_tf.images.folders import in_words, list_images
from igan_tf.images.reading import fault_of, read_files, refuse_too_many, too_many
from igan_tf.images.settings import IMAGE_FILES, ImageFileSettings


class FolderSource(ImageSource):
    """Image files below a folder, in the order of their paths, read by several threads.

    Args:
        root: The folder, searched recursively: see `igan_tf.images.folders.list_images`.
        channels: 3: all are made RGB; 1: grey.
        settings: How files are read, and how many may be unreadable.

    Attributes:
        channels: As the argument.

    Raises:
        EvaluationError: for a folder without images.
        DataError: for a folder of samples that is not finished; while reading, for more unreadable images than allowed,
            with the whole list.
    """

    def __init__(self, root: str | Path, channels: int = 3, settings: ImageFileSettings = IMAGE_FILES):
        listing = list_images(root)
        self._files = listing.files
        if not self._files:
            found = in_words(listing.left_out) or "an empty folder"
            raise EvaluationError(f"`root` must hold images. Received: root={root}, {found}")
        super().__init__(len(self._files), str(root), "all files")
        self.left_out = listing.left_out
        self.channels = channels
        self._settings = settings

    def rows(self) -> Iterator[np.ndarray]:
        yield from self.chosen(np.arange(self.count))

    def chosen(self, wanted: np.ndarray) -> Iterator[np.ndarray]:
        faults: list[str] = []
        places = wanted.tolist()
        pixels = read_files((self._files[place] for place in places), self._settings, self._pixels)
        for place, image in zip(places, pixels):
            if not isinstance(image, UnreadableImage):
                # Past the limit, read on only to list every fault.
                if not too_many(len(faults), len(places), self._settings.max_unreadable):
                    yield image
                continue
            self.unreadable[place] = fault_of(self._files[place], image)
            faults.append(self.unreadable[place])
        refuse_too_many(faults, len(places), self._settings.max_unreadable, f"the folder {self.name}")

    def _pixels(self, image: Image.Image) -> np.ndarray:
        pixels = np.asarray(image.convert("RGB" if self.channels == 3 else "L"))
        return pixels.reshape(1, *pixels.shape[:2], -1)
