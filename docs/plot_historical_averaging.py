"""Plots two games of the paper with and without historical averaging: `python docs/plot_historical_averaging.py`.

Writes historical_averaging.png beside this file. The games are those that tests/losses/test_historical_averaging.py
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

from tests.parity import games  # noqa: E402

GAMES = {
    "Section 3: V(x, y) = x·y": games.PRODUCT,
    "Section 3.3: V(x, y) = (f(x) − 1)(y − 1), f(x) = x below 0 and x² above": games.BENT,
}


def main():
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure = plt.figure(figsize=(9, 8), layout="constrained")
    for part, (title, game) in zip(figure.subfigures(2), GAMES.items(), strict=True):
        part.suptitle(title)
        plane, distance = part.subplots(1, 2, width_ratios=(1, 1.15))
        for label, weight, color in (
            ("simultaneous gradient descent", 0.0, "#c0392b"),
            ("with historical averaging", game.weight, "#1f6fb2"),
        ):
            path = games.play(game, weight)
            steps, distances = np.arange(len(path)), games.relative_distances(game, path)
            plane.plot(path[:, 0], path[:, 1], color=color, linewidth=1.2, label=label)
            plane.plot(*path[-1], "o", color=color, markersize=5)
            distance.plot(steps, distances, color=color, linewidth=1.5, label=label)

        plane.plot(*game.start, "o", color="black", markersize=5)
        plane.plot(*game.equilibrium, "+", color="black", markersize=11, markeredgewidth=1.5)
        plane.set(xlabel="x  (lowers V)", ylabel="y  (raises V)", aspect="equal")

        distance.axhline(0.05, color="grey", linewidth=0.8, linestyle="--")
        distance.text(game.steps, 0.055, "5 % of the start's", color="dimgrey", va="bottom", ha="right")
        distance.set(yscale="log", xlabel="step", xlim=(0, game.steps), yticks=[0.01, 0.1, 1, 10])
        distance.set_yticks([], minor=True)
        distance.yaxis.set_major_formatter("{x:g}")
        distance.set_ylabel("distance to the equilibrium / the start's")
    figure.legend(*distance.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2)
    figure.savefig(HERE / "historical_averaging.png", dpi=110)


if __name__ == "__main__":
    main()
