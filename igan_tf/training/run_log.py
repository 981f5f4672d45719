"""What a run leaves behind besides checkpoints: `metrics.jsonl`, TensorBoard's files, sample grids.

Opening the records of a run at a step removes what an interrupted process wrote beyond it, so that nothing stands
twice after the steps are repeated.
"""

import json
import os
from pathlib import Path

import tensorflow as tf

from igan_tf.files import durable
from igan_tf.images.grids import image_grid, write_png
from igan_tf.metrics.registry import with_short_names


class Records:
    """Writes the records of one run directory.

    Args:
        run_dir: The run directory, which exists.
        step: The last step whose records stay; -1: none do.
    """

    def __init__(self, run_dir, step):
        self.run_dir = Path(run_dir)
        self._metrics_path = self.run_dir / "metrics.jsonl"
        _keep_lines_to(self._metrics_path, step)
        self._log_dir = self.run_dir / "logs"
        self._log_dir.mkdir(exist_ok=True)
        for path in self._log_dir.glob("events.out.tfevents.*"):
            _keep_events_to(path, step)
        self._writer = tf.summary.create_file_writer(str(self._log_dir))

    def describe(self, config_lines, hyperparameters):
        """Writes flags as text and for the HParams tab: once, at the start of a run."""
        from tensorboard.plugins.hparams import api as hparams

        with self._writer.as_default(step=0):
            tf.summary.text("flags", "```\n" + "\n".join(config_lines) + "\n```")
            hparams.hparams(hyperparameters, trial_id="/".join(self.run_dir.absolute().parts[-2:]))
        self._writer.flush()

    def write_metrics(self, metrics):
        """Appends one line to `metrics.jsonl` and a point to each TensorBoard curve."""
        with self._writer.as_default(step=metrics["step"]):
            for name, value in metrics.items():
                if isinstance(value, float):
                    tf.summary.scalar(name, value)
        self._writer.flush()
        with open(self._metrics_path, "a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def write_samples(self, images, name, step):
        """Writes a grid of images in [0, 1] as `samples/<name>.png` and to TensorBoard."""
        grid = image_grid(images)
        folder = self.run_dir / "samples"
        folder.mkdir(exist_ok=True)
        write_png(folder / f"{name}.png", grid)
        with self._writer.as_default(step=step):
            tf.summary.image("samples", grid[None])
        self._writer.flush()

    def write_histograms(self, values, step):
        """Writes a dict of arrays as TensorBoard histograms."""
        with self._writer.as_default(step=step):
            for name, array in values.items():
                tf.summary.histogram(name, array)
        self._writer.flush()

    def metrics(self):
        """The lines of `metrics.jsonl`."""
        return read_metrics(self._metrics_path)

    def close(self):
        self._writer.close()


def read_metrics(path):
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


def _keep_lines_to(path, step):
    if path.exists():
        kept = [line for line in read_metrics(path) if line["step"] <= step]
        durable.write_text(path, "".join(json.dumps(line) + "\n" for line in kept))


def _keep_events_to(path, step):
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
