"""What the evaluation of the paper's number of samples holds in memory."""

import json
import os
import subprocess
import sys

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("classifiers need the TensorFlow backend", allow_module_level=True)

from tests.command_line import REPOSITORY


def peak_gigabytes(count, size):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "benchmarks.evaluation", str(count), str(size)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["count"] == count and found["scores"] == ["frechet_distance", "inception_score", "precision"]
    return found["peak_bytes"] / 1e9


@pytest.mark.slow
def test_50000_samples_of_128x128_take_less_than_their_pixels():
    # The pixels alone are 2.46 GB as bytes.
    assert peak_gigabytes(50000, 128) < 2.5
