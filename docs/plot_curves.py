"""Curves over the epochs of finished or running runs: `python docs/plot_curves.py out.png KEY LABEL=RUN_DIR ...`.

KEY is a name in `metrics.jsonl`, such as `averaged_test_error`; `--percent` shows it times 100, `--log` on a
logarithmic scale.
"""

import argparse

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

from igan_tf.training.run_log import read_metrics


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture")
    parser.add_argument("key")
    parser.add_argument("runs", nargs="+", metavar="LABEL=RUN_DIR")
    parser.add_argument("--percent", action="store_true")
    parser.add_argument("--log", action="store_true")
    parser.add_argument("--title", default="")
    arguments = parser.parse_args()
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for run in arguments.runs:
        label, _, folder = run.rpartition("=")
        lines = [line for line in read_metrics(f"{folder}/metrics.jsonl") if arguments.key in line and "epoch" in line]
        values = [line[arguments.key] * (100 if arguments.percent else 1) for line in lines]
        axes.plot([line["epoch"] for line in lines], values, label=label)
    if arguments.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("epoch")
    axes.set_ylabel(arguments.key.replace("_", " ") + (", %" if arguments.percent else ""))
    axes.set_title(arguments.title)
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(arguments.picture, dpi=100)


if __name__ == "__main__":
    main()
