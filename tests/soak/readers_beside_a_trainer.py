"""Test errors and samples of a run whose trainer goes on and removes old checkpoints."""

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from igan_tf.experiments import runs
from igan_tf.training.checkpoints import Checkpoints
from tests.soak import Soak
from tests.soak.small_run import copy_of_run


def _run(numbers: Iterable[int], folder: Path) -> Iterator[tuple[int, str]]:
    run_dir = copy_of_run(folder / "run")
    checkpoints = Checkpoints(run_dir / "checkpoints", keep=1)
    saved = checkpoints.load_newest()
    assert saved is not None
    expected = runs.test_errors(run_dir)
    stop = threading.Event()

    def train() -> None:
        step = saved.position["step"]
        while not stop.is_set():
            step += 1
            checkpoints.save(step, saved.arrays, {**saved.position, "step": step})

    trainer = threading.Thread(target=train)
    trainer.start()
    try:
        for number in numbers:
            # Ten times each: opening is what a trainer can come between.
            for _ in range(10):
                warnings: list[str] = []
                runs.read_checkpoint(run_dir, warn=warnings.append)
                assert not warnings, warnings
            if number % 10 == 0:
                assert runs.test_errors(run_dir) == expected
            yield number, "read"
    finally:
        stop.set()
        trainer.join()


SOAK = Soak(
    about="A run is read ten times, and every tenth time its test errors are computed, while its trainer saves "
    "checkpoints without a pause and keeps only the last: each reading finds a whole one, and none is called damaged.",
    count=100,
    run=_run,
)
