"""`igan-tf compare`: what differs between runs, beside their figures."""

import csv
import importlib.util
import json

import pytest
from PIL import Image

from igan_tf.commands import main
from igan_tf.experiments.configs import build_config
from igan_tf.experiments.run_directory import save_config, write_result
from igan_tf.files.json_lines import as_line
from igan_tf.training import Checkpoints


def make_run(run_dir, lines, result=None, **changes):
    run_dir.mkdir(parents=True)
    save_config(run_dir, build_config(dataset="digits", labels=50, epochs=3, **changes))
    (run_dir / "metrics.jsonl").write_text("".join(map(as_line, lines)))
    if result is not None:
        write_result(run_dir, {"epochs": 3, "steps": 9, "seed": 1, **result})


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """One that is finished, two that are not, one of two draws, a folder of something else, and one of weights."""
    losses = {"discriminator_loss": 1.5, "generator_loss": 0.5}
    lines = [
        {"step": 1, "step/generator_loss": 9.0},
        {"epoch": 1, "step": 3, **losses, "test_error": 0.5, "averaged_test_error": 0.25},
        {"epoch": 2, "step": 6, **losses, "test_error": 0.125, "averaged_test_error": 0.0625, "inception_score": 7.5},
        {"epoch": 3, "step": 9, **losses, "test_error": 0.12345678, "averaged_test_error": 0.0625},
    ]
    make_run(tmp_path / "runs/a", lines, {"supervised_test_error": 0.75}, data_dir="here")
    make_run(tmp_path / "runs/b", lines[:2], seed=2, label_smoothing=0.1, data_dir="there")
    for draw in (1, 2):
        make_run(tmp_path / f"runs/c/draw-{draw}", lines[:2], seed_data=draw + 4)
    make_run(tmp_path / "runs/begun", [])
    (tmp_path / "runs/notes").mkdir()
    (tmp_path / "runs/exported").mkdir()
    save_config(tmp_path / "runs/exported", build_config(dataset="digits"))
    Checkpoints(tmp_path / "runs/exported/checkpoints").save(9, {}, {"step": 9, "weights_of": ["generator"]})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compare(capsys, *arguments):
    main(["compare", *arguments])
    return capsys.readouterr().out.splitlines()


def test_scores_of_several_classifiers_are_told_apart(runs, capsys):
    protocol = {"num_samples": 60, "seed": 1, "classifier": {"name": "domain", "sha256": "0" * 64, "protocol": "p"}}
    (runs / "runs/a/score_protocol.json").write_text(json.dumps(protocol))
    assert "scored_by" not in compare(capsys, "runs/a", "runs/b")[0]
    protocol["classifier"] = {"name": "m.tflite", "sha256": "1" * 64, "protocol": "p"}
    (runs / "runs/b/score_protocol.json").write_text(json.dumps(protocol))
    names, first, second, *_ = compare(capsys, "runs/a", "runs/b", "runs/begun")
    assert "scored_by" in names and "domain 00000000" in first and "m.tflite 11111111" in second
    (runs / "runs/b/score_protocol.json").write_text("{")
    with pytest.raises(SystemExit, match=r"score_protocol\.json is damaged"):
        main(["compare", "runs/a", "runs/b"])


def test_what_differs_stands_beside_the_figures(runs, capsys):
    names, *rows, last = compare(capsys, "runs/a", "second=runs/b", "runs/c", "runs/begun", "--csv=table.csv")
    assert last == "csv: table.csv"
    with open("table.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert (
        names.split()
        == list(table[0])
        == [
            *("run", "seed", "label_smoothing", "seed_data", "epochs"),
            *("test_error", "averaged_test_error", "supervised_test_error", "inception_score"),
        ]
    )
    assert [row["run"] for row in table] == ["runs/a", "second", "runs/c/draw-1", "runs/c/draw-2", "runs/begun"]
    assert [row["epochs"] for row in table] == ["3/3", "1/3", "1/3", "1/3", "0/3"]
    assert [row["seed"] + row["seed_data"] + row["label_smoothing"] for row in table] == [
        "110.0",
        "210.1",
        "150.0",
        "160.0",
        "110.0",
    ]
    assert [table[0][name] for name in names.split()[5:]] == ["0.12345678", "0.0625", "0.75", "7.5"]
    assert [table[1][name] for name in names.split()[5:]] == ["0.5", "0.25", "", ""]
    assert rows[0].split() == ["runs/a", "1", "0", "1", "3/3", "0.1235", "0.0625", "0.75", "7.5"]
    # Columns stand below their names.
    assert len({len(line) for line in (names, *rows)}) == 1


def test_losses_stand_for_errors_and_scores_where_there_are_none(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "a", [{"epoch": 1, "step": 3, "discriminator_loss": 1.5, "generator_loss": 0.5}])
    assert [line.split() for line in compare(capsys, "a")] == [
        ["run", "epochs", "discriminator_loss", "generator_loss"],
        ["a", "1/3", "1.5", "0.5"],
    ]


@pytest.mark.parametrize(
    ("flags", "curve"), [((), "averaged_test_error"), (("--curve=test_error", "--log_scale"), "test_error")]
)
def test_a_figure(runs, capsys, flags, curve):
    assert compare(capsys, "runs/a", "runs/b", "--figure=f.png", *flags)[-1] == f"figure: f.png, {curve}"
    with Image.open("f.png") as figure:
        assert figure.size == (700, 400) and len(figure.convert("RGB").getcolors(10**6)) > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name the run directories to compare"),
        (["runs/a", "runs/notes"], r"`RUN_DIR=runs/notes` is not the directory of a run: it has no flags.cfg"),
        (["runs/a", "second=runs/d"], r"`RUN_DIR=runs/d` is not the directory of a run: it does not exist"),
        (["runs/exported", "runs/a"], r"`RUN_DIR=runs/exported` has weights alone, and no figures of its training"),
        (["pretrained:digits"], r"`RUN_DIR=pretrained:digits` has weights alone, and no figures of its training"),
        (["runs/a", "--figure=f.jpg"], r"--figure must end with .png or .svg or .pdf. Received: --figure=f.jpg"),
        (["runs/a", "--csv=nowhere/f.csv"], r"--csv must be a file in a folder that can be written"),
        (
            ["runs/a", "runs/b", "--figure=f.png", "--curve=inception_score"],
            r"--curve must be in .* every run, as averaged_",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(runs, arguments, message, capsys):
    with pytest.raises(SystemExit, match=message):
        main(["compare", *arguments, *([] if "--csv" in str(arguments) else ["--csv=f.csv"])])
    assert not list(runs.glob("f.*")) and not capsys.readouterr().out


def test_without_matplotlib_there_is_no_figure(runs, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"--figure needs Matplotlib: .* Received: --figure=f\.png"):
        main(["compare", "runs/a", "--figure=f.png"])
