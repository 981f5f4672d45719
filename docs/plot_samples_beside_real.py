"""Draws the first images of a TFDS split beside a grid of a generator's samples.

python docs/plot_samples_beside_real.py docs/results/mnist_samples.png docs/results/mnist_samples_beside_real.png \
    --dataset=mnist --split=test[:100] --data_dir=...
"""

import argparse

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot
from PIL import Image

from igan_tf.images.grids import image_grid
from igan_tf.images.tfds import PreparedData


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", help="grid that `igan_tf.main --mode=sample` has written")
    parser.add_argument("picture", help="PNG file to write")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--split", default="test[:100]", help="as many images as the grid has samples")
    parser.add_argument("--data_dir", default="")
    arguments = parser.parse_args()
    real = np.stack(list(PreparedData(arguments.dataset, arguments.data_dir).images(arguments.split)))
    grids = {
        f"{len(real)} real images": image_grid(real.astype("float32") / 255).squeeze(),
        f"{len(real)} samples, none chosen": np.asarray(Image.open(arguments.samples)) / 255,
    }
    figure, axes = pyplot.subplots(1, 2, figsize=(8, 4.3), layout="constrained")
    for each, (title, grid) in zip(axes, grids.items()):
        each.imshow(grid, cmap="gray", interpolation="nearest", vmin=0, vmax=1)
        each.set_title(title)
        each.axis("off")
    figure.savefig(arguments.picture, dpi=100)


if __name__ == "__main__":
    main()
