"""Data sets, their labelled subsets, and batches in a reproducible order.

What needs TensorFlow is imported on first use: reading images does not need it.
"""

import importlib
from typing import Any

from igan_tf.data.image_data import ImageData
from igan_tf.data.labelled_subset import labelled_subset, read_label_file
from igan_tf.data.settings import DataSettings
from igan_tf.data.sources import DATASETS, load_data
from igan_tf.errors import DataError

_HOME = {
    "ArrayBatches": "igan_tf.data.image_batches",
    "ImageRecords": "igan_tf.records.reader",
    "RecordBatches": "igan_tf.data.image_batches",
    "SemiSupervisedBatches": "igan_tf.data.batches",
}

__all__ = [
    "ArrayBatches",
    "DATASETS",
    "DataSettings",
    "DataError",
    "ImageData",
    "ImageRecords",
    "RecordBatches",
    "SemiSupervisedBatches",
    "labelled_subset",
    "load_data",
    "read_label_file",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
