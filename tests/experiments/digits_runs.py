"""Small runs of the digits."""

import shutil

from igan_tf.experiments import training_runs
from igan_tf.experiments.configs import build_config

# Two epochs of two steps.
SETTINGS = {"dataset": "digits", "labels": 50, "batch_size": 400, "initialization_examples": 50, "epochs": 2}


def train(run_dir, report=lambda line: None, **changes):
    return training_runs.train(build_config(**{**SETTINGS, **changes}), run_dir, report)


def damaged_copy(run_dir, folder):
    """A copy of a run of two epochs, its last checkpoint damaged: it continues from the first epoch's."""
    shutil.copytree(run_dir, folder)
    # What the continued run has to write anew.
    (folder / "result.json").unlink()
    (folder / "samples" / "epoch-0002.png").unlink()
    path = folder / "checkpoints" / "step-000000004" / "state.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return folder
