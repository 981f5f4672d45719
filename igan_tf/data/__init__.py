"""Images and labels in, batches in a reproducible order out."""

from igan_tf.data.image_data import DataError, ImageData
from igan_tf.data.labelled_subset import labelled_subset, read_label_file
from igan_tf.data.sources import DATASETS, load_data

__all__ = [
    "DATASETS",
    "DataError",
    "ImageData",
    "SemiSupervisedBatches",
    "labelled_subset",
    "load_data",
    "read_label_file",
]


def __getattr__(name):
    # On first use: what only reads images, such as `igan_tf.turing_test`, does without TensorFlow.
    if name == "SemiSupervisedBatches":
        from igan_tf.data.batches import SemiSupervisedBatches

        return SemiSupervisedBatches
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
