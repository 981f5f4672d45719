"""Several workers: real processes on this machine, each with the TF_CONFIG of its place."""

import re
import shutil
import signal
import time

import numpy as np
import pytest

from igan_tf.data import load_data
from igan_tf.experiments.configs import build_config
from igan_tf.experiments.experiment import Experiment
from igan_tf.pretrained import run_folder
from igan_tf.training import Checkpoints
from tests.command_line import metrics
from tests.experiments.imagenet_runs import SETTINGS, as_arguments, make_records
from tests.training.cluster import Cluster

# Long enough that a worker is still at work when it is killed.
ENDLESS = 100_000


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return make_records(tmp_path_factory.mktemp("records"), images=4)


def train(run_dir, records, *flags, **settings):
    """Starts two workers of the command line."""
    settings = {**SETTINGS, "strategy": "multi_worker", "data_dir": records, "run_dir": run_dir, **settings}
    return Cluster("igan_tf.main", *as_arguments(**settings), *flags)


def wait_for_two_epochs(cluster, run_dir):
    """Polls until the chief has written two epochs' metrics, so one's checkpoint; fails if a worker ends before."""
    path, deadline = run_dir / "metrics.jsonl", time.monotonic() + 240
    while not path.exists() or path.read_text().count("\n") < 2:
        for index, process in cluster.processes.items():
            assert process.poll() is None, cluster.wait(index)
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_workers_end_alike_and_like_two_devices(tmp_path, records):
    settings = {**SETTINGS, "data_dir": str(records)}
    lines = as_arguments(**settings, strategy="multi_worker")
    with Cluster("tests.training.worker", tmp_path / "workers", *lines) as cluster:
        (code, output), (other_code, other_output) = cluster.wait(0), cluster.wait(1)
    assert code == other_code == 0, output + other_output
    first, second = (re.search(r"^digest (\w+)$", text, re.MULTILINE)[1] for text in (output, other_output))
    assert first == second
    config = build_config(**settings, strategy="mirrored")
    Experiment(config, load_data(config), tmp_path / "mirrored").run()
    # Losses as a mean over replicas, and every variable: one addition, of two numbers, whoever makes it.
    assert metrics(tmp_path / "workers") == metrics(tmp_path / "mirrored")
    arrays, mirrored = (
        Checkpoints(tmp_path / name / "checkpoints").load_newest()[0] for name in ("workers", "mirrored")
    )
    assert set(arrays) == set(mirrored)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, mirrored[name], err_msg=name)


@pytest.mark.parametrize("missing", [0, 1])
def test_the_wait_for_a_missing_worker_ends_at_its_limit(tmp_path, missing):
    flags = ("--strategy=multi_worker", "--worker_timeout_minutes=0.02", f"--run_dir={tmp_path}")
    with Cluster("igan_tf.main", *flags, started=[1 - missing]) as cluster:
        code, output = cluster.wait(1 - missing)
    name = f"worker {missing} at {cluster.addresses[missing]}"
    assert code == 1 and f"\nwaiting for {name}\n" in output
    assert output.endswith(f"\nigan_tf: {name} missing after --worker_timeout_minutes=0.02\n")


@pytest.mark.parametrize(("missing", "signum"), [(0, signal.SIGINT), (1, signal.SIGTERM)])
def test_a_signal_ends_the_wait_for_a_missing_worker(tmp_path, missing, signum):
    flags = ("--strategy=multi_worker", f"--run_dir={tmp_path}")
    with Cluster("igan_tf.main", *flags, started=[1 - missing]) as cluster:
        name = f"worker {missing} at {cluster.addresses[missing]}"
        cluster.processes[1 - missing].wait_for(f"waiting for {name}")
        cluster.processes[1 - missing].send_signal(signum)
        # The project's own bound.
        code, output = cluster.wait(1 - missing, timeout=10)
    assert code == 128 + signum
    stopped = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}[signum]
    assert f"igan_tf: stopped by {stopped} while waiting for {name}: nothing had begun, the same command" in output


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_worker_ends_the_other_and_both_continue(tmp_path, records, killed):
    run_dir = tmp_path / "run"
    with train(run_dir, records, epochs=ENDLESS) as cluster:
        wait_for_two_epochs(cluster, run_dir)
        cluster.processes[killed].send_signal(signal.SIGKILL)
        # "Within a minute", by the project's own bound.
        code, output = cluster.wait(1 - killed, timeout=60)
    # TensorFlow may notice it first, and then the step is known.
    of_tensorflow = rf"worker {1 - killed} of 2 lost another after step \d+; the last checkpoint is step"
    assert code == 1 and re.search(rf"igan_tf: (worker {killed} at \S+ is gone|{of_tensorflow})", output)
    assert "Traceback" not in output
    step = Checkpoints(run_dir / "checkpoints").steps()[-1]
    epochs = step // 3 + 2
    with train(run_dir, records, epochs=epochs) as cluster:
        (code, output), (other_code, other_output) = cluster.wait(0), cluster.wait(1)
    assert code == other_code == 0, output + other_output
    assert f"continuing after step {step}" in output
    assert [line["epoch"] for line in metrics(run_dir)] == list(range(1, epochs + 1))


@pytest.mark.slow
def test_a_signal_to_one_stops_both_at_one_step(tmp_path, records):
    run_dir = tmp_path / "run"
    with train(run_dir, records, epochs=ENDLESS) as cluster:
        wait_for_two_epochs(cluster, run_dir)
        cluster.processes[1].send_signal(signal.SIGTERM)
        codes = [cluster.wait(index) for index in range(2)]
    for code, output in codes:
        assert code == 128 + signal.SIGTERM, output
        assert "stopped by SIGTERM; saved, the same command continues" in output
    assert Checkpoints(run_dir / "checkpoints").load_newest()


@pytest.mark.slow
def test_a_timer_on_one_worker_alone_saves_and_delays_none(tmp_path, records):
    lines = as_arguments(**SETTINGS, strategy="multi_worker", data_dir=records)
    own = (["--checkpoint_minutes=0.00001"], [])
    with Cluster("tests.training.worker", tmp_path / "run", *lines, own=own) as cluster:
        codes = [cluster.wait(index) for index in range(2)]
    assert all(code == 0 for code, _ in codes), codes
    first, second = (re.search(r"^digest (\w+)$", text, re.MULTILINE)[1] for _, text in codes)
    assert first == second
    # The last two are kept; by epochs alone they would be 3 and 6.
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps() == [5, 6]


@pytest.mark.slow
@pytest.mark.parametrize("different", ["generator_learning_rate=0.002", "gf_dim=16", "all_reduce_megabytes=1", "data"])
def test_workers_that_would_train_something_else_each_are_told(tmp_path, records, different):
    if different == "data":
        other = make_records(tmp_path, images=5)
        own = ([f"--data_dir={records}"], [f"--data_dir={other}"])
    else:
        own = ([f"--data_dir={records}"], [f"--data_dir={records}", f"--{different}"])
    lines = as_arguments(**SETTINGS, strategy="multi_worker", run_dir=tmp_path / "run")
    with Cluster("igan_tf.main", *lines, own=own) as cluster:
        codes = [cluster.wait(index) for index in range(2)]
    for index, (code, output) in enumerate(codes):
        assert code == 1 and f"worker {index} of 2: the workers have not the same settings and data" in output, output
        assert "Traceback" not in output
    assert not Checkpoints(tmp_path / "run" / "checkpoints").steps()


@pytest.mark.slow
def test_workers_that_would_start_from_other_weights_each_are_told(tmp_path):
    for name in "ab":
        shutil.copytree(run_folder("pretrained:digits"), tmp_path / name / "first")
    checkpoints = Checkpoints(tmp_path / "b" / "first" / "checkpoints")
    arrays, position, _ = checkpoints.load_newest()
    arrays["generator/000"] = arrays["generator/000"] * 2
    checkpoints.save(position["step"], arrays, position)
    settings = {"dataset": "digits", "labels": 50, "minibatch_discrimination": True, "strategy": "multi_worker"}
    # One name, in which each finds weights of its own.
    lines = as_arguments(**settings, init_from="/proc/self/cwd/first", run_dir=tmp_path / "run")
    with Cluster("igan_tf.main", *lines, folders=(tmp_path / "a", tmp_path / "b")) as cluster:
        codes = [cluster.wait(index) for index in range(2)]
    for index, (code, output) in enumerate(codes):
        told = f"worker {index} of 2: --init_from=/proc/self/cwd/first must hold the same weights for all workers"
        assert code == 1 and told in output, output
    assert not Checkpoints(tmp_path / "run" / "checkpoints").steps()


@pytest.mark.slow
def test_workers_that_do_not_share_their_storage_are_told(tmp_path, records):
    settings = {**SETTINGS, "strategy": "multi_worker", "data_dir": records, "epochs": 1}
    with train(tmp_path / "one", records, epochs=1) as cluster:
        assert cluster.wait(0)[0] == 0
    own = ([f"--run_dir={tmp_path / 'one'}"], [f"--run_dir={tmp_path / 'another'}"])
    with Cluster("igan_tf.main", *as_arguments(**{**settings, "epochs": 2}), own=own) as cluster:
        code, output = cluster.wait(0)
    assert code == 1 and "--run_dir must be on storage that all workers share" in output
