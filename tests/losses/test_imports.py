import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import igan_tf.losses

ROOT = Path(__file__).resolve().parents[2]


def test_public_names():
    for name in igan_tf.losses.__all__:
        found = getattr(igan_tf.losses, name)
        # Constants have no names.
        assert getattr(found, "__name__", name) == name
    assert set(igan_tf.losses.__all__) <= set(dir(igan_tf.losses))


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="for the other backends")
def test_no_tensorflow_needed():
    code = "import sys; sys.modules['tensorflow'] = None; import igan_tf.losses as l; l.gan_logit([[0.0]])"
    environment = {**os.environ, "KERAS_BACKEND": keras.backend.backend()}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
