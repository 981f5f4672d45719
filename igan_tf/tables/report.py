"""From finished runs to the paper's table, as Markdown and CSV."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from igan_tf.errors import counted
from igan_tf.experiments.configs import SemiSupervisedConfig
from igan_tf.files import StrPath, durable
from igan_tf.tables.published import ErrorTable, ScoreTable

if TYPE_CHECKING:
    from igan_tf.tables.grid import Run


def write_error_table(
    folder: Path,
    table: ErrorTable,
    cells: Mapping[int, Sequence[Run]],
    seeds: int,
    averaged: Mapping[int, Sequence[tuple[int, float]]],
) -> str:
    """Writes `table.md`, `table.csv` and, a line a run, `runs.csv` of an `ErrorTable`.

    Args:
        folder: Where to.
        table: The `ErrorTable`.
        cells: Dict of number of labels -> list of `Run`, subset by subset, a subset's seeds one after the other.
        seeds: Models of each subset.
        averaged: Dict of number of labels -> list of (number of models, error as a fraction) of each ensemble.

    Returns:
        The Markdown.
    """
    columns = list(cells)
    runs = list(itertools.chain.from_iterable(cells.values()))
    finished = [run for run in runs if run.result() is not None]
    errors = {
        labels: [result["averaged_test_error"] for run in cells[labels] if (result := run.result())]
        for labels in columns
    }
    rows = {
        "one model, paper": [_figure(table, table.single.get(labels)) for labels in columns],
        "one model, here": [_measured(table, errors[labels], f" of {len(cells[labels])}") for labels in columns],
        "ensemble of 10, paper": [_figure(table, table.ensemble.get(labels)) for labels in columns],
        "ensemble, here": [_ensembles(table, averaged[labels]) for labels in columns],
    }
    # Where every run has failed, and the paper has no such table, one line is left all the same.
    rows = {name: values for name, values in rows.items() if any(values) or name == "one model, here"}
    lines = [
        _caption(table.title, table.paper_epochs, runs, finished),
        "Errors here are the averaged parameters', mean +- sample standard deviation over the runs that are done. "
        + _ensemble_caption(seeds),
        "",
        "| labels | " + " | ".join(map(str, columns)) + " |",
        "|---" * (len(columns) + 1) + "|",
        *(f"| {name} | " + " | ".join(values) + " |" for name, values in rows.items()),
    ]
    durable.write_text(folder / "runs.csv", as_csv([_run_figures(run) for run in runs]))
    summary = [{"row": name, **dict(zip(map(str, columns), values))} for name, values in rows.items()]
    durable.write_text(folder / "table.csv", as_csv(summary))
    return _write_markdown(folder, lines)


def write_score_table(
    folder: Path,
    table: ScoreTable,
    cells: Sequence[Sequence[Run]],
    records: Mapping[str, dict[str, Any]],
    real: dict[str, Any] | None = None,
) -> str:
    """Writes `table.md` and `table.csv` of a `ScoreTable`.

    Args:
        folder: Where to.
        table: The `ScoreTable`.
        cells: The `Run`s of each of its rows.
        records: The record of `igan_tf.evaluate` of each finished run, by its name.
        real: That of real images.

    Returns:
        The Markdown.
    """
    runs = list(itertools.chain.from_iterable(cells))
    several = len(runs) > len(cells)
    protocol = "Scores here: mean +- standard deviation over " + (
        "the runs that are done, of real data over splits" if several else "the splits of one run's samples"
    )
    if records:
        first = next(iter(records.values()))
        classifier = first["classifier"]
        protocol += (
            f"; {counted(first['num_samples'], 'sample')}, {counted(first['inception_score']['splits'], 'split')}, "
            f"classifier {classifier['name']} ({(classifier['sha256'] or 'no digest')[:12]}"
            + (f", test error {classifier['test_error']:.2%}" if "test_error" in classifier else "")
            + ")"
        )
    names = ["inception_score", *(["frechet_distance"] if table.reference else [])]
    header = ["paper", "Inception Score here", *(["FID here"] if table.reference else [])]
    lines = [
        _caption(table.title, table.paper_epochs, runs, [run for run in runs if run.result() is not None]),
        f"{protocol}. {table.note}",
        "",
        "| | " + " | ".join(header) + " |",
        "|---" * (len(header) + 1) + "|",
        _score_line("real data", table.real, [_shown_scores([real] if real else [], name, of=1) for name in names]),
    ]
    rows = []
    for row, cell in zip(table.rows, cells):
        found = [records[run.name] for run in cell if run.name in records]
        shown = [_shown_scores(found, name, of=len(cell)) for name in names]
        lines.append(_score_line(row.name, (row.mean, row.std), shown))
        for run in cell:
            figures: dict[str, Any] = dict.fromkeys(["inception_score", "deviation", *names], "")
            if record := records.get(run.name):
                figures |= {name: _score(record, name)[0] for name in names}
                figures["deviation"] = _score(record, "inception_score")[1]
            rows.append({"row": row.name, **figures, **_run_figures(run)})
    durable.write_text(folder / "table.csv", as_csv(rows))
    return _write_markdown(folder, lines)


def _score_line(name: str, paper: tuple[float, float], shown: Sequence[str]) -> str:
    return "| " + " | ".join([name, f"{paper[0]} +- {paper[1]}", *shown]) + " |"


def _score(record: Mapping[str, Any], name: str) -> tuple[float, float | None]:
    """A score, and its deviation over splits where it has one."""
    found = record[name]
    return (found, None) if isinstance(found, float) else (found["mean"], found["std"])


def _shown_scores(records: Sequence[Mapping[str, Any]], name: str, of: int) -> str:
    """The score of the only run with its deviation over splits, or that of several with their sample deviation."""
    scores = [_score(record, name) for record in records if name in record]
    if not scores:
        return ""
    values, deviations = zip(*scores)
    deviation = deviations[0] if of == 1 else float(np.std(values, ddof=1)) if len(values) > 1 else None
    shown = f"{np.mean(values):.3f}" + ("" if deviation is None else f" +- {deviation:.3f}")
    return shown if of == 1 else f"{shown} ({len(values)} of {of})"


def _ensemble_caption(seeds: int) -> str:
    if seeds > 1:
        return "An ensemble averages the class probabilities of the models of one subset, which differ in their seed."
    return (
        "An ensemble averages the class probabilities of one model of each subset: between them they have seen the "
        "labels of all subsets."
    )


def _caption(title: str, paper_epochs: int | None, runs: Sequence[Run], finished: Sequence[Run]) -> str:
    """What keeps a shortened table from being taken for the paper's."""
    epochs = sorted(
        {result["epochs"] for run in finished if (result := run.result())} or {run.config.epochs for run in runs}
    )
    paper = f" (paper: {paper_epochs})" if paper_epochs else ""
    done = f"{len(finished)} of {counted(len(runs), 'run')} done"
    caption = f"**{title}.** {_one_or_other(epochs, 'epoch')}{paper}, {done}"
    seconds = [taken for run in finished if (taken := run.training_seconds()) is not None]
    if seconds:
        caption += f", {np.mean(seconds) / 60:.1f} minutes of training steps a run"
    anneal_epochs = max(run.config.anneal_epochs for run in runs)
    if epochs[-1] < anneal_epochs:
        caption += f"; learning rates would reach 0 at epoch {anneal_epochs}, which these runs do not"
    elif epochs[-1] > anneal_epochs > 0:
        caption += f"; learning rates are 0 from epoch {anneal_epochs} on"
    return caption + "."


def _shown(table: ErrorTable, value: float | np.floating) -> str:
    """An error, given as a fraction, in the table's unit."""
    return f"{value * table.as_count:.4g}" if table.as_count else f"{value * 100:.2f}"


def _figure(table: ErrorTable, figure: tuple[float, float] | None) -> str:
    return f"{_shown(table, figure[0])} +- {_shown(table, figure[1])}" if figure else ""


def _measured(table: ErrorTable, values: Sequence[float], of: str = "") -> str:
    """Mean, sample standard deviation, and how many values they are of."""
    if not values:
        return ""
    deviation = f" +- {_shown(table, np.std(values, ddof=1))}" if len(values) > 1 else ""
    return _shown(table, np.mean(values)) + deviation + (f" ({len(values)}{of})" if of else "")


def _ensembles(table: ErrorTable, averaged: Sequence[tuple[int, float]]) -> str:
    if not averaged:
        return ""
    sizes = sorted({size for size, _ in averaged})
    return f"{_measured(table, [error for _, error in averaged])} (of {_one_or_other(sizes, 'model')})"


def _one_or_other(numbers: Sequence[int], noun: str) -> str:
    """Numbers with the noun of the last: "1 or 3 models"."""
    return " or ".join([*map(str, numbers[:-1]), counted(numbers[-1], noun)])


def _run_figures(run: Run) -> dict[str, Any]:
    """What the CSV says of a run; its result is left empty while it is not finished."""
    result = run.result() or {}
    seconds = run.training_seconds() if result else None
    # No table is of another recipe.
    config = cast(SemiSupervisedConfig, run.config)
    return {
        "run": run.name,
        "dataset": config.dataset,
        "labels": config.labels,
        "seed_data": config.seed_data,
        "seed": config.seed,
        **{name: result.get(name, "") for name in ("epochs", "steps", "test_error", "averaged_test_error")},
        "training_seconds": "" if seconds is None else round(seconds, 1),
    }


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same names as CSV, with a line of names."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def write_json(path: StrPath, value: dict[str, Any]) -> None:
    durable.write_text(path, json.dumps(value, indent=2) + "\n")


def _write_markdown(folder: Path, lines: Iterable[str]) -> str:
    text = "\n".join(lines) + "\n"
    durable.write_text(folder / "table.md", text)
    return text
