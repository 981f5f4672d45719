"""Files of models, of statistics and of images that would run code or touch files: of every format that is read."""

import pickle
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import igan_tf
from igan_tf.errors import InputError
from igan_tf.evaluation import load_classifier
from igan_tf.evaluation.array_sources import ArrayFileSource
from igan_tf.evaluation.statistics import load_statistics
from tests.evaluation.graphs_with_code import LooksUp, Reads, RunsPython, Writes, frozen, saved
from tests.evaluation.inception_graphs import pack
from tests.soak import Soak

_RANGE = {"value_range": (0, 1)}


def _packed_folder(folder: Path) -> Path:
    with tarfile.open(folder.with_suffix(".tar.gz"), "w:gz", compresslevel=1) as archive:
        archive.add(folder, ".")
    return folder.with_suffix(".tar.gz")


def _graph(form: str, kind: type) -> Callable[[Path, Path], Any]:
    def load(folder: Path, place: Path) -> Any:
        path = (frozen if form in ("frozen", "tgz") else saved)(kind, place, folder)
        path = {"tgz": pack, "tar": _packed_folder}.get(form, Path)(path)
        return load_classifier("inception", path=path)

    return load


def _tflite(folder: Path, place: Path) -> Any:
    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), tf.float32)], autograph=False)
    def call(images: tf.Tensor) -> tf.Tensor:
        tf.io.write_file(str(place), "written")
        return tf.reduce_mean(images, (1, 2)) @ tf.ones((3, 4))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([call.get_concrete_function()], tf.Module())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    (folder / "net.tflite").write_bytes(converter.convert())
    return load_classifier(str(folder / "net.tflite"), **_RANGE)


def _with_lambda(folder: Path, place: Path) -> Path:
    def run(values: Any, path: str) -> Any:
        open(path, "w").close()
        return values

    inputs = keras.Input((6, 6, 1))
    outputs = keras.layers.Lambda(run, arguments={"path": str(place)})(keras.layers.Flatten()(inputs))
    keras.Model(inputs, keras.layers.Dense(2)(outputs)).save(folder / "net.keras")
    # To build the model runs it.
    place.unlink(missing_ok=True)
    return folder / "net.keras"


def _with_saved_model(folder: Path, place: Path) -> Path:
    inputs = keras.Input((299, 299, 3))
    layer = keras.layers.TFSMLayer(str(saved(Writes, place, folder)), call_endpoint="serving_default")
    keras.Model(inputs, layer(inputs)["logits"]).save(folder / "net.keras")
    place.unlink(missing_ok=True)
    return folder / "net.keras"


class _Pickled:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple:
        return open, (str(self.place), "w")


def _pickled(place: Path) -> np.ndarray:
    array = np.full((4, 4), None)
    array[0, 0] = _Pickled(place)
    return array


def _statistics(folder: Path, place: Path, name: str) -> Any:
    others = {"mu": np.zeros(4)} if name == "sigma" else {"about": np.zeros(2, "uint8"), "mean": np.zeros(4)}
    np.savez(folder / "fid.npz", **others, **{name: _pickled(place)})
    return load_statistics(folder / "fid.npz")


def _images(folder: Path, place: Path) -> Any:
    (folder / "images.npy").write_bytes(pickle.dumps(_Pickled(place)))
    return ArrayFileSource(folder / "images.npy")


def _array_of_objects(folder: Path, place: Path) -> Any:
    np.save(folder / "images.npy", _pickled(place)[None, :, :, None])
    return ArrayFileSource(folder / "images.npy")


_CASES: list[Callable[[Path, Path], Any]] = [
    *(
        _graph(form, kind)
        for form in ("frozen", "tgz", "saved", "tar")
        for kind in (Writes, RunsPython, Reads, LooksUp)
    ),
    _tflite,
    lambda folder, place: load_classifier(str(_with_lambda(folder, place)), **_RANGE),
    # Trust is of the layers that a file names, not of code in it.
    lambda folder, place: load_classifier(str(_with_lambda(folder, place)), trust_file=True, **_RANGE),
    lambda folder, place: igan_tf.load_model(_with_lambda(folder, place)),
    lambda folder, place: igan_tf.load_model(_with_saved_model(folder, place)),
    lambda folder, place: load_classifier(str(_with_saved_model(folder, place)), **_RANGE),
    lambda folder, place: _statistics(folder, place, "sigma"),
    lambda folder, place: _statistics(folder, place, "covariance"),
    _images,
    _array_of_objects,
]


def _run(numbers: Iterable[int], folder: Path) -> Iterator[tuple[int, str]]:
    for number in numbers:
        case = folder / str(number)
        case.mkdir()
        place = case / "written"
        try:
            _CASES[number](case, place)
        except InputError as error:
            outcome = "needs trust" if "`trust_file` must be True" in str(error) else "refused"
        else:
            raise AssertionError("it was loaded")
        assert not place.exists(), "its code has run"
        yield number, outcome


SOAK = Soak(
    about="A file that would write or read files or run Python is refused without trust, and what it would write is "
    "not there.",
    count=len(_CASES),
    run=_run,
)
