"""Data sets, their labelled subsets, and batches in a reproducible order.

What needs TensorFlow is imported on first use: reading images does not need it.
"""

from igan_tf.data.image_data import ImageData
from igan_tf.data.labelled_subset import labelled_subset, read_label_file, unbalanced_subset
from igan_tf.data.settings import DataSettings
from igan_tf.data.sources import DATASETS, load_data
from igan_tf.errors import DataError
from igan_tf.lazy import lazy_names

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
    "unbalanced_subset",
]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
