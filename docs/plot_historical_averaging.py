"""Plots the paper's x * y game with and without historical averaging: `python docs/plot_historical_averaging.py`.

Writes historical_averaging.png beside this file. The game is the one that tests/losses/test_historical_averaging.py
plays.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tests.parity import xy_game  # noqa: E402

RUNS = (("simultaneous gradient descent", 0.0, "#c0392b"), ("with historical averaging", xy_game.WEIGHT, "#1f6fb2"))


def main():
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, (plane, distance) = plt.subplots(1, 2, figsize=(9, 4.2), width_ratios=(1, 1.15), layout="constrained")
    for label, weight, color in RUNS:
        path = xy_game.play(weight)
        plane.plot(path[:, 0], path[:, 1], color=color, linewidth=1.3, label=label)
        plane.plot(*path[-1], "o", color=color, markersize=5)
        distance.plot(np.arange(len(path)), xy_game.relative_distances(path), color=color, linewidth=1.6, label=label)

    plane.plot(*xy_game.START, "o", color="black", markersize=5)
    plane.plot(0, 0, "+", color="black", markersize=11, markeredgewidth=1.5)
    plane.set(xlabel="x  (minimises x·y)", ylabel="y  (minimises −x·y)", aspect="equal")
    plane.set_title("Trajectories from (1, 1), the black dot")

    distance.axhline(1.0, color="grey", linewidth=0.8, linestyle=":")
    distance.axhline(0.05, color="grey", linewidth=0.8, linestyle="--")
    distance.text(xy_game.STEPS, 0.055, "5% of the start", color="dimgrey", va="bottom", ha="right")
    distance.set(yscale="log", xlabel="step", xlim=(0, xy_game.STEPS), yticks=[0.01, 0.1, 1])
    distance.set_yticks([], minor=True)
    distance.yaxis.set_major_formatter("{x:g}")
    distance.set_title("Distance to (0, 0), relative to the start")
    figure.legend(*distance.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2)
    figure.savefig(HERE / "historical_averaging.png", dpi=110)


if __name__ == "__main__":
    main()
