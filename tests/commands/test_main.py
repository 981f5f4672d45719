"""The command line: what it refuses and how, and what a tiny run leaves behind."""

import os
import re
import shutil
import tempfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import igan_tf
from igan_tf.commands import main, train
from igan_tf.commands.flags import CommandLine
from igan_tf.errors import ConfigError
from igan_tf.evaluation.settings import EvaluationSettings
from igan_tf.experiments import training_runs
from igan_tf.experiments.configs import as_lines, build_config, config_from_lines
from igan_tf.experiments.run_directory import read_config, refuse_other_settings, sole_trainer
from igan_tf.training import Checkpoints
from igan_tf.training.run_log import tag as tag_of
from igan_tf.training.train_function import TrainFunction
from tests.command_line import FLAGS, assert_same_run, events, metrics, result, run_here, run_process


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A finished run of two epochs of two steps; `.output` is what it printed."""
    folder = tmp_path_factory.mktemp("run") / "run"
    done = run_process(*FLAGS, "--epochs=2", f"--run_dir={folder}", "--histogram_epochs=1", cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.parent.iterdir()) == ["run"]
    (folder.parent / "output").write_text(done.stdout + done.stderr)
    return folder


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    """The current folder, empty."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def assert_refused(outcome, folder, *words):
    assert outcome.code not in (0, None)
    for word in words:
        assert word in outcome.text, outcome.text
    assert "Traceback" not in outcome.text
    assert list(folder.iterdir()) == []


# Wrong values.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epochs=three"], ["--epochs=three"]),
        (["--epochs=0"], ["--epochs=0"]),
        (["--batch_size=-5"], ["--batch_size=-5"]),
        (["--batch_size=1199"], ["--batch_size=1199", "1198"]),
        (["--labels=55"], ["--labels=55", "10 classes"]),
        (
            ["--labels=1120"],
            ["--labels must be at most 1110", "of class '8' there are 111 to train on, not 112"],
        ),
        (["--labels=0", "--supervised_baseline"], ["--supervised_baseline", "--labels=0"]),
        (["--label_smoothing=1.5"], ["--label_smoothing=1.5"]),
        (["--beta_1=nan"], ["--beta_1=nan"]),
        (["--adam=inside"], ["--adam=inside", "inside_root, outside"]),
        (["--mode=trian"], ["mode", "trian"]),
        (["--dataset=mnits"], ["--dataset=mnits", "digits, mnist, cifar10, svhn, folder"]),
        (["--network=big"], ["--network=big"]),
        (["--generator_steps=0"], ["--generator_steps=0", "--unlabelled_weight=1.0"]),
        (["--label_file=none.csv", "--nobalance"], ["--label_file=none.csv", "No such file"]),
        (
            ["--label_file=none.csv"],
            ["--labels draws from --label_file with --balance or", "--labels=50 --label_file="],
        ),
        (["--dataset=folder", "--data_dir=."], ["--run_dir must not lie in --data_dir"]),
        (["--dataset=folder", "--data_dir=nowhere"], ["--dataset=folder", "--data_dir=nowhere"]),
        (["--dataset=mnist", "--data_dir=nowhere"], ["--dataset=mnist", "--data_dir=nowhere", "tfds.load"]),
        (["--strategy=mirrored", "--batch_size=700"], ["--batch_size=700", "2 replicas"]),
        (["--strategy=mirrored", "--jit_compile"], ["--jit_compile", "--strategy=mirrored"]),
        (
            ["--strategy=mirrored", "--expected_replicas=4"],
            ["--expected_replicas=4", "finds, 2."],
        ),
        (["--network=cifar10"], ["--network=cifar10 needs images", "at least 9 x 9", "has 8 x 8"]),
        (["--input_corruption=dropout"], ["--network=digits", "--input_corruption=dropout"]),
        (["--train_images=7", "--labels=10", "--batch_size=5"], ["no training image is of class", "--train_images=7"]),
        ([f"--seed_data={2**31 - 2}", "--label_draws=3"], [f"--seed_data={2**31 - 2}", "--label_draws=3"]),
        (["--num_samples=0"], ["num_samples", "0"]),
        (["--epoch=3"], ["epoch"]),
        (["extra"], ["extra"]),
        (["--flagfile=none.cfg"], ["none.cfg"]),
    ],
    ids=lambda value: value[-1] if value[-1].startswith("-") else None,
)
def test_a_wrong_value_is_named_and_leaves_nothing(empty_folder, capfd, arguments, words):
    assert_refused(run_here(capfd, "--dataset=digits", "--labels=50", *arguments), empty_folder, *words)


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["--mode=evaluate", "--dataset=digits"], "runs/digits"),
        (["--mode=sample", "--run_dir=nowhere"], "nowhere"),
        (["--mode=sample", "--run_dir=nowhere", "--flagfile=digits"], "nowhere"),
    ],
)
def test_a_run_that_is_not_there_is_named(empty_folder, capfd, arguments, place):
    assert_refused(run_here(capfd, *arguments), empty_folder, f"--run_dir={place} is not the directory of a run")


@pytest.mark.parametrize("place", ["/dev/null", "/dev/null/run"])
def test_a_run_dir_that_cannot_be_made_is_named(empty_folder, capfd, place):
    assert_refused(run_here(capfd, *FLAGS, f"--run_dir={place}"), empty_folder, f"--run_dir={place}")


def test_a_refusal_in_a_process_of_its_own(empty_folder):
    done = run_process("--dataset=digits", "--labels=55", cwd=empty_folder)
    assert done.returncode == 1
    # TensorFlow's own notices may stand before it.
    last = done.stderr.splitlines()[-1]
    remedy = "must be a multiple of the 10 classes, such as 50; 0 trains without classes"
    assert last == f"igan_tf: --labels {remedy}. Received: --labels=55"
    assert "Traceback" not in done.stderr + done.stdout
    assert list(empty_folder.iterdir()) == []


# What a run leaves.


def test_the_run_directory(run_dir):
    names = {path.name for path in run_dir.iterdir()} - {".lock"}
    (events_file,) = run_dir.glob("events.out.tfevents.*")
    assert names == {"flags.cfg", "checkpoints", "samples", "metrics.jsonl", "result.json", events_file.name}
    assert Checkpoints(run_dir / "checkpoints").steps() == [2, 4]
    assert not list(run_dir.rglob("*.tmp"))


def test_flags_cfg_has_every_setting_but_the_run_dir(run_dir):
    version, *lines = (run_dir / "flags.cfg").read_text().splitlines()
    assert version == "# igan_tf run settings, version 2"
    config = config_from_lines(lines)
    assert (config.dataset, config.labels, config.epochs, config.batch_size) == ("digits", 50, 2, 400)
    assert lines == as_lines(config)
    assert not any("run_dir" in line for line in lines)


def test_result_json(run_dir):
    found = result(run_dir)
    last = metrics(run_dir)[-1]
    losses = {name for name in last if name.endswith("_loss")}
    assert set(found) == {
        *("test_error", "averaged_test_error", "epochs", "steps", "seed", "seed_data", "labels", "data", *losses),
    }
    assert len(losses) == 5 and all(found[name] == last[name] for name in losses)
    assert found["data"].startswith("1797 images, 8x8x1, classes 0 (178), ") and "; 599 held out" in found["data"]
    expected = {"epochs": 2, "steps": 4, "seed": 1, "seed_data": 1, "labels": 50}
    assert {name: found[name] for name in expected} == expected
    assert found["test_error"] == last["test_error"] and 0 < last["test_error"] < 1
    assert found["averaged_test_error"] == last["averaged_test_error"]


def test_the_end_says_where_everything_is_and_what_comes_next(run_dir, tmp_path, capfd, monkeypatch):
    """The commands that it names run as they stand."""
    monkeypatch.chdir(tmp_path)
    printed = (run_dir.parent / "output").read_text().splitlines()
    curves, samples, scores = printed[next(at for at, line in enumerate(printed) if line.startswith("curves: ")) :][:3]
    assert curves == f"curves: tensorboard --logdir={run_dir}" and list(run_dir.glob("events.out.tfevents.*"))
    assert samples.startswith(f"sample grids: {run_dir}/samples; more samples: ") and list(
        run_dir.glob("samples/*.png")
    )
    main(samples.partition("more samples: igan-tf ")[2].split())
    assert (tmp_path / "samples.png").exists()
    name, *flags = scores.removeprefix("scores: igan-tf ").split()
    assert name == "evaluate"
    line = CommandLine("", "")
    line.add_settings(EvaluationSettings)
    line.parse(flags)
    assert line.read(EvaluationSettings).source == str(run_dir)


@pytest.mark.parametrize(
    ("settings", "scored"),
    [
        ({"dataset": "folder", "labels": 0}, False),
        ({"dataset": "folder", "recipe": "imagenet", "use_labels": False}, False),
        ({"dataset": "folder", "labels": 4}, True),
        ({"dataset": "folder", "recipe": "imagenet"}, True),
        ({"dataset": "digits", "labels": 0}, True),
    ],
)
def test_a_folder_without_classes_is_offered_no_scores_by_classes(capsys, settings, scored):
    train._say_what_next("run", "", build_config(**settings, data_dir="photos"))
    printed = capsys.readouterr().out
    assert "more samples: " in printed and ("scores: " in printed) == scored


def test_draws_are_called_as_their_folders(tmp_path, capfd):
    place = tmp_path / "run"
    outcome = run_here(capfd, *FLAGS, "--label_draws=2", "--seed_data=5", "--epochs=1", f"--run_dir={place}")
    assert sorted(path.name for path in place.glob("draw-*")) == ["draw-5", "draw-6"]
    assert re.findall(r"^draw (\d): test_error", outcome.text, re.MULTILINE) == ["5", "6"]
    assert f"--run_dir={place}/draw-5 " in outcome.text and f"--source={place}/draw-5 " in outcome.text


def test_metrics_jsonl_has_every_metric_of_each_epoch(run_dir):
    lines = metrics(run_dir)
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 2), (2, 4)]
    for line in lines:
        assert set(line) == {
            *("epoch", "step", "discriminator_loss", "supervised_loss", "unlabelled_loss", "generated_loss"),
            *("generator_loss", "train_error", "test_error", "averaged_test_error"),
        }


def test_tensorboard_has_losses_errors_samples_histograms_and_flags(run_dir):
    found = events(run_dir)
    assert len(found) == len(set(found))
    scalars = {*metrics(run_dir)[0]} - {"epoch", "step"} | {"seconds_per_step"}
    for step in (2, 4):
        tags = {tag for at, tag in found if at == step}
        assert {tag_of(name) for name in scalars} | {"samples", "features"} <= tags
        assert {"probability/of_real", "probability/of_generated"} <= tags
        assert any(tag.startswith("scale/") for tag in tags)
    start = {tag for at, tag in found if at == 0}
    assert "flags" in start and any("hparams" in tag for tag in start)


def test_the_samples_are_grids_of_ten_by_ten(run_dir):
    names = ["epoch-0001.png", "epoch-0002.png"]
    assert sorted(path.name for path in (run_dir / "samples").iterdir()) == names
    for name in names:
        with Image.open(run_dir / "samples" / name) as image:
            # Pixels of the 8x8 digits are squares of three.
            assert image.size == (251, 251)


def test_devices_settings_epochs_and_result_are_printed(run_dir):
    output = (run_dir.parent / "output").read_text()
    assert "CPU:0" in output and "strategy: single" in output
    # What is at its default stands in flags.cfg alone.
    assert "--labels=50" in output and "--average_decay" not in output
    assert "epoch 1/2" in output and "epoch 2/2" in output
    assert f"test_error: {result(run_dir)['test_error']:.4g}" in output
    # No progress bar where there is no terminal.
    assert "\r" not in output and "it/s" not in output


def test_the_flag_file_repeats_the_run_elsewhere(run_dir, tmp_path):
    done = run_process(f"--flagfile={run_dir}/flags.cfg", f"--run_dir={tmp_path}/again", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / "again", run_dir)
    assert (tmp_path / "again" / "flags.cfg").read_bytes() == (run_dir / "flags.cfg").read_bytes()


# Using a run.


def test_a_finished_run_stays_as_it_is(run_dir, tmp_path, capfd):
    copy = shutil.copytree(run_dir, tmp_path / "copy")
    outcome = run_here(capfd, f"--flagfile={run_dir}/flags.cfg", f"--run_dir={copy}")
    assert outcome.code == 0, outcome.text
    assert "finished at step 4; more epochs continue it" in outcome.text
    assert_same_run(copy, run_dir)


def test_evaluate(run_dir, empty_folder, capfd):
    outcome = run_here(capfd, "--mode=evaluate", f"--run_dir={run_dir}")
    assert outcome.code == 0, outcome.text
    for name in ("test_error", "averaged_test_error"):
        assert f"{name}: {result(run_dir)[name]:.4g}" in outcome.text.splitlines()
    assert list(empty_folder.iterdir()) == []


def test_sample(run_dir, empty_folder, capfd):
    outcome = run_here(capfd, "--mode=sample", f"--run_dir={run_dir}", "--num_samples=7")
    assert outcome.code == 0, outcome.text
    with np.load(empty_folder / "samples.npz") as file:
        images = file["images"]
    assert images.shape == (7, 8, 8, 1) and 0 <= images.min() < images.max() <= 1
    outcome = run_here(capfd, "--mode=sample", f"--run_dir={run_dir}", "--num_samples=7", "--output=grid.png")
    assert outcome.code == 0, outcome.text
    with Image.open("grid.png") as grid:
        pixels = np.asarray(grid)
    assert pixels.shape == (76, 76)
    np.testing.assert_array_equal(pixels[1:25:3, 1:25:3], np.round(images[0, ..., 0] * 255).astype("uint8"))
    run_here(capfd, "--mode=sample", f"--run_dir={run_dir}", "--num_samples=7", "--output=other.npz", "--seed=5")
    with np.load("other.npz") as file:
        assert not np.array_equal(file["images"], images)


def test_an_output_that_cannot_be_written_is_named(run_dir, empty_folder, capfd):
    outcome = run_here(capfd, "--mode=sample", f"--run_dir={run_dir}", "--output=nowhere/a.npz")
    assert_refused(outcome, empty_folder, "--output=nowhere/a.npz")


# What a run refuses.


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_trainer_is_refused(run_dir, empty_folder, capfd):
    before = contents(run_dir)
    with sole_trainer(run_dir):
        outcome = run_here(capfd, f"--flagfile={run_dir}/flags.cfg", f"--run_dir={run_dir}", "--epochs=3")
    assert_refused(outcome, empty_folder, f"--run_dir={run_dir} is in use by another training process")
    assert contents(run_dir) == before


def test_other_settings_are_refused_with_the_difference(run_dir, empty_folder, capfd):
    before = contents(run_dir)
    arguments = ["--seed=2", "--generator_learning_rate=0.01", "--epochs=3", f"--run_dir={run_dir}"]
    outcome = run_here(capfd, f"--flagfile={run_dir}/flags.cfg", *arguments)
    assert_refused(
        outcome,
        empty_folder,
        f"--run_dir={run_dir} holds a run with other settings",
        "--seed: the run was started with 1, now 2",
        "--generator_learning_rate: the run was started with 0.003, now 0.01",
    )
    assert "--epochs:" not in outcome.text
    assert contents(run_dir) == before


def test_a_run_without_a_whole_checkpoint_is_refused(run_dir, empty_folder, tmp_path, capfd):
    copy = shutil.copytree(run_dir, tmp_path / "copy")
    for path in copy.glob("checkpoints/*/state.npz"):
        path.write_bytes(path.read_bytes()[:-1])
    for mode in ("train", "evaluate"):
        outcome = run_here(capfd, f"--flagfile={run_dir}/flags.cfg", f"--run_dir={copy}", f"--mode={mode}")
        assert_refused(outcome, empty_folder, f"no checkpoint in {copy}/checkpoints is whole", "step-000000004")


def test_a_damaged_flags_file_is_named(run_dir, empty_folder, tmp_path, capfd):
    copy = shutil.copytree(run_dir, tmp_path / "copy")
    (copy / "flags.cfg").write_text("--epochs=some\n")
    for arguments in (FLAGS, ["--mode=evaluate"]):
        outcome = run_here(capfd, *arguments, f"--run_dir={copy}")
        assert_refused(outcome, empty_folder, str(copy), "--epochs=some")


def test_ctrl_c_before_the_first_step_ends_without_a_traceback(tmp_path, capfd, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(training_runs, "train", interrupt)
    outcome = run_here(capfd, *FLAGS, f"--run_dir={tmp_path}/run")
    assert outcome.code == 130 and "Traceback" not in outcome.text


def test_want_of_memory_ends_without_a_traceback(tmp_path, capfd, monkeypatch):
    def exhaust(*arguments):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor\nof a long trace")

    monkeypatch.setattr(training_runs, "train", exhaust)
    outcome = run_here(capfd, *FLAGS, "--batch_size=20", f"--run_dir={tmp_path}/run")
    assert outcome.code == 1 and "Traceback" not in outcome.text
    assert "not enough memory with --batch_size=20;" in outcome.text and "(OOM when allocating tensor)" in outcome.text


@pytest.mark.parametrize(("mode", "function"), [("sample", "sampling.sample_run"), ("evaluate", "runs.test_errors")])
def test_want_of_memory_where_no_batches_are_chosen_blames_none(tmp_path, capfd, monkeypatch, mode, function):
    def exhaust(*arguments, **more):
        raise MemoryError("too many")

    monkeypatch.setattr(f"igan_tf.experiments.{function}", exhaust)
    outcome = run_here(capfd, f"--mode={mode}", f"--run_dir={tmp_path}")
    assert outcome.code == 1 and "not enough memory. What was written before is whole (too many)" in outcome.text


@pytest.mark.parametrize("draws", [[], ["--label_draws=2", "--supervised_baseline"]], ids=["one", "draws"])
def test_a_run_that_got_no_checkpoint_may_be_begun_with_other_settings(tmp_path, capfd, monkeypatch, draws):
    def exhaust(*arguments):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    arguments = [*FLAGS, "--epochs=1", f"--run_dir={tmp_path}/run", *draws]
    with monkeypatch.context() as patch:
        patch.setattr(TrainFunction, "__call__", exhaust)
        assert "smaller batches" in run_here(capfd, *arguments).text
    outcome = run_here(capfd, *arguments, "--batch_size=300")
    assert outcome.code == 0, outcome.text
    assert read_config(tmp_path / "run").batch_size == 300
    outcome = run_here(capfd, *arguments)
    assert outcome.code == 1 and "--batch_size: the run was started with 300, now 400" in outcome.text


def test_a_run_goes_on_with_a_flag_that_would_not_begin_one(tmp_path, capfd):
    """Begun before such a flag was refused, it stands in the run's settings."""
    unused = ["--unlabelled_weight=0", "--generator_steps=0", "--label_smoothing=0.1"]
    (tmp_path / "settings.cfg").write_text("\n".join(unused))
    run_dir = f"--run_dir={tmp_path}/run"
    outcome = run_here(capfd, *FLAGS, *unused, "--epochs=1", run_dir)
    assert outcome.code == 1 and "--label_smoothing is for" in outcome.text
    for epochs, arguments in ((1, [f"--flagfile={tmp_path}/settings.cfg"]), (2, unused)):
        outcome = run_here(capfd, *FLAGS, *arguments, f"--epochs={epochs}", run_dir)
        assert outcome.code == 0 and f"epoch {epochs}/{epochs}" in outcome.text, outcome.text


@pytest.mark.parametrize("own", [[], ["--mode=evaluate"]])
def test_the_settings_of_a_run_name_no_other_file(run_dir, tmp_path, capfd, own):
    copy = shutil.copytree(run_dir, tmp_path / "copy")
    (tmp_path / "secret").write_text("the first line of another file\n")
    with open(copy / "flags.cfg", "a") as file:
        file.write(f"--flagfile={tmp_path}/secret\n")
    for arguments in ([f"--flagfile={copy}/flags.cfg", f"--run_dir={tmp_path}/new"], [*own, f"--run_dir={copy}"]):
        outcome = run_here(capfd, *(own or FLAGS), *arguments)
        assert outcome.code == 1 and "unknown setting 'flagfile'" in outcome.text
        assert "first line" not in outcome.text and not (tmp_path / "new").exists()


def endless(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def enormous(path):
    path.write_text("#" * (2**20 + 1))


@pytest.mark.parametrize("become", [endless, pipe, enormous])
def test_settings_come_from_small_regular_files(run_dir, tmp_path, capfd, become):
    copy = shutil.copytree(run_dir, tmp_path / "copy")
    become(copy / "flags.cfg")
    for arguments in (
        [f"--flagfile={copy}/flags.cfg"],
        [f"--run_dir={copy}"],
        ["--mode=evaluate", f"--run_dir={copy}"],
    ):
        outcome = run_here(capfd, *arguments)
        assert outcome.code == 1 and ("is no regular file" in outcome.text or "more than 1048576 bytes" in outcome.text)


def test_lost_checkpoints_end_no_run(run_dir, tmp_path, capfd):
    copy = shutil.copytree(run_dir, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints")
    for holds in ("metrics up to step 4", "metrics up to step 4"):
        before = {path.name: path.read_bytes() for path in copy.iterdir() if path.is_file()}
        outcome = run_here(capfd, *FLAGS, "--epochs=2", "--histogram_epochs=1", f"--run_dir={copy}")
        assert outcome.code == 1 and f"holds {holds}, and its checkpoints are gone: put them back" in outcome.text
        # Nor do other settings take the place of the run's.
        outcome = run_here(capfd, *FLAGS, "--epochs=2", "--histogram_epochs=1", "--seed=9", f"--run_dir={copy}")
        assert outcome.code == 1 and "--seed: the run was started with 1, now 9" in outcome.text
        assert {path.name: path.read_bytes() for path in copy.iterdir() if path.is_file()} == before
        (copy / "result.json").unlink(missing_ok=True)


@pytest.mark.parametrize("content", ["", "[]", '{"epochs": 2}', '{"epochs": -1, "steps": 4, "seed": 1}', "{" * 10**5])
def test_a_damaged_result_is_made_again(run_dir, tmp_path, capfd, content):
    copy = shutil.copytree(run_dir, tmp_path / "copy")
    (copy / "result.json").write_text(content)
    outcome = run_here(capfd, *FLAGS, "--epochs=2", "--histogram_epochs=1", f"--run_dir={copy}")
    assert outcome.code == 0 and f"{copy}/result.json is damaged" in outcome.text
    assert result(copy) == result(run_dir)


def test_damaged_metrics_are_named_and_can_be_moved_away(run_dir, tmp_path, capfd):
    copy = shutil.copytree(run_dir, tmp_path / "copy")
    (copy / "result.json").unlink()
    damaged = (copy / "metrics.jsonl").read_bytes().replace(b"0.", b"1.", 1)
    (copy / "metrics.jsonl").write_bytes(damaged)
    outcome = run_here(capfd, *FLAGS, "--epochs=2", "--histogram_epochs=1", f"--run_dir={copy}")
    assert outcome.code == 1 and f"{copy}/metrics.jsonl, line 1, is damaged" in outcome.text
    assert (copy / "metrics.jsonl").read_bytes() == damaged
    (copy / "metrics.jsonl").rename(copy / "damaged.jsonl")
    assert run_here(capfd, *FLAGS, "--epochs=2", "--histogram_epochs=1", f"--run_dir={copy}").code == 0
    # What stood in the metrics alone is lost with them.
    assert result(copy) == {name: value for name, value in result(run_dir).items() if not name.endswith("_loss")}


def test_a_full_disk_is_not_taken_for_want_of_memory(tmp_path, capfd, monkeypatch):
    def exhaust(*arguments):
        raise tf.errors.ResourceExhaustedError(None, None, "runs/a/events.1; No space left on device\nof a long trace")

    monkeypatch.setattr(training_runs, "train", exhaust)
    outcome = run_here(capfd, *FLAGS, f"--run_dir={tmp_path}/run")
    assert outcome.code == 1
    assert (
        "the disk is full: runs/a/events.1; No space left on device. What was written before is whole" in outcome.text
    )
    assert "memory" not in outcome.text


def test_a_fault_of_ours_is_reported_with_the_place_of_its_traceback(tmp_path, capfd, monkeypatch):
    def fail(*arguments):
        raise KeyError("beta")

    monkeypatch.setattr(training_runs, "train", fail)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    outcome = run_here(capfd, *FLAGS, f"--run_dir={tmp_path}/run")
    assert outcome.code == 1 and "Traceback" not in outcome.text
    (report,) = tmp_path.glob("igan_tf-*.txt")
    said = f"unexpected KeyError, a fault of igan_tf or of a library that it uses: 'beta'; its traceback is in {report}"
    assert said in outcome.text
    text = report.read_text()
    assert "Traceback" in text and 'raise KeyError("beta")' in text and f"igan_tf {igan_tf.__version__}: " in text


def test_what_others_have_named_commands_no_terminal(tmp_path, capfd):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "flags.cfg").write_bytes(b"--\x1b[2J\xc2\x9b=1\n")
    outcome = run_here(capfd, "--mode=evaluate", f"--run_dir={run_dir}")
    assert outcome.code == 1 and r"unknown setting '\x1b[2J\x9b'" in outcome.text
    assert all(letter.isprintable() for letter in outcome.text.strip())


def test_a_run_dir_that_cannot_be_searched_is_named():
    # As root every folder can be searched; a name that is too long fails in the same place.
    run_dir = "a" * 300
    with pytest.raises(ConfigError, match=f"`run_dir={run_dir}` cannot be read"):
        refuse_other_settings(run_dir, build_config())
    for unreadable in (run_dir, "a\0b"):
        with pytest.raises(ConfigError, match="is not the directory of a run"):
            read_config(unreadable)


@pytest.mark.parametrize("spelling", ["~/run", "../home/run", "there/../../home/./run"])
def test_a_run_of_any_spelling(run_dir, tmp_path, empty_folder, capfd, monkeypatch, spelling):
    """From the user's home, beside the current folder, and around."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    shutil.copytree(run_dir, tmp_path / "home" / "run")
    (empty_folder / "there").mkdir()
    place = spelling.removesuffix("/run")
    more = ["--num_samples=2", f"--output={place}/samples/"]
    outcome = run_here(capfd, "--mode=sample", f"--flagfile={spelling}/flags.cfg", f"--run_dir={spelling}", *more)
    assert outcome.code == 0, outcome.text
    assert len(list((tmp_path / "home" / "samples").glob("*.png"))) == 2
    assert [path.name for path in empty_folder.iterdir()] == ["there"]


def test_a_run_without_labels_says_what_it_has(run_dir, empty_folder, tmp_path, capfd):
    copy = shutil.copytree(run_dir, tmp_path / "copy")
    settings = (copy / "flags.cfg").read_text()
    (copy / "flags.cfg").write_text(settings.replace("--labels=50", "--labels=0"))
    outcome = run_here(capfd, "--mode=evaluate", f"--run_dir={copy}")
    reason = f"--run_dir={copy} has no test error: it was trained without labels, --labels=0."
    assert_refused(outcome, empty_folder, reason, "--mode=sample draws samples")
    found = (
        r"It has checkpoints of 2 steps, the last 4; 2 grids in samples/; in metrics.jsonl discriminator_loss [\d.]+, "
    )
    assert re.search(found, outcome.text)


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path, capfd):
    arguments = ["--discriminator_learning_rate=1e30", "--epochs=3", f"--run_dir={tmp_path}/run"]
    outcome = run_here(capfd, *FLAGS, *arguments)
    assert outcome.code == 1
    assert "Traceback" not in outcome.text
    assert re.search(r"igan_tf: \w+_loss is (nan|inf|-inf) at step [12], epoch 1; there is no checkpoint", outcome.text)
    assert not (tmp_path / "run" / "result.json").exists()
