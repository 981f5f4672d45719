"""What a run leaves behind besides checkpoints: `metrics.jsonl`, TensorBoard's files, sample grids.

Opening the log of a run at a step removes what an interrupted process wrote beyond it, so that nothing stands
twice after the steps are repeated.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from igan_tf.files import StrPath, durable
from igan_tf.images.grids import image_grid, write_png
from igan_tf.metrics.registry import with_short_names
from igan_tf.types import Tensor

# TensorBoard's group of a number and what is said of it, by how its name ends; the first that fits.
_GROUPS = (
    ("_loss", "loss"),
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
    "train_error": "Part of the labelled training images, as disturbed in training, that is wrongly classified.",
    "error": "Part of the training images that is wrongly classified, before the update that they make.",
    "test_error": "Part of the test images that is wrongly classified by the present weights.",
    "averaged_test_error": "Part of the test images that is wrongly classified by the running average of the weights.",
    "seconds_per_step": "Mean time of a training step in this epoch, without evaluation.",
}


class RunLog:
    """Writes the log of one run directory.

    Args:
        run_dir: The run directory, which exists.
        step: The last step whose entries stay; -1: none do.
    """

    def __init__(self, run_dir: StrPath, step: int) -> None:
        self.run_dir = Path(run_dir)
        self._metrics_path = self.run_dir / "metrics.jsonl"
        _keep_lines_to(self._metrics_path, step)
        folder = events_folder(self.run_dir)
        for path in folder.glob("events.out.tfevents.*"):
            _keep_events_to(path, step)
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
        with open(self._metrics_path, "a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def write_samples(self, images: np.ndarray, name: str, step: int) -> None:
        """Writes a grid of images in [0, 1] as `samples/<name>.png` and to TensorBoard."""
        grid = image_grid(images)
        folder = self.run_dir / "samples"
        folder.mkdir(exist_ok=True)
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

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`."""
        return read_metrics(self._metrics_path)

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
    """
    path = Path(path)
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(with_short_names(json.loads(text)))
        except json.JSONDecodeError:
            break
    return lines


def _keep_lines_to(path: Path, step: int) -> None:
    if path.exists():
        kept = [line for line in read_metrics(path) if line["step"] <= step]
        durable.write_text(path, "".join(json.dumps(line) + "\n" for line in kept))


def _keep_events_to(path: Path, step: int) -> None:
    """Rewrites a TensorBoard file without the events beyond `step`, and without a last one cut short."""
    temporary = path.with_name(f".{path.name}.tmp")
    with tf.io.TFRecordWriter(str(temporary)) as writer:
        try:
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                if tf.compat.v1.Event.FromString(record).step <= step:
                    writer.write(record)
        except tf.errors.DataLossError:
            pass
    temporary.replace(path)
