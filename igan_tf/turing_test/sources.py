"""Reads a study's real and generated images, and makes them alike."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from igan_tf.data.image_sources import FORMS, read_images
from igan_tf.errors import DataError, prefixed, renamed
from igan_tf.experiments.configs import FLAGS_FILE
from igan_tf.images.arrays import as_bytes
from igan_tf.images.folders import image_files
from igan_tf.images.settings import ImageFileSettings
from igan_tf.pretrained import is_pretrained
from igan_tf.turing_test.settings import SOURCE_NAME, STUDY_IMAGES, StudyError, StudyImageSettings

REAL = "real"


@dataclasses.dataclass(frozen=True)
class Source:
    """Images of one origin.

    Attributes:
        name: "real", or the name of a generator.
        generated: Whether a generator made them.
        place: Where they come from: a run directory, or what `read_images` takes.
        images: uint8 `(N, height, width, channels)`; None before they are read.
    """

    name: str
    generated: bool
    place: str
    images: np.ndarray | None = None

    @property
    def argument(self) -> str:
        """The argument of `parse_sources` that named it, for messages."""
        return f"`generated={self.name}={self.place}`" if self.generated else f"`real={self.place}`"


def parse_sources(real: str, generated: Sequence[str]) -> list[Source]:
    """Takes names and places apart, and reads no images.

    Args:
        real: The place of the real images.
        generated: `name=place` of each generator's images.

    Returns:
        The sources, the real one first.

    Raises:
        StudyError: for a missing, repeated or malformed name.
    """
    if not real:
        raise StudyError(f"`real` must name the real images: {FORMS}. Received: real=")
    if not generated:
        raise StudyError(
            f"`generated` must name generated images, as name=place, place a run directory, {FORMS}. "
            "Received: generated="
        )
    sources = [Source(REAL, False, real)]
    for value in generated:
        name, separator, place = value.partition("=")
        if not (separator and place and SOURCE_NAME.fullmatch(name)):
            raise StudyError(
                "`generated` must be name=place, the name of up to 40 letters, digits, spaces and . + - _, the first a "
                f"letter or digit. Received: generated={value}"
            )
        if name in (source.name for source in sources):
            raise StudyError(f"`generated` must have a name of its own. Received: generated={value}, named before")
        sources.append(Source(name, True, place))
    return sources


def read_sources(
    sources: Sequence[Source],
    limit: int,
    seed: int,
    data_dir: str = "",
    settings: StudyImageSettings = STUDY_IMAGES,
    report: Callable[[str], Any] = print,
) -> list[Source]:
    """Reads the images of every source and makes them alike in channels.

    Args:
        sources: From `parse_sources`.
        limit: At most so many images of each, drawn at random; a run directory generates just so many.
        seed: Of the draws, and of the latents of a run directory.
        data_dir: TFDS's folder; empty: TFDS's default.
        settings: How image files are read. With `fit`, those of folders are brought to the size of the first
            generator's images.
        report: Called with each line on what was read.

    Returns:
        The sources with their images, all `(N, height, width, channels)` of one height, width and channels.

    Raises:
        StudyError: that names the source, and the file, that is missing, empty, unreadable or of another size.
    """
    read: dict[str, np.ndarray] = {}
    # The first generator's images, whose size the others are brought to, before the real ones.
    first = sources[1] if settings.fit else sources[0]
    size = None
    for source in sorted(sources, key=lambda source: source is not first):
        try:
            generator = np.random.default_rng([seed, sources.index(source)])
            images = _read(source.place, limit, generator, data_dir, settings.of_files(), size, report)
        # What a run directory raises names its files, too.
        except ValueError as error:
            with renamed(place="generated" if source.generated else "real"), prefixed(source.argument, source.place):
                raise StudyError(str(error)) from error
        read[source.name] = images
        size = images.shape[1:3] if settings.fit and size is None else size
        if images.shape[1:3] != read[first.name].shape[1:3]:
            raise StudyError(
                f"all sources must have images of one size: another one would give them away (`fit` brings image files "
                f"to the size of {sources[1].argument}). Received: {source.argument} with {_size(images)}, "
                f"{first.argument} with {_size(read[first.name])}"
            )
    channels = max(images.shape[-1] for images in read.values())
    return [
        dataclasses.replace(
            source, images=np.repeat(read[source.name], channels // read[source.name].shape[-1], axis=-1)
        )
        for source in sources
    ]


def _size(images: np.ndarray) -> str:
    return f"{images.shape[2]}x{images.shape[1]} pixels"


def needs_tensorflow(place: str) -> bool:
    """Whether images of `place` come by TensorFlow: those of a run directory, or of TFDS."""
    return place.startswith("tfds:") or _is_run(place)


def _is_run(place: str) -> bool:
    return is_pretrained(place) or (Path(place) / FLAGS_FILE).is_file()


def has_image_files(place: str) -> bool:
    """Whether images of `place` come from files of their own."""
    return Path(place).is_dir() and not _is_run(place) and bool(image_files(place))


def _read(
    place: str,
    limit: int,
    generator: np.random.Generator,
    data_dir: str,
    settings: ImageFileSettings,
    size: tuple[int, int] | None,
    report: Callable[[str], Any],
) -> np.ndarray:
    if _is_run(place):
        from igan_tf.experiments.runs import load_run

        run = load_run(place)
        return as_bytes(np.asarray(run.generate(limit, seed=int(generator.integers(2**31)))), place)
    if not (":" in place or Path(place).exists()):
        raise DataError(f"{place} does not exist; images come from a run directory, {FORMS}")
    return read_images(place, limit, generator, data_dir, settings, size, report)
