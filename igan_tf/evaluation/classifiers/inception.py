"""The 2015 Inception network that published scores are made with: its frozen graph, or TF-GAN's SavedModel."""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from igan_tf.errors import EvaluationError
from igan_tf.evaluation.classifiers import frozen_graph, operations
from igan_tf.evaluation.classifiers.classifier import Classifier
from igan_tf.evaluation.classifiers.files import checked_copy, fetch
from igan_tf.evaluation.classifiers.frozen_graph import INPUT_SIZE, VALUE_RANGE

# As TF-GAN names the outputs: logits over 1008 classes, and the 2048 features of the last pooling.
LOGITS, FEATURES = "logits", "pool_3"
_ARCHIVE = "tfgan_inception_2015.tar.gz"
_GZIP = b"\x1f\x8b"
# What is read into memory, unpacked; the network has 96 MB.
_MOST_BYTES = 256 << 20


def load(
    path: str | Path,
    sha256: str,
    protocol: str,
    cache: str | Path,
    report: Callable[[str], Any] = print,
    trust_file: bool = False,
) -> Classifier:
    """Loads the 2015 Inception graph from a file, or fetches TF-GAN's into the cache on first use.

    Args:
        path: A frozen graph, classify_image_graph_def.pb, or the .tgz that holds it; or a SavedModel: its folder, or
            the .tar.gz in which TF-Hub serves it; empty: the cache.
        sha256: The digest that it must have; empty: any.
        protocol: "default": the graph's own logits. "original": the last matrix product without its bias, which the
            published script took.
        cache: Folder of fetched files.
        report: Called with each line for the user.
        trust_file: Whether it may have other operations than those of `operations.ARITHMETIC`.

    Returns:
        A `Classifier`.

    Raises:
        EvaluationError: for a graph that cannot be fetched or read, has another digest, is another network, or has
            operations that need trust.
    """
    place = f"`path={path}`"
    if not path:
        path, url = Path(cache) / _ARCHIVE, archive_url()
        place = f"`name=inception`: {path}"
        sha256 = fetch(
            url, path, sha256, report, lambda file: _network(file, f"`name=inception`: {url}", "default", trust_file)
        )
    with checked_copy(path, sha256) as (copy, digest):
        function, value_range, own_resize = _network(copy, place, protocol, trust_file)
    name = "inception" if protocol == "default" else f"inception, protocol {protocol}"
    return Classifier(function, name, digest, value_range, True, INPUT_SIZE, own_resize=own_resize)


def archive_url() -> str:
    """Where TF-GAN's graph is served: TF-GAN's own address, in TF-Hub's form for plain downloads."""
    from igan_tf.evaluation import tfgan

    return f"{tfgan.eval.INCEPTION_TFHUB}?tf-hub-format=compressed"


def _network(
    path: str | Path, place: str, protocol: str, trust_file: bool
) -> tuple[Callable[[Any], Any], tuple[float, float], bool]:
    """The network of a file as a function of images to (logits, features), their range, and whether it resizes them.

    Args:
        path: The file or folder.
        place: What the messages call it.
        protocol: As of `load`.
        trust_file: As of `load`.

    Raises:
        EvaluationError: for another network, or a damaged one.
    """
    try:
        if Path(path).is_dir():
            return _saved_model(path, place, protocol, trust_file), VALUE_RANGE, False
        content = _read(Path(path), place)
        # Both from the bytes in memory: an archive's name may mislead.
        if not tarfile.is_tarfile(io.BytesIO(content)):
            return frozen_graph.load(content, place, protocol, trust_file)
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            members = archive.getmembers()
            # A sparse file's size is not what it takes in the archive.
            _check_size(sum(member.size for member in members), place)
            for member in members:
                if Path(member.name).name in frozen_graph.FILES and (file := archive.extractfile(member)):
                    return frozen_graph.load(file.read(), place, protocol, trust_file)
            with tempfile.TemporaryDirectory() as folder:
                archive.extractall(folder, filter="data")
                return _saved_model(folder, place, protocol, trust_file), VALUE_RANGE, False
    except EvaluationError:
        raise
    except Exception as error:
        # Reading a damaged graph, TensorFlow raises KeyError, RuntimeError and others.
        raise EvaluationError(f"{place} holds no Inception graph that can be read: {error}") from error


def _read(path: Path, place: str) -> bytes:
    """The file's bytes, decompressed; to the end of a compressed file, where its checksum stands."""
    with path.open("rb") as plain:
        compressed = plain.read(len(_GZIP)) == _GZIP
        plain.seek(0)
        with gzip.open(plain) if compressed else plain as file:
            content = file.read(_MOST_BYTES + 1)
    _check_size(len(content), place)
    return content


def _check_size(size: int, place: str) -> None:
    if size > _MOST_BYTES:
        raise EvaluationError(f"{place} must hold at most {_MOST_BYTES >> 20} MiB, unpacked. Received: more")


def _saved_model(folder: str | Path, place: str, protocol: str, trust_file: bool) -> Callable[[Any], Any]:
    """A SavedModel as a function of images to (logits, features)."""
    if not trust_file:
        operations.check_saved_model(folder, place)
    function = _outputs_of(tf.saved_model.load(str(folder)), place)
    return function if protocol == "default" else _without_bias(function, place)


def _outputs_of(network: Any, place: str) -> tf.types.experimental.PolymorphicFunction:
    """The network as a function of images to (logits, features)."""
    # The closure keeps the object that holds the variables, which live as long as it.
    call = network if callable(network) else network.signatures["serving_default"]

    # Without autograph, which would wrap the error in one of its own.
    @tf.function(input_signature=[tf.TensorSpec((None, *INPUT_SIZE, 3), tf.float32)], autograph=False)
    def outputs(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        result = call(images)
        found = sorted(result) if isinstance(result, Mapping) else result
        if not isinstance(found, list) or not {LOGITS, FEATURES} <= set(found):
            raise EvaluationError(f"{place} must have the outputs {LOGITS} and {FEATURES}. Received: {found}")
        return result[LOGITS], result[FEATURES]

    logits, features = outputs.get_concrete_function().outputs
    frozen_graph.check_outputs(logits.shape, features.shape, place)
    return outputs


def _without_bias(function: Any, place: str) -> Callable[[Any], Any]:
    """The same network with the logits' last matrix product in place of the logits."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    # One flat graph, functions inlined: the product may lie inside one.
    frozen = convert_variables_to_constants_v2(function.get_concrete_function())
    pruned = frozen.prune(frozen.inputs, [frozen_graph.product_of(frozen.outputs[0], place), frozen.outputs[1]])
    return lambda images: pruned(images)
