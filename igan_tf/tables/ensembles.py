"""Class probabilities of finished runs on the test set, and what their averages get wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from igan_tf.data import ImageData, load_data
from igan_tf.errors import ConfigError
from igan_tf.experiments import runs
from igan_tf.experiments.configs import RunConfig
from igan_tf.files import disk, durable
from igan_tf.files.arrays import Array, read_arrays
from igan_tf.files.json_files import DamagedFile
from igan_tf.tables.grid import Run
from igan_tf.training.checkpoints import CheckpointError, Checkpoints


class Ensembles:
    """Averages models' probabilities; each run's are computed once and kept beside it.

    Attributes:
        unusable: Dict of finished runs' names whose last weights cannot be used, and why.

    Args:
        folder: Of the table.
        config: Of any of its runs, which have one test set.
    """

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self._folder = folder / "probabilities"
        # No table is of records.
        self._data = cast(ImageData, load_data(config))
        self._fingerprint = self._data.fingerprint()
        self.unusable: dict[str, str] = {}

    def has(self, run: Run) -> bool:
        """Whether a run is finished and its probabilities are available."""
        if run.result() is None or run.name in self.unusable:
            return False
        try:
            self.probabilities(run)
        except (CheckpointError, ConfigError) as error:
            # One damaged run must not take the others' table with it.
            self.unusable[run.name] = str(error)
            return False
        return True

    def error(self, runs: Sequence[Run]) -> float:
        """The error, as a fraction, of the averaged probabilities of runs that it `has`."""
        mean = np.mean([self.probabilities(run) for run in runs], axis=0)
        return float(np.mean(mean.argmax(axis=1) != self._data.test_labels))

    def probabilities(self, run: Run) -> np.ndarray:
        """`(N, classes)` float64: the averaged parameters' class probabilities of the test examples in file order."""
        path = self._folder / f"{run.name}.npz"
        result = run.result()
        assert result is not None
        step = result["steps"]
        # Of these weights on this data, and no others that may have stood under the name, in these batches. As long as
        # keys without the batches, so that older files are others, not damaged ones.
        weights = Checkpoints(run.run_dir / "checkpoints").digest(step)
        batches = f"{self._fingerprint} in whole batches of {run.config.batch_size}"
        key = f"{weights} {hashlib.sha256(batches.encode()).hexdigest()}"
        expected = {
            "key": Array((np.asarray(key).dtype.name,), ()),
            "probabilities": Array(("float64",), (len(self._data.test_labels), self._data.num_classes)),
        }
        try:
            saved = read_arrays(path, expected)
            if not np.isfinite(saved["probabilities"]).all():
                raise DamagedFile(f"{path} is damaged: its probabilities are not finite")
            if str(saved["key"]) == key:
                return saved["probabilities"]
        except FileNotFoundError:
            pass
        except (disk.UnusableFile, DamagedFile) as error:
            print(f"{error}; computed anew")
        model = runs.load_run(run.run_dir, step)
        probabilities = model.class_probabilities(self._data.test_images, run.config.batch_size)
        disk.make_folder(path.parent, parents=True)
        with durable.durable_file(path) as file:
            np.savez_compressed(file, probabilities=probabilities, key=key)
        return probabilities
