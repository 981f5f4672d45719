"""The report's figures, as PNG files."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from igan_tf.errors import counted
from igan_tf.turing_test.encoding import decode_image
from igan_tf.turing_test.report import FEEDBACK_IN_WORDS, PAPER, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from igan_tf.turing_test.storage import Storage

# Okabe and Ito's colours, which the colour-blind tell apart.
_COLOURS = {False: "#0072b2", True: "#d55e00", None: "#444444"}
_CONDITIONS = {told: f"feedback {word}" for told, word in FEEDBACK_IN_WORDS.items()}
# The drawing library keeps fonts and the like in one place for all threads.
_DRAWING = threading.Lock()


def names(report: Report) -> list[str]:
    """The figures that there is something to draw in."""
    if not report["votes"]:
        return []
    mistaken = [name for name, images in report["mistaken"].items() if images]
    return ["accuracy", "annotators", "learning", "response_times", *mistaken]


def draw(name: str, report: Report, storage: Storage) -> bytes:
    """One figure.

    Args:
        name: One of `names(report)`.
        report: From `build_report`.
        storage: The study, for its images.

    Returns:
        A PNG file's bytes.
    """
    with _DRAWING:
        if name in report["mistaken"]:
            figure = _grid(report["mistaken"][name], storage)
        else:
            figure = {
                "accuracy": _accuracy,
                "annotators": _annotators,
                "learning": _learning,
                "response_times": _response_times,
            }[name](report)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def _figure(width: float, height: float) -> Figure:
    # Not at the top: it takes longer to import than all the rest of the server.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = _figure(width, height)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _chance(axes: Axes, direction: str) -> None:
    line = axes.axvline if direction == "x" else axes.axhline
    line(0.5, color="#999999", linewidth=1, linestyle="--", zorder=0)


def _errors(estimates: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Distances of the intervals' ends from the values, as `errorbar` takes them."""
    return np.array(
        [[e["value"] - e["low"] for e in estimates], [e["high"] - e["value"] for e in estimates]], "float64"
    ).clip(min=0)


def _accuracy(report: Report) -> Figure:
    """Every condition and source, above the paper's studies."""
    # One of several sources has none before there are votes on it and on real images.
    entries = [entry for entry in report["results"] if entry["accuracy"]["value"] is not None]
    figure, axes = _axes(7, 1.6 + 0.42 * (len(entries) + len(PAPER)))
    labels = []
    for place, entry in enumerate(entries):
        accuracy = entry["accuracy"]
        axes.errorbar(
            accuracy["value"],
            place,
            xerr=_errors([accuracy]),
            fmt="o",
            color=_COLOURS[entry["feedback"]],
            capsize=3,
        )
        labels.append(f"{entry['source']}, {_CONDITIONS[entry['feedback']]}")
    for place, study in enumerate(PAPER, start=len(entries)):
        axes.plot(study["accuracy"], place, "D", color="#999999", markersize=5)
        labels.append(f"paper: {study['study']}")
    _chance(axes, "x")
    # The whole range: of few votes, the interval would fill the figure and look like a large difference.
    axes.set(yticks=range(len(labels)), yticklabels=labels, xlabel="part of answers that is right, 95% interval")
    axes.set_xlim(-0.02, 1.02)
    axes.invert_yaxis()
    return figure


def _annotators(report: Report) -> Figure:
    """Each annotator with Wilson's interval, from the least to the most accurate."""
    people = sorted(report["people"], key=lambda person: person["accuracy"])
    figure, axes = _axes(7, 3.4)
    for told in (False, True):
        chosen = [(place, person) for place, person in enumerate(people, start=1) if person["feedback"] == told]
        if chosen:
            estimates = [{"value": p["accuracy"], "low": p["low"], "high": p["high"]} for _, p in chosen]
            axes.errorbar(
                [place for place, _ in chosen],
                [e["value"] for e in estimates],
                yerr=_errors(estimates),
                fmt="o",
                markersize=4,
                color=_COLOURS[told],
                label=_CONDITIONS[told],
            )
    _chance(axes, "y")
    axes.set(xlabel="annotators, in order of accuracy", ylabel="accuracy", ylim=(0, 1.02))
    axes.set_xlim(0.5, len(people) + 0.5)
    cast("MaxNLocator", axes.xaxis.get_major_locator()).set_params(integer=True, min_n_ticks=1)
    axes.legend(frameon=False, loc="lower right")
    return figure


def _learning(report: Report) -> Figure:
    figure, axes = _axes(7, 3.4)
    for told in (False, True):
        entries = [entry for entry in report["learning"] if entry["feedback"] == told]
        if entries:
            blocks = [entry["block"] for entry in entries]
            estimates = [entry["accuracy"] for entry in entries]
            axes.plot(blocks, [e["value"] for e in estimates], "o-", color=_COLOURS[told], label=_CONDITIONS[told])
            low, high = [e["low"] for e in estimates], [e["high"] for e in estimates]
            axes.fill_between(blocks, low, high, color=_COLOURS[told], alpha=0.15, linewidth=0)
    _chance(axes, "y")
    axes.set(xlabel="block", ylabel="accuracy, 95% interval", ylim=(0, 1.02))
    axes.set_xlim(0.5, max((entry["block"] for entry in report["learning"]), default=1) + 0.5)
    cast("MaxNLocator", axes.xaxis.get_major_locator()).set_params(integer=True, min_n_ticks=1)
    axes.legend(frameon=False, loc="lower right")
    return figure


def _response_times(report: Report) -> Figure:
    """Median and middle half."""
    entries = [entry for entry in report["response_seconds"] if entry["answers"] != "all"]
    figure, axes = _axes(7, 1.2 + 0.42 * len(entries))
    for place, entry in enumerate(entries):
        colour = _COLOURS[entry["feedback"]]
        axes.plot([entry["quarter"], entry["three_quarters"]], [place, place], color=colour, linewidth=6, alpha=0.35)
        axes.plot(entry["median"], place, "o", color=colour)
    labels = [f"{counted(entry['answers'], 'answer')}, {_CONDITIONS[entry['feedback']]}" for entry in entries]
    axes.set(yticks=range(len(labels)), yticklabels=labels, xlabel="seconds: median and middle half", xlim=(0, None))
    axes.invert_yaxis()
    return figure


def _grid(images: Sequence[Mapping[str, Any]], storage: Storage) -> Figure:
    """Images with the number of wrong answers under each."""
    columns = min(8, len(images))
    rows = math.ceil(len(images) / columns)
    figure = _figure(7, 7 / 8 * 1.3 * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, image in zip(grid.flat, images):
        pixels = decode_image(storage.item_image(image["item"]))
        pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(f"{image['wrong']} of {image['votes']}", fontsize=8, y=-0.28)
    return figure
