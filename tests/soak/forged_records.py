"""Manifests, plans and reports of conversions whose digests are right, and which say what no converter would."""

import copy
import json
import os
import random
import shutil
import sys
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from igan_tf.data import ImageRecords
from igan_tf.errors import InputError
from tests.records.forgeries import FORGERIES, OUTSIDE, example, forge, forge_shard
from tests.records.record_sets import convert_here, make_numbered
from tests.soak import Soak

_MOST_BYTES = 2**26
_VALUES: list[Any] = [
    None, True, -1, 0, 1, 7, 10**12, 2**63, 10**30, 0.5, 1e308, float("nan"), "", "text", OUTSIDE, "/etc/passwd",
    "x" * 100_000, "train-00000-of-00006.tfrecord", "0" * 64, [], [[]], {}, {"name": OUTSIDE}, [OUTSIDE],
]  # fmt: skip
_SETTINGS = {"num_shards": 6, "encoding": "raw", "image_size": 4}
# The paths opened that lie outside of the set; collected by a hook, which a process cannot take back.
_opened: list[str] = []
_watched: list[Path] = []


def _watch(event: str, arguments: tuple) -> None:
    if event == "open" and _watched and isinstance(arguments[0], (str, os.PathLike)):
        path = os.path.realpath(arguments[0])
        if path.startswith(str(_watched[0])):
            _opened.append(path)


def _mutate(content: Any, generator: random.Random) -> None:
    """Puts a hostile value into a random place of JSON, or takes something out."""
    places = []

    def visit(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            places.append((value, key))
            visit(value[key])

    visit(content)
    parent, key = generator.choice(places)
    if generator.random() < 0.1:
        del parent[key]
    else:
        parent[key] = copy.deepcopy(generator.choice(_VALUES))


def _forge_manifest(folder: Path, number: int, generator: random.Random) -> None:
    """Every known forgery once, then random ones."""
    names = list(FORGERIES)
    if number < len(names):
        forge(folder, FORGERIES[names[number]])
    else:
        forge(folder, lambda content: _mutate(content, generator))


def _forge_records(folder: Path, generator: random.Random) -> None:
    forged = [
        example(label=generator.choice([-1, 3, 2**40])),
        example(size=generator.choice([1, 5, 40])),
        example(payload=generator.randbytes(generator.randrange(200))),
        example(encoding="jpeg"),
        generator.randbytes(generator.randrange(200)),
    ]
    payloads = [example() for _ in range(5)]
    payloads[generator.randrange(5)] = generator.choice(forged)
    forge_shard(folder, generator.randrange(6), payloads)


def _forge_unfinished(folder: Path, generator: random.Random) -> None:
    """A conversion that was stopped before its last file, with a forged plan or report."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").unlink()
    (folder / "unfinished").mkdir()
    files = {"plan.json": {name: manifest[name] for name in ("format", "settings", "source")}}
    for shard in manifest["shards"]:
        report = {"shard": shard, "unreadable": [], "unread": False}
        files[shard["name"].replace("tfrecord", "json")] = report
    _mutate(files[generator.choice(["plan.json", generator.choice(list(files))])], generator)
    for name, content in files.items():
        (folder / "unfinished" / name).write_text(json.dumps(content))


def _outcome(folder: Path, photos: Path, whole: dict[str, bytes]) -> str:
    if (folder / "unfinished").exists():
        lines: list[str] = []
        convert_here(photos, folder, processes=1, report=lines.append, **_SETTINGS)
        assert {path.name: path.read_bytes() for path in folder.glob("*.tfrecord")} == whole
        return "converted anew in part" if any("written anew" in line for line in lines) else "continued"
    records = ImageRecords(folder)
    # It may be a set of other images or names, but it is one.
    images, labels = records.decode(tf.constant(records.read(np.arange(len(records)))))
    assert images.shape == (len(records), *records.image_shape) and labels.numpy().max() < records.num_classes
    return "read as another set"


def _run(numbers: Iterable[int], folder: Path) -> Iterator[tuple[int, str]]:
    sys.addaudithook(_watch)
    photos = make_numbered(folder / "photos", images=10)
    convert_here(photos, folder / "records", **_SETTINGS)
    whole = {path.name: path.read_bytes() for path in (folder / "records").glob("*.tfrecord")}
    # What a name above the folder would reach.
    (folder / "case" / "outside").mkdir(parents=True)
    for name, content in whole.items():
        (folder / "case" / "outside" / name).write_bytes(content)
    for number in numbers:
        generator = random.Random(number)
        case = shutil.copytree(folder / "records", folder / "case" / "records")
        kind = generator.choice(["manifest", "manifest", "records", "unfinished"]) if number % 2 else "manifest"
        if kind == "manifest":
            _forge_manifest(case, number // 2, generator)
        elif kind == "records":
            _forge_records(case, generator)
        else:
            _forge_unfinished(case, generator)
        _watched[:], _opened[:] = [(folder / "case" / "outside").resolve()], []
        tracemalloc.start()
        try:
            outcome = _outcome(case, photos, whole)
        except InputError as error:
            assert str(error) and "Traceback" not in str(error)
            outcome = "refused"
        finally:
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            _watched.clear()
        assert most < _MOST_BYTES, f"{most} bytes were allocated"
        assert not _opened, _opened
        shutil.rmtree(case)
        yield number, f"{kind}: {outcome}"


SOAK = Soak(
    about="A forged set of records with right digests is refused in a sentence, opens nothing outside of its folder "
    "and allocates nothing for what it only promises; a forged report costs its shard's conversion.",
    count=100,
    run=_run,
)
