import os

import pytest

from igan_tf import durable


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class Killed(BaseException):
    """Stands for a death of the process; no handler of errors expects it."""


def test_a_text_is_replaced(tmp_path):
    durable.write_text(tmp_path / "a.txt", "one")
    durable.write_text(tmp_path / "a.txt", "zwei ü\n")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "zwei ü\n"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Killed])
def test_an_error_within_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a.txt"
    durable.write_text(path, "old")
    with pytest.raises(error), durable.durable_file(path) as file:
        file.write(b"half of the n")
        raise error
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_a_file_appears_whole_at_the_end_of_the_scope(tmp_path):
    path = tmp_path / "a.txt"
    durable.write_text(path, "old")
    with durable.durable_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_folder_appears_whole_at_the_end_of_the_scope(tmp_path):
    path = tmp_path / "folder"
    for content in ("one", "two"):
        with durable.durable_folder(path) as temporary:
            durable.write_text(temporary / "a.txt", content)
            assert not path.exists() or (path / "a.txt").read_text() == "one"
        assert (path / "a.txt").read_text() == content
    assert names(tmp_path) == ["folder"] and names(path) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Killed])
def test_an_error_within_leaves_the_old_folder(tmp_path, error):
    path = tmp_path / "folder"
    with durable.durable_folder(path) as temporary:
        durable.write_text(temporary / "a.txt", "old")
    with pytest.raises(error), durable.durable_folder(path) as temporary:
        durable.write_text(temporary / "b.txt", "new")
        raise error
    assert names(tmp_path) == ["folder"] and names(path) == ["a.txt"]


def test_what_a_killed_process_left_is_no_hindrance(tmp_path):
    (tmp_path / ".folder.tmp").mkdir()
    (tmp_path / ".folder.tmp" / "half").write_text("")
    (tmp_path / ".a.txt.tmp").write_text("half")
    with durable.durable_folder(tmp_path / "folder") as temporary:
        durable.write_text(temporary / "a.txt", "whole")
    durable.write_text(tmp_path / "a.txt", "whole")
    assert names(tmp_path) == ["a.txt", "folder"] and names(tmp_path / "folder") == ["a.txt"]


@pytest.fixture
def calls(monkeypatch):
    """What is synced and renamed, in order."""
    noted = []
    fsync, replace, rename = os.fsync, os.replace, os.rename

    def note_fsync(descriptor):
        noted.append("sync " + os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def note(function):
        def noting(source, target, **kwargs):
            noted.append(f"rename {os.path.basename(source)} {os.path.basename(target)}")
            function(source, target, **kwargs)

        return noting

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note(replace))
    monkeypatch.setattr(os, "rename", note(rename))
    return noted


def test_a_file_is_synced_before_the_rename_and_its_folder_after(tmp_path, calls):
    durable.write_text(tmp_path / "a.txt", "text")
    assert calls == ["sync .a.txt.tmp", "rename .a.txt.tmp a.txt", f"sync {tmp_path.name}"]


def test_a_folder_is_synced_before_the_rename_and_its_parent_after(tmp_path, calls):
    with durable.durable_folder(tmp_path / "folder"):
        pass
    assert calls == ["sync .folder.tmp", "rename .folder.tmp folder", f"sync {tmp_path.name}"]
