"""Puts the upper left corners of several grids of samples beside one another.

python docs/plot_grids.py docs/results/imagenet_dcgan.jpg --columns=6 --rows=3 --grids_in_a_row=2 \
    dcgan-1/samples/epoch-0024.png ours-1/samples/epoch-0024.png ...
"""

import argparse

import numpy as np
from PIL import Image


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", help="file to write")
    parser.add_argument("grids", nargs="+", help="grids that a run has written, all of one size")
    parser.add_argument("--side", type=int, default=128, help="pixels of an image in them")
    parser.add_argument("--columns", type=int, default=6, help="images taken from each row")
    parser.add_argument("--rows", type=int, default=3, help="rows taken from each grid")
    parser.add_argument("--grids_in_a_row", type=int, default=2)
    parser.add_argument("--scale", type=float, default=0.5, help="of the picture's sides")
    arguments = parser.parse_args()
    # A grid has a white line around each image.
    height, width = ((arguments.side + 1) * count + 1 for count in (arguments.rows, arguments.columns))
    corners = [np.asarray(Image.open(grid).convert("RGB"))[:height, :width] for grid in arguments.grids]
    apart = np.pad(np.stack(corners), ((0, 0), (0, 12), (0, 12), (0, 0)), constant_values=255)
    rows = [
        np.concatenate(apart[start : start + arguments.grids_in_a_row], axis=1)
        for start in range(0, len(apart), arguments.grids_in_a_row)
    ]
    whole = Image.fromarray(np.concatenate(rows, axis=0))
    size = (round(whole.width * arguments.scale), round(whole.height * arguments.scale))
    whole.resize(size, Image.Resampling.LANCZOS).save(arguments.picture, quality=85)


if __name__ == "__main__":
    main()
