"""The registry of metrics: what a metric says of itself, so that nothing else need name it.

A metric is one module of `igan_tf.metrics`, found by being there:

```python
@dataclasses.dataclass(frozen=True)
class _Options(MetricOptions):
    brightness_quantile: float = setting(0.5, "Quantile of the brightness.", low=0, high=1)


@register
class _Brightness(Metric):
    names = ("brightness",)
    needs = Needs.FEATURES
    Options = _Options

    def record(self, generated, real, options, seed):
        return {"brightness": float(np.quantile(generated.features, options.brightness_quantile))}
```

The evaluator, the scores during training and the command `igan_tf.evaluate` go through `metrics()`.
"""

from __future__ import annotations

import abc
import dataclasses
import enum
import functools
import importlib
import numbers
import operator
import pkgutil
import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeVar

import igan_tf.metrics
from igan_tf.errors import EvaluationError
from igan_tf.metrics.moments import FeatureMoments
from igan_tf.settings import Settings


class Needs(enum.IntEnum):
    """What a metric is computed from; the more a metric needs, the later it stands in a record."""

    VALUES = 0  # The generated images' logits or probabilities.
    MOMENTS = 1  # Mean and covariance of the features of both sets.
    FEATURES = 2  # The single features of both sets.


@dataclasses.dataclass(frozen=True)
class ClassifiedSet:
    """What a classifier said of one set of images.

    Attributes:
        name: Where the images come from, for warnings.
        moments: `FeatureMoments` of all features.
        features: `(N, D)` float32 array; None where single features were not kept.
        values: `(N, K)` array of logits or probabilities; None where they were not kept, as in stored statistics.
        from_logits: Whether `values` are logits.
    """

    name: str
    moments: FeatureMoments
    features: Any = None
    values: Any = None
    from_logits: bool = True


@dataclasses.dataclass(frozen=True)
class MetricOptions(Settings):
    """Base of the dataclasses of metrics' options; their fields are `igan_tf.settings.setting`s."""

    Error = EvaluationError
    topic = "Scores"


class Metric(abc.ABC):
    """One score, or several that are computed together.

    Attributes:
        names: Its entries in the record of scores.
        needs: What it is computed from.
        Options: Its options, a `MetricOptions` dataclass. No two metrics have options of one name.
        curves: Its figures during training, as paths into its part of the record: `{"inception_score":
            ("inception_score", "mean")}`. Empty for a metric that is too slow to be computed every few epochs.
        marks_best: Whether the highest value of its first curve marks a training's best weights; true of one metric.
        fewest_because: Why it needs as many images as `fewest` says, for messages.
    """

    names: ClassVar[tuple[str, ...]]
    needs: ClassVar[Needs]
    Options: ClassVar[type[MetricOptions]] = MetricOptions
    curves: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    marks_best: ClassVar[bool] = False
    fewest_because: ClassVar[str] = ""

    @classmethod
    def option_names(cls) -> list[str]:
        """The names of its options."""
        return [field.name for field in dataclasses.fields(cls.Options)]

    def fewest(self, most: int, options: Any) -> int:
        """The fewest images that each set must have where the larger set has `most`."""
        return 1 if self.needs == Needs.VALUES else 2

    def warnings(self, generated: ClassifiedSet, real: ClassifiedSet, options: Any) -> list[str]:
        """Lines about what makes the figures doubtful, beside the RuntimeWarnings of `record`."""
        return []

    @abc.abstractmethod
    def record(self, generated: ClassifiedSet, real: ClassifiedSet, options: Any, seed: int | None) -> dict[str, Any]:
        """The metric's part of the record of scores, JSON-serialisable: one entry for each of `names`.

        Args:
            generated: The images that are scored.
            real: The images that they are compared with; not for metrics that need values alone.
            options: Has the fields of `Options`.
            seed: Of every permutation and draw; None keeps orders.
        """


# In version 0.1 the names carried the classifier and the number of samples: inception_score_domain_mnist_n5000.
_LONG_NAME = re.compile(r"^((?:real_)?inception_score|inception_deviation|frechet_distance|kernel_distance)_\w+_n\d+$")

MetricT = TypeVar("MetricT", bound=type[Metric])
_METRICS: list[Metric] = []


def register(metric: MetricT) -> MetricT:
    """Class decorator that adds a metric to the registry.

    Raises:
        ValueError: for an entry of the record, an option or a mark of the best weights that another metric has.
    """
    for other in _METRICS:
        shared = {*metric.names, *metric.option_names()} & {*other.names, *other.option_names()}
        if shared or (metric.marks_best and other.marks_best):
            raise ValueError(f"{metric.__name__} and {other.names[0]} both have {sorted(shared) or 'marks_best'}")
    _METRICS.append(metric())
    return metric


def metrics() -> list[Metric]:
    """Every metric; first those that need least. Imports the modules of `igan_tf.metrics`, which register them."""
    for module in pkgutil.iter_modules(igan_tf.metrics.__path__):
        importlib.import_module(f"igan_tf.metrics.{module.name}")
    return sorted(_METRICS, key=lambda metric: (metric.needs, metric.names))


def options_class() -> type[MetricOptions]:
    """A dataclass with the options of every metric, to be read or derived from: one name, one option."""
    bases = dict.fromkeys(metric.Options for metric in metrics() if metric.Options is not MetricOptions)
    return dataclasses.dataclass(frozen=True)(type("Options", (*bases, MetricOptions), {}))


def check_sizes(of: Iterable[Metric], sizes: Iterable[int], options: Any, received: str) -> None:
    """Raises an EvaluationError where a set of images is too small for a metric, before anything is classified.

    Args:
        of: The metrics.
        sizes: How many images each set has.
        options: Has every option of these metrics.
        received: The sizes as the message says them.
    """
    sizes = list(sizes)
    for metric in of:
        fewest = metric.fewest(max(sizes), options)
        if min(sizes) < fewest:
            because = f", {metric.fewest_because}" if metric.fewest_because else ""
            concerned = [f"{name}={getattr(options, name)}" for name in metric.option_names() if f"`{name}`" in because]
            each = " of each set" if len(sizes) > 1 else ""
            raise EvaluationError(
                f"{metric.names[0]} needs at least {fewest} images{each}{because}. "
                f"Received: {' '.join(concerned)}{' for ' if concerned else ''}{received}"
            )


def curve_values(metric: Metric, record: Mapping[str, Any]) -> dict[str, float]:
    """A metric's figures during training, out of its part of the record.

    Raises:
        TypeError: where one is no number.
    """
    figures = {}
    for name, path in metric.curves.items():
        value: Any = functools.reduce(operator.getitem, path, record)
        if not isinstance(value, numbers.Real):
            raise TypeError(f"{name} of the metric {type(metric).__name__} must be a number. Received: {value!r}")
        figures[name] = float(value)
    return figures


def best_curve() -> str:
    """The figure whose highest value marks the best weights of a training."""
    return next(next(iter(metric.curves)) for metric in metrics() if metric.marks_best)


def curve_names() -> list[str]:
    """The names of all figures during training; `real_...` are those of the real images."""
    names = [(metric, list(metric.curves)) for metric in metrics() if metric.curves]
    return [f"real_{curves[0]}" for metric, curves in names if metric.needs == Needs.VALUES] + [
        name for _, curves in names for name in curves
    ]


def with_short_names(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of figures in which the curves have the names of today, whatever version wrote it."""
    return {_LONG_NAME.sub(r"\1", name): value for name, value in line.items()}
