"""Freed memory is used again without page faults, in threads too, where the program asks for it."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, threading
from igan_tf.memory import keep_freed_memory

if "keep" in sys.argv:
    keep_freed_memory()
if "command" in sys.argv:
    from igan_tf.commands.start import import_tensorflow

    import_tensorflow()

def allocate_again_and_again():
    for number in range(21):
        if number == 1:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        b"x" * (24 * 2**20)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=allocate_again_and_again)
thread.start()
thread.join()
"""


def faults(*arguments):
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_freed_memory_is_kept():
    # Given back, each of the twenty blocks takes a fault for 4 kB, or for 2 MB where the system has large pages.
    assert faults() > 20 * 12
    assert faults("keep") < 12


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_commands_keep_it_after_tensorflow_is_imported():
    # TensorFlow sets one of the parameters as it is imported.
    assert faults("command") < 12


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
@pytest.mark.parametrize(
    ("name", "value"), [("MALLOC_ARENA_MAX", "4"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=65536")]
)
def test_what_the_user_set_stands(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert faults("keep") > 20 * 12
