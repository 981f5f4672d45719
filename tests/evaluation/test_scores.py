"""A set of images from end to end, beside the same figures computed by hand."""

import dataclasses
import importlib
import json
import sys

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("classifiers need the TensorFlow backend", allow_module_level=True)

from igan_tf.errors import EvaluationError
from igan_tf.evaluation import (
    FeatureMoments,
    FeatureStatistics,
    as_classifier,
    density_coverage,
    evaluate_images,
    frechet_distance,
    inception_score,
    kernel_distance,
    load_statistics,
    precision_recall,
    save_statistics,
    two_sample_accuracy,
)
from igan_tf.evaluation.array_sources import ArrayFileSource
from igan_tf.evaluation.images import ArraySource, chosen_indices
from igan_tf.evaluation.scores import classify, score
from igan_tf.metrics.registry import options_class
from tests.evaluation.stand_ins import images, mean_classifier


def test_every_figure_is_that_of_its_function():
    classifier = mean_classifier()
    fake, real = images(seed=0), images(150, seed=1, brightness=200)
    record, classified, statistics = evaluate_images(
        ArraySource(fake, "mine", "half"), classifier, ArraySource(real, "real", "test"), batch_size=32, seed=3,
        kernel_block_size=60, neighbour_samples=100, two_sample_images=80,
    )  # fmt: skip
    ours, theirs = classifier(fake), classifier(real)
    np.testing.assert_array_equal(classified.values, ours.values)
    np.testing.assert_array_equal(classified.statistics.features, ours.features)
    mean, deviation = inception_score(ours.values, 10, 3)
    assert record["inception_score"] == {"mean": mean, "std": deviation, "splits": 10, "seed": 3}
    # The moments are gathered batch by batch.
    assert record["frechet_distance"] == pytest.approx(frechet_distance(ours.features, theirs.features), rel=1e-9)
    distance, error = kernel_distance(ours.features, theirs.features, 60, 3)
    assert record["kernel_distance"] == {"mean": distance, "standard_error": error, "block_size": 60, "seed": 3}
    real_rows, fake_rows = (np.sort(np.random.default_rng(3).permutation(count)[:100]) for count in (150, 200))
    sets = theirs.features[real_rows], ours.features[fake_rows]
    found = [record[name]["value"] for name in ("precision", "recall", "density", "coverage")]
    assert found == [*precision_recall(*sets), *density_coverage(*sets)]
    assert record["precision"]["real"] == record["precision"]["generated"] == 100
    told = two_sample_accuracy(theirs.features, ours.features, 80, 3)
    assert record["two_sample_accuracy"] == {**told._asdict(), "seed": 3} and told.of_real != told.of_generated
    about_reference = {"source": "real", "split": "test", "num_samples": 150, "image_range": [0, 255]}
    about_reference["images"] = "real: 150 images"
    assert record["reference"] == about_reference
    assert record["num_samples"] == 200 and record["source"] == "mine" and record["split"] == "half"
    assert record["classifier"] == {
        "name": "stand-in", "sha256": "0" * 64, "protocol": classifier.protocol, "outputs": 5, "features": 12,
    }  # fmt: skip
    assert record["versions"]["tensorflow"] == importlib.import_module("tensorflow").__version__
    assert record["warnings"] == [] and statistics.count == 150
    json.dumps(record, allow_nan=False)


def test_one_block_of_kid_is_still_json():
    record, _, _ = evaluate_images(
        ArraySource(images(20)), mean_classifier(), ArraySource(images(20, seed=1)), splits=1
    )
    assert record["kernel_distance"]["standard_error"] is None
    json.dumps(record, allow_nan=False)


def test_class_ordered_images_score_like_shuffled_ones():
    """From images on: sorted by class, one split gives the same figure and ten one within the deviation."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (10, 1, 1, 3))
    # Each class a colour of its own, a little noise on it.
    ordered = np.clip(np.repeat(colours, 60, axis=0) + rng.integers(-9, 10, (600, 6, 6, 3)), 0, 255).astype("uint8")
    shuffled = ordered[rng.permutation(600)]
    scores = {}
    for splits in (1, 10):
        for name, array in (("ordered", ordered), ("shuffled", shuffled)):
            record, _, _ = evaluate_images(ArraySource(array), mean_classifier(), splits=splits)
            scores[name, splits] = record["inception_score"]
    assert scores["ordered", 1]["mean"] == pytest.approx(scores["shuffled", 1]["mean"], rel=1e-9)
    difference = abs(scores["ordered", 10]["mean"] - scores["shuffled", 10]["mean"])
    assert difference < scores["shuffled", 10]["std"]
    # Kept in order the ten splits see one class each.
    kept, _, _ = evaluate_images(ArraySource(ordered), mean_classifier(), seed=None)
    assert kept["inception_score"]["mean"] < 0.6 * scores["ordered", 10]["mean"]


def test_statistics_serve_as_reference(tmp_path):
    classifier, source, real = mean_classifier(), ArraySource(images()), ArraySource(images(100, seed=1))
    direct, _, statistics = evaluate_images(source, classifier, real)
    save_statistics(tmp_path / "real.npz", statistics)
    again, _, _ = evaluate_images(source, classifier, load_statistics(tmp_path / "real.npz"))
    for name in ("frechet_distance", "kernel_distance", "precision", "coverage"):
        assert again[name] == (pytest.approx(direct[name], rel=1e-9) if name == "frechet_distance" else direct[name])
    with pytest.raises(
        EvaluationError, match=r"`reference` must come from the classifier in use: its classifier digest"
    ):
        evaluate_images(source, mean_classifier(digest="1" * 64), load_statistics(tmp_path / "real.npz"))


def test_statistics_without_features_give_fid_alone(tmp_path):
    classified = classify(ArraySource(images(100, seed=1)), mean_classifier(), keep_features=False)
    assert classified.statistics.features is None
    with pytest.raises(EvaluationError, match="`reference_statistics` stands beside the images of `reference`"):
        evaluate_images(ArraySource(images()), mean_classifier(), reference_statistics=classified.statistics)
    record, _, _ = evaluate_images(ArraySource(images()), mean_classifier(), classified.statistics)
    assert "frechet_distance" in record and "kernel_distance" not in record and "precision" not in record
    assert any("without single features" in line for line in record["warnings"])


def test_a_draw_of_the_images():
    source = ArraySource(images())
    record, classified, _ = evaluate_images(source, mean_classifier(), num_samples=50, seed=4)
    chosen = chosen_indices(200, 50, 4)
    np.testing.assert_array_equal(classified.values, mean_classifier()(images()[chosen]).values)
    assert record["num_samples"] == 50 and "50 drawn of 200" in record["split"]


def test_the_batch_size_changes_no_figure():
    records = [evaluate_images(ArraySource(images()), mean_classifier(), batch_size=size)[0] for size in (1, 7, 500)]
    assert records[0]["inception_score"] == records[1]["inception_score"] == records[2]["inception_score"]


@pytest.mark.parametrize(
    ("array", "image_range", "words"),
    [
        (images(brightness=2), None, "hardly any of the declared range from 0 to 255"),
        (images() / 255.0 / 300, (0, 1), "hardly any of the declared range from 0 to 1"),
        (images() / 255.0, (-1, 1), "but the declared range begins at -1: is it from 0 on?"),
        (images() / 255.0, (0, 1), None),
        (images() / 127.5 - 1, (-1, 1), None),
    ],
    ids=["bytes_of_0_and_1", "divided_twice", "unit_called_symmetric", "unit", "symmetric"],
)
def test_what_looks_like_another_range_is_said(array, image_range, words):
    record, _, _ = evaluate_images(ArraySource(array, image_range=image_range), mean_classifier())
    assert [words in line for line in record["warnings"]] == ([True] if words else [])


def test_what_looks_wrong_in_the_reference_is_said_too():
    unit = ArraySource(images(seed=1) / 255.0, "real", image_range=(-1, 1))
    record, _, _ = evaluate_images(ArraySource(images() / 127.5 - 1, image_range=(-1, 1)), mean_classifier(), unit)
    [line] = record["warnings"]
    assert line.startswith("real: pixels lie between 0 and 1") and "begins at -1: is it from 0 on?" in line
    assert record["reference"]["image_range"] == [-1, 1]


def test_of_a_negative_distance_only_what_exceeds_rounding_is_said():
    for seed in range(20):
        # Rounding makes the distance of the same images in another order negative now and then.
        shuffled = ArraySource(np.random.default_rng(seed).permutation(images()), "shuffled")
        record, classified, real = evaluate_images(ArraySource(images()), mean_classifier(), shuffled)
        assert record["warnings"] == []
    moments = FeatureMoments.from_arrays(np.zeros(12), np.diag([1.0] * 11 + [-1e-9]), 200)
    ours, real = (dataclasses.replace(side, moments=moments) for side in (classified.statistics, real))
    scores, [line] = score(dataclasses.replace(classified, statistics=ours), real, options_class()(), seed=0)
    assert line.startswith("the Fréchet distance is -2e-09") and scores["frechet_distance"] == 0


def test_few_samples_for_a_covariance_are_said():
    record, _, _ = evaluate_images(
        ArraySource(images(12), "few"), mean_classifier(), ArraySource(images(100, seed=1)), splits=2
    )
    assert any("few: 12 images are few for a covariance of 12 features" in line for line in record["warnings"])


def test_real_images_by_mobilenet(real_data_dir):
    """MobileNet on real images: far above noise, and no NaN though most of its probabilities are exactly 0."""
    from igan_tf.evaluation import load_classifier
    from igan_tf.evaluation.folder_images import FolderSource
    from igan_tf.evaluation.images import NoiseSource

    classifier = load_classifier(str(real_data_dir / "classifiers" / "mobilenet_v2_imagenet_uint8.tflite"))
    source = FolderSource(real_data_dir / "imagenet_sample")
    real, classified, _ = evaluate_images(source, classifier, num_samples=60, splits=1)
    assert (classified.values == 0).mean() > 0.5
    noise, _, _ = evaluate_images(NoiseSource(60, (64, 64, 3), 0), classifier, splits=1)
    # 60 images of 60 classes: at most 60.
    assert 35 < real["inception_score"]["mean"] <= 60
    assert 1 <= noise["inception_score"]["mean"] < 5


def test_what_is_refused():
    with pytest.raises(
        EvaluationError, match=r"at least 10 images, one for each of the `splits`. Received: splits=10 for 9 images"
    ):
        evaluate_images(ArraySource(images(9)), mean_classifier())
    with pytest.raises(EvaluationError, match=r"declared range from 0 to 1"):
        evaluate_images(ArraySource(images() * 1.0), mean_classifier())
    nan = images() / 255.0
    nan[130, 0, 0, 0] = np.nan
    with pytest.raises(EvaluationError, match=r"`images` must be finite"):
        evaluate_images(ArraySource(nan), mean_classifier())
    broken = as_classifier(lambda pixels: np.full((len(pixels), 3), np.nan), "broken", (0, 1))
    with pytest.raises(EvaluationError, match=r"must give finite values"):
        evaluate_images(ArraySource(images()), broken)


class Untouched(ArraySource):
    """Images that must not be gone through."""

    def rows(self):
        pytest.fail("an image was read before everything that could be was checked")


@pytest.mark.parametrize(
    ("count", "real", "arguments", "message"),
    [
        (9, None, {}, r"inception_score needs at least 10 images, .*`splits`. Received: splits=10 for 9 images of"),
        (20, None, {"num_samples": 21}, r"`num_samples` must be at most"),
        (20, None, {"splits": 0}, r"`splits` must be at least 1. Received: splits=0"),
        (20, None, {"splits": 2.5}, r"`splits` must be a whole number. Received: splits=2.5"),
        (20, None, {"batch_size": 0}, r"`batch_size` must be .* Received: batch_size=0"),
        (1, None, {"splits": 1, "keep_features": True}, r"at least 2 images of `source`. Received: 1"),
        (1, 20, {"splits": 1}, r"at least 2 images of each set. Received: 1 image of `source` and 20"),
        (20, 1, {}, r"at least 2 images of each set. Received: 20 images of `source` and 1 of `reference`"),
        (20, 20, {"kernel_block_size": 1}, r"`kernel_block_size` must be at least 2"),
        (20, 20, {"neighbour_samples": 5}, r"`neighbour_samples` must be at least 6. Received: neighbour_samples=5"),
        (
            20, 41, {"kernel_block_size": 4},
            r"at least 22 images of each set, .*Received: kernel_block_size=4 for 20 images of `source` and 41 of",
        ),
        (41, 20, {"kernel_block_size": 4}, r"kernel_distance needs at least 22"),
        (41, 41, {"kernel_block_size": 4, "num_samples": 20}, r"kernel_distance needs at least 22"),
        (5, 20, {"splits": 1}, r"at least 6 images of each set, .*Received: 5 images of `source` and 20 of `ref"),
        (20, 5, {}, r"at least 6 images of each"),
    ],
)  # fmt: skip
def test_what_does_not_show_in_the_images_is_checked_before_one_is_classified(count, real, arguments, message):
    reference = Untouched(images(real)) if real else None
    with pytest.raises(EvaluationError, match=message):
        evaluate_images(Untouched(images(count)), mean_classifier(), reference, **arguments)


def test_the_sizes_that_just_suffice():
    """As above by one: what is checked beforehand is what the figures themselves ask for."""
    for count, real, block_size in ((6, 6, 1024), (22, 41, 4), (41, 22, 4)):
        record, _, _ = evaluate_images(
            ArraySource(images(count)), mean_classifier(), ArraySource(images(real, seed=1)), splits=count,
            kernel_block_size=block_size, neighbour_samples=6,
        )  # fmt: skip
        assert {"kernel_distance", "precision", "density", "frechet_distance"} < set(record)


def test_statistics_of_others():
    """In place of the reference, or of the moments of its images; refused at the first batch if they do not fit."""
    source, real = ArraySource(images(70)), ArraySource(images(60, seed=1))
    own, _, statistics = evaluate_images(source, mean_classifier(), real)
    moments = FeatureMoments.from_arrays(statistics.moments.mean + 1, statistics.moments.covariance, None)
    others = FeatureStatistics(moments, None, "", "", "", "fid.npz", "mu and sigma")
    alone, _, _ = evaluate_images(source, mean_classifier(), others)
    beside, _, kept = evaluate_images(source, mean_classifier(), real, others)
    assert alone["frechet_distance"] == beside["frechet_distance"] > own["frechet_distance"] + 10
    assert beside["precision"] == own["precision"] and "precision" not in alone
    assert (alone["reference"]["num_samples"], beside["reference"]["num_samples"]) == (None, 60)
    assert kept.moments.count == 60 and kept.classifier == "stand-in"

    class FirstBatch(ArraySource):
        def rows(self):
            yield next(super().rows())
            pytest.fail("more than the first batch was read")

    few = FeatureMoments.from_arrays(np.zeros(3), np.eye(3), None)
    others = FeatureStatistics(few, None, "", "", "", "fid.npz", "mu and sigma")
    for reference in ((others,), (FirstBatch(images(300)), others)):
        with pytest.raises(EvaluationError, match=r"the classifier's 12 features. Received: those of 3 features"):
            evaluate_images(FirstBatch(images(300)), mean_classifier(), *reference, batch_size=8)


@pytest.mark.parametrize("of", ["source", "reference"])
def test_floats_that_leave_their_range_late_are_named(tmp_path, of):
    """Among the later images: found while the classifier works."""
    array = np.zeros((100, 4, 4, 3), "float32")
    array[99] = 255
    np.save(tmp_path / "a.npy", array)
    floats, good = ArrayFileSource(tmp_path / "a.npy"), ArraySource(images(20))
    name = {"source": "image_range", "reference": "reference_range"}[of]
    words = rf"values from 0 to 255, .* such as `{name}=0,255`\. Received: {name}=0,1$"
    with pytest.raises(EvaluationError, match=words):
        evaluate_images(*((floats, mean_classifier(), good) if of == "source" else (good, mean_classifier(), floats)))


def test_statistics_too_small_for_kid_are_refused_before_an_image_is_classified():
    source = ArraySource(images(20, seed=1))
    few = classify(source, mean_classifier(), np.arange(5)).statistics
    with pytest.raises(EvaluationError, match=r"at least 6 images of each"):
        evaluate_images(Untouched(images()), mean_classifier(), few)
    # Without single features there will be neither KID nor precision.
    few = classify(source, mean_classifier(), np.arange(5), keep_features=False).statistics
    assert "frechet_distance" in evaluate_images(ArraySource(images()), mean_classifier(), few)[0]


def test_memory_does_not_grow_with_the_number_of_images():
    """All that is ever drawn ahead of the classifier is a few batches."""
    drawn, seen, most_ahead = 0, 0, 0

    def rows():
        nonlocal drawn
        for _ in range(40):
            drawn += 64
            yield images(64)

    def function(pixels):
        nonlocal seen, most_ahead
        seen += len(pixels)
        most_ahead = max(most_ahead, drawn - seen)
        return np.asarray(pixels)[:, 0, 0]

    from igan_tf.evaluation.images import GeneratedSource

    classify(GeneratedSource(rows, 40 * 64, "many", image_range=None), as_classifier(function, "f", (0, 1)))
    assert seen == 40 * 64 and most_ahead <= 5 * 64


def test_products_are_of_whole_float32_factors():
    import tensorflow as tf

    seen = []

    def function(images):
        seen.append(tf.config.experimental.tensor_float_32_execution_enabled())
        return np.asarray(images)[:, 0, 0], np.asarray(images)[:, 0, 1]

    classifier = as_classifier(function, "f", (0, 1))
    record, *_ = evaluate_images(ArraySource(images(20)), classifier)
    classify(ArraySource(images(20)), classifier)
    assert record["tensor_float_32"] is False and seen == [False, False]
    assert tf.config.experimental.tensor_float_32_execution_enabled()


def test_faults_of_an_earlier_draw_are_not_counted_again():
    source = ArraySource(images(20))
    source.unreadable = {19: "cut short"}
    drawn = classify(source, mean_classifier(), np.arange(10))
    assert len(drawn.indices) == 10 and drawn.warnings == []
    assert "1 unreadable image left out" in classify(source, mean_classifier()).warnings[0]


def test_scores_need_no_tensorflow():
    import subprocess

    program = (
        "import sys, igan_tf.evaluation as e, numpy as n\n"
        "e.inception_score(n.eye(20), from_logits=False)\n"
        "e.frechet_distance(n.eye(5), n.eye(5)); e.kernel_distance(n.eye(5), n.eye(5))\n"
        "assert callable(e.inception_score) and callable(e.precision_recall)\n"
        "assert not {'tensorflow', 'keras', 'tensorflow_gan'} & set(sys.modules), 'imports too much'\n"
        "import igan_tf.metrics.inception_score, igan_tf.metrics.frechet_distance\n"
        "assert callable(e.inception_score) and callable(e.frechet_distance)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    from igan_tf import evaluation

    assert all(getattr(evaluation, name) for name in evaluation.__all__)
    assert callable(evaluation.inception_score) and callable(evaluation.frechet_distance)


def test_probabilities_given_for_logits_are_refused():
    """The score of a softmax of probabilities is small and wrong, and nothing else would tell."""
    probabilities = np.eye(4, dtype="float32")
    hidden = as_classifier(lambda pixels: probabilities[: len(pixels)], "hidden", (0, 1))
    with pytest.raises(EvaluationError, match="hidden gives probabilities where logits are expected"):
        hidden(np.zeros((4, 8, 8, 3), "float32"))
    with pytest.raises(EvaluationError, match="must all have one size"):
        hidden([np.zeros((8, 8, 3), "uint8"), np.zeros((9, 9, 3), "uint8")])
