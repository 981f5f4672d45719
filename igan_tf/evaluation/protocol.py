"""What scores were computed with; of a curve of scores in a file beside it, the same from first point to last."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from igan_tf.errors import EvaluationError, InputError
from igan_tf.files import StrPath, durable, json_files
from igan_tf.metrics.registry import options_class
from igan_tf.settings import schemas_of

if TYPE_CHECKING:
    from igan_tf.evaluation.callback import PeriodicScores

PROTOCOL_FILE = "score_protocol.json"
_SCALAR = {"type": ["number", "string", "boolean", "null"]}
# What computes scores and decodes images.
PACKAGES = ("igan_tf", "tensorflow", "keras", "numpy", "scipy", "pillow", "tensorflow-datasets")


def write_protocol(folder: str | Path, scores: PeriodicScores) -> None:
    """Writes the protocol of a `PeriodicScores` into `folder`."""
    durable.write_text(Path(folder) / PROTOCOL_FILE, json.dumps(scores.protocol(), indent=2) + "\n")


def scored_by(folder: StrPath) -> str:
    """The classifier of a folder's scores, by name and the beginning of its digest; empty where there are none.

    Raises:
        DamagedFile: for a protocol that is none.
    """
    try:
        classifier = json_files.read(Path(folder) / PROTOCOL_FILE, _schema())["classifier"]
    except FileNotFoundError:
        return ""
    return f"{classifier['name']} {classifier['sha256'][:8]}"


def check_protocol(folder: str | Path, scores: PeriodicScores, remedy: str) -> None:
    """Refuses to continue a curve under another protocol: with another classifier under the same name, say.

    Args:
        folder: The folder of the curve; nothing is compared before `write_protocol` has written there.
        scores: The `PeriodicScores` that is to go on.
        remedy: What the user can do, for the message.

    Raises:
        EvaluationError: that names the file and each difference, both digests among them.
    """
    path = Path(folder) / PROTOCOL_FILE
    try:
        before = _decisive(json_files.read(path, _schema()))
    except FileNotFoundError:
        return
    except (OSError, InputError) as error:
        raise EvaluationError(f"{error}; {remedy}") from error
    now = _decisive(scores.protocol())
    both = [name for name in now if name in before]
    changed = [f"{name}: {before[name]!r} there, {now[name]!r} now" for name in both if before[name] != now[name]]
    if changed:
        raise EvaluationError(
            f"{path} has other scores than would be added to the same curve: {remedy}\n  " + "\n  ".join(changed)
        )


def _schema() -> json_files.Schema:
    """What `PeriodicScores.protocol` says; early versions had fewer options, and others besides."""
    text = json_files.TEXT
    more = {
        **schemas_of(options_class()),
        "reference": json_files.optional(json_files.listing(text, least=2, most=2)),
        "real_images": json_files.optional(json_files.WHOLE),
        "versions": json_files.record({}, others=text),
    }
    required = {
        "num_samples": json_files.WHOLE,
        "seed": json_files.WHOLE,
        "classifier": json_files.record({"name": text, "sha256": text, "protocol": text}),
    }
    return json_files.record(required, more, others=_SCALAR)


def _decisive(protocol: dict[str, Any]) -> dict[str, Any]:
    """What two points of one curve must have in common.

    Not the packages' versions, which may be newer; nor what the real images are called: that may be a folder's path,
    which may change, and a run's checkpoints hold fast to its data. How many there are stands for them.
    """
    named = {f"classifier {name}": protocol["classifier"][name] for name in ("name", "sha256", "protocol")}
    # Early protocols lack some options: they had their defaults.
    options = {field.name: protocol.get(field.name, field.default) for field in dataclasses.fields(options_class())}
    shared = {name: protocol[name] for name in ("num_samples", "seed")}
    # Early protocols do not say it, and there may be none.
    real = protocol.get("real_images")
    return named | shared | options | ({"real_images": real} if real else {})


def tensor_float_32() -> bool:
    """Tells whether a GPU may round the factors of products to TensorFloat-32, 10 bits after the point."""
    import tensorflow as tf

    return bool(tf.config.experimental.tensor_float_32_execution_enabled())


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """In this scope products are of whole float32 factors, so that a score does not depend on the card."""
    import tensorflow as tf

    before = tensor_float_32()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def versions() -> dict[str, str]:
    """Python's and the packages' versions."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            # Used from its folder, not installed.
            found[package] = "not installed"
    return found
