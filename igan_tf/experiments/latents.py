"""Latents that are chosen: given ones, walks between them, sweeps of their coordinates, and those of one class."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator

import numpy as np

from igan_tf.errors import ConfigError, DataError
from igan_tf.files import StrPath, disk
from igan_tf.files.arrays import read_header
from igan_tf.models.adversarial_model import AdversarialModel

# Samples of which fewer than one in `_RARE` is of the class that is wanted are given up after so many.
_PATIENCE, _RARE = 10_000, 1000
_MOST_BYTES = 2**30


def read_latents(path: StrPath) -> np.ndarray:
    """Reads an .npy of latents, `(N, latent_size)`, numbers.

    Raises:
        DataError: for any other file.
    """
    try:
        file = io.BytesIO(disk.read_small(path, _MOST_BYTES))
        shape, _, dtype = read_header(file)
        if dtype.kind not in "iuf" or len(shape) != 2:
            raise ValueError(f"it holds {dtype} of shape {shape}, not numbers of shape (N, latent_size)")
        # NumPy would allocate what the header promises.
        if math.prod(shape) * dtype.itemsize != len(file.getbuffer()) - file.tell():
            raise ValueError(f"it does not have the bytes of its shape {shape}")
        file.seek(0)
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"`latents={path}` cannot be read: {error}") from error


def random_latents(model: AdversarialModel, count: int, seed: int) -> np.ndarray:
    """Latents of the model's distribution, `(count, latent_size)`, a function of `seed`."""
    low, high = model.latent_range
    return np.random.default_rng(seed).uniform(low, high, (count, model.latent_size)).astype("float32")


def between(starts: np.ndarray, ends: np.ndarray, steps: int) -> np.ndarray:
    """Walks in straight lines, as suits a uniform distribution.

        walk[i, s] = starts[i] + s / (steps - 1) * (ends[i] - starts[i])

    Args:
        starts, ends: `(N, latent_size)`.
        steps: Latents of each walk, both ends among them; at least 2.

    Returns:
        `(N * steps, latent_size)`, walk by walk.
    """
    shares = np.linspace(0, 1, steps, dtype="float32")[None, :, None]
    walks = starts[:, None] * (1 - shares) + ends[:, None] * shares
    return walks.reshape(-1, starts.shape[1])


def round_trip(stops: np.ndarray, steps: int) -> np.ndarray:
    """A walk from each of some latents to the next, and from the last back to the first: `steps` latents a leg."""
    legs = between(stops, np.roll(stops, -1, axis=0), steps + 1).reshape(len(stops), steps + 1, -1)
    # Each leg ends where the next begins.
    return legs[:, :-1].reshape(len(stops) * steps, -1)


def sweeps(latent: np.ndarray, low: float, high: float, coordinates: int, steps: int) -> np.ndarray:
    """One latent with one coordinate after the other moved from `low` to `high`.

    Args:
        latent: `(latent_size,)`.
        low, high: The ends of the sweep.
        coordinates: How many, from the first on.
        steps: Latents of each sweep.

    Returns:
        `(coordinates * steps, latent_size)`, coordinate by coordinate.
    """
    moved = np.repeat(latent[None], coordinates * steps, axis=0).reshape(coordinates, steps, -1)
    for coordinate in range(coordinates):
        moved[coordinate, :, coordinate] = np.linspace(low, high, steps)
    return moved.reshape(coordinates * steps, -1)


class OneClass:
    """The samples of a model that its own discriminator takes for one class, in the order in which they are drawn.

    Args:
        model: The model.
        label: The class, numbered as the data set's labels.

    Attributes:
        drawn, accepted: How many samples were looked at, and how many of these are of the class.

    Raises:
        ConfigError: for a class that the discriminator does not know.
    """

    def __init__(self, model: AdversarialModel, label: int) -> None:
        if not label < model.num_classes or model.num_classes == 1:
            knows = f"0 to {model.num_classes - 1}" if model.num_classes > 1 else "none: it was trained without labels"
            raise ConfigError(
                f"`sample_class` must be a class that the run's discriminator knows, {knows}. "
                f"Received: sample_class={label}"
            )
        self._model, self._label = model, label
        self.drawn = self.accepted = 0

    def batches(self, count: int, seed: int) -> Iterator[np.ndarray]:
        """Yields `count` images of the class.

        Raises:
            DataError: where fewer than one sample in a thousand is of the class.
        """
        for images in self._model.generate_batches(max(count, _PATIENCE) * _RARE, seed):
            of_class = np.argmax(np.asarray(self._model(images))[:, : self._model.num_classes], axis=1) == self._label
            # The samples behind the last that is wanted are not looked at.
            places = np.flatnonzero(of_class)[: count - self.accepted]
            self.accepted += len(places)
            done = self.accepted == count
            self.drawn += int(places[-1]) + 1 if done else len(images)
            if len(places):
                yield images[places]
            if done:
                return
            if self.drawn >= _PATIENCE and self.accepted * _RARE < self.drawn:
                raise DataError(
                    f"`sample_class={self._label}`: the discriminator takes {self.accepted} of {self.drawn} samples "
                    "for this class"
                )
