"""`--mode=sample`: what it refuses, what it writes, and that a killed process's folder ends as another's."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from igan_tf import __version__, load_run
from igan_tf.data.image_sources import read_images
from igan_tf.errors import ConfigError, DataError
from igan_tf.evaluation.array_sources import ArrayFileSource, ArrayFolderSource
from igan_tf.evaluation.folder_images import FolderSource
from igan_tf.experiments import sampling
from igan_tf.experiments.sample_folder import SampleFolder, sampling_plan
from igan_tf.experiments.sampling import write_npz
from igan_tf.images.arrays import as_bytes
from igan_tf.training import Checkpoints
from tests.command_line import FLAGS, command, environment, run_here, run_process


class Killed(BaseException):
    """Stands for a death of the process."""


class Model:
    """Images that are a function of seed and batch.

    Args:
        shape: Of an image.
        dies_at: The batch instead of which the process dies; None: it does not.
    """

    def __init__(self, shape=(4, 5, 3), dies_at=None):
        self.shape, self.dies_at = shape, dies_at
        self.drawn = []

    def generate_batches(self, count, seed, batch_size=100, batches=None):
        for number in range(-(-count // batch_size)) if batches is None else batches:
            if number == self.dies_at:
                raise Killed
            self.drawn.append(number)
            images = np.random.default_rng([seed, number]).uniform(size=(batch_size, *self.shape)).astype("float32")
            yield images[: count - number * batch_size]

    def generate(self, count, seed):
        return np.concatenate(list(self.generate_batches(count, seed)))


def plan_of(file_format="png", count=230, seed=3, run_dir="runs/a", step=7, digest="ab"):
    return sampling_plan(file_format, count, seed, run_dir, step, digest)


def fill(folder, plan, model=None):
    """Fills the folder; returns what was reported and the batches that were drawn."""
    model, lines = model or Model(), []
    SampleFolder(folder, plan, lines.append).fill(lambda: model)
    return lines, model.drawn


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.fixture
def lines():
    return []


# One .npz.


@pytest.mark.parametrize("shape", [(4, 5, 3), (8, 8, 1)])
def test_an_npz_is_numpys(tmp_path, shape):
    model = Model(shape)
    write_npz(tmp_path / "a.npz", model.generate_batches(230, 3), 230)
    np.savez_compressed(tmp_path / "b.npz", images=model.generate(230, 3))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert ArrayFileSource(tmp_path / "a.npz").count == 230
    np.testing.assert_array_equal(read_images(str(tmp_path / "a.npz")), as_bytes(model.generate(230, 3), ""))


def test_an_npz_is_written_while_it_is_drawn(tmp_path):
    def batches():
        for number in range(40):
            yield np.random.default_rng(number).uniform(size=(100, 4, 5, 3)).astype("float32")
            written.append(next(tmp_path.glob(".a.npz*.tmp")).stat().st_size)
            assert not (tmp_path / "a.npz").exists()

    written = []
    write_npz(tmp_path / "a.npz", batches(), 4000)
    assert written[0] < written[10] < written[30] and written[-1] > 0.5 * (tmp_path / "a.npz").stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), Killed()])
def test_an_npz_that_is_not_finished_leaves_what_was_there(tmp_path, error):
    def batches():
        yield np.zeros((100, 4, 5, 3), "float32")
        raise error

    (tmp_path / "a.npz").write_text("old")
    with pytest.raises(type(error)):
        write_npz(tmp_path / "a.npz", batches(), 200)
    assert contents(tmp_path) == {"a.npz": b"old"}


# A folder.


@pytest.mark.parametrize(
    ("file_format", "count", "names"),
    [
        ("png", 230, [f"{number:06d}.png" for number in range(230)]),
        ("npz", 2130, ["000000.npz", "001000.npz", "002000.npz"]),
        ("npz", 1000, ["000000.npz"]),
        ("png", 1, ["000000.png"]),
    ],
)
@pytest.mark.parametrize("shape", [(4, 5, 3), (8, 8, 1)])
def test_a_folder(tmp_path, file_format, count, names, shape):
    model, plan = Model(shape), plan_of(file_format, count)
    _, drawn = fill(tmp_path / "a" / "b", plan, model)
    assert drawn == list(range(-(-count // 100)))
    folder = tmp_path / "a" / "b"
    assert sorted(contents(folder)) == [*names, "samples.json"]
    expected = as_bytes(model.generate(count, 3), "")
    np.testing.assert_array_equal(read_images(str(folder)), expected)
    if file_format == "png":
        source = FolderSource(folder, channels=shape[-1])
    else:
        source = ArrayFolderSource(folder)
        sizes = [1000] * (count // 1000) + [count % 1000]
        assert [len(np.load(folder / name)["images"]) for name in names] == sizes[: len(names)]
    assert source.count == count and source.image_range is None
    np.testing.assert_array_equal(np.concatenate(list(source.batches(64))), expected)


def test_samples_json(tmp_path):
    fill(tmp_path, plan_of())
    assert json.loads((tmp_path / "samples.json").read_text()) == {
        **{"count": 230, "seed": 3, "run": "runs/a", "step": 7, "checkpoint_sha256": "ab", "igan_tf": __version__},
        **{"format": "png", "images_per_file": 1, "batch_size": 100},
    }


def test_more_than_a_million_images_have_longer_names(tmp_path):
    folder = SampleFolder(tmp_path, plan_of("npz", 1_000_001))
    assert [folder._file(first).name for first in (0, 1_000_000)] == ["0000000.npz", "1000000.npz"]
    assert SampleFolder(tmp_path, plan_of("npz", 1_000_000))._file(999_000).name == "999000.npz"


@pytest.mark.parametrize(("file_format", "count"), [("png", 430), ("npz", 3130)])
def test_a_killed_process_s_folder_is_continued_to_the_same_bytes(tmp_path, file_format, count):
    plan = plan_of(file_format, count)
    fill(tmp_path / "whole", plan)
    # Of .npz files the batch lies within the third.
    dies_at, kept = {"png": (2, 2), "npz": (24, 20)}[file_format]
    with pytest.raises(Killed):
        fill(tmp_path / "killed", plan, Model(dies_at=dies_at))
    assert not (tmp_path / "killed" / "samples.json").exists()
    for read in (lambda folder: read_images(str(folder)), FolderSource if file_format == "png" else ArrayFolderSource):
        with pytest.raises(DataError, match=f"{tmp_path}/killed is not finished: it holds samples.unfinished.json"):
            read(tmp_path / "killed")
    # What a death in the middle of a file leaves.
    half = {"png": ".000200.png.tmp", "npz": ".002000.npz.tmp"}[file_format]
    (tmp_path / "killed" / half).write_bytes(b"half")
    found, drawn = fill(tmp_path / "killed", plan)
    assert "keeping 2" in found[0] and drawn == list(range(kept, -(-count // 100)))
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_kill_before_anything_and_after_everything_but_the_name(tmp_path):
    plan = plan_of()
    fill(tmp_path / "whole", plan)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / ".samples.unfinished.json.tmp").write_text("{")
    fill(tmp_path / "begun", plan)
    (tmp_path / "begun" / ".samples.unfinished.json.tmp").unlink(missing_ok=True)
    assert contents(tmp_path / "begun") == contents(tmp_path / "whole")
    (tmp_path / "begun" / "samples.json").rename(tmp_path / "begun" / "samples.unfinished.json")
    assert fill(tmp_path / "begun", plan)[1] == []
    assert contents(tmp_path / "begun") == contents(tmp_path / "whole")


def test_a_finished_folder_stays_as_it_is_and_needs_no_model(tmp_path, lines):
    fill(tmp_path, plan_of())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    SampleFolder(tmp_path, plan_of(), lines.append).fill(None)
    assert lines == [f"{tmp_path}: finished before, every file is whole"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_files_are_on_the_disk_before_the_folder_counts_as_finished(tmp_path, monkeypatch):
    def sync():
        assert len(list(tmp_path.glob("0*.png"))) == 230
        assert (tmp_path / "samples.unfinished.json").exists() and not (tmp_path / "samples.json").exists()
        synced.append(True)

    synced = []
    monkeypatch.setattr(os, "sync", sync)
    fill(tmp_path, plan_of())
    assert synced == [True]


def test_damaged_files_are_written_anew(tmp_path):
    """Each PNG cut at another byte, or another byte of it changed; a death within leaves the folder unfinished."""
    plan = plan_of(count=600)
    fill(tmp_path, plan)
    before = contents(tmp_path)
    for number in range(500):
        path = tmp_path / f"{number:06d}.png"
        content = bytearray(path.read_bytes())
        if number < 200:
            content = content[: number % len(content)]
        elif number < 250:
            content = bytes(len(content))
        else:
            # Byte 8 to 11 say how long the first chunk is.
            content[(number - 250) % len(content)] ^= 0xFF
        path.write_bytes(content)
    (tmp_path / "000555.png").unlink()
    with pytest.raises(Killed):
        fill(tmp_path, plan, Model(dies_at=0))
    assert "samples.json" not in contents(tmp_path)
    found, drawn = fill(tmp_path, plan)
    assert "keeping 99 of 600 files" in found[0] and drawn == [0, 1, 2, 3, 4, 5]
    assert contents(tmp_path) == before


@pytest.mark.parametrize("damage", [b"", b"PK", "cut", "zeros", "changed"])
def test_damaged_npz_files_are_written_anew(tmp_path, damage):
    plan = plan_of("npz", 2000)
    fill(tmp_path, plan)
    before = contents(tmp_path)
    path = tmp_path / "001000.npz"
    whole = before[path.name]
    changed = {"cut": whole[:-1], "zeros": bytes(len(whole)), "changed": whole[:99] + b"\0" + whole[100:]}
    path.write_bytes(changed.get(damage, damage))
    assert fill(tmp_path, plan)[1] == list(range(10, 20))
    assert contents(tmp_path) == before


def test_images_that_are_none_are_refused(tmp_path):
    class Diverged(Model):
        def generate_batches(self, *arguments):
            for images in super().generate_batches(*arguments):
                yield images * np.nan

    with pytest.raises(DataError, match=r"runs/a: images .* must be in .* from nan to nan"):
        fill(tmp_path, plan_of(), Diverged())


def test_the_bar_is_for_a_terminal(tmp_path, capsys, monkeypatch):
    for terminal in (True, False):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        fill(tmp_path / f"a{terminal}", plan_of())
        write_npz(tmp_path / f"a{terminal}.npz", Model().generate_batches(230, 3), 230)
        found = capsys.readouterr().err
        assert found.count("230/230") >= 2 and "images/s" in found if terminal else found == ""
    # What is there already is not counted as done now.
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    (tmp_path / "aTrue" / "000229.png").unlink()
    fill(tmp_path / "aTrue", plan_of())
    assert "229/230" in capsys.readouterr().err


# What a folder refuses.


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    "changes",
    [{"count": 231}, {"seed": 4}, {"step": 8, "digest": "cd", "run_dir": "runs/b"}, {"file_format": "npz"}],
    ids=str,
)
def test_other_samples_are_refused_with_the_difference(tmp_path, finished, changes):
    if finished:
        fill(tmp_path, plan_of())
    else:
        with pytest.raises(Killed):
            fill(tmp_path, plan_of(), Model(dies_at=1))
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match=f"`output={tmp_path}` holds other samples") as refused:
        SampleFolder(tmp_path, plan_of(**changes)).fill(None)
    names = {"digest": "checkpoint_sha256", "run_dir": "run", "file_format": "format"}
    there = plan_of()
    for name, value in changes.items():
        name = names.get(name, name)
        assert f"{name}: {there[name]!r} there, {value!r} now" in str(refused.value)
    assert contents(tmp_path) == before


def test_a_run_that_was_moved_is_the_same(tmp_path):
    fill(tmp_path, plan_of())
    (tmp_path / "000003.png").unlink()
    assert fill(tmp_path, plan_of(run_dir="/elsewhere/a"))[1] == [0]
    assert contents(tmp_path)["000003.png"]


def test_other_files_are_refused_but_hidden_ones(tmp_path):
    (tmp_path / ".DS_Store").write_text("")
    fill(tmp_path, plan_of())
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match=f"`output={other}` holds other files.*samples.unfinished.json"):
        fill(other, plan_of())
    assert list(contents(other)) == ["thesis.tex"]


def test_a_second_process_is_refused(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(ConfigError, match=f"`output={tmp_path}` is in use by another process"):
        fill(tmp_path, plan_of())
    os.close(descriptor)
    assert contents(tmp_path) == {}
    fill(tmp_path, plan_of())


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[1]",
        "3",
        "{}",
        json.dumps({**sampling_plan("png", 230, 3, "runs/a", 7, "ab"), "count": 10**12}),
        json.dumps({**sampling_plan("png", 230, 3, "runs/a", 7, "ab"), "format": "../png"}),
        json.dumps({**sampling_plan("png", 230, 3, "runs/a", 7, "ab"), "more": 0}),
    ],
    ids=["cut", "list", "number", "empty", "count", "format", "more"],
)
def test_a_damaged_json_is_named(tmp_path, content):
    (tmp_path / "samples.unfinished.json").write_text(content)
    with pytest.raises(ConfigError, match=f"{tmp_path}/samples.unfinished.json is damaged.*begin anew"):
        fill(tmp_path, plan_of())


# The command.


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run of one epoch whose generator has virtual batch normalization."""
    folder = tmp_path_factory.mktemp("run") / "run"
    done = run_process(*FLAGS, "--epochs=1", "--generator_norm=virtual", f"--run_dir={folder}", cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--output=a.jpg"], ["--output=a.jpg", ".npz or .png, or with / for a folder"]),
        (["--output=v1.0"], ["--output=v1.0", "with / for a folder"]),
        (["--output=nowhere/a.npz"], ["--output=nowhere/a.npz", "a folder that exists"]),
        (["--output=file/a.npz"], ["--output=file/a.npz", "a folder that exists"]),
        (["--output=folder.npz"], ["--output=folder.npz"]),
        (["--output=file/"], ["--output=file/", "which is a file"]),
        (["--output=file"], ["--output=file", "which is a file"]),
        (["--output=a.npz", "--format=npz"], ["--format=npz", "--output=a.npz"]),
        (["--output=a.png", "--format=png"], ["--format=png", "--output=a.png"]),
        (["--output=a/", "--format=jpg"], ["format", "jpg"]),
        (["--output=a.png", "--num_samples=1025"], ["at most 1024 images", "--num_samples=1025", "--output=FOLDER/"]),
    ],
    ids=lambda value: value[-1] if value[-1].startswith("-") else None,
)
def test_a_wrong_output_is_refused_before_the_run_is_looked_at(here, capfd, arguments, words):
    (here / "file").write_text("")
    (here / "folder.npz").mkdir()
    outcome = run_here(capfd, "--mode=sample", "--run_dir=nowhere", *arguments)
    assert outcome.code == 1 and "Traceback" not in outcome.text
    for word in words:
        assert word in outcome.text, outcome.text
    assert sorted(contents_of_files(here)) == ["file"] and (here / "folder.npz").is_dir()


def contents_of_files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("output", ["a.npz", "a.png", "a/"])
def test_a_run_without_checkpoints_is_named_and_nothing_is_written(here, run_dir, tmp_path, capfd, output):
    shutil.copytree(run_dir, tmp_path / "copy", ignore=shutil.ignore_patterns("step-*"))
    for place, words in ((tmp_path / "copy", "holds no checkpoint"), ("nowhere", "is not the directory of a run")):
        outcome = run_here(capfd, "--mode=sample", f"--run_dir={place}", f"--output={output}")
        assert outcome.code == 1 and f"--run_dir={place} {words}" in outcome.text
    assert list(here.iterdir()) == []


def test_every_output_holds_the_same_images(here, run_dir, capfd):
    for arguments in (["a.npz"], ["a.png"], ["a/"], ["b"], ["c", "--format=npz"]):
        outcome = run_here(
            capfd,
            "--mode=sample",
            f"--run_dir={run_dir}",
            "--num_samples=130",
            "--seed=5",
            f"--output={arguments[0]}",
            *arguments[1:],
        )
        assert outcome.code == 0, outcome.text
        assert f"images: 130\noutput: {arguments[0]}\n" in outcome.text
    model = load_run(run_dir)
    images = model.generate(130, 5)
    with np.load("a.npz") as file:
        np.testing.assert_array_equal(file["images"], images)
    for place in ("a.npz", "a", "b", "c"):
        np.testing.assert_array_equal(read_images(place), as_bytes(images, ""), err_msg=place)
    with Image.open("a.png") as grid:
        pixels = np.asarray(grid)
    np.testing.assert_array_equal(pixels[1:25:3, 26:50:3], as_bytes(images, "")[1, ..., 0])
    assert contents("a") == contents("b")
    checkpoints = Checkpoints(run_dir / "checkpoints")
    plan = json.loads(Path("c/samples.json").read_text())
    assert plan == {
        **{"count": 130, "seed": 5, "run": str(run_dir), "step": 2, "checkpoint_sha256": checkpoints.digest(2)},
        **{"format": "npz", "images_per_file": 1000, "batch_size": 100, "igan_tf": __version__},
    }


def test_another_run_s_folder_is_refused_before_the_model_is_built(here, run_dir, tmp_path, capfd, monkeypatch):
    arguments = ["--mode=sample", f"--run_dir={run_dir}", "--num_samples=3", "--output=a/"]
    assert run_here(capfd, *arguments).code == 0
    before = contents("a")
    monkeypatch.setattr(sampling, "build_model", None)
    outcome = run_here(capfd, *arguments, "--seed=6")
    assert outcome.code == 1 and "--output=a holds other samples" in outcome.text
    assert "seed: 1 there, 6 now" in outcome.text
    # The same run at another step.
    other = shutil.copytree(run_dir, tmp_path / "other")
    arrays, position, _ = Checkpoints(other / "checkpoints").load(2)
    Checkpoints(other / "checkpoints").save(4, arrays, {**position, "step": 4})
    outcome = run_here(capfd, *arguments, f"--run_dir={other}")
    for words in (f"run: '{run_dir}' there, '{other}' now", "step: 2 there, 4 now", "checkpoint_sha256: "):
        assert words in outcome.text, outcome.text
    assert contents("a") == before


def test_a_damaged_newest_checkpoint_is_named_and_passed_over(here, run_dir, tmp_path, capfd):
    copy = shutil.copytree(run_dir, tmp_path / "copy")
    arrays, position, _ = Checkpoints(copy / "checkpoints").load(2)
    Checkpoints(copy / "checkpoints").save(4, arrays, {**position, "step": 4})
    state = copy / "checkpoints" / "step-000000004" / "state.npz"
    state.write_bytes(state.read_bytes()[:-1])
    outcome = run_here(capfd, "--mode=sample", f"--run_dir={copy}", "--num_samples=3", "--output=a/")
    assert outcome.code == 0 and "step-000000004 is damaged" in outcome.text
    assert json.loads(Path("a/samples.json").read_text())["step"] == 2


def test_an_output_that_cannot_be_written_is_named(here, run_dir, capfd, monkeypatch):
    # As root every folder can be written; a name to which nothing can be added fails in the same place.
    for output in ("a" * 251 + ".npz", "/proc/none/"):
        outcome = run_here(capfd, "--mode=sample", f"--run_dir={run_dir}", f"--output={output}")
        assert outcome.code == 1 and f"--output={output} cannot be written" in outcome.text
    assert list(here.iterdir()) == []


def test_a_killed_command_is_continued_to_the_same_bytes(here, run_dir, capfd):
    arguments = ["--mode=sample", f"--run_dir={run_dir}", "--num_samples=8000"]
    process = subprocess.Popen(command(*arguments, "--output=killed/"), env=environment(), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not Path("killed/000500.png").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    written = len(list(Path("killed").glob("0*.png")))
    assert 500 < written < 8000 and Path("killed/samples.unfinished.json").exists()
    assert not Path("killed/samples.json").exists()
    outcome = run_here(capfd, *arguments, "--output=killed/")
    assert outcome.code == 0 and f"killed: keeping {written} of 8000 files" in outcome.text
    # In another process than the first.
    assert run_here(capfd, *arguments, "--output=whole/").code == 0
    assert contents("killed") == contents("whole")
    assert len(contents("whole")) == 8001


_MEMORY = """
import sys
from pathlib import Path
from igan_tf.experiments.sampling import sample_run

def kilobytes(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1])

for few, many, file_format in (("few.npz", "many.npz", None), ("few/", "many/", "npz")):
    sample_run(sys.argv[1], few, 2000, 1, file_format)
    # Forgets the peak of importing TensorFlow, below which anything could be held unseen.
    Path("/proc/self/clear_refs").write_text("5")
    before = kilobytes("VmRSS")
    sample_run(sys.argv[1], many, int(sys.argv[2]), 1, file_format)
    print(kilobytes("VmHWM") - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(here, run_dir):
    """200,000 images of 8x8 are 51 MB of floats and 13 MB of bytes; a second model and its graph take 4.5."""
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, run_dir, "200000"], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    grown = [int(line) / 1000 for line in done.stdout.splitlines()]
    assert len(grown) == 2 and max(grown) < 9, grown
    assert ArrayFileSource("many.npz").count == ArrayFolderSource("many").count == 200_000
