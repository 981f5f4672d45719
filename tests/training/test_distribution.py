"""Which worker this is, by TF_CONFIG, and which strategy a name stands for."""

import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tf.distribute needs the TensorFlow backend", allow_module_level=True)

import tensorflow as tf

from igan_tf.training import distribution
from igan_tf.training.distribution import (
    ALONE,
    STRATEGIES,
    ClusterError,
    Worker,
    build_strategy,
    mirrored_strategy,
    this_worker,
)

ROOT = Path(__file__).resolve().parents[2]


def cluster(**counts):
    """Addresses by type; nobody listens there."""
    return {kind: [f"{kind}{number}.example:2222" for number in range(count)] for kind, count in counts.items()}


def environment(counts, kind, index, **others):
    return {"TF_CONFIG": json.dumps({"cluster": cluster(**counts), "task": {"type": kind, "index": index}, **others})}


@pytest.fixture
def set_cluster(monkeypatch):
    """Sets TF_CONFIG for this test; without arguments takes it away."""

    def set_cluster(*arguments):
        monkeypatch.delenv("TF_CONFIG", raising=False)
        if arguments:
            monkeypatch.setenv("TF_CONFIG", environment(*arguments)["TF_CONFIG"])

    set_cluster()
    return set_cluster


# This worker.


@pytest.mark.parametrize("found", [{}, {"TF_CONFIG": ""}, {"OTHER": "1"}])
def test_without_a_cluster_it_is_alone(found):
    worker = this_worker(found)
    assert worker == ALONE == Worker(0, 1) and worker.is_chief


@pytest.mark.parametrize(
    ("counts", "kind", "index", "expected"),
    [
        ({"worker": 1}, "worker", 0, Worker(0, 1)),
        ({"worker": 3}, "worker", 0, Worker(0, 3)),
        ({"worker": 3}, "worker", 2, Worker(2, 3)),
        # The chief is the first, and the workers come after it.
        ({"chief": 1, "worker": 2}, "chief", 0, Worker(0, 3)),
        ({"chief": 1, "worker": 2}, "worker", 0, Worker(1, 3)),
        ({"chief": 1, "worker": 2}, "worker", 1, Worker(2, 3)),
        ({"worker": 2, "chief": 1}, "worker", 1, Worker(2, 3)),
        ({"chief": 1}, "chief", 0, Worker(0, 1)),
        ({"chief": 0, "worker": 2}, "worker", 1, Worker(1, 2)),
        # Others do not train.
        ({"worker": 2, "evaluator": 1}, "worker", 1, Worker(1, 2)),
        # As TensorFlow does, it takes a number's digits for the number.
        ({"worker": 2}, "worker", "1", Worker(1, 2)),
    ],
)
def test_the_place_in_the_cluster(counts, kind, index, expected):
    worker = this_worker(environment(counts, kind, index))
    assert worker == expected
    assert worker.is_chief == (expected.index == 0)


def test_the_places_are_tensorflows():
    """By the function that `MultiWorkerMirroredStrategy` numbers its workers with."""
    from tensorflow.python.distribute import multi_worker_util

    for chiefs, workers in itertools.product((0, 1), (1, 2, 3)):
        counts = {"chief": chiefs, "worker": workers} if chiefs else {"worker": workers}
        tasks = [(kind, index) for kind, count in counts.items() for index in range(count)]
        found = [this_worker(environment(counts, *task)) for task in tasks]
        assert [worker.index for worker in found] == [
            multi_worker_util.id_in_cluster(cluster(**counts), *task) for task in tasks
        ]
        assert {worker.count for worker in found} == {chiefs + workers}
        assert [worker.is_chief for worker in found] == [
            multi_worker_util.is_chief(cluster(**counts), *task) for task in tasks
        ]


def test_other_entries_do_not_matter():
    assert this_worker(environment({"worker": 2}, "worker", 1, rpc_layer="grpc")) == Worker(1, 2)


def test_it_reads_the_processs_environment(set_cluster):
    assert this_worker() == ALONE
    set_cluster({"worker": 2}, "worker", 1)
    assert this_worker() == Worker(1, 2)


TASK = {"type": "worker", "index": 0}
WORKERS = {"worker": ["a:1", "b:1"]}


@pytest.mark.parametrize(
    "content",
    [
        "not JSON",
        " ",
        '{"cluster": ',
        "[]",
        "[1]",
        "3",
        "null",
        '"worker"',
        "{}",
        {"cluster": WORKERS},
        {"task": TASK},
        {"cluster": None, "task": TASK},
        {"cluster": ["a:1", "b:1"], "task": TASK},
        {"cluster": "a:1", "task": TASK},
        # An address that is not in a list would count as many workers as it has letters.
        {"cluster": {"worker": "a:1"}, "task": TASK},
        {"cluster": {"worker": 2}, "task": TASK},
        {"cluster": {"worker": None}, "task": TASK},
        {"cluster": {"worker": {"0": "a:1"}}, "task": TASK},
        {"cluster": {"worker": [1, 2]}, "task": TASK},
        {"cluster": {"worker": ["a:1", None]}, "task": TASK},
        {"cluster": {"chief": "a:1", "worker": ["b:1"]}, "task": TASK},
        {"cluster": WORKERS, "task": None},
        {"cluster": WORKERS, "task": []},
        {"cluster": WORKERS, "task": "worker"},
        {"cluster": WORKERS, "task": {}},
        {"cluster": WORKERS, "task": {"type": "worker"}},
        {"cluster": WORKERS, "task": {"index": 0}},
        {"cluster": WORKERS, "task": {"type": None, "index": 0}},
        {"cluster": WORKERS, "task": {"type": ["worker"], "index": 0}},
        {"cluster": WORKERS, "task": {"type": {}, "index": 0}},
        {"cluster": WORKERS, "task": {"type": "worker", "index": None}},
        {"cluster": WORKERS, "task": {"type": "worker", "index": "first"}},
        {"cluster": WORKERS, "task": {"type": "worker", "index": [0]}},
        {"cluster": WORKERS, "task": {"type": "worker", "index": True}},
        # Two workers of the same number would both be the chief.
        {"cluster": WORKERS, "task": {"type": "worker", "index": 0.5}},
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": Infinity}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": NaN}}',
    ],
    ids=str,
)
def test_a_malformed_cluster_is_quoted(content):
    text = content if isinstance(content, str) else json.dumps(content)
    with pytest.raises(ClusterError, match=r'TF_CONFIG must be JSON with "cluster", .* and "task", ') as caught:
        this_worker({"TF_CONFIG": text})
    assert f"Received: TF_CONFIG={text}" in str(caught.value)


@pytest.mark.parametrize(
    ("counts", "kind", "index"),
    [
        ({"worker": 2}, "worker", 2),
        ({"worker": 2}, "worker", -1),
        ({"worker": 0}, "worker", 0),
        ({}, "worker", 0),
        ({"worker": 2}, "chief", 0),
        ({"chief": 1, "worker": 1}, "chief", 1),
        ({"chief": 1, "worker": 1}, "worker", 1),
        ({"chief": 2, "worker": 1}, "chief", 0),
        ({"chief": 2, "worker": 1}, "worker", 0),
        ({"worker": 2, "evaluator": 1}, "evaluator", 0),
        ({"worker": 2, "ps": 1}, "ps", 0),
        ({"worker": 2}, "", 0),
    ],
)
def test_a_task_that_is_no_worker_of_the_cluster_is_quoted(counts, kind, index):
    found = environment(counts, kind, index)
    with pytest.raises(ClusterError, match='task must be a "worker" or the one "chief" of its cluster') as caught:
        this_worker(found)
    assert f"Received: TF_CONFIG={found['TF_CONFIG']}" in str(caught.value)


# The strategy.


@pytest.fixture
def devices(monkeypatch):
    """Sets the GPUs that TensorFlow sees, and gives names instead of the strategies of several devices."""
    original = tf.config.list_logical_devices

    def set_gpus(count):
        gpus = [f"GPU:{number}" for number in range(count)]
        monkeypatch.setattr(
            tf.config, "list_logical_devices", lambda kind=None: gpus if kind == "GPU" else original(kind)
        )

    monkeypatch.setattr(distribution, "mirrored_strategy", lambda: "mirrored")
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
    with pytest.raises(ClusterError, match=f"TF_CONFIG names 3 workers. Received: strategy={name}"):
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
