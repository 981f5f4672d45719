import concurrent.futures
import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading

import pytest

from igan_tf.files import durable


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


def killed_while_writing(folder):
    """A process that writes the file a.txt and the folder `folder` of a folder and is killed before either is whole."""
    program = (
        "import os, signal, sys\n"
        "from igan_tf.files import durable\n"
        "with durable.durable_file(f'{sys.argv[1]}/a.txt') as file, durable.durable_folder(f'{sys.argv[1]}/folder'):\n"
        "    file.write(b'half, and longer than what follows')\n"
        "    open(f'{sys.argv[1]}/.folder.tmp/half', 'w').close()\n"
        "    file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL


def test_what_a_killed_process_left_is_no_hindrance_and_does_not_pile_up(tmp_path):
    durable.write_text(tmp_path / "a.txt", "old")
    for _ in range(3):
        killed_while_writing(tmp_path)
        assert (tmp_path / "a.txt").read_text() == "old" and not (tmp_path / "folder").exists()
    # Each process took over what the one before had left.
    assert names(tmp_path) == [".a.txt.tmp", ".folder.tmp", "a.txt"]
    with durable.durable_folder(tmp_path / "folder") as temporary:
        durable.write_text(temporary / "a.txt", "whole")
    durable.write_text(tmp_path / "a.txt", "whole")
    assert names(tmp_path) == ["a.txt", "folder"] and names(tmp_path / "folder") == ["a.txt"]


def test_what_others_write_is_not_taken_for_left_over(tmp_path):
    """Three writers of one path inside each other: each ends whole, the last has the place."""
    path = tmp_path / "a.txt"
    with durable.durable_file(path) as first:
        first.write(b"fir")
        with durable.durable_file(path) as second:
            second.write(b"second")
            durable.write_text(path, "third")
            assert names(tmp_path) == [".a.txt.1.tmp", ".a.txt.tmp", "a.txt"]
            assert path.read_text() == "third"
        assert path.read_text() == "second"
        first.write(b"st")
    assert path.read_text() == "first" and names(tmp_path) == ["a.txt"]


def test_what_took_its_place_before_it_was_locked_is_no_temporary_file(tmp_path, monkeypatch):
    path, temporary = tmp_path / "a.txt", tmp_path / ".a.txt.tmp"
    flock = fcntl.flock

    def lock_late(descriptor, operation):
        # Its writer ends between the opening and the lock.
        if not path.exists():
            temporary.rename(path)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    with durable.durable_file(path) as file:
        file.write(b"mine")
        durable.write_text(path, "another's")
    assert path.read_text() == "mine" and names(tmp_path) == ["a.txt"]


def test_folders_of_one_name_side_by_side(tmp_path):
    path = tmp_path / "folder"
    with durable.durable_folder(path) as first:
        durable.write_text(first / "a.txt", "first")
        with durable.durable_folder(path) as second:
            durable.write_text(second / "a.txt", "second")
        assert (path / "a.txt").read_text() == "second"
    assert (path / "a.txt").read_text() == "first" and names(tmp_path) == ["folder"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_threads_that_write_the_same_path_all_succeed(tmp_path, kind):
    contents = [bytes([65 + number]) * 5000 for number in range(8)]
    start = threading.Barrier(len(contents))

    def write(content):
        start.wait()
        for _ in range(20):
            if kind == "file":
                with durable.durable_file(tmp_path / "it") as file:
                    file.write(content)
            else:
                with durable.durable_folder(tmp_path / "it") as folder:
                    (folder / "one").write_bytes(content)

    with concurrent.futures.ThreadPoolExecutor(len(contents)) as pool:
        list(pool.map(write, contents))
    found = tmp_path / "it" if kind == "file" else tmp_path / "it" / "one"
    assert found.read_bytes() in contents and names(tmp_path) == ["it"]


def test_without_locks_a_path_has_one_writer_at_a_time(tmp_path, monkeypatch):
    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    (tmp_path / ".a.txt.tmp").write_text("left over")
    durable.write_text(tmp_path / "a.txt", "whole")
    with durable.durable_folder(tmp_path / "folder"):
        pass
    assert names(tmp_path) == ["a.txt", "folder"] and (tmp_path / "a.txt").read_text() == "whole"


def test_no_folder_to_write_into(tmp_path):
    for write in (durable.durable_file, durable.durable_folder):
        with pytest.raises(FileNotFoundError), write(tmp_path / "none" / "it"):
            pytest.fail("nothing can be written")


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


def test_all_that_was_written_is_synced(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    durable.write_text(tmp_path / "a.txt", "text")
    assert sizes[0] == 4


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_nothing_planted_under_a_temporary_name_is_written(tmp_path, kind):
    (tmp_path / "mine").write_text("mine")
    planted = tmp_path / ".a.txt.tmp"
    {"link": lambda: planted.symlink_to("mine"), "pipe": lambda: os.mkfifo(planted), "folder": planted.mkdir}[kind]()
    durable.write_text(tmp_path / "a.txt", "text")
    assert (tmp_path / "a.txt").read_text() == "text" and (tmp_path / "mine").read_text() == "mine"
