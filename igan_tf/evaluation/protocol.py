"""What a curve of scores stands for, beside it in a file: the same from its first point to its last."""

import json
from pathlib import Path

from igan_tf.errors import EvaluationError
from igan_tf.files import durable

PROTOCOL_FILE = "score_protocol.json"


def write_protocol(folder, scores):
    """Writes what the figures of a `PeriodicScores` stand for into `folder`."""
    durable.write_text(Path(folder) / PROTOCOL_FILE, json.dumps(scores.protocol(), indent=2) + "\n")


def check_protocol(folder, scores, remedy):
    """Refuses to continue a curve with points of another kind: another classifier under the same name, say.

    Args:
        folder: Where `write_protocol` has written, or never yet.
        scores: The `PeriodicScores` that is to go on.
        remedy: What its user can do, for the message.

    Raises:
        EvaluationError: that names the file and each difference, both digests among them.
    """
    path = Path(folder) / PROTOCOL_FILE
    if not path.exists():
        return
    try:
        before = _decisive(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{path} cannot be read: {error!r}; {remedy}") from error
    now = _decisive(scores.protocol())
    changed = [f"{name}: {before[name]!r} there, {now[name]!r} now" for name in now if before[name] != now[name]]
    if changed:
        raise EvaluationError(
            f"{path} has other scores than would be added to the same curve: {remedy}\n  " + "\n  ".join(changed)
        )


def _decisive(protocol):
    """What two points of one curve must have in common.

    Not the packages' versions, which may be newer; nor what the real images are called: that may be a folder's path,
    which may change, and a run's checkpoints hold fast to its data.
    """
    named = {f"classifier {name}": protocol["classifier"][name] for name in ("name", "sha256", "protocol")}
    return named | {name: protocol[name] for name in ("num_samples", "splits", "seed")}
