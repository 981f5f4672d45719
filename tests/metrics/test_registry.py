"""The registry: every metric is found, and what it says of itself holds."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from igan_tf.errors import EvaluationError
from igan_tf.metrics import registry
from igan_tf.metrics.moments import FeatureMoments
from igan_tf.metrics.registry import ClassifiedSet, Metric, MetricOptions, Needs, register
from igan_tf.settings import setting

METRICS = registry.metrics()


def classified(count=40, seed=0):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(count, 3)).astype("float32")
    return ClassifiedSet("made", FeatureMoments.of(features), features, generator.normal(size=(count, 4)))


@pytest.fixture
def known(monkeypatch):
    """The metrics as they are; what a test registers is forgotten after it."""
    monkeypatch.setattr(registry, "_METRICS", list(METRICS))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.names[0])
def test_a_metrics_record(metric):
    """It has its names, is JSON, is a function of the seed, is computed from no more than it needs, has its curves."""
    options = registry.options_class()()
    generated, real = classified(), classified(seed=1)
    given = {
        Needs.VALUES: {"moments": None, "features": None},
        Needs.MOMENTS: {"values": None, "features": None},
        Needs.FEATURES: {"values": None},
    }[metric.needs]
    generated = dataclasses.replace(generated, **given)
    real = None if metric.needs == Needs.VALUES else dataclasses.replace(real, **given)
    record = metric.record(generated, real, options, 3)
    assert tuple(record) == metric.names and metric.record(generated, real, options, 3) == record
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    curves = registry.curve_values(metric, record)
    assert list(curves) == list(metric.curves) and all(isinstance(value, float) for value in curves.values())


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.names[0])
def test_the_fewest_images_suffice(metric):
    options = registry.options_class()(splits=7, kernel_block_size=5, neighbour_samples=6)
    fewest = metric.fewest(23, options)
    generated, real = classified(23), classified(max(fewest, 2), seed=1)
    for sets in ((generated, real), (real, generated)):
        if metric.needs > Needs.VALUES or sets[0] is real:
            metric.record(*sets, options, 0)


def test_the_options_of_all_metrics():
    options = registry.options_class()
    assert {field.name for field in dataclasses.fields(options)} >= {"splits", "kernel_block_size", "neighbour_samples"}
    with pytest.raises(EvaluationError, match=r"`kernel_block_size` must be at least 2. Received: kernel_block_size=1"):
        options(kernel_block_size=1)


def test_too_few_images_are_named_with_the_option_that_asks_for_more():
    options = registry.options_class()(kernel_block_size=4)
    with pytest.raises(EvaluationError) as caught:
        registry.check_sizes(METRICS, [20, 41], options, "20 and 41 images")
    assert str(caught.value) == (
        "kernel_distance needs at least 22 images of each set, 2 for each block of `kernel_block_size`; of fewer "
        "samples there are fewer blocks. Received: kernel_block_size=4 for 20 and 41 images"
    )
    registry.check_sizes(METRICS, [22, 41], options, "22 and 41 images")


def test_a_metric_of_ones_own(known):
    @dataclasses.dataclass(frozen=True)
    class BrightnessOptions(MetricOptions):
        brightness_quantile: float = setting(0.5, "Quantile of the brightness.", low=0, high=1)

    @register
    class Brightness(Metric):
        names = ("brightness",)
        needs = Needs.FEATURES
        curves = {"brightness": ("brightness",)}  # noqa: RUF012
        Options = BrightnessOptions

        def record(self, generated, real, options, seed):
            return {"brightness": float(np.quantile(generated.features, options.brightness_quantile))}

    metric = next(metric for metric in registry.metrics() if metric.names == ("brightness",))
    generated = classified()
    options = registry.options_class()(brightness_quantile=1.0)
    assert metric.record(generated, classified(seed=1), options, 0) == {"brightness": generated.features.max()}
    assert "brightness" in registry.curve_names()
    with pytest.raises(TypeError, match=r"brightness of the metric Brightness must be a number. Received: None"):
        registry.curve_values(metric, {"brightness": None})


@pytest.mark.parametrize(
    ("attributes", "word"),
    [({"names": ("recall",)}, "recall"), ({"marks_best": True}, "marks_best")],
    ids=["entry", "mark"],
)
def test_two_metrics_with_one_name(known, attributes, word):
    with pytest.raises(ValueError, match=word):
        register(type("Twin", (Metric,), {"names": ("other",), "needs": Needs.VALUES, **attributes}))


def test_names_of_before_are_understood():
    curves = ["real_inception_score", "inception_score", "inception_deviation", "frechet_distance", "kernel_distance"]
    assert registry.curve_names() == curves and registry.best_curve() == "inception_score"
    others = ["epoch", "test_error", "inception_score_of_mine", "step/loss_n5", "real_loss_domain_n5"]
    figures = {name: float(value) for value, name in enumerate([*others, *curves])}
    before = {f"{name}_domain_mnist_n5000" if name in curves else name: value for name, value in figures.items()}
    assert registry.with_short_names(before) == registry.with_short_names(figures) == figures


def test_metrics_need_numpy_and_scipy_alone():
    program = (
        "import sys\nfrom igan_tf.metrics import registry\nassert len(registry.metrics()) >= 4\n"
        "assert not {'tensorflow', 'keras', 'absl'} & set(sys.modules), 'imports too much'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
