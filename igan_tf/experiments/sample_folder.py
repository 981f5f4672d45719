"""A folder of samples in files, which a later process can finish."""

from __future__ import annotations

import io
import itertools
import json
import math
import sys
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from igan_tf import __version__
from igan_tf.errors import ConfigError, counted
from igan_tf.files import StrPath, disk, durable, json_files, locks
from igan_tf.files.arrays import check_unpacked
from igan_tf.files.damage import UNREADABLE_ZIP
from igan_tf.images.arrays import as_bytes
from igan_tf.images.folders import FINISHED_SAMPLES, UNFINISHED_SAMPLES
from igan_tf.images.grids import as_picture
from igan_tf.models.sampling import BATCH_SIZE, LatentSampling
from igan_tf.settings import MANY

# Format -> images in a file: 1, or a multiple of the batch size.
IMAGES_PER_FILE = {"png": 1, "npz": 1000}
_PLAN = json_files.record(
    {
        "count": json_files.whole(1, MANY),
        "seed": json_files.WHOLE,
        "run": json_files.TEXT,
        "step": json_files.WHOLE,
        "checkpoint_sha256": json_files.TEXT,
        "format": json_files.one_of(*IMAGES_PER_FILE),
        "images_per_file": json_files.whole(1, MANY),
        "batch_size": json_files.whole(1, MANY),
        "igan_tf": json_files.TEXT,
    }
)
# Of any file of samples.
_MOST_BYTES = 2**30
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
# A SyntaxError is a damaged PNG's.
_UNREADABLE: tuple[type[Exception], ...] = (*UNREADABLE_ZIP, SyntaxError, Image.DecompressionBombError)


def sampling_plan(file_format: str, count: int, seed: int, run_dir: StrPath, step: int, digest: str) -> dict[str, Any]:
    """All that the bytes of a folder's files are a function of, as its JSON file says it."""
    return {
        "count": count,
        "seed": seed,
        "run": str(run_dir),
        "step": step,
        "checkpoint_sha256": digest,
        "format": file_format,
        "images_per_file": IMAGES_PER_FILE[file_format],
        "batch_size": BATCH_SIZE,
        "igan_tf": __version__,
    }


class SampleFolder:
    """A folder of images in files of a fixed number, each named by its first image's number.

    Pixels are bytes in either format: what PNGs hold and readers make of floats, a quarter of float32's size. While
    files are missing, the plan stands in `samples.unfinished.json`, which readers of images refuse; once all are on
    the disk it is renamed to `samples.json`.

    Args:
        path: The folder; made where there is none.
        plan: A `sampling_plan`.
        report: Called with each line for the user.
    """

    def __init__(self, path: StrPath, plan: dict[str, Any], report: Callable[[str], Any] = print) -> None:
        self.path = Path(path)
        self.plan = plan
        self.report = report
        self._finished, self._unfinished = self.path / FINISHED_SAMPLES, self.path / UNFINISHED_SAMPLES

    def fill(self, load_model: Callable[[], LatentSampling]) -> None:
        """Writes the files that are missing or damaged.

        Args:
            load_model: Gives the model with `generate_batches`; not called where nothing is missing.

        Raises:
            ConfigError: for a folder with other contents, or that another process is filling.
            DataError: for images that are no images, such as a diverged run's.
        """
        disk.make_folder(self.path, parents=True)
        refusal = ConfigError(f"`output={self.path}` is in use by another process that samples")
        # The folder itself is locked, so that no lock file lies among the samples.
        with locks.held(self.path, refusal):
            self._refuse_other_contents()
            firsts = range(0, self.plan["count"], self.plan["images_per_file"])
            missing = [first for first in firsts if not _is_whole(self._file(first))]
            if self._finished.exists() and not missing:
                self.report(f"{self.path}: finished before, every file is whole")
                return
            if len(missing) < len(firsts):
                self.report(f"{self.path}: keeping {len(firsts) - len(missing)} of {counted(len(firsts), 'file')}")
            if self._finished.exists():
                disk.rename(self._finished, self._unfinished)
            else:
                durable.write_text(self._unfinished, json.dumps(self.plan, indent=2) + "\n")
            if missing:
                self._write(load_model(), missing)
            # One wait for the disk, not one for each of the files.
            disk.sync()
            disk.rename(self._unfinished, self._finished)
            durable.sync_folder(self.path)

    def _file(self, first: int) -> Path:
        digits = max(6, len(str(self.plan["count"] - 1)))
        return self.path / f"{first:0{digits}d}.{self.plan['format']}"

    def _refuse_other_contents(self) -> None:
        saved = next((path for path in (self._unfinished, self._finished) if path.exists()), None)
        if saved is None:
            # Hidden files may be a temporary file of the plan's, or a file manager's.
            if any(not entry.name.startswith(".") for entry in self.path.iterdir()):
                raise ConfigError(
                    f"`output={self.path}` holds other files; samples need a new or an empty folder, or one that the "
                    f"same command has begun, with {UNFINISHED_SAMPLES}"
                )
            return
        try:
            before = json_files.read(saved, _PLAN)
        except (disk.UnusableFile, json_files.DamagedFile) as error:
            raise ConfigError(f"{error}; remove the folder and begin anew") from error
        changed = [name for name, value in self.plan.items() if before[name] != value]
        # A run may have been moved: the checkpoint says whether it is the same.
        if set(changed) - {"run"}:
            raise ConfigError(
                f"`output={self.path}` holds other samples; name another folder, or set these back:\n  "
                + "\n  ".join(f"{name}: {before[name]!r} there, {self.plan[name]!r} now" for name in changed)
            )

    def _write(self, model: LatentSampling, missing: Sequence[int]) -> None:
        """Draws the batches that the missing files need, and only these."""
        count, per_file = self.plan["count"], self.plan["images_per_file"]
        # Either several files come from a batch, or several batches go into a file.
        step = math.ceil(per_file / BATCH_SIZE)
        grouped = itertools.groupby(missing, lambda first: first // (step * BATCH_SIZE))
        groups = {number * step: list(firsts) for number, firsts in grouped}
        end = math.ceil(count / BATCH_SIZE)
        wanted = [batch for start in groups for batch in range(start, min(start + step, end))]
        batches = model.generate_batches(count, self.plan["seed"], BATCH_SIZE, wanted)
        written = count - sum(min(per_file, count - first) for first in missing)
        with ThreadPoolExecutor() as pool, progress(count, written) as bar:
            for start, firsts in groups.items():
                drawn = [as_bytes(images, self.plan["run"]) for images in itertools.islice(batches, step)]
                images = np.concatenate(drawn)
                pieces = [images[first - start * BATCH_SIZE :][:per_file] for first in firsts]
                # In threads: to compress an image takes longer than to generate it on an accelerator.
                list(pool.map(_write_file, map(self._file, firsts), pieces))
                bar.update(sum(map(len, pieces)))


def _write_file(path: Path, images: np.ndarray) -> None:
    # The folder is locked: what is under this name is left of a killed process.
    temporary = path.with_name(f".{path.name}.tmp")
    with disk.open_file(temporary, "wb") as file:
        if path.suffix == ".npz":
            np.savez_compressed(file, images=images)
        else:
            as_picture(images[0]).save(file, format="PNG")
    disk.rename(temporary, path)


def _is_whole(path: Path) -> bool:
    """Whether the file is there and its checksums are right: after a power failure it may be there in part."""
    try:
        content = disk.read_small(path, _MOST_BYTES)
        if path.suffix == ".npz":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                check_unpacked(archive, len(content))
                return archive.testzip() is None
        with Image.open(io.BytesIO(content)) as image:
            image.verify()
        return content.endswith(_PNG_END)
    except _UNREADABLE:
        return False


def progress(count: int, done: int = 0) -> tqdm:
    """A bar that counts images, where somebody looks at a terminal."""
    return tqdm(total=count, initial=done, unit=" images", disable=not sys.stderr.isatty())
