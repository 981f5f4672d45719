"""Chooses the training examples that keep their labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from igan_tf.errors import DataError
from igan_tf.files import StrPath


def labelled_subset(labels: Sequence[int] | np.ndarray, per_class: int, seed_data: int) -> np.ndarray:
    """Draws `per_class` examples of each class, without replacement.

    Args:
        labels: `(N,)` integers; negative ones mark examples without a label, which are never drawn.
        per_class: How many of each class.
        seed_data: Seed of the draw, apart from the training's.

    Returns:
        `(classes * per_class,)` sorted indices into `labels`.

    Raises:
        DataError: where a class has fewer examples than asked for.
    """
    labels = np.asarray(labels)
    if per_class < 1:
        raise DataError(f"`per_class` must be at least 1. Received: per_class={per_class}")
    order = np.random.default_rng(seed_data).permutation(len(labels))
    chosen = []
    for label in np.unique(labels[labels >= 0]):
        members = order[labels[order] == label]
        if len(members) < per_class:
            raise DataError(
                f"{per_class} examples of each class are more than there are of class {label}, which has "
                f"{len(members)}. Received: per_class={per_class}"
            )
        chosen.append(members[:per_class])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, dtype="int64")


def unbalanced_subset(labels: Sequence[int] | np.ndarray, count: int, seed_data: int) -> np.ndarray:
    """Draws `count` examples of whatever classes, without replacement: the first of the permutation by `seed_data`.

    Args:
        labels: As of `labelled_subset`.
        count: How many in all.
        seed_data: Seed of the draw.

    Returns:
        `(count,)` sorted indices into `labels`.

    Raises:
        DataError: where fewer examples have a label.
    """
    labels = np.asarray(labels)
    order = np.random.default_rng(seed_data).permutation(len(labels))
    labelled = order[labels[order] >= 0]
    if count > len(labelled):
        raise DataError(
            f"`count` must be at most the number of examples with a label, {len(labelled)}. Received: count={count}"
        )
    return np.sort(labelled[:count])


def read_label_file(label_file: StrPath, num_examples: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads a subset of the user's own, balanced or not.

    Args:
        label_file: The file, with one `index,label` a line; blank lines and what follows a # do not count.
        num_examples: Size of the training set; indices count from 0.
        num_classes: Number of classes; labels count from 0.

    Returns:
        Two int64 arrays, indices and labels, in the file's order.

    Raises:
        DataError: that names file, line and text of what cannot be read, is out of range or stands twice.
    """
    indices: list[int] = []
    labels: list[int] = []
    seen: dict[int, int] = {}
    try:
        # Spreadsheets begin a file with a mark.
        lines = Path(label_file).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"`label_file={label_file}` cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        where = f"`label_file={label_file}`, line {number}: {line.strip()!r}"
        try:
            index, label = (int(part) for part in text.split(","))
        except ValueError:
            raise DataError(f"{where} is not of the form index,label") from None
        if not 0 <= index < num_examples:
            raise DataError(f"{where}: the index must be from 0 to {num_examples - 1}")
        if not 0 <= label < num_classes:
            raise DataError(f"{where}: the label must be from 0 to {num_classes - 1}")
        if index in seen:
            raise DataError(f"{where}: index {index} stands in line {seen[index]} already")
        seen[index] = number
        indices.append(index)
        labels.append(label)
    if not indices:
        raise DataError(f"`label_file={label_file}` holds no line of the form index,label")
    return np.array(indices, "int64"), np.array(labels, "int64")
