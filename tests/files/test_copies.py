"""Private copies: whole, alone, gone afterwards; no pipes."""

import os

import pytest

from igan_tf.files.copies import private_copy
from igan_tf.files.disk import UnusableFile


def test_a_file_and_a_folder(tmp_path):
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "graph.pb").write_bytes(b"graph")
    (folder / "variables" / "data").write_bytes(b"data")
    with private_copy(folder) as copy, private_copy(folder / "graph.pb") as file:
        # What happens to the original from here on is nothing to the copy.
        (folder / "graph.pb").write_bytes(b"another")
        (folder / "variables" / "data").unlink()
        assert copy.name == "model" and (copy / "variables" / "data").read_bytes() == b"data"
        assert file.name == "graph.pb" and file.read_bytes() == (copy / "graph.pb").read_bytes() == b"graph"
        assert file.parent.stat().st_mode & 0o77 == 0
    assert not copy.exists() and not file.exists()


@pytest.mark.parametrize("place", ["pipe", "folder"])
def test_what_never_ends_is_refused(tmp_path, place):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / ("pipe" if place == "pipe" else "folder/pipe"))
    with pytest.raises(UnusableFile, match="pipe is no regular file"), private_copy(tmp_path / place):
        pass
