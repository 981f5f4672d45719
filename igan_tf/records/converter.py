"""Converts a source of images to a folder of shards: planned here, done by processes, continued after a kill."""

import concurrent.futures
import dataclasses
import json
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from tqdm import tqdm

from igan_tf.errors import DataError, counted
from igan_tf.files import StrPath, disk, durable
from igan_tf.files.json_files import DamagedFile
from igan_tf.files.locks import LOCK_NAME
from igan_tf.images.folders import printable
from igan_tf.images.reading import available_processors, too_many
from igan_tf.records import shards
from igan_tf.records.entries import Source
from igan_tf.records.manifest import (
    FORMAT,
    MANIFEST_NAME,
    UNFINISHED_NAME,
    Manifest,
    places_of,
    read_manifest,
    shard_name,
)
from igan_tf.records.plan import PLAN_NAME, of_earlier_version, read_plan
from igan_tf.records.processes import pool, sole_converter
from igan_tf.records.settings import ConversionSettings, WorkSettings
from igan_tf.records.shards import ShardReport, ShardTask

UNREADABLE_NAME = "unreadable.jsonl"
_SECONDS_BETWEEN_UPDATES = 0.1
_MOST_SHOWN = 10


def convert(
    source: Source,
    output_dir: StrPath,
    settings: ConversionSettings,
    processes: int = WorkSettings.processes,
    max_unreadable: float = WorkSettings.max_unreadable,
    report: Callable[[str], None] = print,
) -> Manifest:
    """Converts a source into a set of records, continues an interrupted conversion, or mends a finished one.

    Image i of the source goes to place p(i) of a permutation drawn from the seed; each shard is a range of places. So
    its bytes are a function of source, settings and versions of igan_tf, Pillow and libjpeg. Processes do the work: a
    script must call this below `if __name__ == "__main__":`.

    Args:
        source: The images.
        output_dir: The folder; made where it is missing.
        settings: What decides on the bytes of the shards.
        processes, max_unreadable: As in `WorkSettings`.
        report: Called with each line for the user.

    Returns:
        The `Manifest`.

    Raises:
        ConfigError: for `processes` or `max_unreadable` out of bounds, and for more shards than images.
        DataError: for an output folder in use, unfit, full or of another conversion, and for too many unreadable
            images. Finished shards are kept; the same call continues.
    """
    processes = WorkSettings(processes=processes, max_unreadable=max_unreadable).processes or available_processors()
    if not source.entries:
        raise DataError(f"the source ({source.kind}) holds no images")
    settings = settings.with_shards_for(len(source.entries))
    output_dir = Path(output_dir)
    plan: dict[str, Any] = {
        "format": FORMAT,
        "settings": dataclasses.asdict(settings),
        "source": {"kind": source.kind, "images": len(source.entries), "digest": source.digest()},
    }
    try:
        _refuse_foreign(output_dir)
        disk.make_folder(output_dir, parents=True)
        with sole_converter(output_dir, output_dir / UNFINISHED_NAME / LOCK_NAME):
            conversion = _Conversion(source, output_dir, settings, plan, processes, report)
            if (output_dir / MANIFEST_NAME).exists():
                return conversion.mend()
            return conversion.run(max_unreadable)
    except OSError as error:
        raise DataError(f"`output_dir={output_dir}` cannot be written: {error.strerror or error}") from error


class _Conversion:
    """One conversion into one folder."""

    def __init__(
        self,
        source: Source,
        output_dir: Path,
        settings: ConversionSettings,
        plan: dict[str, Any],
        processes: int,
        report: Callable[[str], None],
    ):
        self.source, self.output_dir, self.settings, self.plan = source, output_dir, settings, plan
        self.processes, self.report = processes, report
        self.unfinished = output_dir / UNFINISHED_NAME

    def run(self, max_unreadable: float) -> Manifest:
        """Writes the shards that are missing, then the list of unreadable images, then the manifest."""
        self._start_or_continue()
        tasks = self._tasks()
        done = self._finished(tasks)
        if done:
            self.report(f"{self.output_dir}: keeping {len(done)} of {counted(len(tasks), 'shard')}")
        to_write = [task for task in tasks if task.path.name not in done]
        self._refuse_full_disk(to_write)
        written = {**done, **self._write(to_write)}
        reports = [written[task.path.name] for task in tasks]
        unreadable = self._list_unreadable(reports, max_unreadable)
        manifest = Manifest(
            images=sum(report.shard.records for report in reports),
            settings=self.plan["settings"],
            source=self.plan["source"],
            unreadable=unreadable,
            class_names=self.source.class_names,
            shards=tuple(report.shard for report in reports),
        )
        manifest.write(self.output_dir)
        disk.remove(self.unfinished)
        return manifest

    def mend(self) -> Manifest:
        """Writes the shards of a finished set anew that are missing or damaged."""
        manifest = read_manifest(self.output_dir)
        self._refuse_other_plan({**manifest.settings, **manifest.source})
        faults = manifest.faults(self.output_dir)
        if faults and manifest.format != FORMAT:
            raise of_earlier_version(self.output_dir, f"it has {counted(len(faults), 'damaged shard')}")
        for name, fault in faults.items():
            self.report(f"{self.output_dir}/{name} is written anew: {fault}")
        if faults:
            disk.make_folder(self.unfinished)
            written = self._write([task for task in self._tasks() if task.path.name in faults])
            expected = {shard.name: shard for shard in manifest.shards}
            if other := [name for name, report in written.items() if report.shard != expected[name]]:
                raise DataError(
                    f"`output_dir={self.output_dir}`: {other[0]} came out differently than before. The images, Pillow, "
                    "libjpeg or this package have changed: convert into another folder"
                )
        else:
            self.report(f"{self.output_dir}: finished before, every shard is whole")
        disk.remove(self.unfinished, ignore_errors=True)
        return manifest

    def _start_or_continue(self) -> None:
        plan_path = self.unfinished / PLAN_NAME
        if plan_path.exists():
            saved = read_plan(plan_path, self.output_dir)
            self._refuse_other_plan({**saved["settings"], **saved["source"]})
        else:
            disk.make_folder(self.unfinished)
            durable.write_text(plan_path, json.dumps(self.plan, indent=1))

    def _refuse_other_plan(self, before: dict[str, Any]) -> None:
        now = {**self.plan["settings"], **self.plan["source"]}
        # The earlier version had fewer settings, and cropped.
        before = {"fit": "crop", **before}
        different = [
            f"{name}: the conversion was started with {before.get(name)!r}, now {now[name]!r}"
            for name in now
            if name in before and before[name] != now[name]
        ]
        if different:
            raise DataError(
                f"`output_dir={self.output_dir}` holds a conversion of other images or with other settings:\n  "
                + "\n  ".join(different)
            )

    def _refuse_full_disk(self, tasks: list[ShardTask]) -> None:
        """Raises a DataError where raw images, whose size is known beforehand, do not fit on the disk."""
        if self.settings.encoding == "raw":
            needed = 3 * self.settings.image_size**2 * sum(len(task.entries) for task in tasks)
            free = shutil.disk_usage(self.output_dir).free
            if needed > free:
                raise DataError(
                    f"`output_dir={self.output_dir}`: the images need {needed / 1e9:.3g} GB and {free / 1e9:.3g} GB "
                    "are free. `encoding=jpeg` needs about a quarter"
                )

    def _tasks(self) -> list[ShardTask]:
        """Divides one permutation of all images among the shards."""
        import numpy as np

        count, total = self.settings.num_shards, len(self.source.entries)
        order = np.random.default_rng(self.settings.seed).permutation(total).tolist()
        tasks = []
        for number in range(count):
            path = self.output_dir / shard_name(number, count)
            places = places_of(number, count, total)
            tasks.append(
                ShardTask(
                    path=path,
                    report_path=self.unfinished / f"{path.stem}.json",
                    entries=tuple(self.source.entries[image] for image in order[places.start : places.stop]),
                    example_keys=self.source.example_keys,
                    num_classes=len(self.source.class_names),
                    settings=self.settings,
                )
            )
        return tasks

    def _finished(self, tasks: list[ShardTask]) -> dict[str, ShardReport]:
        """Reads the reports of shards that are finished and whole, by name."""
        with concurrent.futures.ThreadPoolExecutor(self.processes) as threads:
            reports = threads.map(self._finished_report, tasks)
            return {task.path.name: report for task, report in zip(tasks, reports) if report is not None}

    def _finished_report(self, task: ShardTask) -> ShardReport | None:
        try:
            return shards.finished_report(task)
        except DamagedFile as error:
            self.report(f"{error}; its shard is written anew")
            return None

    def _write(self, tasks: list[ShardTask]) -> dict[str, ShardReport]:
        """Writes shards in processes; returns their reports by name."""
        if not tasks:
            return {}
        started, images = time.perf_counter(), sum(len(task.entries) for task in tasks)
        reports = {}
        with (
            pool(min(self.processes, len(tasks)), self.unfinished / LOCK_NAME) as (executor, progress),
            _bar(images) as bar,
        ):
            waiting = {executor.submit(shards.write_shard, task): task for task in tasks}
            while waiting:
                done, _ = concurrent.futures.wait(waiting, _SECONDS_BETWEEN_UPDATES, concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    reports[waiting.pop(future).path.name] = self._result(future)
                bar.update(progress.value - bar.n)
        seconds = time.perf_counter() - started
        self.report(f"{counted(images, 'image')} in {seconds:.1f} s, {images / seconds:.0f} images/s")
        return reports

    def _result(self, future: concurrent.futures.Future[ShardReport]) -> ShardReport:
        try:
            return future.result()
        except shards.ShardError as error:
            raise DataError(
                f"`output_dir={self.output_dir}`: {error}. Finished shards are kept, the same command continues"
            ) from error
        except BrokenProcessPool as error:
            raise DataError(
                "a process of the converter was ended from outside, perhaps for want of memory (fewer `processes` "
                "need less). Finished shards are kept, the same command continues"
            ) from error

    def _list_unreadable(self, reports: list[ShardReport], max_unreadable: float) -> int:
        """Writes the list of unreadable images, and returns its length.

        Raises:
            DataError: for more than `max_unreadable` of all, and where no image is left.
        """
        unreadable = sorted(pair for report in reports for pair in report.unreadable)
        path = self.output_dir / UNREADABLE_NAME
        lines = [json.dumps({"name": name, "reason": reason}) + "\n" for name, reason in unreadable]
        durable.write_text(path, "".join(lines))
        for name, reason in unreadable[:_MOST_SHOWN]:
            self.report(f"left out: {printable(name)}: {reason}")
        if len(unreadable) > _MOST_SHOWN:
            self.report(f"and {len(unreadable) - _MOST_SHOWN} more: {path}")
        total = len(self.source.entries)
        if too_many(len(unreadable), total, max_unreadable):
            raise DataError(
                f"{len(unreadable)} of {counted(total, 'image')} cannot be read, more than "
                f"`max_unreadable={max_unreadable}` of all allows; they are listed in {path}. The same command with "
                "more allowed keeps the shards"
            )
        return len(unreadable)


def _refuse_foreign(output_dir: Path) -> None:
    """Raises a DataError where `output_dir` holds what this program would overwrite, remove or mix with its own."""
    if output_dir.exists() and not output_dir.is_dir():
        raise DataError(f"`output_dir` must be a folder. Received: output_dir={output_dir}")
    unfinished = output_dir / UNFINISHED_NAME
    found = [file for file in unfinished.glob("[!.]*") if not (file.name == PLAN_NAME or file.match("train-*.json"))]
    if not any(path.exists() for path in (output_dir / MANIFEST_NAME, unfinished / PLAN_NAME)):
        found += output_dir.glob("*tfrecord*")
    if found:
        name = found[0].relative_to(output_dir)
        raise DataError(f"`output_dir={output_dir}` holds files of something else, such as {name}; name another folder")


def _bar(images: int) -> tqdm:
    return tqdm(total=images, unit=" images", disable=not sys.stderr.isatty(), smoothing=0.05)
