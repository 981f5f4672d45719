"""What several files of tests need of runs."""

import pytest

from tests.experiments.digits_runs import train


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An uninterrupted run; a test that changes it copies it first."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(folder)
    return folder
