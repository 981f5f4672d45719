"""Which strategy a name stands for."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tf.distribute needs the TensorFlow backend", allow_module_level=True)

import tensorflow as tf

from igan_tf.errors import ConfigError
from igan_tf.experiments.configs import build_config
from igan_tf.training import distribution
from igan_tf.training.cluster import ClusterError
from igan_tf.training.distribution import STRATEGIES, build_strategy, mirrored_strategy, strategy_of
from tests.training.test_cluster import environment

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def set_cluster(monkeypatch):
    """Sets TF_CONFIG for this test; without arguments takes it away."""

    def set_cluster(*arguments):
        monkeypatch.delenv("TF_CONFIG", raising=False)
        if arguments:
            monkeypatch.setenv("TF_CONFIG", environment(*arguments)["TF_CONFIG"])

    set_cluster()
    return set_cluster


@pytest.fixture
def devices(monkeypatch):
    """Sets the GPUs that TensorFlow sees, and gives names instead of the strategies of several devices."""
    original = tf.config.list_logical_devices

    def set_gpus(count):
        gpus = [f"GPU:{number}" for number in range(count)]
        monkeypatch.setattr(
            tf.config, "list_logical_devices", lambda kind=None: gpus if kind == "GPU" else original(kind)
        )

    monkeypatch.setattr(distribution, "mirrored_strategy", lambda *arguments: "mirrored")
    monkeypatch.setattr(distribution, "_multi_worker_strategy", lambda *arguments: "multi_worker")
    return set_gpus


@pytest.mark.parametrize("counts", [None, {"worker": 1}, {"chief": 1}], ids=str)
@pytest.mark.parametrize(
    ("name", "gpus", "expected"),
    [
        ("auto", 0, "single"),
        ("auto", 1, "single"),
        ("auto", 2, "mirrored"),
        ("single", 2, "single"),
        ("mirrored", 0, "mirrored"),
        ("mirrored", 2, "mirrored"),
    ],
)
def test_on_one_machine(set_cluster, devices, counts, name, gpus, expected):
    devices(gpus)
    if counts:
        set_cluster(counts, next(iter(counts)), 0)
    found = build_strategy(name)
    if expected == "single":
        assert found is tf.distribute.get_strategy() and found.num_replicas_in_sync == 1
    else:
        assert found == expected


@pytest.mark.parametrize("gpus", [0, 2])
@pytest.mark.parametrize("name", ["auto", "multi_worker"])
@pytest.mark.parametrize(("counts", "kind"), [({"worker": 2}, "worker"), ({"chief": 1, "worker": 1}, "chief")])
def test_on_several_machines(set_cluster, devices, gpus, name, counts, kind):
    devices(gpus)
    set_cluster(counts, kind, 0)
    assert build_strategy(name) == "multi_worker"


def test_a_cluster_of_one_may_be_asked_for(set_cluster, devices):
    set_cluster({"worker": 1}, "worker", 0)
    assert build_strategy("multi_worker") == "multi_worker"


def test_several_workers_need_a_cluster(set_cluster, devices, monkeypatch):
    for text in (None, ""):
        if text is not None:
            monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(ClusterError, match=r"`strategy=multi_worker` needs TF_CONFIG, .* Received: none"):
            build_strategy("multi_worker")


@pytest.mark.parametrize("name", ["single", "mirrored"])
def test_in_a_cluster_no_worker_trains_for_itself(set_cluster, devices, name):
    set_cluster({"chief": 1, "worker": 2}, "worker", 0)
    with pytest.raises(ClusterError, match=f"TF_CONFIG names 3 workers: .* Received: strategy={name}"):
        build_strategy(name)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_malformed_cluster_is_never_passed_over(set_cluster, devices, monkeypatch, name):
    monkeypatch.setenv("TF_CONFIG", "not JSON")
    with pytest.raises(ClusterError, match="Received: TF_CONFIG=not JSON"):
        build_strategy(name)


@pytest.mark.parametrize("name", ["", "mirorred", None])
def test_an_unknown_strategy_is_named(set_cluster, devices, name):
    with pytest.raises(ValueError, match=rf"`name` must be one of \('auto', .* Received: name={name!r}"):
        build_strategy(name)


def test_the_mirrored_strategy_is_one_for_the_process(set_cluster):
    strategy = build_strategy("mirrored")
    assert strategy is build_strategy("mirrored") is mirrored_strategy()
    assert isinstance(strategy, tf.distribute.MirroredStrategy)
    # tests/conftest.py sets up two logical CPUs; GPUs, where there are any, go first.
    expected = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    assert strategy.num_replicas_in_sync == len(expected)
    assert [device.name.rpartition("device:")[2] for device in expected] == [
        device.rpartition("device:")[2] for device in strategy.extended.worker_devices
    ]


@pytest.mark.parametrize(("megabytes", "packs"), [(0, 1), (1, 4), (3, 2), (32, 1)])
def test_gradients_travel_in_packs(set_cluster, megabytes, packs):
    strategy = build_strategy("mirrored", all_reduce_megabytes=megabytes)
    try:
        with strategy.scope():
            # Each of 1.2 MB.
            variables = [keras.Variable(np.zeros(300_000), dtype="float32") for _ in range(4)]
            optimizer = keras.optimizers.SGD(1.0)
            optimizer.build(variables)

        @tf.function(autograph=False)
        def step():
            strategy.run(lambda: optimizer.apply([tf.ones(300_000) for _ in variables], variables))

        kinds = [operation.type for operation in step.get_concrete_function().graph.get_operations()]
        # A pack is closed by the gradient that makes it larger than it should be.
        assert kinds.count("CollectiveReduceV2") == packs * strategy.num_replicas_in_sync
        step()
        assert all((variable.numpy() == -strategy.num_replicas_in_sync).all() for variable in variables)
    finally:
        mirrored_strategy()


@pytest.mark.parametrize(("gpus", "implementation"), [(0, "AUTO"), (1, "NCCL")])
def test_gpus_of_several_machines_talk_among_themselves(monkeypatch, gpus, implementation):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["GPU:0"] * gpus)
    options = distribution._options(megabytes=3)
    assert (options.implementation.name, options.bytes_per_pack) == (implementation, 3 * 2**20)


@pytest.mark.parametrize("asked", [False, True])
def test_devices_are_as_the_settings_ask(set_cluster, monkeypatch, asked):
    called = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["GPU:0", "GPU:1"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda *arguments: called.append(arguments))
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: called.append("deterministic"))
    strategy_of(build_config(gpu_memory_growth=asked, deterministic=asked))
    assert called == ([("GPU:0", True), ("GPU:1", True), "deterministic"] if asked else [])


def test_memory_growth_that_comes_too_late_is_named(monkeypatch):
    def refuse(*arguments):
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["GPU:0"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", refuse)
    with pytest.raises(ConfigError, match=r"`gpu_memory_growth` is for whole GPUs .*\(Physical devices"):
        strategy_of(build_config(gpu_memory_growth=True))


IN_A_CLUSTER_OF_ONE = """
from igan_tf.training.distribution import build_strategy

strategy = build_strategy("multi_worker")
assert build_strategy("multi_worker") is strategy

import tensorflow as tf

assert isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
resolver = strategy.cluster_resolver
print(resolver.task_type, resolver.task_id, strategy.num_replicas_in_sync)
"""


def test_the_strategy_of_several_workers_is_made_once_in_a_process_of_its_own(tmp_path):
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = found.getsockname()[1]
    task = {"cluster": {"worker": [f"localhost:{port}"]}, "task": {"type": "worker", "index": 0}}
    variables = os.environ | {"PYTHONPATH": str(ROOT), "TF_CONFIG": json.dumps(task), "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.run(
        [sys.executable, "-c", IN_A_CLUSTER_OF_ONE], cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert process.stdout.split() == ["worker", "0", "1"]
