import concurrent.futures
import contextlib
import errno
import fcntl
import signal
import subprocess
import sys
import threading

import pytest

from igan_tf.files import locks


class Refused(Exception):
    """What the tests' locks raise."""


class Killed(BaseException):
    """Stands for a death of the process; no handler of errors expects it."""


@pytest.fixture(params=["file", "folder"])
def place(request, tmp_path):
    """What is locked: a file that is not there yet, or a folder."""
    return tmp_path / "lock" if request.param == "file" else tmp_path


def assert_free(place):
    with locks.held(place, Refused()):
        pass


@pytest.mark.parametrize(
    ("first", "second", "granted"),
    [(False, False, False), (False, True, False), (True, False, False), (True, True, True)],
)
def test_only_shared_locks_go_together(place, first, second, granted):
    with (
        locks.held(place, Refused(), shared=first),
        contextlib.nullcontext() if granted else pytest.raises(Refused),
        locks.held(place, Refused(), shared=second),
    ):
        assert granted
    assert_free(place)


def test_an_error_in_the_scope_frees_the_lock(place):
    with pytest.raises(Killed), locks.held(place, Refused()):
        raise Killed
    assert_free(place)


def test_a_death_frees_the_lock(place):
    program = (
        "import os, signal, sys\n"
        "from igan_tf.files import locks\n"
        "with locks.held(sys.argv[1], Exception()):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, place], check=False).returncode == -signal.SIGKILL
    assert_free(place)


def test_patience_waits_for_another(place, monkeypatch):
    other = contextlib.ExitStack()
    other.enter_context(locks.held(place, Refused()))
    monkeypatch.setattr(locks.time, "sleep", lambda seconds: pytest.fail("waits without patience"))
    with pytest.raises(Refused), locks.held(place, Refused()):
        pytest.fail("both hold it")
    monkeypatch.setattr(locks.time, "sleep", lambda seconds: other.close())
    with locks.held(place, Refused(), patience=60):
        pass


def test_patience_ends(place, monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr(locks.time, "monotonic", lambda: next(now))
    waits = []
    monkeypatch.setattr(locks.time, "sleep", waits.append)
    with locks.held(place, Refused()), pytest.raises(Refused), locks.held(place, Refused(), patience=5):
        pytest.fail("both hold it")
    assert len(waits) == 4


def test_what_cannot_be_opened_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError), locks.held(tmp_path / "none" / "lock", Refused()):
        pytest.fail("nothing can be locked")


def test_no_file_is_made_through_a_link(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), locks.held(tmp_path / "lock", Refused()):
        pytest.fail("it leads elsewhere")
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with locks.held(tmp_path / "link", Refused()):
        pass


def test_a_sole_maker_lets_the_others_wait(tmp_path):
    path, made, waiting = tmp_path / "it", [], threading.Event()
    start, inside = threading.Barrier(4), threading.Semaphore(1)

    def make(number):
        start.wait()
        for _ in range(5):
            with locks.sole_maker(path, waiting.set):
                assert inside.acquire(blocking=False)
                assert waiting.wait(60)
                if not path.exists():
                    made.append(number)
                    path.write_text("")
                inside.release()

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(4)))
    assert len(made) == 1 and list(tmp_path.iterdir()) == [path]


def test_a_sole_maker_that_fails_makes_room(tmp_path):
    with pytest.raises(Killed), locks.sole_maker(tmp_path / "it", pytest.fail):
        raise Killed
    with locks.sole_maker(tmp_path / "it", pytest.fail):
        pass
    assert not list(tmp_path.iterdir())


def test_without_locks_every_one_is_granted(place, tmp_path, monkeypatch):
    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with locks.held(place, Refused()), locks.held(place, Refused()), locks.sole_maker(tmp_path / "it", pytest.fail):
        pass
