"""Lists of images to convert, each a range of bytes in a file."""

import dataclasses
import hashlib
from typing import NamedTuple


class Entry(NamedTuple):
    """One image: `length` bytes from `offset` on in the file `path`; `label` is None where the bytes hold it, too."""

    name: str
    label: int | None
    path: str
    offset: int
    length: int


@dataclasses.dataclass(frozen=True)
class Source:
    """A list of images.

    Attributes:
        kind: "folder", "tar", or TFDS's name of it; the manifest records it.
        class_names: A label is a place in it. Sorted, but for TFDS, whose order stays.
        entries: The images, sorted by class and file.
        example_keys: The names of image and label, where entries are serialized examples.
        left_out: What else was found, in words.
    """

    kind: str
    class_names: tuple[str, ...]
    entries: tuple[Entry, ...]
    example_keys: tuple[str, ...] = ()
    left_out: str = ""

    def digest(self) -> str:
        """SHA-256 of all names, labels and sizes: equal digests mean the same input."""
        digest = hashlib.sha256(repr((self.class_names, self.example_keys)).encode("utf-8", "backslashreplace"))
        for entry in self.entries:
            line = f"{entry.name}\t{entry.label}\t{entry.length}\n"
            digest.update(line.encode("utf-8", "backslashreplace"))
        return digest.hexdigest()
