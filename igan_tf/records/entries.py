"""What there is to convert: images as ranges of bytes in files."""

import dataclasses
import hashlib
from typing import NamedTuple


class Entry(NamedTuple):
    """One image: `length` bytes from `offset` on in the file `path`. In TFDS's files the label stands beside it."""

    name: str
    label: int | None
    path: str
    offset: int
    length: int


@dataclasses.dataclass(frozen=True)
class Source:
    """A list of images.

    Attributes:
        kind: What it is, for messages and the manifest.
        class_names: Sorted; an image's label is its class's place. TFDS's classes keep TFDS's order.
        entries: Sorted by class and file.
        example_keys: Where entries are serialized examples: the names of image and label in them.
    """

    kind: str
    class_names: tuple
    entries: tuple
    example_keys: tuple = ()

    def digest(self):
        """SHA-256 of all names, labels and sizes: two conversions with the same one have the same input."""
        digest = hashlib.sha256(repr((self.class_names, self.example_keys)).encode("utf-8", "backslashreplace"))
        for entry in self.entries:
            line = f"{entry.name}\t{entry.label}\t{entry.length}\n"
            digest.update(line.encode("utf-8", "backslashreplace"))
        return digest.hexdigest()
