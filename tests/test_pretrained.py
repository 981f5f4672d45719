"""The weights that come with the package: they are what their cards say, wherever a run directory can stand."""

import re
import shutil
from pathlib import Path

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("runs need the TensorFlow backend", allow_module_level=True)

import igan_tf
from igan_tf import pretrained
from igan_tf.errors import ConfigError
from igan_tf.evaluation.settings import EvaluationSettings
from igan_tf.experiments import runs, training_runs
from igan_tf.experiments.configs import build_config
from igan_tf.experiments.run_directory import refuse_other_settings
from igan_tf.experiments.sampling import sample_run
from igan_tf.experiments.score_sources import open_run
from igan_tf.experiments.scoring import evaluate
from igan_tf.files.digests import file_digest
from igan_tf.turing_test.sources import parse_sources, read_sources

SAMPLES = {"digits": 5000, "mnist-feature-matching": 10_000, "mnist-samples": 10_000}
# Of samples of which many have no class, each training of the classifier thinks otherwise: two gave 6.26 and 6.17.
RELATIVE_TOLERANCE = {"mnist-feature-matching": 0.1}
SCORES = {"inception_score", "frechet_distance", "precision", "recall", "two_sample_accuracy"}
# Of one last digit of the card, beside what another processor's rounding changes.
TOLERANCE = {"inception_score": 0.03, "frechet_distance": 0.03, "two_sample_accuracy": 0.03}


def card_of(name):
    return (pretrained.run_folder(f"pretrained:{name}") / "MODEL_CARD.md").read_text()


def scores_on_the_card(name):
    return {key: float(value) for key, value in re.findall(r"^\| (\w+) \| ([\d.]+)", card_of(name), re.MULTILINE)}


def check_scores(name, data_dir, cache_dir):
    """Draws the card's samples and scores them."""
    source = f"pretrained:{name}"
    record = evaluate(
        EvaluationSettings(
            source=source,
            classifier="domain",
            reference="run:data",
            num_samples=SAMPLES[name],
            data_dir=data_dir,
            cache_dir=str(cache_dir),
        )
    )
    stated = scores_on_the_card(name)
    # Of a generator alone there is no error.
    measured = record | (runs.test_errors(source, data_dir) if "test_error" in stated else {})
    assert stated.keys() - {"test_error"} == SCORES
    for key, value in stated.items():
        found = measured[key]
        number = next(iter(found.values())) if isinstance(found, dict) else found
        tolerance = max(TOLERANCE.get(key, 0.01), RELATIVE_TOLERANCE.get(name, 0) * value)
        assert number == pytest.approx(value, abs=tolerance), key


def test_the_digits_have_the_scores_of_their_card(digits_cache):
    check_scores("digits", "", digits_cache)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist-feature-matching", "mnist-samples"])
def test_mnists_have_the_scores_of_their_cards(real_data_dir, tmp_path, name):
    check_scores(name, str(real_data_dir / "tfds"), tmp_path)


@pytest.mark.parametrize("name", pretrained.names())
def test_a_card_names_what_lies_beside_it(name):
    folder = pretrained.run_folder(f"pretrained:{name}")
    [state] = folder.glob("checkpoints/*/state.npz")
    assert file_digest(state) in card_of(name) and (folder / "samples.png").is_file()
    assert f"--output={name}\n" in card_of(name)
    images = igan_tf.load_pretrained(name).generate(4, seed=0)
    assert images.shape[0] == 4 and 0 <= images.min() < images.max() <= 1


def test_they_are_small():
    assert sum(path.stat().st_size for path in Path(pretrained.__file__).parent.rglob("*.npz")) < 5e6


def test_what_there_is_not_is_refused():
    with pytest.raises(
        ConfigError, match=r"pretrained:cats: the package has no such weights. It has .*pretrained:digits"
    ):
        igan_tf.load_pretrained("cats")


def test_a_folder_of_such_a_name_is_reached_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(pretrained.run_folder("pretrained:digits"), "pretrained:mine")
    place = "./pretrained:mine"
    run = open_run(place)
    assert str(run.folder) == "pretrained:mine" and run.checkpoint == open_run("pretrained:digits").checkpoint
    [real, mine] = read_sources(parse_sources("digits:test", [f"mine={place}"]), 20, seed=0)
    assert mine.images.shape == real.images.shape == (20, 8, 8, 1)
    # As a trainer asks, which has its run directory as a `Path`.
    refuse_other_settings(Path("./pretrained:new"), build_config(dataset="digits"))
    # A folder that is missing is no unknown name.
    with pytest.raises(ConfigError, match="pretrained:digits` is not the directory of a run: it does not exist"):
        igan_tf.load_run("./pretrained:digits")


def test_wherever_a_run_can_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = sample_run("pretrained:digits", "sevens.npz", 3, 0, sample_class=7)
    assert done["of_the_class"].startswith("3 of ")
    sources = read_sources(parse_sources("digits:test", ["ours=pretrained:digits"]), 20, seed=0)
    assert [source.images.shape for source in sources] == [(20, 8, 8, 1)] * 2
    settings = {"dataset": "digits", "labels": 1000, "minibatch_discrimination": True, "epochs": 1, "batch_size": 400}
    training_runs.train(build_config(**settings, init_from="pretrained:digits"), tmp_path / "run")
    assert "--init_from=pretrained:digits\n" in (tmp_path / "run" / "flags.cfg").read_text()
    with pytest.raises(ConfigError, match="stays as it is; `init_from=pretrained:digits` starts a training"):
        training_runs.train(build_config(**settings), "pretrained:digits")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "sevens.npz"]
