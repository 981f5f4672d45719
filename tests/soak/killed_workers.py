"""Kills of one of two workers, at any moment."""

import random
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from igan_tf.training import Checkpoints
from tests.soak import Soak
from tests.training.cluster import Cluster

# One epoch of 59 steps, a checkpoint after each.
_FLAGS = "--strategy=multi_worker --dataset=digits --labels=50 --batch_size=10 --initialization_examples=50 --epochs=1"
_OFTEN = "--checkpoint_minutes=0.00001 --sample_epochs=9 --worker_timeout_minutes=0.5"
_MOMENTS = ("start", "step", "checkpoint")


def _train(run_dir: Path) -> Cluster:
    return Cluster("igan_tf.main", *_FLAGS.split(), *_OFTEN.split(), f"--run_dir={run_dir}")


def _result(run_dir: Path) -> tuple[int, str]:
    """Trains to the end; returns the last checkpoint's step and digest."""
    with _train(run_dir) as cluster:
        for index in cluster.processes:
            code, output = cluster.wait(index, timeout=900)
            assert code == 0, output
    checkpoints = Checkpoints(run_dir / "checkpoints")
    step = checkpoints.steps()[-1]
    return step, checkpoints.digest(step)


def _wait_for(cluster: Cluster, moment: str, run_dir: Path, draw: random.Random) -> None:
    """Returns at a random instant of the start or of the steps, or while a checkpoint is written."""
    if moment == "start":
        time.sleep(draw.uniform(0, 4))
        return
    while not any((run_dir / "checkpoints").glob("step-*" if moment == "step" else ".step-*.tmp")):
        assert all(process.poll() is None for process in cluster.processes.values()), cluster.wait(0)
        time.sleep(0.002)
    time.sleep(draw.uniform(0, 1) if moment == "step" else 0)


def run(numbers: Iterable[int], folder: Path) -> Iterator[tuple[int, str]]:
    undisturbed = _result(folder / "undisturbed")
    for number in numbers:
        draw, moment, killed = random.Random(number), _MOMENTS[number % 3], number // 3 % 2
        run_dir = folder / str(number)
        with _train(run_dir) as cluster:
            _wait_for(cluster, moment, run_dir, draw)
            cluster.processes[killed].kill()
            started = time.monotonic()
            code, output = cluster.wait(1 - killed, timeout=60)
            seconds = time.monotonic() - started
        assert code, output
        assert _result(run_dir) == undisturbed
        yield number, f"{moment}, {seconds:.0f} s"


SOAK = Soak(
    about="One of two workers is killed at any moment: the other ends within 60 s, both continue to the same weights.",
    count=20,
    run=run,
    quick=0,
)
