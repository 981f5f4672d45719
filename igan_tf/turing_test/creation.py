"""Makes a study: a directory that is there whole or not at all."""

import contextlib
import dataclasses
import json
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from igan_tf.files import StrPath, durable
from igan_tf.turing_test import contents, design
from igan_tf.turing_test.encoding import encode_images
from igan_tf.turing_test.settings import StudyError, StudySettings
from igan_tf.turing_test.sources import Source
from igan_tf.turing_test.storage import FILE, new_secret, open_file


def new_seed() -> int:
    """Draws a study's seed, which is a secret: whoever knew it could work out what is real."""
    return secrets.randbits(64)


def check_new_folder(study_dir: StrPath) -> None:
    """Raises a StudyError unless a study can be made in `study_dir`: there is no such folder yet, or it is empty."""
    try:
        occupied = Path(study_dir).exists() and any(Path(study_dir).iterdir())
    except OSError as error:
        raise StudyError(f"`study_dir={study_dir}` cannot be made: {error}") from error
    if occupied:
        raise StudyError(f"`study_dir={study_dir}` holds other files and no study; name a new folder")


def create_study(
    study_dir: StrPath, settings: StudySettings, sources: Sequence[Source], seed: int | None = None
) -> None:
    """Makes a study directory.

    Args:
        study_dir: A folder that does not exist, or is empty.
        settings: What it asks of its annotators.
        sources: Sources with their images, real first.
        seed: Of every draw; None: a new one. It is kept in the study.

    Raises:
        StudyError: where the sources are too small, or the folder cannot be made.
    """
    study_dir = Path(study_dir)
    seed = new_seed() if seed is None else seed
    check_new_folder(study_dir)
    items = design.draw_items(settings, sources, seed)
    files = [encode_images(cast(np.ndarray, source.images)) for source in sources]
    try:
        study_dir.parent.mkdir(parents=True, exist_ok=True)
        with durable.durable_folder(study_dir) as folder:
            folder.chmod(0o700)
            with contextlib.closing(open_file(folder / FILE)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(contents.schema())
                connection.execute("BEGIN")
                _fill(connection, settings, sources, items, files, seed)
                connection.execute(f"PRAGMA application_id = {contents.APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {contents.VERSION}")
                connection.execute("COMMIT")
            # A study that another command has made meanwhile stays.
            check_new_folder(study_dir)
    except (OSError, sqlite3.Error) as error:
        raise StudyError(f"`study_dir={study_dir}` cannot be made: {error}") from error


def _fill(
    connection: sqlite3.Connection,
    settings: StudySettings,
    sources: Sequence[Source],
    items: Sequence[design.Item],
    files: Sequence[Sequence[bytes]],
    seed: int,
) -> None:
    facts = {
        "settings": dataclasses.asdict(settings),
        "seed": seed,
        "created_at": time.time(),
        "study_token": new_secret(),
        "results_token": new_secret(),
        "form_secret": new_secret(),
        "image_shape": list(cast(np.ndarray, sources[0].images).shape[1:]),
    }
    tables: dict[str, Iterator[tuple[Any, ...]]] = {
        "study": ((key, json.dumps(fact)) for key, fact in facts.items()),
        "sources": ((number, source.name, source.generated, source.place) for number, source in enumerate(sources)),
        "items": (
            (number, item.source, item.practice, files[item.source][item.row])
            for number, item in enumerate(items, start=1)
        ),
    }
    for table, rows in tables.items():
        contents.insert(connection, contents.VERSION, table, rows)
