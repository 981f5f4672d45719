"""What is found out about the machine before a run directory is made."""

import pytest

from igan_tf.errors import ConfigError
from igan_tf.experiments import preflight
from igan_tf.experiments.configs import build_config
from igan_tf.experiments.training_runs import train


# tests/conftest.py sets up two logical CPUs.
@pytest.mark.parametrize(("strategy", "expected", "found"), [("mirrored", 4, 2), ("single", 2, 1), ("mirrored", 1, 2)])
def test_another_number_of_replicas_is_refused_before_the_data_are_read(tmp_path, strategy, expected, found):
    config = build_config(
        dataset="imagenet", data_dir=str(tmp_path / "none"), strategy=strategy, expected_replicas=expected
    )
    with pytest.raises(
        ConfigError,
        match=rf"`expected_replicas` must be the number of devices that `strategy` finds, {found}. "
        rf"Received: expected_replicas={expected} strategy={strategy}",
    ):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("strategy", "expected"), [("mirrored", 2), ("mirrored", 0), ("single", 1)])
def test_the_expected_number_of_replicas_passes(strategy, expected):
    preflight.check_machine(build_config(strategy=strategy, expected_replicas=expected), pytest.fail)


def test_unused_gpus_are_reported_when_a_training_begins(monkeypatch):
    monkeypatch.setattr(preflight, "unused_gpus", lambda: "warning: no GPU")
    lines = []
    preflight.check_machine(build_config(), lines.append)
    assert lines == ["warning: no GPU"]
