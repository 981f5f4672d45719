"""Why the Inception Score must not be optimised directly: `python docs/optimising_the_score.py`, under a minute.

The paper's caution (section 4): "directly optimizing this metric will lead to the generation of adversarial
examples". Here uniform noise is changed, by at most EPSILON a pixel, towards what maximises the score of a small
classifier of scikit-learn's digits: a sure answer for each image, and all classes equally often. Writes
optimising_the_score.png beside this file.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from igan_tf.data import DataSettings, load_data  # noqa: E402
from igan_tf.evaluation import inception_score  # noqa: E402
from igan_tf.evaluation.classifiers.domain import train_network  # noqa: E402
from igan_tf.images.grids import image_grid  # noqa: E402

IMAGES, EPSILON, STEPS, RATE = 400, 0.4, 60, 0.02
SHOWN = 64


def score(network, images):
    """The Inception Score, one split, of images in [0, 1]."""
    return inception_score(np.asarray(network(images, training=False)["logits"]), splits=1)[0]


def optimise(network, noise):
    """Gradient ascent on each image's log probability of a class, the classes in turn, and its score after each step.

    The score is largest, the number of classes, exactly where these probabilities are all 1. Its own gradient leads
    there too, but stops at 4.3 where every image is sure of the class that it began nearest to.
    """
    pixels, scores = tf.Variable(noise), [score(network, noise)]
    classes = np.arange(len(noise)) % 10

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            log_p = tf.nn.log_softmax(network(pixels, training=False)["logits"])
            objective = tf.reduce_mean(tf.gather(log_p, classes, batch_dims=1))
        # The sign of each pixel's gradient, as for adversarial examples; never further than EPSILON from the noise.
        moved = pixels + RATE * tf.sign(tape.gradient(objective, pixels))
        pixels.assign(tf.clip_by_value(moved, tf.maximum(noise - EPSILON, 0.0), tf.minimum(noise + EPSILON, 1.0)))

    for _ in range(STEPS):
        step()
        scores.append(score(network, pixels))
    return pixels.numpy(), scores


def main():
    data = load_data(DataSettings(dataset="digits"))
    network, other = (train_network(data.train_images, data.train_labels, 10, seed) for seed in (0, 1))
    noise = np.random.default_rng(0).random((IMAGES, *data.image_shape), "float32")
    optimised, scores = optimise(network, noise)
    real = data.test_images[:IMAGES]
    panels = (("real digits", real), ("uniform noise", noise), (f"noise changed by at most {EPSILON}", optimised))

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(1, 4, figsize=(13, 4.2), layout="constrained", width_ratios=(1, 1, 1, 1.2))
    for axis, (title, images) in zip(axes, panels):
        figures = score(network, images), score(other, images)
        print(f"{title}: score {figures[0]:.2f}, by a second classifier {figures[1]:.2f}")
        axis.imshow(image_grid(images[:SHOWN])[..., 0], cmap="gray", vmin=0, vmax=1)
        axis.set_title(f"{title}\nscore {figures[0]:.2f} of at most 10")
        axis.axis("off")
    axes[3].plot(scores, color="#c0392b", linewidth=1.8, label="the optimised noise")
    axes[3].axhline(score(network, real), color="#1f6fb2", linestyle="--", linewidth=1.2, label="real digits")
    axes[3].set(xlabel="step", ylabel="Inception Score", ylim=(0.8, 10.2), xlim=(0, STEPS))
    axes[3].legend(frameon=False, loc="lower right")
    figure.savefig(HERE / "optimising_the_score.png", dpi=100)


if __name__ == "__main__":
    main()
