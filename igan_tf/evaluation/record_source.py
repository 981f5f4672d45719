"""Sharded records as a set of images to be scored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from igan_tf.evaluation.images import ImageSource

if TYPE_CHECKING:
    from igan_tf.records.reader import ImageRecords

_ROWS = 64


class RecordSource(ImageSource):
    """The images of `igan_tf.data.ImageRecords`, in the order in which they are stored.

    Args:
        records: The `ImageRecords`.
    """

    def __init__(self, records: ImageRecords):
        super().__init__(len(records), str(records.folder), "all records")
        self._records = records

    def rows(self) -> Iterator[np.ndarray]:
        for start in range(0, self.count, _ROWS):
            serialized = self._records.read(np.arange(start, min(start + _ROWS, self.count)))
            yield self._records.decode(serialized)[0].numpy()
