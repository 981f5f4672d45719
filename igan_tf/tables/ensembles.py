"""Class probabilities of finished runs on the test set, and what their averages get wrong."""

import zipfile

import numpy as np

from igan_tf import durable, experiment
from igan_tf.data import load_data


class Ensembles:
    """Averages models' probabilities; each run's are computed once and kept beside it.

    Args:
        folder: Of the table.
        config: Of any of its runs, which have one test set.
    """

    def __init__(self, folder, config):
        self._folder = folder / "probabilities"
        self._data = load_data(config)

    def errors(self, groups):
        """The error, as a fraction, of each list of finished runs' averaged probabilities."""
        return [self._error(runs) for runs in groups]

    def _error(self, runs):
        mean = np.mean([self.probabilities(run) for run in runs], axis=0)
        return float(np.mean(mean.argmax(axis=1) != self._data.test_labels))

    def probabilities(self, run):
        """`(N, classes)` float64: the averaged parameters' class probabilities of the test examples in file order."""
        path = self._folder / f"{run.name}.npz"
        steps = run.result()["steps"]
        try:
            with np.load(path) as saved:
                if saved["steps"] == steps:
                    return saved["probabilities"]
        except (FileNotFoundError, KeyError, ValueError, zipfile.BadZipFile):
            pass
        probabilities = experiment.load_run(run.run_dir).class_probabilities(
            self._data.test_images, run.config.batch_size
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        with durable.durable_file(path) as file:
            np.savez_compressed(file, probabilities=probabilities, steps=steps)
        return probabilities
