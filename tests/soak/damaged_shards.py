"""Shards that are flipped, cut, exchanged, replaced or grown, before a set is opened or after."""

import random
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from igan_tf.data import ImageRecords
from igan_tf.errors import DataError
from tests.records.record_sets import convert_here, make_numbered
from tests.soak import Soak

_SHARDS = 4


def _flip(paths: list[Path], generator: random.Random) -> list[Path]:
    path = generator.choice(paths)
    content = bytearray(path.read_bytes())
    for _ in range(generator.choice([1, 1, 1, 8, 64])):
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    path.write_bytes(content)
    return [path]


def _cut(paths: list[Path], generator: random.Random) -> list[Path]:
    path = generator.choice(paths)
    with open(path, "r+b") as file:
        file.truncate(generator.randrange(path.stat().st_size))
    return [path]


def _exchange(paths: list[Path], generator: random.Random) -> list[Path]:
    """Two shards' contents, in place: raw images have one size."""
    first, second = generator.sample(paths, 2)
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    return [first, second]


def _zero(paths: list[Path], generator: random.Random) -> list[Path]:
    path = generator.choice(paths)
    content = bytearray(path.read_bytes())
    start = generator.randrange(len(content) - 64)
    content[start : start + 64] = bytes(64)
    path.write_bytes(content)
    return [path]


def _grow(paths: list[Path], generator: random.Random) -> list[Path]:
    path = generator.choice(paths)
    with open(path, "ab") as file:
        file.write(generator.choice([b"\0", generator.randbytes(100), path.read_bytes()]))
    return [path]


def _remove(paths: list[Path], generator: random.Random) -> list[Path]:
    path = generator.choice(paths)
    path.unlink()
    return [path]


def _link(paths: list[Path], generator: random.Random) -> list[Path]:
    """The same content, but outside of the folder."""
    path = generator.choice(paths)
    path.rename(path.parent.parent / "outside.tfrecord")
    path.symlink_to(path.parent.parent / "outside.tfrecord")
    return [path]


_DAMAGES = [_flip, _cut, _exchange, _zero, _grow, _remove, _link]


def _run(numbers: Iterable[int], folder: Path) -> Iterator[tuple[int, str]]:
    make_numbered(folder / "photos", images=8)
    sets = {}
    for encoding in ("raw", "jpeg"):
        convert_here(folder / "photos", folder / encoding, num_shards=_SHARDS, encoding=encoding)
        records = ImageRecords(folder / encoding)
        sets[encoding] = records.read(np.arange(len(records)))
    for number in numbers:
        generator = random.Random(number)
        encoding = generator.choice(["raw", "jpeg"])
        copy = shutil.copytree(folder / encoding, folder / "case" / "records")
        shards = sorted(copy.glob("*.tfrecord"))
        damage = generator.choice(_DAMAGES)
        if generator.random() < 0.5:
            damaged = damage(shards, generator)
            yield number, _refused_when_opened(copy, damaged)
        else:
            records = ImageRecords(copy)
            damaged = damage(shards, generator)
            yield number, _read_or_refused(records, damaged, sets[encoding])
        shutil.rmtree(folder / "case")


def _refused_when_opened(folder: Path, damaged: list[Path]) -> str:
    try:
        ImageRecords(folder)
    except DataError as error:
        assert all(path.name in str(error) for path in damaged), error
        assert re.search(rf": {len(damaged)} of \d+ shards not as written:", str(error)), error
        return "refused when opened"
    raise AssertionError(f"{damaged} were believed")


def _read_or_refused(records: ImageRecords, damaged: list[Path], expected: list[bytes]) -> str:
    """Each record is what it was, or refused in the name of a damaged shard."""
    refused = 0
    for index, whole in enumerate(expected):
        try:
            assert records.read([index]) == [whole], f"record {index} is another"
        except DataError as error:
            assert any(str(path) in str(error) for path in damaged), error
            refused += 1
    return "refused when read" if refused else "read as it was"


SOAK = Soak(
    about="A set of records with a damaged shard is refused with the shard named; damaged once it is open, each record "
    "is what it was or refused.",
    count=500,
    run=_run,
)
