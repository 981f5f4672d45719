"""Scores during a `fit` of any Keras model."""

import json
import sys
import warnings

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("classifiers need the TensorFlow backend", allow_module_level=True)

import tensorflow as tf

from igan_tf.errors import EvaluationError
from igan_tf.evaluation import (
    ArraySource,
    PeriodicScores,
    ScoreCallback,
    frechet_distance,
    inception_score,
    kernel_distance,
)
from igan_tf.files.json_lines import read_lines
from tests.evaluation.stand_ins import images, mean_classifier


class Brightness(keras.Model):
    """A "generator" of one weight, its brightness, which every epoch sets to the next of `values`."""

    def __init__(self, values):
        super().__init__()
        self.values = list(values)
        self.built = True
        self.brightness = self.add_weight(name="brightness", shape=(), initializer="zeros")

    def call(self, inputs):
        return inputs * self.brightness

    def train_step(self, data):
        return {"loss": self.brightness}

    def generate(self, count, seed):
        noise = np.random.default_rng(seed).random((count, 6, 6, 3), "float32")
        yield from np.array_split(noise * float(self.brightness), 7)


class SetBrightness(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.model.brightness.assign(self.model.values[epoch])


def fit(model, log_dir, callbacks=(), initial_epoch=0, reference=True, epochs=1, **arguments):
    source = ArraySource(images(80, seed=1), "real", "test") if reference else None
    scores = PeriodicScores(mean_classifier(), model.generate, 60, source, splits=3, seed=2, **arguments)
    callback = ScoreCallback(scores, log_dir, epochs=epochs)
    model.compile()
    history = model.fit(
        np.zeros((2, 1)), np.zeros(2), epochs=len(model.values), initial_epoch=initial_epoch, verbose=0,
        callbacks=[SetBrightness(), callback, *callbacks],
    )  # fmt: skip
    return callback, history.history


def records(written):
    """Which of a list of lines had the highest score so far."""
    scores = [line["inception_score"] for line in written]
    return [score > max(scores[:index], default=0) for index, score in enumerate(scores)]


def lines(folder):
    return list(read_lines(folder / "metrics.jsonl", {}))


def scalars(folder):
    found = {}
    for path in folder.glob("events.out.tfevents.*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                found[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    return found


def test_figures_are_those_of_the_functions_and_stand_everywhere(tmp_path):
    model = Brightness([0.2, 1.0, 0.5])
    callback, history = fit(model, tmp_path / "logs")
    written = lines(tmp_path / "logs")
    best = records(written)
    assert callback.best["epoch"] == 3 - best[::-1].index(True)
    classifier = mean_classifier()
    real = classifier(images(80, seed=1))
    for epoch, (brightness, line) in enumerate(zip(model.values, written), start=1):
        model.brightness.assign(brightness)
        fake = classifier(np.concatenate(list(model.generate(60, 2))))
        mean, deviation = inception_score(fake.values, 3, 2)
        expected = {
            "real_inception_score": inception_score(real.values, 3, 2)[0],
            "inception_score": mean,
            "inception_deviation": deviation,
            "frechet_distance": frechet_distance(fake.features, real.features),
            "kernel_distance": kernel_distance(fake.features, real.features, seed=2)[0],
        }
        assert line.pop("epoch") == epoch
        assert line.pop("best") == best[epoch - 1]
        assert line == pytest.approx(expected, rel=1e-6)
        for name, value in line.items():
            assert history[name][epoch - 1] == value
            assert scalars(tmp_path / "logs")[name, epoch] == pytest.approx(value, rel=1e-6)
    protocol = json.loads((tmp_path / "logs" / "score_protocol.json").read_text())
    assert protocol["num_samples"] == 60 and protocol["splits"] == 3 and protocol["classifier"]["sha256"] == "0" * 64
    assert protocol["reference"] == ["real", "test"]


def test_every_k_epochs_and_the_last(tmp_path):
    fit(Brightness([0.1, 0.2, 0.3, 0.4, 0.5]), tmp_path, epochs=2, reference=False)
    assert [line["epoch"] for line in lines(tmp_path)] == [2, 4, 5]
    assert set(lines(tmp_path)[0]) == {"epoch", "best", "inception_score", "inception_deviation"}


def test_the_best_weights_stay(tmp_path):
    model = Brightness([0.2, 1.0, 0.5])
    best = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.weights.h5", monitor="inception_score", mode="max", save_best_only=True,
        save_weights_only=True,
    )  # fmt: skip
    callback, _ = fit(model, tmp_path, [best])
    assert callback.monitor == best.monitor
    model.load_weights(tmp_path / "best.weights.h5")
    assert float(model.brightness) == np.float32(model.values[callback.best["epoch"] - 1])


def test_the_best_weights_stay_where_a_training_is_continued(tmp_path):
    def best_of(callback):
        return keras.callbacks.ModelCheckpoint(
            tmp_path / "best.weights.h5", monitor=callback.monitor, mode="max", save_best_only=True,
            save_weights_only=True, initial_value_threshold=callback.highest,
        )  # fmt: skip

    model = Brightness([0.1])
    scores = PeriodicScores(mean_classifier(), model.generate, 60, splits=3, seed=2)
    for values, begin in (([0.1], 0), ([0.1, 1.0], 1)):
        model.values = values
        callback = ScoreCallback(scores, tmp_path)
        assert (callback.highest is None) == (begin == 0)
        model.compile()
        model.fit(
            np.zeros((2, 1)), np.zeros(2), epochs=len(values), initial_epoch=begin, verbose=0,
            callbacks=[SetBrightness(), callback, best_of(callback)],
        )  # fmt: skip
    assert callback.best["epoch"] == 1
    model.load_weights(tmp_path / "best.weights.h5")
    assert float(model.brightness) == np.float32(0.1)


def test_an_earlier_trainings_scores_are_not_replaced(tmp_path):
    model = Brightness([0.2, 0.4])
    fit(model, tmp_path)
    before = lines(tmp_path)
    with pytest.raises(EvaluationError, match=r"metrics.jsonl has scores of an earlier training.*`initial_epoch`"):
        fit(model, tmp_path)
    assert lines(tmp_path) == before


@pytest.mark.parametrize(
    "text",
    [
        '{"step": 5}',
        '{"epoch": 1, "loss": 2.0}',
        "[]",
        "{",
        '{"epoch": 1.5, "inception_score": 2.0}',
        '{"epoch": -1, "inception_score": 2.0}',
        '{"epoch": 1, "inception_score": "2.0"}',
        '{"epoch": 1, "inception_score": 2.0, "best": 1}',
        '{"epoch": 1, "inception_score": 2.0, "more": "text"}',
        "[" * 100_000,
    ],
)
def test_another_programs_metrics_are_refused_before_the_first_epoch(tmp_path, text):
    (tmp_path / "metrics.jsonl").write_text(text + "\n")
    model = Brightness([0.2])
    with pytest.raises(EvaluationError, match=r"metrics.jsonl is not this callback's"):
        fit(model, tmp_path, initial_epoch=0)
    assert float(model.brightness) == 0


def test_a_changed_figure_is_noticed(tmp_path):
    fit(Brightness([0.2]), tmp_path)
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text().replace('"epoch": 1', '"epoch": 0'))
    with pytest.raises(EvaluationError, match=r"line 1, is damaged: it does not have its own checksum"):
        fit(Brightness([0.2]), tmp_path)


def test_what_looks_wrong_in_the_images_is_said():
    def warned(samples, real, **arguments):
        model = Brightness([1.0])
        model.brightness.assign(samples)
        scores = PeriodicScores(mean_classifier(), model.generate, 60, real, **arguments)
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always", UserWarning)
            scores()
        return [str(warning.message) for warning in found]

    assert warned(1.0, ArraySource(images(80), "real")) == []
    unit = ArraySource(images(80) / 255.0, "real", image_range=(-1, 1))
    [line] = warned(1.0, unit)
    assert line.startswith("real: pixels lie between 0 and 1")
    [line] = warned(0.01, ArraySource(images(80), "real"))
    assert line.startswith("samples: pixels lie between") and "hardly any" in line
    [line] = warned(1.0, ArraySource(images(12), "real"))
    assert "real: 12 images are few for a covariance" in line


def test_a_repeated_epoch_replaces_its_line(tmp_path):
    model = Brightness([0.2, 0.4, 0.6])
    fit(model, tmp_path)
    before = lines(tmp_path)
    # As after a crash in epoch 2 that a backup of epoch 1 undid.
    model.values = [0.2, 0.9, 0.6]
    fit(model, tmp_path, initial_epoch=1)
    after = lines(tmp_path)
    assert [line["epoch"] for line in after] == [1, 2, 3] and after[0] == before[0] and after[1] != before[1]
    assert [line["best"] for line in after] == records(after)


def test_a_curve_of_before_is_continued(tmp_path):
    """Names carried the protocol then, and the protocol no block size of the kernel distance."""
    model = Brightness([0.2, 0.4])
    fit(model, tmp_path)
    written, protocol = lines(tmp_path), json.loads((tmp_path / "score_protocol.json").read_text())
    (early,) = [
        {name if name in ("epoch", "best") else f"{name}_stand_in_n60": value for name, value in line.items()}
        for line in written[:1]
    ]
    (tmp_path / "metrics.jsonl").write_text(json.dumps(early) + "\n")
    del protocol["kernel_block_size"]
    (tmp_path / "score_protocol.json").write_text(json.dumps({"suffix": "stand_in_n60", **protocol}))
    callback, _ = fit(model, tmp_path, initial_epoch=1)
    assert lines(tmp_path) == written and callback.highest == max(line["inception_score"] for line in written)
    with pytest.raises(EvaluationError, match=r"kernel_block_size: 1024 there, 50 now"):
        fit(model, tmp_path, initial_epoch=1, kernel_block_size=50)


def test_the_real_images_are_classified_once(tmp_path):
    counts = []

    class Counted(ArraySource):
        def rows(self):
            counts.append(1)
            yield from super().rows()

    model = Brightness([1.0])
    scores = PeriodicScores(mean_classifier(), model.generate, 60, Counted(images(80)))
    model.brightness.assign(1.0)
    assert scores() == scores() and len(counts) == 1


def test_the_real_images_score_is_computed_once(monkeypatch):
    counted = []

    def count(*arguments):
        counted.append(1)
        return inception_score(*arguments)

    monkeypatch.setattr(sys.modules["igan_tf.metrics.inception_score"], "inception_score", count)
    model = Brightness([1.0])
    scores = PeriodicScores(mean_classifier(), model.generate, 60, ArraySource(images(80)))
    model.brightness.assign(1.0)
    # Beside it, once for the samples of each call.
    assert scores() == scores() and len(counted) == 1 + 2


@pytest.mark.parametrize(("real", "splits"), [(31, 2), (5, 1), (600, 3)])
def test_the_mark_is_of_splits_as_large_as_the_samples(real, splits):
    """Of fewer images the score is lower, by about (K - 1) / 2n: that alone would let samples pass the mark."""
    model = Brightness([1.0])
    scores = PeriodicScores(
        mean_classifier(), model.generate, 60, ArraySource(images(real)), splits=3, seed=2, kernel_block_size=60
    )
    model.brightness.assign(1.0)
    expected = inception_score(mean_classifier()(images(real)).values, splits, 2)[0]
    assert scores()["real_inception_score"] == pytest.approx(expected, rel=1e-6)
    assert scores.protocol()["real_images"] == real


def test_a_curve_is_not_continued_with_another_classifier(tmp_path):
    model = Brightness([0.2])
    fit(model, tmp_path)
    before, written = lines(tmp_path), (tmp_path / "score_protocol.json").read_text()
    model.values = [0.2, 0.4]
    other = mean_classifier(digest="1" * 64)
    for changes, difference in (
        ({"classifier": other}, f"classifier sha256: '{'0' * 64}' there, '{'1' * 64}' now"),
        ({"classifier": mean_classifier("other")}, "classifier name: 'stand-in' there, 'other' now"),
        ({"num_samples": 70}, "num_samples: 60 there, 70 now"),
        ({"splits": 5}, "splits: 3 there, 5 now"),
        ({"seed": 3}, "seed: 2 there, 3 now"),
    ):
        settings = {"classifier": mean_classifier(), "num_samples": 60, "splits": 3, "seed": 2, **changes}
        scores = PeriodicScores(generate_batches=model.generate, **settings)
        with pytest.raises(EvaluationError) as caught:
            model.fit(np.zeros((2, 1)), np.zeros(2), epochs=2, verbose=0, callbacks=[ScoreCallback(scores, tmp_path)])
        text = str(caught.value)
        assert f"{tmp_path}/score_protocol.json has" in text and "`log_dir`" in text and text.endswith(difference)
    fewer = PeriodicScores(mean_classifier(), model.generate, 60, ArraySource(images(70)), splits=3, seed=2)
    with pytest.raises(EvaluationError, match="real_images: 80 there, 70 now"):
        model.fit(np.zeros((2, 1)), np.zeros(2), epochs=2, verbose=0, callbacks=[ScoreCallback(fewer, tmp_path)])
    assert lines(tmp_path) == before and (tmp_path / "score_protocol.json").read_text() == written
    # Early protocols do not say it.
    (tmp_path / "score_protocol.json").write_text(json.dumps({**json.loads(written), "real_images": None}))
    fit(model, tmp_path, initial_epoch=1)
    assert [line["epoch"] for line in lines(tmp_path)] == [1, 2]


def test_too_few_images_for_the_figures_are_refused_at_once():
    def scores(num_samples, real, **arguments):
        return PeriodicScores(mean_classifier(), None, num_samples, ArraySource(images(real), "real"), **arguments)

    with pytest.raises(EvaluationError, match=r"at least 10 images of each set, .* num_samples=60 and 9 real"):
        scores(60, 9)
    scores(60, 10)
    # Of the kernel distance's three blocks each needs two: of either set.
    with pytest.raises(EvaluationError, match=r"at least 6 images .*_size=1024 for num_samples=2500 and 5 real"):
        scores(2500, 5, splits=1)
    with pytest.raises(EvaluationError, match=r"at least 6 images .*num_samples=5 and 2500 real"):
        scores(5, 2500, splits=1)
    with pytest.raises(EvaluationError, match=r"num_samples=60 and 9 real images"):
        scores(60, 2500, reference_indices=np.arange(9))
    scores(60, 2500, reference_indices=np.arange(10))


def test_what_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match=r"at least 10 images, .*. Received: splits=10 for num_samples=9"):
        PeriodicScores(mean_classifier(), None, 9)
    with pytest.raises(EvaluationError, match=r"num_samples=0"):
        PeriodicScores(mean_classifier(), None, 0)
    with pytest.raises(EvaluationError, match=r"`epochs` must be .*epochs=0"):
        ScoreCallback(PeriodicScores(mean_classifier(), None, 60), tmp_path, epochs=0)
    dark = PeriodicScores(mean_classifier(), lambda count, seed: [np.full((count, 6, 6, 3), 1.5)], 60)
    with pytest.raises(EvaluationError, match=r"declared range from 0 to 1"):
        dark()
