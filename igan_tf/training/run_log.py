"""What a run leaves behind besides checkpoints: `metrics.jsonl`, TensorBoard's files, sample grids.

Opening the log of a run at a step removes what an interrupted process wrote beyond it, so that nothing stands
twice after the steps are repeated. A last entry that was cut short goes, too; other damage is an error, before anything
is changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from igan_tf.files import StrPath, disk, durable, json_files
from igan_tf.files.json_lines import as_line, read_lines
from igan_tf.images.grids import image_grid, write_png
from igan_tf.metrics.registry import with_short_names
from igan_tf.records import tfrecords
from igan_tf.types import Tensor

# TensorBoard's group of a number and what is said of it, by how its name ends; the first that fits.
_GROUPS = (
    ("_loss", "loss"),
    ("_regularization", "loss"),
    ("error", "error"),
    ("seconds_per_step", "time"),
)
_DESCRIPTIONS = {
    "discriminator_loss": "What the discriminator minimises: the sum of its terms.",
    "generator_loss": "What the generator minimises: the sum of its terms.",
    "supervised_loss": "Cross-entropy over the classes of labelled real images.",
    "class_loss": "Cross-entropy over the classes of real images.",
    "unlabelled_loss": "How far the discriminator is from taking unlabelled real images for real.",
    "real_loss": "How far the discriminator is from taking real images for real.",
    "generated_loss": "How far the discriminator is from taking generated images for generated.",
    "feature_matching_loss": "Distance of the mean features of real and of generated images.",
    "discriminator_history_loss": "Squared distance of the discriminator's weights from the mean of their past.",
    "generator_history_loss": "Squared distance of the generator's weights from the mean of their past.",
    "discriminator_regularization": "What the regularizers of the discriminator's weights add to its loss.",
    "generator_regularization": "What the regularizers of the generator's weights add to its loss.",
    "train_error": "Part of the labelled training images, as disturbed in training, that is wrongly classified.",
    "error": "Part of the training images that is wrongly classified, before the update that they make.",
    "test_error": "Part of the test images that is wrongly classified by the present weights.",
    "averaged_test_error": "Part of the test images that is wrongly classified by the running average of the weights.",
    "seconds_per_step": "Mean time of a training step in this epoch, without evaluation.",
}
# Far more than a grid of samples has.
_MOST_EVENT_BYTES = 2**28
METRICS_FILE = "metrics.jsonl"

_LINE = json_files.record({"step": json_files.WHOLE}, {"epoch": json_files.WHOLE}, others=json_files.NUMBER)


class RunLog:
    """Writes the log of one run directory.

    Args:
        run_dir: The run directory, which exists.
        step: The last step whose entries stay; -1: none do.

    Attributes:
        last_epoch: The metrics of the last epoch that has some, or None.

    Raises:
        DamagedFile: where its metrics or events are damaged; nothing is changed.
    """

    def __init__(self, run_dir: StrPath, step: int) -> None:
        self.run_dir = Path(run_dir)
        self._metrics_path = self.run_dir / METRICS_FILE
        folder = events_folder(self.run_dir)
        self.last_epoch: dict[str, Any] | None = None
        for line in _metrics_to(self._metrics_path, step):
            self._note(line)
        # All are read before the first is changed.
        too_long = [
            path
            for path in folder.glob("events.out.tfevents.*")
            if sum(tfrecords.FRAME_BYTES + len(event) for event in _events_to(path, step)) < path.stat().st_size
        ]
        if self._metrics_path.exists():
            with durable.durable_file(self._metrics_path) as kept:
                kept.writelines(as_line(line).encode() for line in _metrics_to(self._metrics_path, step))
        for path in too_long:
            with durable.durable_file(path) as kept:
                kept.writelines(tfrecords.frame(event) for event in _events_to(path, step))
        self._writer = tf.summary.create_file_writer(str(folder))

    def describe(self, config_lines: Iterable[str], data: str, hyperparameters: dict[str, Any]) -> None:
        """Writes settings and data as text and what tells runs apart for the HParams tab, at the start of a run."""
        from tensorboard.plugins.hparams import api as hparams

        with self._writer.as_default(step=0):
            tf.summary.text("flags", "```\n" + "\n".join(config_lines) + "\n```")
            tf.summary.text("data", data)
            hparams.hparams(hyperparameters, trial_id="/".join(self.run_dir.absolute().parts[-2:]))
        self._writer.flush()

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Appends one line to `metrics.jsonl` and a point to each TensorBoard curve."""
        with self._writer.as_default(step=metrics["step"]):
            for name, value in metrics.items():
                if isinstance(value, float):
                    tf.summary.scalar(tag(name), value, description=_DESCRIPTIONS.get(name))
        self._writer.flush()
        with disk.open_file(self._metrics_path, "ab") as file:
            file.write(as_line(metrics).encode())
            file.flush()
            disk.fsync(file.fileno())
        self._note(metrics)

    def _note(self, metrics: dict[str, Any]) -> None:
        if "epoch" in metrics:
            self.last_epoch = metrics

    def write_samples(self, images: np.ndarray, name: str, step: int) -> None:
        """Writes a grid of images in [0, 1] as `samples/<name>.png` and to TensorBoard."""
        grid = image_grid(images)
        folder = self.run_dir / "samples"
        disk.make_folder(folder)
        write_png(folder / f"{name}.png", grid)
        with self._writer.as_default(step=step):
            tf.summary.image("samples", grid[None])
        self._writer.flush()

    def write_histograms(self, values: Mapping[str, Tensor], step: int) -> None:
        """Writes a dict of arrays as TensorBoard histograms."""
        with self._writer.as_default(step=step):
            for name, array in values.items():
                tf.summary.histogram(name, array)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def events_folder(run_dir: StrPath) -> Path:
    """Where a run's TensorBoard files lie: the run directory itself, by which TensorBoard then names the run.

    A run of version 0.1 goes on in its `logs/`.
    """
    early = Path(run_dir) / "logs"
    return early if early.is_dir() else Path(run_dir)


def tag(name: str) -> str:
    """A number's name in TensorBoard: its group, then its name. Numbers that are none of the groups' are scores."""
    if "/" in name:
        return name
    return f"{next((group for ending, group in _GROUPS if name.endswith(ending)), 'score')}/{name}"


def read_metrics(path: StrPath) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`, a dict each; a last line cut short is left out.

    Scores have the names of today, whatever version wrote them.

    Raises:
        DamagedFile: where a line is not as it was written; it names the line.
    """
    return list(_metrics_to(path))


def _metrics_to(path: StrPath, step: float = math.inf) -> Iterator[dict[str, Any]]:
    """Yields the lines of a `metrics.jsonl` up to `step`: one at a time, as there may be gigabytes of them."""
    try:
        yield from (with_short_names(line) for line in read_lines(path, _LINE) if line["step"] <= step)
    except json_files.DamagedFile as error:
        raise json_files.DamagedFile(f"{error}. {_remedy(path)}") from error


def _events_to(path: Path, step: int) -> Iterator[bytes]:
    """The events of a TensorBoard file up to `step`, without a last one cut short."""
    with disk.open_file(path) as file:
        try:
            for span in tfrecords.spans_of(file.fileno()):
                if span.length > _MOST_EVENT_BYTES:
                    raise tfrecords.RecordError(f"an event of {span.length} bytes")
                record = tfrecords.read_record(file.fileno(), *span)
                if tf.compat.v1.Event.FromString(record).step <= step:
                    yield record
        except tfrecords.CutRecord:
            return
        except (tfrecords.RecordError, DecodeError) as error:
            raise json_files.DamagedFile(f"{path} is damaged: {error}. {_remedy(path)}") from error


def _remedy(path: StrPath) -> str:
    return f"Nothing was changed; move {Path(path).name} away to go on without what is in it"
