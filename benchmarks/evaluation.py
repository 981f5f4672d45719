"""Classifying a set of images against its classifier alone; FID against TF-GAN's; 50,000 samples' memory.

The classifiers are Keras's networks with random weights: their time is that of trained ones, and they need no file.
"""

import json
import sys
import time

import numpy as np

from benchmarks.timing import output_of, peak_bytes_so_far, ratio
from igan_tf.commands.start import import_tensorflow

# More than features, so that FID's root is that of a full matrix.
IMAGES, BATCH = 2112, 64
DIMENSIONS = 2048


def evaluation_throughput_ratio():
    """Images/s of a whole evaluation over those of its classifier alone on the same batches; at most 1.

    The evaluation: 2,112 uint8 images of 128x128 read from an .npz on disk, checked, resized, classified, then every
    score: Inception Score with ten splits, and against saved statistics of as many others FID, KID, precision, recall,
    density and coverage. The classifier alone: its network on these batches, prepared before. The network is
    InceptionV3 at 299x299 with 2048 features, as the default classifier's.
    """
    return _throughput("InceptionV3", (299, 299), repetitions=1)


def evaluation_throughput_mobilenet_ratio():
    """`evaluation_throughput_ratio` for MobileNetV2 at 224x224, 1280 features: as light a network as one would take."""
    return _throughput("MobileNetV2", (224, 224), repetitions=3)


def _throughput(name, size, repetitions):
    import tempfile
    from pathlib import Path

    import tensorflow as tf

    from igan_tf.evaluation.array_sources import ArrayFileSource
    from igan_tf.evaluation.scores import evaluate_images

    network, classifier = _network(name, size)
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 128, 128, 3), dtype="uint8")
    # All batches would take up to 2.3 GB; the first eight, in turn, are as good.
    batches = [
        tf.constant(classifier._prepare(images[start:][:BATCH], 0.0, 255.0)) for start in range(0, 8 * BATCH, BATCH)
    ]
    dimensions = network(batches[0])[1].shape[1]
    # Features like a network's: not negative, correlated.
    generator = np.random.default_rng(1)
    features = np.maximum(generator.normal(size=(IMAGES, dimensions)) @ generator.normal(size=2 * (dimensions,)), 0)
    reference = _reference(features, classifier)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "images.npz", images=images)
        source = ArrayFileSource(Path(folder) / "images.npz")

        def evaluation():
            evaluate_images(source, classifier, reference, batch_size=BATCH)

        def alone():
            for number in range(IMAGES // BATCH):
                [output.numpy() for output in network(batches[number % len(batches)])]

        return ratio(("classifier alone", alone), ("every score", evaluation), repetitions, warm_up=0, images=IMAGES)


def _reference(features, classifier):
    """Saved statistics of real images with these features."""
    from igan_tf.evaluation import FeatureMoments, FeatureStatistics

    moments, features = FeatureMoments.of(features), features.astype("float32")
    return FeatureStatistics(moments, features, classifier.name, classifier.digest, classifier.protocol, "real", "")


def _network(name, size):
    """One of Keras's networks as a function to (logits, features), and as a `Classifier`."""
    import keras
    import tensorflow as tf

    from igan_tf.evaluation import as_classifier

    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None, classifier_activation=None)
    both = keras.Model(model.inputs, [model.output, model.layers[-1].input])
    network = tf.function(lambda images: both(images, training=False), reduce_retracing=True)
    return network, as_classifier(network, f"{name}, random", (-1.0, 1.0), input_size=size)


def frechet_time_ratio():
    """Seconds of the trace of the root of two covariances of 2048 dimensions, over TF-GAN's."""
    import tensorflow as tf

    from igan_tf.evaluation import FeatureMoments, tfgan
    from igan_tf.metrics.frechet_distance import trace_of_root

    generator = np.random.default_rng(0)
    # Like Inception's features: not negative, and of quickly falling variances, but not of such as TF-GAN takes for 0:
    # it leaves eigenvalues below 1e-10 as they are, instead of their root.
    mixing = generator.normal(size=(DIMENSIONS, DIMENSIONS)) * np.exp(-np.arange(DIMENSIONS) / 300)
    features = np.maximum(generator.normal(size=(5000, DIMENSIONS)) @ mixing, 0) / 2
    covariances = [FeatureMoments.of(part).covariance for part in (features[:2500], 1.05 * features[2500:])]
    tensors = [tf.constant(covariance) for covariance in covariances]
    trace = tfgan.trace_sqrt_product
    results = {}

    def ours():
        results["ours"] = trace_of_root(*covariances)

    def theirs():
        results["TF-GAN's"] = float(trace(*tensors))

    found = ratio(("ours, time", ours), ("TF-GAN's, time", theirs), repetitions=3, warm_up=0)
    found["details"] |= {**results, "relative difference": results["ours"] / results["TF-GAN's"] - 1}
    return found


def evaluation_peak_gigabytes():
    """Peak memory, in GB, of a process that scores 50,000 generated samples of 128x128 against statistics.

    With 1008 logits and 2048 features of a small stand-in network, every score: what is measured is what the
    evaluation holds, and TensorFlow itself, but not a large classifier.
    """
    found = output_of("benchmarks.evaluation")
    return {"value": found["peak_bytes"] / 1e9, "details": found}


def score_many(count=50000, size=128):
    """Scores `count` generated images of `size` x `size` against as many features; prints the peak as JSON."""
    import_tensorflow()
    from igan_tf.evaluation import as_classifier
    from igan_tf.evaluation.images import GeneratedSource
    from igan_tf.evaluation.scores import evaluate_images

    started = time.perf_counter()
    classifier = as_classifier(_Projection(), "stand-in", (0.0, 1.0), input_size=(size, size))

    def generate(seed):
        generator = np.random.default_rng(seed)
        for start in range(0, count, 64):
            yield generator.random((min(64, count - start), size, size, 3), "float32")

    reference = _reference(np.random.default_rng(1).random((count, DIMENSIONS), "float32"), classifier)
    source = GeneratedSource(lambda: generate(0), count, "generated")
    record, _, _ = evaluate_images(source, classifier, reference)
    found = {"peak_bytes": peak_bytes_so_far(), "seconds": time.perf_counter() - started, "count": count}
    print(json.dumps({**found, "scores": sorted(set(record) & {"inception_score", "frechet_distance", "precision"})}))


class _Projection:
    """A network of the outputs' sizes that costs next to nothing: fixed random maps of an image's 8x8 means."""

    def __init__(self):
        generator = np.random.default_rng(0)
        self._features = generator.normal(size=(192, DIMENSIONS)).astype("float32")
        self._logits = generator.normal(size=(192, 1008)).astype("float32")

    def __call__(self, images):
        import tensorflow as tf

        small = tf.reshape(tf.image.resize(images, (8, 8)), (len(images), -1)) - 0.5
        return small @ self._logits, tf.nn.relu(small @ self._features)


if __name__ == "__main__":
    score_many(*map(int, sys.argv[1:]))
