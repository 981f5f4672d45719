"""The Inception Scores of a table's rows beside the paper's: `python docs/plot_scores.py out.png TABLE_DIR`.

TABLE_DIR is the `--output_dir` of `igan_tf.tables --table=ablation_small` or `--table=inception_score`.
"""

import argparse
import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

from igan_tf.tables.published import TABLES

SCORES = {row.name: row.mean for row in TABLES["inception_score"].rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture")
    parser.add_argument("table_dir", type=Path)
    arguments = parser.parse_args()
    with open(arguments.table_dir / "table.csv", encoding="utf-8", newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["inception_score"]]
    data = lines[0]["dataset"]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 3), layout="constrained", sharey=True)
    names = list(SCORES)
    left.barh(names, list(SCORES.values()), color="0.75")
    left.set_title("the paper: CIFAR-10")
    for at, name in enumerate(names):
        scores = [float(line["inception_score"]) for line in lines if line["row"] == name]
        if scores:
            right.barh(at, sum(scores) / len(scores), color="C0", alpha=0.5)
            right.plot(scores, [at] * len(scores), "k.", markersize=4)
    right.set_title(f"here: {data}, a dot a seed")
    left.invert_yaxis()
    for axes in (left, right):
        axes.set_xlabel("Inception Score")
        axes.grid(axis="x", alpha=0.3)
    figure.savefig(arguments.picture, dpi=90)


if __name__ == "__main__":
    main()
