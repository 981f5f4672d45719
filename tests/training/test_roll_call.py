"""Workers that meet, and notice who is gone: real processes, without TensorFlow in the way."""

import signal
import socket

import pytest

from igan_tf.training import roll_call
from igan_tf.training.cluster import ClusterError, Worker
from tests.training.cluster import Cluster


@pytest.fixture
def meeting(tmp_path):
    """Makes a cluster of as many as there are words, each of which does what its word says."""

    def meeting(*what, **arguments):
        arguments = {"started": range(len(what)), "count": len(what), **arguments}
        return Cluster("tests.training.meeting", own=[[word, tmp_path / "go"] for word in what], **arguments)

    return meeting


def end(cluster, tmp_path):
    """Lets those that are to leave or to fail do so, once all train; returns the exit codes and outputs."""
    for process in cluster.processes.values():
        process.wait_for("training")
    (tmp_path / "go").touch()
    return [cluster.wait(index) for index in cluster.processes]


def codes_of(ends):
    return [code for code, _ in ends]


def test_all_meet_and_leave_in_order(tmp_path, meeting):
    with meeting("leave", "leave", "leave") as cluster:
        ends = end(cluster, tmp_path)
    assert codes_of(ends) == [0, 0, 0], ends


def test_the_others_leave_after_the_chief(tmp_path, meeting):
    with meeting("train", "leave") as cluster:
        for process in cluster.processes.values():
            process.wait_for("training")
        (tmp_path / "go").touch()
        cluster.processes[0].kill()
        code, output = cluster.wait(1)
    assert code == 1 and f"worker 0 at {cluster.addresses[0]} is gone" in output


@pytest.mark.parametrize("killed", [0, 2])
def test_a_killed_worker_ends_all_others(meeting, killed):
    with meeting("train", "train", "train") as cluster:
        for process in cluster.processes.values():
            process.wait_for("training")
        cluster.processes[killed].kill()
        for index in {0, 1, 2} - {killed}:
            code, output = cluster.wait(index)
            assert code == 1
            assert f"igan_tf: worker {killed} at {cluster.addresses[killed]} is gone; all started again" in output


@pytest.mark.parametrize("failing", [0, 1])
def test_a_failing_worker_ends_the_other(tmp_path, meeting, failing):
    what = ["train", "train"]
    what[failing] = "fail"
    with meeting(*what) as cluster:
        ends = end(cluster, tmp_path)
    code, output = ends[1 - failing]
    assert ends[failing][0] == 3
    assert code == 1 and f"worker {failing} at {cluster.addresses[failing]} is gone" in output


@pytest.mark.parametrize("killed", [0, 1])
def test_a_worker_killed_while_tensorflow_starts_ends_the_other(meeting, killed):
    with meeting("start", "start") as cluster:
        for process in cluster.processes.values():
            process.wait_for("starting")
        cluster.processes[killed].kill()
        assert cluster.wait(1 - killed)[0] == -signal.SIGIO


def test_a_worker_that_comes_back_is_waited_for(tmp_path, meeting):
    with meeting("leave", "leave", "leave", started=[0, 1]) as cluster:
        cluster.processes[1].wait_for(f"waiting for worker 2 at {cluster.addresses[2]}")
        cluster.processes[1].kill()
        cluster.start(1)
        cluster.processes[1].wait_for(f"waiting for worker 2 at {cluster.addresses[2]}")
        cluster.start(2)
        ends = end(cluster, tmp_path)
    assert codes_of(ends) == [0, 0, 0], ends


def test_strangers_are_passed_over(tmp_path, meeting):
    with meeting("leave", "leave", started=[0]) as cluster:
        cluster.processes[0].wait_for("waiting for worker 1")
        address = ("localhost", int(cluster.addresses[0].rpartition(":")[2]))
        for words in (b"", b"PRI * HTTP/2.0\r\n", b"igan_tf worker 1 of 3\n", b"igan_tf worker 0 of 2\n"):
            with socket.create_connection(address) as stranger:
                stranger.sendall(words)
                while stranger.recv(100):
                    pass
        cluster.start(1)
        ends = end(cluster, tmp_path)
    assert codes_of(ends) == [0, 0], ends


def test_a_stranger_at_the_chiefs_address_is_passed_over(tmp_path, meeting):
    with meeting("leave", "leave", started=[1]) as cluster:
        port = int(cluster.addresses[0].rpartition(":")[2])
        with socket.create_server(("localhost", port)) as stranger:
            for words in (b"", b"\0\0\x12\4\n", b"missing one\n"):
                link, _ = stranger.accept()
                link.sendall(words)
                link.close()
        cluster.start(0)
        ends = end(cluster, tmp_path)
    assert codes_of(ends) == [0, 0], ends


def test_a_chief_that_cannot_listen_says_so():
    with socket.create_server(("localhost", 0)) as taken:
        address = f"localhost:{taken.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"worker 0 at {address}, this one, cannot listen there: .*in use"):
            roll_call.meet(Worker(0, 2, (address, "localhost:1")), 1, print)


@pytest.mark.parametrize(
    "address", ["localhost", "localhost:", "localhost:http", "localhost:65536", "localhost:" + "9" * 5000]
)
def test_an_address_without_a_port_is_quoted(address):
    with pytest.raises(ClusterError, match=f"addresses must be host:port. Received: {address}$"):
        roll_call.meet(Worker(1, 2, (address, "localhost:1")), 1, print)
