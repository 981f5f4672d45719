"""Small sets of records, and the converter as a process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from igan_tf.records.converter import convert
from igan_tf.records.settings import ConversionSettings
from igan_tf.records.sources import open_source
from tests.records.image_files import jpeg, png

REPOSITORY = Path(__file__).resolve().parents[2]
# Not part of what a conversion makes.
LOCK = ".lock"


def make_photos(root, classes=3, images=8, **size):
    """Class folders of JPEGs, each image another."""
    for label in range(classes):
        folder = root / f"n{label:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(images):
            (folder / f"{index:03d}.JPEG").write_bytes(jpeg(label * images + index, **size))
    return root


def make_numbered(root, classes=3, images=8):
    """Class folders of images that show their own number in all their pixels."""
    import numpy as np

    for label in range(classes):
        folder = root / f"n{label:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(images):
            (folder / f"{index:03d}.JPEG").write_bytes(png(np.full((5, 5, 3), label * images + index, "uint8")))
    return root


def convert_here(source, output_dir, processes=2, max_unreadable=0.0, report=lambda line: None, **settings):
    """Converts in this process; returns the manifest."""
    settings = ConversionSettings(**{"image_size": 8, "num_shards": 4, **settings})
    return convert(open_source(str(source)), output_dir, settings, processes, max_unreadable, report)


def contents(folder):
    """The bytes of every file by name, without the lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and path.name != LOCK
    }


def start(*arguments, **options):
    """Starts the converter's command; nothing is waited for."""
    command = [sys.executable, "-m", "igan_tf.data.imagenet_records", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen(command, env=environment, **options)


def finish(process):
    """Waits; returns exit code and everything printed."""
    output, errors = process.communicate(timeout=120)
    return process.returncode, output + errors


def wait_until(condition, process=None, seconds=60):
    """Waits for a condition; True, or False where the process ended before."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process is not None and process.poll() is not None:
            return False
        assert time.monotonic() < deadline, "waited for too long"
        # Only to leave the processors to others.
        time.sleep(0.001)
    return True


def descendants(pid):
    """The process ids of all children of children of a process."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents[int(path.parent.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def alive(pids):
    return [pid for pid in pids if Path(f"/proc/{pid}").exists() and _state(pid) != "Z"]


def _state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def kill(process):
    """SIGKILL; returns once the process and all that it started are gone."""
    others = descendants(process.pid)
    process.send_signal(signal.SIGKILL)
    # Its output is not read: a process left behind would hold it open.
    process.wait()
    try:
        wait_until(lambda: not alive(others), seconds=20)
    finally:
        for pid in alive(others):
            os.kill(pid, signal.SIGKILL)
        process.stdout.close()
        process.stderr.close()
