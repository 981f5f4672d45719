"""Which worker this is, by TF_CONFIG."""

import itertools
import json

import pytest

from igan_tf.training.cluster import ALONE, ClusterError, Worker, this_worker


def cluster(**counts):
    """Addresses by type; nobody listens there."""
    return {kind: [f"{kind}{number}.example:2222" for number in range(count)] for kind, count in counts.items()}


def environment(counts, kind, index, **others):
    return {"TF_CONFIG": json.dumps({"cluster": cluster(**counts), "task": {"type": kind, "index": index}, **others})}


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


def test_it_reads_the_processs_environment(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert this_worker() == ALONE
    monkeypatch.setenv("TF_CONFIG", environment({"worker": 2}, "worker", 1)["TF_CONFIG"])
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
