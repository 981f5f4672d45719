"""`python -m igan_tf.evaluate`: every kind of source, what is written, and what is refused."""

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line needs the TensorFlow backend", allow_module_level=True)

import tensorflow as tf

from igan_tf.commands import evaluate
from igan_tf.data import load_data
from igan_tf.errors import DataError, InputError
from igan_tf.evaluation import (
    FeatureMoments,
    FeatureStatistics,
    inception_score,
    load_classifier,
    load_statistics,
    save_statistics,
    scores,
)
from igan_tf.evaluation.scores import classify
from igan_tf.evaluation.settings import EvaluationSettings
from igan_tf.experiments import runs, score_sources, scoring, training_runs
from igan_tf.experiments.configs import build_config
from igan_tf.experiments.run_directory import save_config
from igan_tf.experiments.score_checks import refuse_combinations
from igan_tf.training import Checkpoints
from tests.command_line import REPOSITORY, environment
from tests.evaluation.inception_graphs import Builder, graph, pack, write
from tests.evaluation.inception_graphs import expected as inception_expected
from tests.evaluation.tflite_files import convert, network
from tests.records.record_sets import convert_here, make_photos

RUN = {"dataset": "digits", "labels": 50, "batch_size": 400, "initialization_examples": 50, "epochs": 2}


@pytest.fixture
def cache(digits_cache):
    return digits_cache


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    training_runs.train(build_config(**RUN), folder, lambda line: None)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(cache, *arguments):
    """Runs the command in this process and returns the record that it wrote."""
    evaluate.run(["--classifier=domain", "--dataset=digits", f"--cache_dir={cache}", *map(str, arguments)])
    return json.loads(open("scores.json").read())


def refused(capsys, *arguments):
    """What the command says where it ends with an error, without a traceback and before it writes anything."""
    with pytest.raises(SystemExit) as caught:
        evaluate.run(list(map(str, arguments)))
    assert caught.value.code not in (0, None)
    text = capsys.readouterr().err + str(caught.value.code)
    assert "Traceback" not in text
    return text


def test_a_split_of_a_data_set(here, cache, capsys):
    record = run(cache, "--source=digits:test", "--splits=5", "--seed=2")
    data = load_data(build_config(dataset="digits"))
    classifier = load_classifier("domain", data=data, data_name="digits", cache_dir=cache)
    mean, deviation = inception_score(classifier(data.test_images).values, 5, 2)
    assert record["inception_score"] == pytest.approx({"mean": mean, "std": deviation, "splits": 5, "seed": 2})
    assert record["num_samples"] == 599 and (record["source"], record["split"]) == ("digits", "test")
    assert record["classifier"]["sha256"] == classifier.digest and record["classifier"]["name"] == "domain(digits)"
    assert set(record["versions"]) >= {"python", "tensorflow", "keras", "numpy", "scipy", "igan_tf"}
    # Scores are of whole float32 products, and training is left as it was.
    assert record["tensor_float_32"] is False
    assert tf.config.experimental.tensor_float_32_execution_enabled()
    assert [path.name for path in here.iterdir()] == ["scores.json"]
    text = capsys.readouterr().out
    assert f"{mean:.5g}" in text and classifier.digest[:16] in text and "written to scores.json" in text
    # In the order of the images.
    kept, _ = inception_score(classifier(data.test_images).values, 10, None)
    assert run(cache, "--source=digits:test", "--seed=none")["inception_score"]["mean"] == pytest.approx(kept)


def test_a_run_directory_and_its_checkpoints_generate_on_the_fly(here, cache, run_dir):
    newest = run(cache, f"--source={run_dir}", "--num_samples=150", "--seed=3", "--splits=3")
    model = runs.load_run(run_dir)
    classifier = load_classifier(
        "domain", data=load_data(build_config(dataset="digits")), data_name="digits", cache_dir=cache
    )
    mean, _ = inception_score(classifier(model.generate(150, 3)).values, 3, 3)
    assert newest["inception_score"]["mean"] == pytest.approx(mean, rel=1e-6)
    assert newest["num_samples"] == 150 and newest["split"] == "step 4, seed 3"
    digest = Checkpoints(run_dir / "checkpoints").digest
    assert newest["checkpoint"] == {"step": 4, "sha256": digest(4)}
    last = run(cache, f"--source={run_dir}/checkpoints/step-000000004", "--num_samples=150", "--seed=3", "--splits=3")
    assert last["inception_score"] == newest["inception_score"]
    first = run(cache, f"--source={run_dir}/checkpoints/step-000000002", "--num_samples=150", "--seed=3", "--splits=3")
    assert first["inception_score"] != newest["inception_score"]
    assert last["checkpoint"] == newest["checkpoint"]
    assert first["checkpoint"] == {"step": 2, "sha256": digest(2)} and first["split"] == "step 2, seed 3"


def test_the_checkpoint_in_the_record_is_the_one_whose_weights_were_scored(here, cache, run_dir):
    """Not the newest, where that is damaged; of a reference, too, its step is said."""
    copy = shutil.copytree(run_dir, here / "copy")
    (copy / "checkpoints" / "step-000000004" / "state.npz").write_bytes(b"damaged")
    arguments = ["--num_samples=40", "--splits=1"]
    found = run(cache, f"--source={copy}", f"--reference={run_dir}", "--save_statistics=own.npz", *arguments)
    expected = run(cache, f"--source={run_dir}/checkpoints/step-000000002", f"--reference={run_dir}", *arguments)
    assert found["checkpoint"] == expected["checkpoint"] and found["checkpoint"]["step"] == 2
    assert found["frechet_distance"] == expected["frechet_distance"] > 0
    about_reference = {"source": str(run_dir), "split": f"step 4, seed {0x2F0E1EB9}", "num_samples": 40}
    assert found["reference"] == about_reference | {
        "image_range": [0, 1],
        "fit": "crop",
        "images": f"{run_dir}: 40 images",
    }
    assert load_statistics("own.npz").split == "step 2, seed 0"
    assert "checkpoint" not in run(cache, "--source=digits:test")


def test_the_data_set_of_a_run_needs_no_flag(here, cache, run_dir):
    evaluate.run([f"--source={run_dir}", "--classifier=domain", f"--cache_dir={cache}", "--num_samples=30"])
    assert json.loads((here / "scores.json").read_text())["classifier"]["name"] == "domain(digits)"


def test_a_folder_and_an_npz_of_the_same_images_score_the_same(here, cache):
    images = load_data(build_config(dataset="digits")).test_images
    pixels = np.round(images * 255).astype("uint8")
    for index, image in enumerate(pixels):
        (here / "folder" / str(index % 3)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(here / "folder" / str(index % 3) / f"{index:03d}.png")
    np.savez(here / "bytes.npz", images=pixels)
    np.savez_compressed(here / "floats.npz", samples=pixels / np.float32(127.5) - 1)
    (here / "shards").mkdir()
    for first in (0, 400):
        np.savez(here / "shards" / f"{first:06d}.npz", images=pixels[first : first + 400])
    records = [
        run(cache, f"--source={source}", "--splits=1", *arguments)
        for source, *arguments in (("folder",), ("bytes.npz",), ("floats.npz", "--image_range=-1,1"), ("shards",))
    ]
    scores = [record["inception_score"]["mean"] for record in records]
    # Paths sort in another order; -1..1 rounds otherwise.
    assert scores == pytest.approx([scores[0]] * 4, rel=1e-5)
    assert [record["image_range"] for record in records] == [[0, 255], [0, 255], [-1, 1], [0, 255]]
    assert records[3]["inception_score"] == records[1]["inception_score"]


def test_wide_images_are_fitted_as_asked_and_compared_with_such_alone(here, cache, capsys):
    (here / "wide").mkdir()
    for index, image in enumerate(np.random.default_rng(0).integers(0, 256, (12, 8, 16), "uint8")):
        Image.fromarray(image).save(here / "wide" / f"{index}.png")
    arguments = ["--source=wide", "--splits=1", "--kernel_block_size=4"]
    padded = ["--fit=pad", "--background=black"]
    record = run(cache, *arguments, *padded, "--reference=wide", "--save_reference=r.npz")
    assert record["fit"] == record["reference"]["fit"] == "pad with black"
    assert run(cache, *arguments, *padded, "--reference=r.npz")["frechet_distance"] < 1e-6
    with pytest.raises(SystemExit, match="its fit is 'pad with black', not 'crop'"):
        run(cache, *arguments, "--reference=r.npz")


def test_distances_and_saved_statistics(here, cache, run_dir):
    arguments = ["--num_samples=120", "--splits=2", "--kernel_block_size=50"]
    direct = run(cache, f"--source={run_dir}", "--reference=digits:test", "--save_reference=real.npz", *arguments)
    about_reference = {"source": "digits", "split": "test", "num_samples": 599}
    assert direct["reference"] == about_reference | {
        "image_range": [0, 1],
        "fit": "crop",
        "images": "digits: 599 images",
    }
    assert direct["frechet_distance"] > 0 and direct["kernel_distance"]["block_size"] == 50
    assert {"precision", "recall", "density", "coverage"} < set(direct)
    again = run(cache, f"--source={run_dir}", "--reference=real.npz", *arguments)
    assert again["kernel_distance"] == direct["kernel_distance"] and again["precision"] == direct["precision"]
    assert again["frechet_distance"] == pytest.approx(direct["frechet_distance"], rel=1e-9)
    # Real images against themselves.
    run(cache, "--source=digits:test", "--save_statistics=own.npz")
    same = run(cache, "--source=digits:test", "--reference=own.npz")
    assert same["frechet_distance"] < 1e-6 * direct["frechet_distance"] and same["precision"]["value"] == 1
    assert same["kernel_distance"]["mean"] < direct["kernel_distance"]["mean"]


def test_the_top_samples(here, cache, run_dir, capsys):
    record = run(
        cache, f"--source={run_dir}", "--num_samples=200", "--top_dir=top", "--top_fraction=0.03", "--splits=2"
    )
    assert sorted(path.name for path in (here / "top").iterdir()) == ["grid.png", "samples"]
    files = sorted(path.name for path in (here / "top" / "samples").iterdir())
    assert len(files) == record["top_samples"]["count"] == 6 and record["top_samples"]["folder"] == "top/samples"
    divergences = [float(name.split("-kl-")[1].removesuffix(".png")) for name in files]
    assert divergences == sorted(divergences, reverse=True) and divergences[0] > divergences[-1]
    ends = [record["top_samples"][name] for name in ("kl_highest", "kl_lowest")]
    assert ends == pytest.approx([divergences[0], divergences[-1]], abs=1e-3)
    images = runs.load_run(run_dir).generate(200, 0)
    grid = np.asarray(Image.open(here / "top" / "grid.png"))
    # Pixels are squares of three.
    assert grid.shape == (2 * 25 + 1, 3 * 25 + 1)
    for index, name in enumerate(files):
        position = int(name.split("-")[2])
        expected = np.round(images[position, ..., 0] * 255).astype("uint8")
        np.testing.assert_array_equal(np.asarray(Image.open(here / "top" / "samples" / name)), expected)
        top, left = 1 + index // 3 * 25, 1 + index % 3 * 25
        np.testing.assert_array_equal(grid[top : top + 24 : 3, left : left + 24 : 3], expected)
    # Both are said, the scores before anything else was done.
    text = capsys.readouterr().out
    assert text.index("inception_score") < text.index("top_samples") < text.index("written to")
    assert run(cache, "--source=top/samples", "--splits=1")["num_samples"] == 6


def test_the_grid_of_the_top_samples_has_the_first_of_them(here, cache, monkeypatch):
    monkeypatch.setattr(scoring, "GRID_SAMPLES", 4)
    run(cache, "--source=digits:test", "--top_dir=deep/top", "--top_fraction=0.02")
    assert len(list((here / "deep/top/samples").iterdir())) == 12
    assert Image.open(here / "deep/top/grid.png").size == (2 * 25 + 1, 2 * 25 + 1)


def test_figures_that_cannot_be_written_are_said(here, cache, monkeypatch, capsys):
    """The place could be written before the work, and cannot after it."""

    def remove_the_folder(*arguments, **named):
        (here / "out").rmdir()
        return classify(*arguments, **named)

    (here / "out").mkdir()
    monkeypatch.setattr(scores, "classify", remove_the_folder)
    with pytest.raises(SystemExit, match=r"--output=out/s.json cannot be written"):
        run(cache, "--source=digits:test", "--output=out/s.json")
    assert "inception_score" in capsys.readouterr().out


def test_generated_images_as_training_data(here, cache, run_dir, monkeypatch):
    from igan_tf.evaluation.classifiers import domain

    monkeypatch.setattr(domain.train_network, "__defaults__", (0, 60))
    record = run(cache, f"--source={run_dir}", "--num_samples=400", "--generated_training_data")
    found = record["generated_training_data"]
    assert found["generated_images"] == found["real_images"] == 400 and found["test_images"] == 599
    # Two epochs of training make bad samples; 400 real images teach the digits well.
    assert found["real_training_error"] < 0.2 < found["generated_training_error"] <= 1
    assert 0 <= found["smallest_generated_class"] <= 0.1


def test_generated_images_have_the_discriminators_labels(run_dir):
    from igan_tf.evaluation.generated_training_data import labelled_samples

    model = runs.load_run(run_dir)
    images, labels = labelled_samples(model, 130, 3)
    np.testing.assert_array_equal(images, model.generate(130, 3))
    logits = np.concatenate([model.averaged_logits(part) for part in (images[:100], images[100:])])
    np.testing.assert_array_equal(labels, logits.argmax(axis=1))


def test_generated_images_are_held_against_the_data_of_their_run(here, cache, run_dir, capsys, monkeypatch):
    """Not against another data set, whose classes are others even where they are as many."""
    arguments = [f"--source={run_dir}", f"--cache_dir={cache}", "--dataset=digits", "--generated_training_data"]
    text = refused(capsys, *arguments, "--classifier=keras_inception_v3")
    assert "--dataset is for --classifier=domain" in text
    asked_for = []

    def changed(folder, data):
        asked_for.append((folder, data.image_shape))
        raise DataError("other data")

    monkeypatch.setattr(score_sources, "refuse_other_data", changed)
    assert "other data" in refused(capsys, *arguments, "--classifier=domain")
    assert asked_for == [(run_dir, (8, 8, 1))]


def test_a_folder_to_train_on_is_read_as_the_settings_say():
    settings = EvaluationSettings(
        source="noise:8x8x1", classifier="domain", dataset="folder", data_dir="photos", max_unreadable=0.5, fit="pad"
    )
    config = score_sources.training_config(settings)
    assert (config.data_dir, config.max_unreadable, config.fit) == ("photos", 0.5, "pad")
    refuse_combinations(settings, {"max_unreadable", "max_megapixels", "background"})


def test_two_sets_that_are_drawn_are_not_the_same(here, cache):
    """As with any two sets of the same kind a classifier is right about half of them, and no more often wrong."""
    record = run(cache, "--source=noise:8x8x1", "--reference=noise:8x8x1", "--num_samples=400", "--splits=1")
    assert record["frechet_distance"] > 0.01 and 0.4 < record["two_sample_accuracy"]["accuracy"] < 0.6


def test_uniform_noise(here, cache):
    record = run(cache, "--source=noise:8x8x1", "--num_samples=60", "--splits=1")
    assert record["source"] == "uniform noise 8x8x1" and record["num_samples"] == 60


def test_the_published_inception_file(here, capsys):
    """The command that docs/scores.md writes out for CIFAR-10, on images that are made here."""
    images = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype="uint8")
    np.savez("images.npz", images=images)
    archive = pack(write(here))
    command = ["--source=images.npz", "--classifier=inception", f"--classifier_path={archive}", "--splits=3"]
    evaluate.run([*command, "--protocol=original"])
    record = json.loads((here / "scores.json").read_text())
    mean, deviation = inception_score(inception_expected(images, bias=False)[0], 3, 0)
    assert record["inception_score"]["mean"] == pytest.approx(mean, rel=1e-5)
    assert record["inception_score"]["std"] == pytest.approx(deviation, rel=1e-4)
    assert record["classifier"]["name"] == "inception, protocol original" and record["classifier"]["outputs"] == 1008
    assert record["classifier"]["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    evaluate.run(command)
    assert json.loads((here / "scores.json").read_text())["inception_score"]["mean"] != pytest.approx(mean, rel=1e-3)
    with_a_file = Builder()
    with_a_file.graph_def.CopyFrom(graph())
    with_a_file.add("unused", "WriteFile")
    write(here, with_a_file.graph_def, "writes.pb")
    (here / "half.tgz").write_bytes(archive.read_bytes()[:9000])
    for file, words in (
        ("writes.pb", "--trust_classifier_file must be True to run --classifier_path=writes.pb"),
        ("half.tgz", "--classifier_path=half.tgz holds no Inception graph that can be read"),
    ):
        text = refused(
            capsys, "--source=images.npz", "--classifier=inception", f"--classifier_path={file}", "--output=o"
        )
        assert words in text and not (here / "o").exists()


def test_in_a_process_of_its_own(here, cache):
    command = [sys.executable, "-m", "igan_tf.evaluate", "--source=digits:test", "--classifier=domain"]
    command += ["--dataset=digits", f"--cache_dir={cache}"]
    done = subprocess.run(command, cwd=here, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "inception_score" in done.stdout and "Traceback" not in done.stderr
    assert [path.name for path in here.iterdir()] == ["scores.json"]
    assert str(REPOSITORY) not in (here / "scores.json").read_text()


@pytest.fixture(scope="module")
def wrong_files(tmp_path_factory):
    """A folder of files that are no images, or not such as are wanted."""
    here = tmp_path_factory.mktemp("wrong")
    (here / "empty").mkdir()
    (here / "unfinished").mkdir()
    (here / "unfinished" / "samples.unfinished.json").write_text("{}")
    for index, size in enumerate(((4, 4), (4, 5))):
        for folder in ("mixed", "cut"):
            (here / folder).mkdir(exist_ok=True)
        Image.new("L", size).save(here / "mixed" / f"{index}.png")
        Image.new("L", (4, 4)).save(here / "cut" / f"{index}.png")
    (here / "cut" / "1.png").write_bytes(b"")
    (here / "text.npz").write_text("no zip")
    np.savez(here / "floats.npz", images=np.linspace(0, 200, 20 * 64).reshape(20, 8, 8, 1))
    np.savez(here / "bytes.npz", images=np.zeros((20, 8, 8, 1), "uint8"))
    np.save(here / "first.npy", np.zeros((20, 3, 8, 8), "uint8"))
    np.savez(here / "two.npz", x=np.zeros((20, 8, 8, 1)), y=np.zeros((20, 8, 8, 1)))
    np.savez(here / "stats.npz", mu=np.zeros(3), sigma=np.eye(3))
    np.savez(here / "no_covariance.npz", mu=np.zeros(3), sigma=np.eye(3, k=1))
    np.savez(here / "own.npz", about=np.zeros(3, "uint8"), mean=np.zeros(3), covariance=np.eye(3))
    np.savez(here / "nan.npz", images=np.full((20, 8, 8, 1), np.nan, "float32"))
    np.savez(here / "colour.npz", images=np.zeros((20, 8, 8, 3), "uint8"))
    np.savez(here / "labels.npz", labels=np.zeros(20, "uint8"))
    content = bytearray((here / "labels.npz").read_bytes())
    content[content.index(b"PK\x01\x02")] ^= 1
    (here / "damaged.npz").write_bytes(content)
    inputs = keras.Input((None, None, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    keras.Model(inputs, keras.layers.Dense(2)(pooled)).save(here / "free.keras")
    return here


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--source"]),
        (["--source=digits:test", "--splits=0"], ["--splits must be at least 1. Received: --splits=0"]),
        (["--source=digits:test", "--splits=ten"], ["--splits=ten"]),
        (["--source=digits:test", "--num_samples=-1"], ["--num_samples=-1"]),
        (
            ["--source=digits:test", "--num_samples=5"],
            ["one for each of the --splits", "--splits=10 for 5 images of --source"],
        ),
        (["--source=digits:test", "--num_samples=700"], ["--num_samples must be at most", "599", "--num_samples=700"]),
        (["--source=digits:test", "--seed=x"], ["--seed=x"]),
        (["--source=digits:test", f"--seed={2**31}"], [f"--seed must be at most {2**31 - 1}", f"--seed={2**31}"]),
        (["--source=digits:test", "--image_range=1,0"], ["--image_range must be black,white", "--image_range=1,0"]),
        (["--source=digits:test", "--top_fraction=2"], ["--top_fraction=2"]),
        (["--source=digits:test", "--split=1"], ["flag 'split'"]),
        (["--source=bytes.npz", "--image_range=-1,1"], ["--image_range is for images of floats", "--image_range=-1,1"]),
        (["--source=digits:test", "--top_dir=text.npz"], ["--top_dir=text.npz cannot be written"]),
        (["--source=nowhere"], ["--source must be one of", "Received: --source=nowhere"]),
        (["--source=empty"], ["--source must hold images", "Received: --source=empty"]),
        (["--source=unfinished"], ["unfinished is not finished", "samples.unfinished.json"]),
        (
            ["--splits=1", "--source=cut"],
            ["the folder cut: 1 of 2 images cannot be read", "--max_unreadable=0.01", "1.png"],
        ),
        (["--source=text.npz"], ["--source=text.npz cannot be read"]),
        (
            ["--source=floats.npz"],
            ["--source=floats.npz: the", "from 0 to 200", "such as --image_range=0,255. Received: --image_range=0,1"],
        ),
        (
            ["--source=digits:test", "--reference=floats.npz", "--image_range=-1,1"],
            ["--reference=floats.npz: ", "such as --reference_range=0,255. Received: --reference_range=-1,1"],
        ),
        (["--source=first.npy"], ["--source=first.npy: its array has its channels first", "--channels_first takes it"]),
        (["--source=bytes.npz", "--channels_first"], ["--channels_first is for arrays (N, channels, height, width)"]),
        (["--source=bytes.npz", "--npz_key=x"], ["--npz_key must be one of images", "Received: --npz_key=x"]),
        (
            ["--source=digits:test", "--reference=bytes.npz", "--npz_key=x"],
            ["--npz_key must be one of images", "Received: --npz_key=x"],
        ),
        (
            ["--source=bytes.npz", "--reference=two.npz", "--npz_key=images"],
            ["--reference_npz_key must be one of x, y, the arrays in two.npz. Received: --reference_npz_key="],
        ),
        (["--source=stats.npz"], ["--source=stats.npz holds statistics, for --reference, and no images"]),
        (["--source=digits:test", "--reference=no_covariance.npz"], ["no_covariance.npz cannot be read: `sigma` must"]),
        (
            ["--source=digits:test", "--reference=stats.npz", "--save_reference=s.npz"],
            ["--save_reference must be of a known classifier", "--reference=stats.npz"],
        ),
        (["--source=run:data"], ["--source must be one of", "--source=run:data"]),
        (
            ["--source=digits:test", "--reference=run:data"],
            ["--reference=run:data is the data of a run, which --source must name. Received: --source=digits:test"],
        ),
        (["--source=nan.npz"], ["must be finite", "NaN"]),
        (["--source=colour.npz"], ["1 channel for this classifier"]),
        (["--source=colour.npz", "--reference=digits:test"], ["1 channel for this classifier"]),
        (
            ["--source=digits:test", "--reference=mixed", "--top_dir=mixed/top"],
            ["--top_dir must not lie in --reference", "Received: --top_dir=mixed/top --reference=mixed"],
        ),
        (
            ["--source=digits:test", "--classifier=free.keras", "--output=free.keras"],
            ["--output must be another file than --classifier", "--output=free.keras --classifier=free.keras"],
        ),
        (["--source=own.npz"], ["--source=own.npz holds statistics, for --reference, and no images"]),
        (["--source=digits:test", "--reference=nowhere"], ["--reference must be", "Received: --reference=nowhere"]),
        (
            ["--source=digits:test", "--reference=empty"],
            ["--reference must hold images", "--reference=empty"],
        ),
        (["--source=digits:test", "--reference=text.npz"], ["--reference=text.npz cannot be read"]),
        (["--source=digits:test", "--reference=labels.npz"], ["--reference=labels.npz: the array", "must be images"]),
        (["--source=digits:test", "--reference=tfds:mnist:test", "--data_dir=empty"], ["--reference=tfds:mnist:test"]),
        (["--source=digits:test", "--reference=mnist:test", "--data_dir=empty"], ["--dataset=mnist"]),
        (["--source=digits:test", "--reference=digit:test"], ["--reference=digit:test: --dataset must be one of"]),
        (["--source=digits:test", "--save_reference=a.npz"], ["--save_reference needs --reference"]),
        (
            ["--source=digits:test", "--output=none/s.json"],
            ["--output must lie in a folder that exists", "none/s.json"],
        ),
        (["--source=digits:test", "--output=empty"], ["--output must be a file", "--output=empty, a folder"]),
        (["--source=digits:test", "--save_statistics=empty"], ["--save_statistics must be a file"]),
        (["--source=digits:test", "--output="], ["--output must be a file. Received: --output="]),
        (["--source=digits:test", "--output=/proc/s.json"], ["--output=/proc/s.json cannot be written"]),
        (
            ["--source=digits:test", "--save_statistics=/proc/s.npz"],
            ["--save_statistics=/proc/s.npz cannot be written"],
        ),
        (
            ["--source=digits:test", "--reference=digits:train", "--save_reference=/proc/s.npz"],
            ["--save_reference=/proc/s.npz cannot be written"],
        ),
        (["--source=digits:test", "--top_dir=/proc/none/top"], ["--top_dir=/proc/none/top cannot be written"]),
        (["--source=digits:test", "--top_dir=mixed"], ["--top_dir must hold no images", "--top_dir=mixed", "0.png"]),
        (
            ["--source=digits:test", "--output=a.npz", "--save_statistics=./a.npz"],
            ["--save_statistics must be another"],
        ),
        (
            ["--source=digits:test", "--reference=digits:train", "--save_statistics=a.npz", "--save_reference=a.npz"],
            ["--save_reference must be another file than --save_statistics", "=a.npz --save_statistics=a.npz"],
        ),
        (
            ["--source=digits:test", "--reference=bytes.npz", "--save_reference=empty/../bytes.npz"],
            ["--save_reference must be another file than --reference", "--reference=bytes.npz"],
        ),
        (["--source=bytes.npz", "--output=bytes.npz"], ["--output must be another file than --source"]),
        (["--source="], ["--source must be one of", "Received: --source="]),
        (["--source=digits:test", "--reference=damaged.npz"], ["--reference=damaged.npz cannot be read"]),
        (
            [
                "--source=mixed",
                "--splits=1",
                "--center_square",
                "--classifier=free.keras",
                "--trust_classifier_file",
                "--classifier_range=0,1",
            ],
            [
                "--center_square gives images the aspect ratio",
                "--classifier=free.keras, which takes any size",
            ],
        ),
        (
            ["--source=digits:test", "--reference=digits:train", "--kernel_block_size=2"],
            ["at least 1198 images", "of --kernel_block_size", "--kernel_block_size=2 for 599 images of --source"],
        ),
        (
            ["--source=digits:test", "--reference=digits:train", "--num_samples=5", "--splits=1"],
            ["precision needs at least 6", "5 images of --source and 1198 of --reference"],
        ),
        (["--source=noise:0x8x1"], ["noise must be of 1 to", "pixels a side. Received: --source=noise:0x8x1"]),
        (["--source=digits:test", "--center_square", "--fit=pad"], ["--center_square is --fit=crop", "--fit=pad"]),
        (["--source=digits:test", "--generated_training_data"], ["--generated_training_data needs a run directory"]),
        (["--source=digits:test", "--classifier=vgg"], ["--classifier must be one of", "--classifier=vgg"]),
        (["--source=digits:test", "--classifier=a.keras"], ["--trust_classifier_file"]),
        (["--source=digits:test", "--classifier_sha256=ab"], ["--classifier_sha256 must be", "=ab"]),
        (["--source=digits:test", "--protocol=original"], ["--protocol=original", "--classifier=domain"]),
        (["--source=digits:test", "--dataset=digit"], ["--dataset", "digit"]),
        (["--source=tfds:mnist:test", "--data_dir=empty"], ["tfds:mnist:test", "--data_dir=empty"]),
        (["--source=mnist:test", "--data_dir=empty"], ["--dataset=mnist", "--data_dir=empty"]),
    ],
    ids=lambda value: value[-1] if value and value[-1].startswith("--") else "",
)
def test_a_wrong_value_is_named_and_leaves_nothing(here, wrong_files, cache, capsys, monkeypatch, arguments, words):
    def classify_what_may_be_bad(source, *given, **named):
        assert source.name != "digits", "images were classified before all that can be was checked"
        return classify(source, *given, **named)

    shutil.copytree(wrong_files, here, dirs_exist_ok=True)
    before = sorted(here.rglob("*"))
    defaults = [f"--cache_dir={cache}"]
    if not any(argument.startswith("--classifier=") for argument in arguments):
        defaults += ["--classifier=domain", "--dataset=digits"]
    monkeypatch.setattr(scores, "classify", classify_what_may_be_bad)
    text = refused(capsys, *defaults, *arguments)
    for word in words:
        assert word in text, text
    assert sorted(here.rglob("*")) == before


UNUSED = [
    (["--source=folder", "--image_range=-1,1"], "--image_range is for the images of an .np", "--image_range=-1,1"),
    (["--source=digits:test", "--image_range=0,2"], "--image_range is for", "--image_range=0,2"),
    (["--source=folder", "--npz_key=images"], "--npz_key is for the images of an .npz", "--npz_key=images"),
    (["--source=shards", "--npz_key=x", "--dataset=digits"], None, "--npz_key must be one of images in shards/0.npz"),
    (["--source=a.npz", "--reference=shards", "--npz_key=x", "--dataset=digits"], None, "--npz_key must be one of"),
    (["--source=a.npz", "--reference=real.npz", "--npz_key=mean"], None, "needs the data set"),
    (["--source=a.npz", "--reference_npz_key=x"], "--reference_npz_key is for", "--reference_npz_key=x"),
    (["--source=folder", "--channels_first"], "--channels_first is for the images of", "--channels_first=True"),
    (["--source=RUN", "--reference=run:data", "--data_dir=d", "--num_samples=9"], None, "for 9 images"),
    (["--source=folder", "--reference=real.npz", "--npz_key=mean"], "--npz_key is for", "--npz_key=mean"),
    (["--source=a.npz", "--kernel_block_size=50"], "--kernel_block_size is for --reference", "--kernel_block_size=50"),
    (["--source=a.npz", "--neighbour_samples=50"], "--neighbour_samples is for --reference", "--neighbour_samples=50"),
    (["--source=a.npz", "--top_fraction=0.5"], "--top_fraction is for --top_dir", "--top_fraction=0.5"),
    (
        ["--source=a.npz", "--classifier=b.tflite", "--dataset=digits"],
        "--dataset is for --classifier=domain",
        "=digits",
    ),
    (["--source=folder", "--classifier=b.tflite", "--data_dir=d"], "--data_dir is for a data set", "--data_dir=d"),
    (["--source=RUN", "--classifier=b.tflite", "--data_dir=d"], "--data_dir is for a data set", "--data_dir=d"),
    (["--source=digits:test", "--classifier=b.tflite", "--data_dir=d"], None, "b.tflite"),
    (["--source=folder", "--dataset=digits", "--data_dir=d", "--num_samples=9"], None, "--num_samples=9"),
    (["--source=a.npz", "--background=red"], "--background is for a folder of images and --fit=pad", "=red"),
    (["--source=a.npz", "--max_unreadable=0.01"], "--max_unreadable is for a folder of images", "=0.01"),
    (["--source=RUN", "--data_dir=d", "--classifier_range=0,1"], "--classifier_range is for a .keras", "=0,1"),
    (["--source=RUN", "--trust_classifier_file"], "--trust_classifier_file is for a .keras file", "classifier=domain"),
    (["--source=RUN", "--trust_classifier_file", "--classifier=b.tflite"], "is for a .keras file", "=b.tflite"),
    (
        [
            "--source=a.npz",
            "--splits=1",
            "--trust_classifier_file",
            "--classifier=inception",
            "--classifier_path=no.pb",
        ],
        None,
        "no.pb",
    ),
]


@pytest.mark.parametrize(("arguments", "message", "received"), UNUSED, ids=lambda value: str(value))
def test_what_would_not_be_looked_at_is_refused_by_name(here, cache, run_dir, capsys, arguments, message, received):
    """`message` is None where every flag is looked at, and the command ends for another reason."""
    (here / "folder").mkdir()
    Image.new("L", (8, 8)).save(here / "folder" / "0.png")
    np.savez(here / "a.npz", images=np.zeros((8, 8, 8, 1), "uint8"))
    (here / "shards").mkdir()
    shutil.copy(here / "a.npz", here / "shards" / "0.npz")
    moments = FeatureMoments.of(np.eye(3))
    save_statistics(here / "real.npz", FeatureStatistics(moments, None, "c", "d", "p", "s", ""))
    arguments = [argument.replace("RUN", str(run_dir)) for argument in arguments]
    text = refused(capsys, "--classifier=domain", f"--cache_dir={cache}", *arguments)
    assert ("is for" in text) == (message is not None) and received in text
    assert message is None or (message in text and "Received: --" in text)
    assert not (here / "scores.json").exists()


def test_the_source_and_the_reference_have_arrays_of_other_names(here, cache):
    images = load_data(build_config(dataset="digits")).test_images
    np.savez(here / "a.npz", x=images, y=images[:30])
    np.savez(here / "b.npz", images=images, x=images[:40], z=images[:50])
    np.savez(here / "c.npz", images, np.arange(599))
    np.save(here / "d.npy", images[:60].transpose(0, 3, 1, 2))
    for arguments, found in (
        (["--reference=b.npz"], ("x", 40)),
        (["--reference=b.npz", "--reference_npz_key=z"], ("z", 50)),
        (["--reference=c.npz"], ("arr_0", 599)),
        (["--reference=d.npy", "--channels_first"], ("channels first", 60)),
    ):
        record = run(cache, "--source=a.npz", "--npz_key=x", *arguments)
        assert (record["split"], record["num_samples"]) == ("x", 599)
        assert (record["reference"]["split"], record["reference"]["num_samples"]) == found


def test_statistics_of_others_as_a_reference(here, cache, capsys):
    """The Fréchet distance from mu and sigma, the rest from images beside them; both are said."""
    images = load_data(build_config(dataset="digits")).test_images
    np.savez(here / "images.npz", images[:300])
    own = run(cache, "--source=digits:test", "--reference=images.npz")
    half = run(cache, "--source=digits:test", "--reference=digits:train", "--save_reference=train.npz")
    moments = load_statistics("train.npz").moments
    stored = {"mu": moments.mean, "sigma": moments.covariance}
    np.savez(here / "fid.npz", **stored)
    np.savez(here / "adm.npz", images[:300], **stored, mu_s=np.zeros(3), sigma_s=np.eye(3))
    capsys.readouterr()
    alone = run(cache, "--source=digits:test", "--reference=fid.npz")
    text = capsys.readouterr().out
    assert alone["frechet_distance"] == pytest.approx(half["frechet_distance"], rel=1e-9)
    assert "precision" not in alone
    about = {"source": "fid.npz", "split": "mu and sigma", "num_samples": None}
    assert alone["reference"] == about | {"frechet_distance_from": "mu and sigma"}
    warning = "fid.npz: the Fréchet distance is from mu and sigma, beside which no extractor is named"
    assert any(line.startswith(warning) for line in alone["warnings"]) and f"warning: {warning}" in text
    beside = run(cache, "--source=digits:test", "--reference=adm.npz")
    assert beside["frechet_distance"] == alone["frechet_distance"] != own["frechet_distance"]
    for name in ("kernel_distance", "precision", "recall", "density", "coverage", "two_sample_accuracy"):
        assert beside[name] == own[name]
    about = {
        "source": "adm.npz",
        "split": "arr_0",
        "num_samples": 300,
        "image_range": [0, 1],
        "fit": "crop",
        "images": "adm.npz: 300 images",
    }
    assert beside["reference"] == about | {"frechet_distance_from": "mu and sigma"}
    assert any("what else is compared comes from its images" in line for line in beside["warnings"])


def test_the_data_of_the_run_as_a_reference(here, cache, run_dir):
    arguments = ["--num_samples=120", "--splits=2"]
    record = run(cache, f"--source={run_dir}", "--reference=run:data", *arguments)
    expected = run(cache, f"--source={run_dir}", "--reference=digits:test", *arguments)
    for name in ("reference", "frechet_distance", "precision"):
        assert record[name] == expected[name]
    step = run(cache, f"--source={run_dir}/checkpoints/step-000000002", "--reference=run:data", *arguments)
    assert step["reference"] == expected["reference"] and step["frechet_distance"] != record["frechet_distance"]


@pytest.mark.parametrize(("test_fraction", "count", "split"), [(0.25, 4, "test"), (0.0, 16, "train")])
def test_the_data_of_a_run_on_a_folder_has_the_runs_size_and_channels(here, monkeypatch, test_fraction, count, split):
    # There is no checkpoint to compare them with.
    monkeypatch.setattr(score_sources, "refuse_other_data", lambda run_dir, data: None)
    generator = np.random.default_rng(0)
    for number in range(16):
        (here / "photos" / str(number % 2)).mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (20, 30, 3), dtype="uint8")
        Image.fromarray(pixels).save(here / "photos" / str(number % 2) / f"{number}.png")
    config = build_config(
        dataset="folder", data_dir=str(here / "photos"), image_size=8, channels=1, test_fraction=test_fraction
    )
    save_config(here, config)
    settings = EvaluationSettings(source=str(here), reference="run:data")
    _, source, _ = score_sources.open_both(settings, score_sources.Run(here, None, {"step": 0}), load_data)
    assert (source.count, source.split) == (count, split)
    data = load_data(config)
    np.testing.assert_array_equal(next(source.batches(99)), data.test_images if count == 4 else data.train_images)


def test_the_suffix_of_an_array_may_be_in_capitals(tmp_path):
    with open(tmp_path / "A.NPY", "wb") as file:
        np.save(file, np.zeros((5, 8, 8, 1), "uint8"))
    assert score_sources.kind_of("source", str(tmp_path / "A.NPY")) == "arrays"


def test_what_is_wrong_shows_before_a_classifier_is_trained(here, capsys, monkeypatch):
    monkeypatch.setattr(scoring, "load_classifier", lambda *arguments, **named: pytest.fail("a classifier was loaded"))
    (here / "unfinished").mkdir()
    (here / "unfinished" / "samples.unfinished.json").write_text("{}")
    (here / "text.npy").write_text("no array")
    np.save(here / "five.npy", np.zeros((5, 8, 8, 1), "uint8"))
    for arguments, words in (
        (["--source=unfinished"], "unfinished is not finished"),
        (["--source=text.npy"], "--source=text.npy cannot be read as an .npy or .npz"),
        (["--source=five.npy"], "one for each of the --splits"),
        (["--source=digits:test", "--reference=unfinished"], "unfinished is not finished"),
        (["--source=digits:test", "--reference=text.npy"], "--reference=text.npy cannot be read as an .npy or .npz"),
        (["--source=digits:test", "--reference=five.npy"], "at least 6 images of each set"),
        (["--source=digits:test", "--num_samples=600"], "--num_samples must be at most"),
    ):
        assert words in refused(capsys, "--classifier=domain", "--dataset=digits", *arguments)


def test_bytes_beside_floats_have_the_floats_range(here, cache):
    """The range is the floats'; bytes have theirs."""
    images = np.round(load_data(build_config(dataset="digits")).test_images * 255).astype("uint8")
    np.savez(here / "bytes.npz", images=images)
    np.savez(here / "floats.npz", images=images / np.float32(127.5) - 1)
    record = run(cache, "--source=floats.npz", "--reference=bytes.npz", "--image_range=-1,1")
    assert record["frechet_distance"] == pytest.approx(0, abs=1e-3) and record["image_range"] == [-1, 1]


def test_the_reference_may_have_a_range_of_its_own(here, cache, capsys):
    images = load_data(build_config(dataset="digits")).test_images
    np.savez(here / "symmetric.npz", images=2 * images - 1)
    np.savez(here / "unit.npz", images=images)
    ranges = ["--image_range=-1,1", "--reference_range=0,1"]
    record = run(cache, "--source=symmetric.npz", "--reference=unit.npz", *ranges)
    assert record["frechet_distance"] == pytest.approx(0, abs=1e-3) and record["warnings"] == []
    assert (record["image_range"], record["reference"]["image_range"]) == ([-1, 1], [0, 1])
    wrong = run(cache, "--source=symmetric.npz", "--reference=unit.npz", "--image_range=-1,1")
    assert wrong["frechet_distance"] > 1 and "unit.npz: pixels lie between 0 and 1" in wrong["warnings"][0]
    np.savez(here / "bytes.npz", images=np.round(images * 255).astype("uint8"))
    for reference in (["--reference=digits:test"], [], ["--reference=bytes.npz"]):
        text = refused(capsys, "--classifier=domain", "--dataset=digits", "--source=digits:test", *reference, ranges[1])
        assert (
            "--reference_range is for a --reference of floats in an .npy or .npz" in text
            and "--reference_range=0,1" in text
        )


def test_a_run_without_classes_has_no_training_data_to_compare(here, cache, tmp_path, capsys, monkeypatch):
    training_runs.train(build_config(**{**RUN, "labels": 0, "epochs": 1}), tmp_path / "unlabelled", lambda line: None)
    monkeypatch.setattr(scores, "classify", lambda *arguments, **named: pytest.fail("classified"))
    text = refused(
        capsys, f"--source={tmp_path}/unlabelled", "--classifier=domain", f"--cache_dir={cache}",
        "--generated_training_data",
    )  # fmt: skip
    assert "--generated_training_data: --source must have been trained with labels" in text


def test_records_of_imagenet(here, capsys, monkeypatch):
    # There is no checkpoint to compare them with.
    monkeypatch.setattr(score_sources, "refuse_other_data", lambda run_dir, data: None)
    convert_here(make_photos(here / "photos"), here / "records")
    path = convert(network(True)[0], here / "net.tflite")
    arguments = ["--data_dir=records", f"--classifier={path}", "--classifier_range=0,1", "--splits=2"]
    evaluate.run(["--source=imagenet:train", "--reference=noise:8x8x3", *arguments])
    record = json.loads((here / "scores.json").read_text())
    assert (record["num_samples"], record["source"], record["split"]) == (24, "records", "all records")
    assert record["frechet_distance"] > 0
    text = refused(capsys, "--source=noise:8x8x3", "--reference=imagenet:test", *arguments)
    assert "--reference=imagenet:test: the records are one set" in text
    # Of a run on them, its data are all of them.
    save_config(here, build_config(dataset="imagenet", data_dir=str(here / "records")))
    settings = EvaluationSettings(source=str(here), reference="run:data")
    _, reference, _ = score_sources.open_both(settings, score_sources.Run(here, None, {"step": 0}), load_data)
    assert (reference.count, reference.split) == (24, "all records")
    assert next(reference.batches(99)).shape == (24, 8, 8, 3)
    text = refused(capsys, "--source=noise:8x8x3", "--classifier=domain", "--dataset=imagenet", "--data_dir=records")
    assert "images in memory" in text and "--dataset=imagenet" in text


def test_the_domain_needs_a_data_set(here, capsys):
    np.savez(here / "a.npz", images=np.zeros((20, 8, 8, 1), "uint8"))
    assert "--classifier=domain needs the data set to train on" in refused(
        capsys, "--source=a.npz", "--classifier=domain"
    )


def test_statistics_of_another_classifier_are_refused(here, cache, capsys):
    run(cache, "--source=digits:test", "--save_statistics=real.npz")
    with np.load("real.npz") as file:
        arrays = {name: file[name] for name in file.files}
    about = json.loads(arrays["about"].tobytes())
    about["classifier_digest"] = "0" * 64
    np.savez("real.npz", **{**arrays, "about": np.frombuffer(json.dumps(about).encode(), "uint8")})
    text = refused(
        capsys, "--source=digits:test", "--classifier=domain", "--dataset=digits", f"--cache_dir={cache}",
        "--reference=real.npz",
    )  # fmt: skip
    assert "--reference must come from the classifier in use: its classifier digest is '000" in text


def test_cifar10_through_tfds(here, real_data_dir, tmp_path):
    path = real_data_dir / "classifiers" / "mobilenet_v2_imagenet_uint8.tflite"
    evaluate.run(
        [
            "--source=tfds:cifar10:test[:40]",
            f"--data_dir={real_data_dir / 'tfds'}",
            f"--classifier={path}",
            "--splits=2",
            "--output=cifar.json",
        ]
    )
    record = json.loads((here / "cifar.json").read_text())
    assert record["source"] == "tfds:cifar10/3.0.2" and record["num_samples"] == 40
    assert 2 < record["inception_score"]["mean"] < 20


def test_help_and_wrong_flags_come_without_tensorflow(here):
    program = (
        "import sys\nfrom igan_tf.commands import evaluate\ntry:\n    evaluate.run(sys.argv[1:])\nfinally:\n"
        "    assert not {'tensorflow', 'keras'} & set(sys.modules), 'imports too much'\n"
    )

    def run_it(*arguments):
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.run(command, cwd=here, env=environment(), capture_output=True, text=True, timeout=300)

    help_text = run_it("--help")
    assert help_text.returncode == 0 and help_text.stderr == ""
    # A flag of an option that stands with its metric.
    assert "--kernel_block_size=1024" in help_text.stdout and "--[no]center_square" in help_text.stdout
    for arguments, words in (
        (["--source=a.npz", "--sede=1"], "Did you mean: seed"),
        (["--source=a.npz", "--kernel_block_size=1"], "--kernel_block_size must be at least 2"),
        (["--source=a.npz", "--image_range=1,0"], "--image_range must be black,white"),
        (["--source=a.npz", "--classifier=vgg"], "--classifier must be one of"),
        (["--source=a.npz", "b.npz"], "unknown argument: b.npz"),
        ([], "--source must be one of"),
    ):
        done = run_it(*arguments)
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr


def test_a_program_evaluates_without_a_command_line(here, cache):
    lines = []
    settings = EvaluationSettings(
        source="digits:test",
        classifier="domain",
        dataset="digits",
        cache_dir=str(cache),
        output="",
        splits=4,
        seed=None,
    )
    record = scoring.evaluate(settings, lines.append)
    assert record["inception_score"]["splits"] == 4 and record["inception_score"]["seed"] is None
    assert lines[0] == "source digits: 599 images"
    assert len(lines) == 2 and "inception_score" in lines[1] and list(here.iterdir()) == []
    with pytest.raises(InputError, match=r"^`reference` must be one of: .* Received: reference=nowhere$"):
        scoring.evaluate(dataclasses.replace(settings, reference="nowhere"))


def test_a_classifier_that_knows_nothing_is_warned_of(here, cache, monkeypatch):
    monkeypatch.setattr(scoring, "_POOR_CLASSIFIER", 0.001)
    [warning] = run(cache, "--source=digits:test")["warnings"]
    assert warning.startswith("the classifier is wrong about 1% of its test images")
