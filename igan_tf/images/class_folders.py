"""Finds the images of class folders: which class and which split each belongs to."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections.abc import Mapping, Sequence

from igan_tf.errors import DataError
from igan_tf.files import StrPath
from igan_tf.images.folders import ImageFile, is_hidden, list_images, named, printable

_UNLABELLED_FOLDERS = ("unlabelled", "unlabeled")
# Names of folders that hold a part of a data set, and which part.
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclasses.dataclass(frozen=True)
class ClassListing:
    """The images of class folders.

    Attributes:
        class_names: Sorted.
        train: Pairs of file and class; None where an image has no label.
        test: The same of the folder's own test split; None where it has none.
        left_out: As of `Listing`.
    """

    class_names: tuple[str, ...]
    train: tuple[tuple[ImageFile, str | None], ...]
    test: tuple[tuple[ImageFile, str | None], ...] | None
    left_out: Mapping[str, int]


def list_classes(folder: StrPath, argument: str) -> ClassListing:
    """Finds the images of a folder of class folders, or of one of splits that are such folders.

    Images beside class folders, and those in a folder `unlabelled`, have no label. `train`, by itself or with `val` and
    `test`, is a split and never a class; `unlabelled` beside it is a part of it. The test split is `test` if it has
    labels, else `val`.

    Args:
        folder: The folder.
        argument: The argument that names it, for messages.

    Raises:
        DataError: as `list_images`, and for folders in class folders and splits without `train`: what was found.
    """
    where = f"`{argument}={folder}`"
    listing = list_images(folder)
    left_out = dict(listing.left_out)
    parts: dict[str, list[ImageFile]] = {}
    for file in listing.files:
        parts.setdefault(file.parts[0] if "/" in file.name else "", []).append(file)
    folders = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not is_hidden(entry.name))
    if empty := [name for name in folders if name not in parts]:
        left_out[f"{'folder' if len(empty) == 1 else 'folders'} without images ({named(empty)})"] = len(empty)
    splits = _splits(where, [name for name in parts if name and not _is_unlabelled(name)])
    if not splits:
        files = _with_classes(where, str(folder), listing.files, 0)
        return ClassListing(_class_names(files), files, None, left_out)
    labelled = {split: _with_classes(where, f"{folder}/{name}", parts[name], 1) for split, name in splits.items()}
    train = labelled.pop("train")
    train += tuple((file, None) for name in parts if _is_unlabelled(name) for file in parts[name])
    if "" in parts:
        left_out[f"beside {splits['train']}"] = len(parts[""])
    test = next((labelled[split] for split in ("test", "val") if _class_names(labelled.get(split, ()))), None)
    for split, files in labelled.items():
        if files is not test:
            left_out[f"in {splits[split]}"] = len(files)
    names = _class_names(train)
    if test is not None:
        if unknown := sorted(set(_class_names(test)) - set(names)):
            raise DataError(f"{where}: the test set has classes that train has not: {', '.join(unknown)}")
        if unlabelled := sum(name is None for _, name in test):
            left_out["without a class in the test set"] = unlabelled
            test = tuple((file, name) for file, name in test if name is not None)
    return ClassListing(names, train, test, left_out)


def _is_unlabelled(name: str) -> bool:
    return name.lower() in _UNLABELLED_FOLDERS


def _splits(where: str, folders: Sequence[str]) -> dict[str, str]:
    """The folder of each split; empty where the folders are classes."""
    splits: dict[str, str] = {}
    classes = [name for name in folders if name.lower() not in _SPLITS]
    of_splits = [name for name in folders if name.lower() in _SPLITS]
    if classes:
        if len(of_splits) > 1:
            raise DataError(
                f"{where} holds the splits {', '.join(map(printable, of_splits))}, and beside them {named(classes)}"
            )
        return {}
    for name in folders:
        split = _SPLITS[name.lower()]
        if split in splits:
            raise DataError(f"{where} holds {splits[split]} and {name}: which is the split {split}?")
        splits[split] = name
    if splits and "train" not in splits:
        raise DataError(f"{where} holds {', '.join(map(printable, folders))}, and no train")
    return splits


def _with_classes(
    where: str, root: str, files: Sequence[ImageFile], depth: int
) -> tuple[tuple[ImageFile, str | None], ...]:
    """Each file with its class, the name of the folder `depth` below the listing's that it lies in."""
    pairs: list[tuple[ImageFile, str | None]] = []
    for file in files:
        class_name, *inner = file.parts[depth:]
        if _is_unlabelled(class_name) or not inner:
            pairs.append((file, None))
        elif len(inner) == 1:
            # Two spellings of an accented letter are one class.
            pairs.append((file, printable(unicodedata.normalize("NFC", class_name))))
        else:
            raise DataError(
                f"{where}: the class folder {printable(class_name)} must hold images, and holds the folder "
                f"{printable(inner[0])}. Is {printable(root)}/{printable(class_name)} the folder of class folders?"
            )
    return tuple(pairs)


def _class_names(pairs: Sequence[tuple[ImageFile, str | None]]) -> tuple[str, ...]:
    return tuple(sorted({name for _, name in pairs if name is not None}))
