"""Devices of the test run: two logical CPUs, so that every test can stand up a `MirroredStrategy`. Real data, too."""

import gc
import os
from pathlib import Path

from igan_tf.commands.start import collect_garbage_rarely, use_onednn

# As in the commands, before the first import of TensorFlow.
collect_garbage_rarely()
use_onednn()

import keras  # noqa: E402
import pytest  # noqa: E402

# The files that take longest start first: begun late, one of them would run on while the other cores wait.
LONGEST_FILES = (
    "experiments/test_experiment.py",
    "experiments/test_training_runs.py",
    "tables/test_tables.py",
    "models/test_imagenet_gan.py",
    "experiments/test_periodic_scores.py",
    "experiments/test_imagenet_experiment.py",
    "models/test_semi_supervised_gan.py",
    "turing_test/test_browser.py",
    "models/test_sampling.py",
    "commands/test_evaluate.py",
    "evaluation/classifiers/test_domain.py",
    "training/test_multi_worker.py",
)

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    # Has to come before anything that makes TensorFlow start its devices.
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def pytest_collection_modifyitems(items):
    place = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


def pytest_collection_finish():
    # TensorFlow's modules and the collected tests live to the end: nothing to look through for garbage.
    gc.freeze()


@pytest.fixture(scope="session")
def real_data_dir():
    """The folder `IGAN_DATA_DIR`. A test that uses it is skipped where the variable is unset, fails where data is."""
    value = os.environ.get("IGAN_DATA_DIR")
    if not value:
        pytest.skip("needs real data: IGAN_DATA_DIR is not set")
    path = Path(value).resolve()
    if not path.is_dir():
        pytest.fail(f"IGAN_DATA_DIR={value} is not a folder")
    return path


@pytest.fixture(scope="session")
def digits_cache(tmp_path_factory):
    """A cache folder that holds the digits' domain classifier, trained once."""
    from igan_tf.data import load_data
    from igan_tf.evaluation import load_classifier
    from igan_tf.experiments.configs import build_config

    folder = tmp_path_factory.mktemp("digits_cache")
    load_classifier("domain", data=load_data(build_config(dataset="digits")), data_name="digits", cache_dir=folder)
    return folder
