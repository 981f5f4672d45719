"""Draws a class's labelled examples above the test examples of it that a run takes for another class.

python docs/plot_confusion.py --run_dir=runs/mnist --actual=7 --predicted=2 --output=docs/mnist_crossed_sevens.png
"""

import argparse

import numpy as np

from igan_tf.data import load_data
from igan_tf.experiments import run_directory, runs
from igan_tf.experiments.recipes import recipe_of
from igan_tf.images.arrays import as_unit_range
from igan_tf.images.grids import image_grid, write_png

COLUMNS = 20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run_dir", required=True)
    parser.add_argument("--actual", type=int, required=True, help="number of the class")
    parser.add_argument("--predicted", type=int, required=True, help="number of the class that it is taken for")
    parser.add_argument("--output", required=True, help="PNG file")
    arguments = parser.parse_args()
    config = run_directory.read_config(arguments.run_dir)
    data = load_data(config)
    indices, labels = recipe_of(config).labelled_examples(data)
    labelled = data.train_images[indices[labels == arguments.actual]]
    predicted = runs.load_run(arguments.run_dir).class_probabilities(data.test_images, config.batch_size)
    predicted = predicted.argmax(axis=1)
    confused = data.test_images[(data.test_labels == arguments.actual) & (predicted == arguments.predicted)]
    print(f"{len(confused)} of {np.sum(predicted != data.test_labels)} errors are of this kind; confusion matrix:")
    matrix = np.zeros((data.num_classes, data.num_classes), int)
    np.add.at(matrix, (data.test_labels, predicted), 1)
    print(matrix)
    # Labelled ones fill whole rows of their own, one row left free below them.
    free = np.zeros((-len(labelled) % COLUMNS + COLUMNS, *data.image_shape), labelled.dtype)
    images = as_unit_range(np.concatenate([labelled, free, confused]))
    write_png(arguments.output, image_grid(images, columns=COLUMNS))


if __name__ == "__main__":
    main()
