"""Every call by which the package reads and writes its own files, failed in every way, one at a time."""

import concurrent.futures
import contextlib
import errno
import functools
import io
import os
import shutil
import types
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from igan_tf.errors import InputError
from igan_tf.evaluation.statistics import FeatureStatistics, load_statistics, save_statistics
from igan_tf.experiments import experiment, preflight, training_runs
from igan_tf.experiments.configs import build_config
from igan_tf.experiments.recipes.recipe import Recipe
from igan_tf.experiments.sample_folder import SampleFolder, sampling_plan
from igan_tf.experiments.sampling import write_npz
from igan_tf.files import disk
from igan_tf.metrics.moments import FeatureMoments
from igan_tf.records import converter, shards
from igan_tf.records.settings import ConversionSettings
from igan_tf.records.sources import open_source
from igan_tf.tables.report import write_json
from igan_tf.training import Checkpoints
from igan_tf.training.run_log import read_metrics
from igan_tf.turing_test.creation import create_study
from igan_tf.turing_test.settings import StudySettings
from igan_tf.turing_test.sources import Source
from igan_tf.turing_test.storage import Storage
from tests.soak import Soak

# What can go wrong with each kind of call. A kill ends the process in the midst of it.
_WRITING = ("ENOSPC", "EIO", "kill")
_FAULTS = {
    "write": ("ENOSPC", "EIO", "short", "kill"),
    "readinto": ("EIO", "kill"),
    "readall": ("EIO", "kill"),
    "_File": _WRITING,
    "open": ("EIO", "kill"),
    "pread": ("EIO", "kill"),
    "fsync": _WRITING,
    "sync": ("kill",),
    "replace": _WRITING,
    "renameat2": _WRITING,
    "mkdir": _WRITING,
    "rmtree": ("EIO", "kill"),
    "unlink": ("EIO", "kill"),
}


class Killed(BaseException):
    """Stands for the death of the process: nothing that it would still do reaches the disk."""


class Scenario(NamedTuple):
    """Work on files: `work` does it in a folder, from wherever it stands there; `content` is what must come of it."""

    work: Callable[[Path], Any]
    content: Callable[[Path], Any]


# Training: the whole of `training_runs.train` but for networks and data.


class _OneNumber:
    """A model whose state is one number."""

    discriminator = keras.Sequential([keras.Input((1,)), keras.layers.Activation("linear")])

    def __init__(self) -> None:
        self.state = tf.Variable(0.0, dtype=tf.float64)

    def state_variables(self) -> dict[str, Any]:
        return {"state": self.state}

    def train_step(self, batch: tf.Tensor) -> dict[str, tf.Tensor]:
        self.state.assign(self.state * 0.9 + tf.cast(batch, tf.float64))
        return {"some_loss": tf.cast(self.state, tf.float32)}

    def generate(self, count: int, seed: int, batch_size: int) -> np.ndarray:
        return np.full((count, 2, 2, 1), 0.5, "float32")


class _Numbers:
    steps_per_epoch, num_labelled = 2, 0

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[tf.Tensor]:
        yield from (tf.constant(epoch + step / 7) for step in range(start_step, self.steps_per_epoch))


class _Recipe(Recipe):
    samples_in_grid = 4

    def load_data(self) -> Any:
        return types.SimpleNamespace(
            unreadable=(),
            image_shape=(2, 2, 1),
            num_classes=2,
            in_words=lambda: "numbers",
            fingerprint=lambda: "0" * 64,
        )

    def check_against_data(self, data: Any, replicas: int) -> None:
        pass

    def make_batches(self, data: Any, replicas: int, worker: Any) -> Any:
        return _Numbers()

    def build_model(self, image_shape: Any, num_classes: int, steps_per_epoch: int) -> Any:
        return _OneNumber()

    def build_generator(self, image_shape: Any) -> Any:
        raise AssertionError("the number has no generator")

    @property
    def latent_range(self) -> tuple[float, float]:
        return 0.0, 1.0

    def test_errors(self, model: Any, data: Any) -> dict[str, float]:
        return {"test_error": float(model.state.numpy()) / 10, "averaged_test_error": 0.5}


def _train(folder: Path) -> None:
    config = build_config(dataset="digits", epochs=2)
    modules: tuple[Any, ...] = (experiment, preflight, training_runs)
    original = experiment.recipe_of
    for module in modules:
        module.recipe_of = lambda config: _Recipe(config)
    acknowledged: list[int] = []
    save = Checkpoints.save

    def saved(self: Checkpoints, step: int, *arguments: Any, **more: Any) -> None:
        save(self, step, *arguments, **more)
        acknowledged.append(step)

    Checkpoints.save = saved  # type: ignore[method-assign]
    try:
        training_runs.train(config, folder / "run", lambda line: None)
    finally:
        Checkpoints.save = save  # type: ignore[method-assign]
        for module in modules:
            module.recipe_of = original
        (folder / "acknowledged").write_text(str(max(acknowledged, default=0)))


def _of_training(folder: Path) -> Any:
    saved = Checkpoints(folder / "run" / "checkpoints").load_newest()
    assert saved is not None
    metrics = [{**line, "seconds_per_step": 0} for line in read_metrics(folder / "run" / "metrics.jsonl")]
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted((folder / "run").rglob("*"))
        if (path.is_file() and path.name in ("flags.cfg", "result.json")) or path.suffix == ".png"
    }
    return (
        saved.arrays["state"].tobytes(),
        saved.position,
        metrics,
        files,
        Checkpoints(folder / "run" / "checkpoints").steps(),
    )


# Sampling.


class _Noise:
    def generate_batches(
        self, count: int, seed: int, batch_size: int = 100, wanted: Any = None
    ) -> Iterator[np.ndarray]:
        for batch in range(-(-count // batch_size)) if wanted is None else wanted:
            generator = np.random.default_rng([seed, batch])
            yield generator.random((min(batch_size, count - batch * batch_size), 4, 4, 1), "float32")


def _sample(folder: Path) -> None:
    plan = sampling_plan("png", 4, 1, "run", 7, "0" * 64)
    SampleFolder(folder / "samples", plan, lambda line: None).fill(_Noise)  # type: ignore[arg-type]
    write_npz(folder / "samples.npz", _Noise().generate_batches(250, 1), 250)


def _files(folder: Path) -> Any:
    """All files but for what a killed process leaves under temporary names."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


# Records: a conversion whose processes are a thread of this one.


@contextlib.contextmanager
def _thread(processes: int, lock_path: Path) -> Iterator[Any]:
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        yield executor, types.SimpleNamespace(value=0)


def _convert(folder: Path) -> None:
    images = folder / "images"
    for name in ("a", "b"):
        (images / name).mkdir(parents=True, exist_ok=True)
        for number in range(2):
            pixels = np.random.default_rng([ord(name), number]).integers(0, 256, (8, 8, 3), "uint8")
            Image.fromarray(pixels).save(images / name / f"{number}.png")
    settings = ConversionSettings(image_size=8, encoding="raw", num_shards=2)
    original, converter.pool = converter.pool, _thread
    try:
        source = open_source(str(images))
        converter.convert(source, folder / "records", settings, processes=1, report=lambda line: None)
    finally:
        converter.pool = original


# Scores: stored statistics, and a record of a table.


def _score(folder: Path) -> None:
    features = np.random.default_rng(0).normal(size=(20, 3))
    about = {"classifier": "some", "classifier_digest": "0" * 64, "protocol": "none", "source": "s", "split": "test"}
    moments = FeatureMoments.of(features)
    save_statistics(folder / "statistics.npz", FeatureStatistics(moments, features.astype("float32"), **about))
    assert load_statistics(folder / "statistics.npz").count == 20
    write_json(folder / "scores.json", {"inception_score": 1.5})


# A study: its folder; SQLite writes the file in it by itself.


def _study(folder: Path) -> None:
    if not (folder / "study").exists():
        images = np.random.default_rng(0).integers(0, 256, (2, 20, 4, 4, 1), "uint8")
        sources = [Source("real", False, "r", images[0]), Source("some", True, "s", images[1])]
        settings = StudySettings(trials=4, block_size=2, practice=0, images_per_source=4)
        create_study(folder / "study", settings, sources, seed=1)


def _of_study(folder: Path) -> Any:
    with contextlib.closing(Storage(folder / "study")) as storage:
        return storage.settings, storage.seed, storage.sources, [storage.item_image(item) for item in range(1, 9)]


SCENARIOS = {
    "train": Scenario(_train, _of_training),
    "sample": Scenario(_sample, _files),
    "records": Scenario(_convert, _files),
    "scores": Scenario(_score, _files),
    "study": Scenario(_study, _of_study),
}


# Faults.


@contextlib.contextmanager
def _calls(on_call: Callable[[int, Callable[..., Any], tuple[Any, ...]], Any]) -> Iterator[None]:
    """In this scope `on_call` stands for every call, of which it gets the number."""
    original, numbers = disk._call, iter(range(10**9))

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        return on_call(next(numbers), function, arguments)

    disk._call = call
    try:
        yield
    finally:
        disk._call = original


@functools.cache
def _points(name: str) -> list[tuple[int, str]]:
    """(number of the call, fault) of every fault of a scenario."""
    names: list[str] = []

    def note(number: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        names.append(function.__name__)
        return function(*arguments)

    with in_folder() as folder, _calls(note):
        SCENARIOS[name].work(folder)
    return [(number, fault) for number, called in enumerate(names) for fault in _FAULTS[called]]


@functools.cache
def undisturbed(name: str) -> Any:
    with in_folder() as folder:
        SCENARIOS[name].work(folder)
        return SCENARIOS[name].content(folder)


@contextlib.contextmanager
def in_folder() -> Iterator[Path]:
    """A folder of one name, so that what is written does not depend on it."""
    folder = Path(f"/tmp/igan_tf-soak-{os.getpid()}")
    folder.mkdir()
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)
        shutil.rmtree(folder)


def _all_points() -> list[tuple[str, int, str]]:
    return [(name, *point) for name in SCENARIOS for point in _points(name)]


def _fault(at: int, fault: str) -> Callable[[int, Callable[..., Any], tuple[Any, ...]], Any]:
    def call(number: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        # The disk is full in the midst of a write: it writes less than it was given, and the next one fails.
        failing = at + 1 if fault == "short" else at
        if number == at and function.__name__ == "write" and fault in ("short", "kill"):
            data = memoryview(arguments[0]).cast("B")
            written = function(data[: data.nbytes // 2])
            if fault == "short":
                return written
        if number < failing or (number > failing and fault != "kill"):
            return function(*arguments)
        if fault == "kill":
            raise Killed
        code = errno.EIO if fault == "EIO" else errno.ENOSPC
        raise OSError(code, os.strerror(code))

    return call


def _run(numbers: Iterable[int], folder: Path) -> Iterator[tuple[int, str]]:
    points = _all_points()
    for number in numbers:
        name, at, fault = points[number]
        scenario = SCENARIOS[name]
        expected = undisturbed(name)
        with in_folder() as place, contextlib.redirect_stdout(io.StringIO()):
            try:
                with _calls(_fault(at, fault)):
                    scenario.work(place)
                outcome = f"{name}: done"
            # Errors of the user's, and of the disk's, which every command ends with one sentence for.
            except (InputError, OSError, shards.ShardError):
                outcome = f"{name}: refused"
            except Killed:
                outcome = f"{name}: killed"
            if name == "train":
                reached = Checkpoints(place / "run" / "checkpoints").load_newest()
                kept = reached.position["step"] if reached else 0
                assert kept >= int((place / "acknowledged").read_text()), f"{points[number]}: step {kept} only"
            if outcome.endswith("done"):
                assert scenario.content(place) == expected, f"{points[number]} passed, with another outcome"
            scenario.work(place)
            assert scenario.content(place) == expected, f"{points[number]}: continued to another outcome"
        yield number, outcome


SOAK = Soak(
    about="Each disk call of training, sampling, records, scores and a study fails (full disk, I/O error, "
    "short write) or is the process's last: what was acknowledged is there, and the same work again ends as without "
    "the fault.",
    count=lambda: len(_all_points()),
    run=_run,
)
