"""The 2015 Inception network that published scores are made with, as TF-GAN's SavedModel."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from igan_tf.errors import EvaluationError
from igan_tf.evaluation.classifiers.classifier import Classifier
from igan_tf.evaluation.classifiers.files import check_digest, fetch

INPUT_SIZE = (299, 299)
# As TF-GAN names the outputs: logits over 1008 classes, and the 2048 features of the last pooling.
LOGITS, FEATURES = "logits", "pool_3"
# The 2015 graph takes (pixel - 128) / 128.
VALUE_RANGE = (-1.0, 127 / 128)
NUM_OUTPUTS = 1008
_ARCHIVE = "tfgan_inception_2015.tar.gz"
_CHUNK = 1 << 20
# Operations that do not change what passes through them, or add the bias: between the product and the output.
_AFTER_PRODUCT = ("Identity", "Reshape", "Squeeze", "BiasAdd", "Add", "AddV2")


def load(
    path: str | Path, sha256: str, protocol: str, cache: str | Path, report: Callable[[str], Any] = print
) -> Classifier:
    """Loads TF-GAN's Inception graph from a file, or fetches it into the cache on first use.

    Args:
        path: The SavedModel: its folder, or the .tar.gz in which TF-Hub serves it; empty: the cache.
        sha256: The digest that it must have; empty: any.
        protocol: "default": the graph's own logits. "original": the last matrix product without its bias, which the
            published script took.
        cache: Folder of fetched files.
        report: Called with each line for the user.

    Returns:
        A `Classifier`.

    Raises:
        EvaluationError: for a graph that cannot be fetched or read, has another digest, or is another network.
    """
    if path:
        digest = check_digest(path, sha256)
    else:
        path, url = Path(cache) / _ARCHIVE, archive_url()
        digest = fetch(url, path, sha256, report, lambda file: _network(file, url))
    function = _network(path, path)
    if protocol == "original":
        function = _without_bias(function, path)
    name = "inception" if protocol == "default" else f"inception, protocol {protocol}"
    return Classifier(function, name, digest, VALUE_RANGE, True, INPUT_SIZE)


def archive_url() -> str:
    """Where TF-GAN's graph is served: TF-GAN's own address, in TF-Hub's form for plain downloads."""
    from igan_tf.evaluation import tfgan

    return f"{tfgan.eval.INCEPTION_TFHUB}?tf-hub-format=compressed"


def _network(path: str | Path, place: str | Path) -> tf.types.experimental.PolymorphicFunction:
    """The network of a SavedModel as a function of images to (logits, features).

    Args:
        path: Its folder or archive.
        place: What the messages call it.

    Raises:
        EvaluationError: for another network, or a damaged one.
    """
    try:
        return _outputs_of(_load_saved_model(Path(path)), place)
    except EvaluationError:
        raise
    except Exception as error:
        # Reading a damaged graph, TensorFlow raises KeyError, RuntimeError and others.
        raise EvaluationError(f"`name=inception`: {place} holds no SavedModel that can be read: {error}") from error


def _load_saved_model(path: Path) -> Any:
    """Loads the network from the bytes whose digest was taken: an archive is unpacked anew each time."""
    if path.is_dir():
        return tf.saved_model.load(str(path))
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
            # The compressed file's checksum stands at its end, behind the archive within.
            while archive.fileobj.read(_CHUNK):
                pass
        return tf.saved_model.load(folder)


def _outputs_of(network: Any, place: str | Path) -> tf.types.experimental.PolymorphicFunction:
    """The network as a function of images to (logits, features)."""
    # The closure keeps the object that holds the variables, which live as long as it.
    call = network if callable(network) else network.signatures["serving_default"]

    # Without autograph, which would wrap the error in one of its own.
    @tf.function(input_signature=[tf.TensorSpec((None, *INPUT_SIZE, 3), tf.float32)], autograph=False)
    def outputs(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        result = call(images)
        found = sorted(result) if isinstance(result, Mapping) else result
        if not isinstance(found, list) or not {LOGITS, FEATURES} <= set(found):
            raise EvaluationError(
                f"`name=inception`: {place} must have the outputs {LOGITS} and {FEATURES}. Received: {found}"
            )
        return result[LOGITS], result[FEATURES]

    outputs.get_concrete_function()
    return outputs


def _without_bias(function: Any, path: str | Path) -> Callable:
    """The same network with the logits' last matrix product in place of the logits."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    # One flat graph, functions inlined: the product may lie inside one.
    frozen = convert_variables_to_constants_v2(function.get_concrete_function())
    product = _last_product(frozen.outputs[0].op)
    if product is None or product.outputs[0].shape[-1] != NUM_OUTPUTS:
        last = frozen.outputs[0] if product is None else product.outputs[0]
        raise EvaluationError(
            f"`protocol=original` needs a matrix product of {NUM_OUTPUTS} outputs before the logits' bias. "
            f"Received: {path}, which ends in {last.op.type} of shape {last.shape}"
        )
    pruned = frozen.prune(frozen.inputs, [product.outputs[0], frozen.outputs[1]])
    return lambda images: pruned(images)


def _last_product(operation: tf.Operation) -> tf.Operation | None:
    """The matrix product from which `operation` differs by a bias at most, or None."""
    if operation.type == "MatMul":
        return operation
    if operation.type not in _AFTER_PRODUCT:
        return None
    return next(filter(None, (_last_product(tensor.op) for tensor in operation.inputs)), None)
