"""The check of a machine with GPUs, on logical CPUs: that each line comes, and says what is wrong."""

import json

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("TensorFlow's devices", allow_module_level=True)

import tensorflow as tf

from benchmarks import gpu_check, gpu_checks
from benchmarks.gpu_check import check
from benchmarks.gpu_machine import SMALL, Line, Machine


@pytest.fixture
def machine():
    return Machine(SMALL)


def run(check, machine):
    return {line.name: line for line in check(machine)}


def test_a_check_that_fails_and_one_that_comes_too_late_are_lines(monkeypatch, machine):
    def good(machine):
        yield Line("good", {"ms": 1.5}, "ok")

    def bad(machine):
        raise ValueError("no such card")

    monkeypatch.setattr(gpu_checks, "CHECKS", (good, bad))
    printed = []
    lines = check(machine, report=lambda line: printed.append(str(line)))
    assert [(line.name, line.verdict) for line in lines] == [("good", "ok"), ("bad", "look")]
    assert "ms 1.5" in printed[0] and "ValueError: no such card" in printed[1]
    (late, _) = check(machine, most_seconds=-1, report=printed.append)
    assert late.verdict == "look" and "not measured" in late.note


def test_the_devices_that_there_should_be(machine):
    (line,) = gpu_checks.devices(Machine(SMALL, expected_replicas=4))
    assert line.verdict == "look" and line.figures["expected"] == 4
    assert len(line.figures["visible"]) == len(machine.devices)


def test_an_infinity_that_one_replica_keeps_to_itself_is_found(monkeypatch, machine):
    lines = run(lambda machine: [next(gpu_checks.reliability(machine))], machine)
    assert lines["infinity on the last replica"].verdict == "ok"
    monkeypatch.setattr(gpu_checks, "ReplicaLossScaleOptimizer", keras.optimizers.LossScaleOptimizer)
    lines = run(lambda machine: [next(gpu_checks.reliability(machine))], machine)
    assert lines["infinity on the last replica"].verdict == "look"


def test_products_in_full_and_a_slower_form(machine):
    (line,) = gpu_checks.products(machine)
    assert line.verdict == "ok" and 0 < line.figures["igan_tf.evaluate"] < 1e-6
    assert tf.config.experimental.tensor_float_32_execution_enabled()
    machine.gpus = ["/GPU:0"]
    taken = {"loops": 1.0, "broadcasting": 2.0}
    slower = gpu_checks._two_forms(machine, "pairs", taken, "broadcasting")
    assert slower.verdict == "look" and "loops would be quicker" in slower.note
    assert gpu_checks._two_forms(machine, "pairs", taken, "loops").verdict == "ok"


@pytest.mark.slow
def test_the_whole_command(tmp_path, capsys):
    gpu_check.main([f"--json={tmp_path / 'check.json'}", "--small", "--seconds=1000"])
    content = json.loads((tmp_path / "check.json").read_text())
    failed = [line for line in content["lines"] if "failed" in line["note"] or "not measured" in line["note"]]
    assert not failed and len(content["lines"]) >= 16
    assert [line["name"] for line in content["lines"] if line["verdict"] == "look"] == ["devices"]
    assert "written to" in capsys.readouterr().out
