"""No file may grow beyond a limit: TensorFlow's event writer and SQLite write by themselves."""

import contextlib
import io
import resource
from collections.abc import Iterable, Iterator
from pathlib import Path

import tensorflow as tf

from igan_tf.errors import InputError
from igan_tf.training import Checkpoints
from tests.soak import Soak
from tests.soak.fault_points import SCENARIOS, in_folder, undisturbed


@contextlib.contextmanager
def _files_of_at_most(num_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _run(numbers: Iterable[int], folder: Path) -> Iterator[tuple[int, str]]:
    for number in numbers:
        name = "study" if number % 5 == 0 else "train"
        scenario, expected = SCENARIOS[name], undisturbed(name)
        with in_folder() as place, contextlib.redirect_stdout(io.StringIO()):
            outcome = "done"
            try:
                with _files_of_at_most(40 + 137 * number):
                    scenario.work(place)
            except (InputError, OSError, tf.errors.OpError):
                outcome = "refused"
            if name == "train" and (place / "acknowledged").read_text().isdigit():
                reached = Checkpoints(place / "run" / "checkpoints").load_newest()
                kept = reached.position["step"] if reached else 0
                assert kept >= int((place / "acknowledged").read_text())
            scenario.work(place)
            assert scenario.content(place) == expected
        yield number, f"{name}: {outcome}"


SOAK = Soak(
    about="A training or the making of a study meets a limit on the size of files, as of a full disk, in whatever "
    "writes first; what was acknowledged is there, and the same work again ends as without the limit.",
    count=100,
    run=_run,
)
