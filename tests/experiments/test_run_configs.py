"""Finding flag files by path and by name."""

import os
from pathlib import Path

import pytest

from igan_tf.errors import InputError
from igan_tf.experiments.run_configs import config_names, find_config

FOLDER = Path(__file__).parents[2] / "run_configs"


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.cfg")))
def test_each_configuration_is_found_by_each_of_its_names(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert name in config_names()
    for spelling in (name, f"{name}.cfg", f"run_configs/{name}.cfg", str(FOLDER / f"{name}.cfg")):
        assert find_config(spelling) == FOLDER / f"{name}.cfg"


@pytest.mark.parametrize("spelling", ["digits", "digits.cfg", "run_configs/digits.cfg", "./digits.cfg"])
def test_a_path_goes_before_a_name(spelling, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / spelling
    own.parent.mkdir(exist_ok=True)
    own.write_text("--dataset=digits\n")
    assert find_config(spelling).resolve() == own


def test_a_file_that_another_includes_is_looked_for_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for folder in (tmp_path, tmp_path / "sub"):
        (folder / "digits.cfg").write_text("--dataset=digits\n")
    assert find_config("digits.cfg", beside="sub") == Path("sub/digits.cfg")
    assert find_config("imagenet128.cfg", beside="sub") == FOLDER / "imagenet128.cfg"


def test_a_folder_is_no_configuration_and_a_pipe_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert find_config("digits") == FOLDER / "digits.cfg"
    assert find_config("pipe") == Path("pipe")


@pytest.mark.parametrize("name", ["nope", "other/digits.cfg", "./digits.cfg", "run_configs/", "", "\0", "a" * 5000])
def test_an_unknown_name_is_refused_with_what_was_tried(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refusal:
        find_config(name)
    assert refusal.value.argument == "flagfile"
    message = str(refusal.value)
    assert f"Received: flagfile={name}; tried {Path.cwd() / name}" in message
    assert ", digits," in message
    assert (f"{FOLDER}{os.sep}" in message) == (name in ("nope", "\0", "a" * 5000))
