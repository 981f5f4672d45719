"""The table's text from runs that are files alone."""

import csv
import json

import numpy as np
import pytest

from igan_tf.experiments.configs import build_config
from igan_tf.tables import report
from igan_tf.tables.grid import Run
from igan_tf.tables.published import TABLES, ErrorTable


def make_run(folder, labels, subset, error=None, epochs=3, seconds_per_step=0.5, **result):
    """A run of 100 steps an epoch; without `error` not finished."""
    run = Run(f"labels-{labels}_subset-{subset}", build_config(labels=labels, seed_data=subset, epochs=epochs), folder)
    run.run_dir.mkdir(parents=True)
    if error is not None:
        result = {
            "epochs": epochs,
            "steps": 300,
            "seed": 1,
            "test_error": error + 0.01,
            "averaged_test_error": error,
            **result,
        }
        (run.run_dir / "result.json").write_text(json.dumps(result))
        lines = [{"epoch": e, "step": 100 * e, "seconds_per_step": seconds_per_step} for e in range(1, epochs + 1)]
        (run.run_dir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


@pytest.fixture
def cells(tmp_path):
    return {
        50: [make_run(tmp_path, 50, 1, error=0.0221)],
        100: [make_run(tmp_path, 100, subset, error) for subset, error in ((1, 0.01), (2, 0.012), (3, None))],
    }


def test_counts_stand_beside_the_papers(tmp_path, cells):
    text = report.write_error_table(tmp_path, TABLES["mnist"], cells, seeds=1, averaged={50: [], 100: [(2, 0.0093)]})
    assert (tmp_path / "table.md").read_text() == text
    assert text.splitlines()[3:] == [
        "| labels | 50 | 100 |",
        "|---|---|---|",
        "| one model, paper | 221 +- 136 | 93 +- 6.5 |",
        # The sample deviation of 100 and 120 is 20 / sqrt(2).
        "| one model, here | 221 (1 of 1) | 110 +- 14.14 (2 of 3) |",
        "| ensemble of 10, paper | 142 +- 96 | 86 +- 5.6 |",
        "| ensemble, here |  | 93 (of 2 models) |",
    ]


def test_the_caption_says_how_short_the_runs_are(tmp_path, cells):
    text = report.write_error_table(tmp_path, TABLES["mnist"], cells, seeds=1, averaged={50: [], 100: []})
    # 300 steps of half a second.
    assert "3 epochs (paper: 300), 3 of 4 runs done, 2.5 minutes of training steps a run." in text
    assert "one model of each subset" in text
    text = report.write_error_table(tmp_path, TABLES["mnist"], cells, seeds=4, averaged={50: [], 100: []})
    assert "the models of one subset" in text


def test_runs_of_more_epochs_are_named_by_theirs(tmp_path, cells):
    run = cells[50][0]
    shorter = Run(run.name, build_config(labels=50, epochs=2), tmp_path)
    assert shorter.result() is not None
    text = report.write_error_table(tmp_path, TABLES["mnist"], {50: [shorter]}, seeds=1, averaged={50: []})
    assert "3 epochs (paper: 300)" in text


def test_a_rate_that_is_never_annealed_is_named(tmp_path):
    run = make_run(tmp_path, 1000, 1, error=0.2)
    config = build_config(labels=1000, epochs=3, anneal_epochs=900)
    text = report.write_error_table(
        tmp_path, TABLES["svhn"], {1000: [Run(run.name, config, tmp_path)]}, seeds=1, averaged={1000: []}
    )
    assert "learning rates would reach 0 at epoch 900, which these runs do not" in text
    config = build_config(labels=1000, epochs=3, anneal_epochs=2)
    text = report.write_error_table(
        tmp_path, TABLES["svhn"], {1000: [Run(run.name, config, tmp_path)]}, seeds=1, averaged={1000: []}
    )
    assert "learning rates are 0 from epoch 2 on" in text


def test_scores(tmp_path):
    table = TABLES["inception_score"]
    record = {
        "inception_score": {"mean": 6.5, "std": 0.25, "splits": 10},
        "num_samples": 5000,
        "classifier": {"name": "stand_in", "sha256": "0123456789abcdef"},
    }
    runs = [make_run(tmp_path, 100, subset, error=0.5 if subset < 3 else None) for subset in range(1, 7)]
    text = report.write_score_table(tmp_path, table, [[run] for run in runs], {runs[0].name: record})
    assert "5000 samples, 10 splits, classifier stand_in (0123456789ab)" in text and "2 of 6 runs done" in text
    lines = text.splitlines()
    assert lines[5:8] == [
        "| real data | 11.24 +- 0.12 |  |",
        "| our methods | 8.09 +- 0.07 | 6.500 +- 0.250 |",
        "| -VBN+BN | 7.54 +- 0.07 |  |",
    ]
    with open(tmp_path / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["inception_score"] for row in rows] == ["6.5", "", "", "", "", ""]
    assert [row["deviation"] for row in rows] == ["0.25", "", "", "", "", ""]


def test_scores_of_several_seeds_beside_real_images(tmp_path):
    table = TABLES["ablation_small"]
    classifier = {"name": "domain(mnist)", "sha256": "0123456789abcdef", "test_error": 0.0078}

    def record(mean, distance):
        return {
            "inception_score": {"mean": mean, "std": 0.25, "splits": 10},
            "frechet_distance": distance,
            **{"num_samples": 10_000, "classifier": classifier},
        }

    cells = [[make_run(tmp_path, 100, 3 * row + seed, error=0.5) for seed in range(3)] for row in range(6)]
    records = {run.name: record(7.0 + place, 30.0 + place) for place, run in enumerate(cells[0])}
    records[cells[1][0].name] = record(9.5, 41.0)
    real = {"inception_score": {"mean": 9.64, "std": 0.08, "splits": 10}}
    text = report.write_score_table(tmp_path, table, cells, records, real)
    assert "over the runs that are done, of real data over splits; 10000 samples, 10 splits" in text
    assert "classifier domain(mnist) (0123456789ab, test error 0.78%)" in text
    assert text.splitlines()[3:8] == [
        "| | paper | Inception Score here | FID here |",
        "|---|---|---|---|",
        "| real data | 11.24 +- 0.12 | 9.640 +- 0.080 |  |",
        "| our methods | 8.09 +- 0.07 | 8.000 +- 1.000 (3 of 3) | 31.000 +- 1.000 (3 of 3) |",
        "| -VBN+BN | 7.54 +- 0.07 | 9.500 (1 of 3) | 41.000 (1 of 3) |",
    ]
    assert text.splitlines()[8] == "| -L+HA | 6.86 +- 0.06 |  |  |"
    with open(tmp_path / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["frechet_distance"] for row in rows[:4]] == ["30.0", "31.0", "32.0", "41.0"] and len(rows) == 18


def test_per_cent(tmp_path):
    cells = {1000: [make_run(tmp_path, 1000, 1, error=0.0811)]}
    text = report.write_error_table(tmp_path, TABLES["svhn"], cells, seeds=2, averaged={1000: [(2, 0.06), (1, 0.07)]})
    assert "| one model, paper | 8.11 +- 1.30 |" in text and "| one model, here | 8.11 (1 of 1) |" in text
    assert "| ensemble, here | 6.50 +- 0.71 (of 1 or 2 models) |" in text


def test_a_run_of_fewer_epochs_is_not_done(tmp_path):
    run = make_run(tmp_path, 100, 1, error=0.01)
    assert run.result()["averaged_test_error"] == 0.01
    longer = Run(run.name, build_config(epochs=4), tmp_path)
    assert longer.result() is None


def test_csv(tmp_path, cells):
    report.write_error_table(tmp_path, TABLES["mnist"], cells, seeds=1, averaged={50: [], 100: []})
    with open(tmp_path / "table.csv", newline="") as file:
        summary = list(csv.DictReader(file))
    assert summary[1] == {"row": "one model, here", "50": "221 (1 of 1)", "100": "110 +- 14.14 (2 of 3)"}
    assert summary[0]["100"] == "93 +- 6.5"
    with open(tmp_path / "runs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["labels"], row["seed_data"], row["averaged_test_error"]) for row in rows] == [
        ("50", "1", "0.0221"),
        ("100", "1", "0.01"),
        ("100", "2", "0.012"),
        ("100", "3", ""),
    ]
    assert [row["training_seconds"] for row in rows] == ["150.0", "150.0", "150.0", ""]


def test_metrics_between_epochs_and_damaged_ones_take_no_table_away(tmp_path, cells):
    metrics = [cell[0].run_dir / "metrics.jsonl" for cell in cells.values()]
    # As `log_steps` has them.
    lines = metrics[0].read_text().splitlines()
    metrics[0].write_text("\n".join(['{"step": 50, "step/generator_loss": 1.0}', *lines]) + "\n")
    metrics[1].write_bytes(metrics[1].read_bytes().replace(b'"epoch"', b'"ep\0ch"', 1))
    report.write_error_table(tmp_path, TABLES["mnist"], cells, seeds=1, averaged={50: [], 100: []})
    with open(tmp_path / "runs.csv", newline="") as file:
        assert [row["training_seconds"] for row in csv.DictReader(file)] == ["150.0", "", "150.0", ""]
    # As one who heeds the message about the damage has moved it away.
    metrics[1].unlink()
    text = report.write_error_table(tmp_path, TABLES["mnist"], cells, seeds=1, averaged={50: [], 100: []})
    assert "2.5 minutes of training steps a run" in text


def test_the_papers_figures():
    """The figures of the paper."""
    mnist, cifar10, svhn = (TABLES[name] for name in ("mnist", "cifar10", "svhn"))
    assert mnist.labels == (20, 50, 100, 200) and cifar10.labels == (1000, 2000, 4000, 8000)
    np.testing.assert_allclose([mnist.single[20], mnist.ensemble[200]], [(0.1677, 0.0452), (0.0081, 0.00043)])
    np.testing.assert_allclose([cifar10.single[4000], cifar10.ensemble[8000]], [(0.1863, 0.0232), (0.1487, 0.0089)])
    np.testing.assert_allclose([svhn.single[500], svhn.ensemble[1000]], [(0.1844, 0.048), (0.0588, 0.01)])
    for name in ("inception_score", "ablation_small"):
        assert [row.mean for row in TABLES[name].rows] == [8.09, 7.54, 6.86, 6.83, 4.36, 3.87]
    assert all(table.paper_epochs for table in TABLES.values() if isinstance(table, ErrorTable) and table.single)
