"""Samples beside the training images that are nearest to them: the published check against memorizing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from igan_tf.data import ImageData, ImageRecords
from igan_tf.errors import DataError
from igan_tf.experiments.recipes import recipe_of
from igan_tf.experiments.run_directory import read_config
from igan_tf.experiments.runs import refuse_other_data
from igan_tf.files import StrPath
from igan_tf.images.arrays import as_unit_range
from igan_tf.metrics.checks import slices
from igan_tf.training.checkpoints import Saved

# Pixels of real images that are compared at once: 200 MB in float32.
_BLOCK = 50_000_000


def nearest_images(images: np.ndarray, blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Finds the real image nearest to each image.

        nearest[i] = argmin_r || images[i] - r ||,    over all pixels and channels in [0, 1]

    Args:
        images: `(N, height, width, channels)`, float32 in [0, 1].
        blocks: Arrays of real images of the same size, uint8 or float32 in [0, 1].

    Returns:
        The nearest real images, float32 `(N, height, width, channels)`, and their distances, `(N,)`. Of those that are
        equally near, but for float32's rounding, it may be any.

    Raises:
        DataError: for real images of another size.

    ```python
    nearest, distances = nearest_images(run.generate(100, seed=1), [data.train_images])
    ```
    """
    rows = images.reshape(len(images), -1)
    nearest, distances = np.empty_like(rows), np.full(len(rows), np.inf)
    for block in blocks:
        if block.shape[1:] != images.shape[1:]:
            raise DataError(
                f"`data_dir` holds images of another size than the run's. "
                f"Received: {block.shape[1:]}, the run's: {images.shape[1:]}"
            )
        real = as_unit_range(block).reshape(len(block), -1)
        # || a - b ||^2 less || a ||^2, which is the same for all b. It rounds, so that distances come from differences.
        found = real[(np.einsum("ij,ij->i", real, real) - 2 * rows @ real.T).argmin(axis=1)]
        within = np.array([np.linalg.norm(row) for row in rows - found], "float64")
        closer = within < distances
        nearest[closer], distances[closer] = found[closer], within[closer]
    return nearest.reshape(images.shape), distances


def beside_nearest(
    images: np.ndarray, run_dir: StrPath, saved: Saved, seed: int, data_dir: str = ""
) -> tuple[np.ndarray, dict[str, Any]]:
    """Puts each of a run's samples before its nearest training image.

    Args:
        images: The samples, `(N, height, width, channels)` in [0, 1].
        run_dir: The run directory, or one draw's folder in it.
        saved: The checkpoint that they are samples of.
        seed: Of the choice of test images.
        data_dir: Where its data lies now; empty: where it lay.

    Returns:
        The pairs, `(2N, height, width, channels)`, and median and smallest distance; beside them those of as many test
        images, where there are any: samples that lie much nearer to training images than these are copies.

    Raises:
        ConfigError, DataError: for a folder that is no run's, and data that are missing or of another size.
    """
    config = read_config(run_dir)
    data = recipe_of(dataclasses.replace(config, data_dir=data_dir or config.data_dir)).load_data()
    refuse_other_data(run_dir, data, saved)
    nearest, distances = nearest_images(images, _training_images(data))
    found = {"nearest_distance": float(np.median(distances)), "smallest_nearest_distance": float(distances.min())}
    if isinstance(data, ImageData) and len(data.test_images):
        count = min(len(images), len(data.test_images))
        chosen = np.sort(np.random.default_rng(seed).permutation(len(data.test_images))[:count])
        of_test = nearest_images(as_unit_range(data.test_images[chosen]), _training_images(data))[1]
        found |= {
            "nearest_distance_of_test_images": float(np.median(of_test)),
            "smallest_nearest_distance_of_test_images": float(of_test.min()),
        }
    return np.stack([images, nearest], axis=1).reshape(-1, *images.shape[1:]), found


def _training_images(data: ImageData | ImageRecords) -> Iterator[np.ndarray]:
    size = max(1, _BLOCK // math.prod(data.image_shape))
    if isinstance(data, ImageData):
        yield from (data.train_images[block] for block in slices(len(data.train_images), size))
        return
    for block in slices(len(data), size):
        yield np.asarray(data.decode(data.read(np.arange(block.start, block.stop)))[0])
