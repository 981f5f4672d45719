"""The records of scores that a table keeps: taken as they are, or computed anew."""

import json
import re
from pathlib import Path

import pytest

from igan_tf.experiments.configs import build_config
from igan_tf.tables import score_grid
from igan_tf.tables.published import TABLES

RECORD = {
    "num_samples": 20,
    "inception_score": {"mean": 2.0, "std": 0.1, "splits": 10, "seed": 0},
    "classifier": {"name": "stand-in", "sha256": "none", "protocol": "as they come", "outputs": 10, "features": 4},
    "frechet_distance": 3.0,
}


@pytest.fixture
def grid(tmp_path, monkeypatch):
    def read(flagfile, *own):
        return build_config(dataset="digits", labels=10)

    monkeypatch.setattr(score_grid, "evaluate", lambda settings: RECORD)
    table = TABLES["inception_score"]
    return score_grid.ScoreGrid(table, tmp_path, read, "keras_inception_v3", "", 20, 1)


def record(grid, weights="ab"):
    return grid._record("run", grid._settings("noise:8x8x3"), weights)


def test_a_saved_record_is_taken(grid, tmp_path, monkeypatch, capsys):
    assert record(grid) == RECORD
    monkeypatch.setattr(score_grid, "evaluate", lambda settings: {**RECORD, "num_samples": 30})
    assert record(grid) == RECORD and record(grid, "cd")["num_samples"] == 30
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "change",
    [
        lambda saved: saved.clear(),
        lambda saved: saved.update(request=[]),
        lambda saved: saved.update(more=0),
        lambda saved: saved["record"].update(inception_score=99.0),
        lambda saved: saved["record"]["inception_score"].update(mean="99"),
        lambda saved: saved["record"].update(frechet_distance=None),
        lambda saved: saved["record"].update(num_samples=-1),
        lambda saved: saved["record"]["classifier"].update(test_error=7),
        lambda saved: saved["record"]["classifier"].pop("sha256"),
    ],
)
def test_a_forged_record_is_computed_anew(grid, tmp_path, capsys, change):
    record(grid)
    path = Path(tmp_path, "scores", "run.json")
    saved = json.loads(path.read_text())
    change(saved)
    path.write_text(json.dumps(saved))
    assert record(grid) == RECORD
    assert re.fullmatch(rf"{path} is damaged: .*; computed anew\n", capsys.readouterr().out)
    assert json.loads(path.read_text())["record"] == RECORD
