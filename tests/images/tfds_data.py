"""A data set of a few images, prepared by TFDS itself."""

from pathlib import Path

import numpy as np

LABELS = ("zero", "one")
# Split -> images in it.
SPLITS = {"train": 5, "test": 3}


def tiny_images(split):
    """Images `(N, 4, 4, 1)`, each of one brightness, which no other has."""
    first = 100 * list(SPLITS).index(split)
    numbers = np.arange(first, first + SPLITS[split], dtype="uint8")
    return np.tile(numbers[:, None, None, None], (1, 4, 4, 1))


def prepare(data_dir, file_format="tfrecord", image="image", sizes=(4,), dtype="uint8"):
    """Prepares the data set "tiny", image i with label i % 2.

    Args:
        data_dir: TFDS's folder.
        file_format: TFDS's name of it.
        image: The name of the images' feature; None: no such feature.
        sizes: Height and width of the images in turn; 4 are `tiny_images`, others black.
        dtype: Of the pixels.

    Returns:
        The folder of its files.
    """
    import tensorflow_datasets as tfds

    # Its code is not registered: it is read from its files alone, as a data set of the user's own.
    with tfds.core.registered.skip_registration():

        class Tiny(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                features = {"label": tfds.features.ClassLabel(names=LABELS)}
                if image:
                    features[image] = tfds.features.Image(
                        shape=(None, None, 1), dtype=np.dtype(dtype).type, encoding_format="png"
                    )
                return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

            def _split_generators(self, download_manager):
                return {split: self._generate_examples(split) for split in SPLITS}

            def _generate_examples(self, split):
                for number, pixels in enumerate(tiny_images(split)):
                    size = sizes[number % len(sizes)]
                    pixels = pixels if size == 4 else np.zeros((size, size, 1), "uint8")
                    yield number, {"label": number % 2, **({image: pixels.astype(dtype)} if image else {})}

    Tiny(data_dir=data_dir, file_format=file_format).download_and_prepare()
    return Path(data_dir) / "tiny" / "1.0.0"
