"""Any Python function as a classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from igan_tf.errors import EvaluationError, counted
from igan_tf.evaluation.classifiers.classifier import Classifier


def as_classifier(
    function: Callable[[Any], Any],
    name: str,
    value_range: Sequence[float],
    from_logits: bool = True,
    input_size: Sequence[int] | None = None,
    channels: int = 3,
    digest: str = "none",
) -> Classifier:
    """Makes a `Classifier` of a function.

    Args:
        function: Called with a float32 tensor `(n, height, width, channels)` in `value_range`; returns `(n, K)`
            logits, or a dict of "logits" and "features", or a pair of the two. Without features the logits serve.
        name: For the record of scores.
        value_range: The pixel range that it expects, (black, white).
        from_logits: Whether it returns logits, or probabilities.
        input_size: `(height, width)` that images are resized to; None: left as they are.
        channels: 3 or 1.
        digest: SHA-256 of its weights, if it has a file of them.

    Returns:
        A `Classifier`.

    Raises:
        EvaluationError: when it is called, for an output of another form.
    """
    if not callable(function):
        raise EvaluationError(f"`function` must be callable. Received: function={function!r}")

    def outputs(images: Any) -> tuple[np.ndarray, np.ndarray]:
        result = function(images)
        if isinstance(result, dict):
            values, features = result.get("logits"), result.get("features", result.get("logits"))
        elif isinstance(result, (tuple, list)) and len(result) == 2:
            values, features = result
        elif isinstance(result, (tuple, list)):
            raise EvaluationError(
                "`function` must return logits, or a dict or a pair of logits and features. "
                f"Received: {counted(len(result), 'output')}"
            )
        else:
            values = features = result
        values, features = np.asarray(values), np.asarray(features)
        if values.ndim != 2 or len(values) != len(images) or features.dtype == object:
            raise EvaluationError(
                f"`function` must return ({len(images)}, K) logits for {counted(len(images), 'image')}, and features. "
                f"Received: outputs of the shapes {values.shape} and {features.shape}"
            )
        return values, features

    return Classifier(outputs, name, digest, value_range, from_logits, input_size, channels)
