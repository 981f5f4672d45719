import dataclasses
import re

import pytest
from absl import flags

from igan_tf.experiments.config import (
    Config,
    ConfigError,
    config_from_flags,
    config_from_lines,
    define_flags,
    expand_flagfiles,
)

FIELDS = {field.name: field for field in dataclasses.fields(Config)}
# A value of each setting that is not its default, and allowed together with all the others' defaults.
OTHER_VALUES = {
    "dataset": "digits",
    "data_dir": "/some where/with = and #",
    "use_labels": False,
    "flip": True,
    "gf_dim": 32,
    "df_dim": 16,
    "latent_size": 100,
    "discriminator_norm": "batch",
    "feature_matching": 0.5,
    "checkpoint_minutes": 60.0,
    "log_steps": 10,
    "sample_minutes": 5.0,
    "early_sample_steps": 10,
    "labels": 50,
    "label_file": "labels.csv",
    "seed_data": 2**31 - 1,
    "image_size": 64,
    "channels": 1,
    "test_fraction": 1 / 3,
    "train_images": 30,
    "network": "digits",
    "network_width": 0.3,
    "generator_norm": "virtual",
    "reference_size": 3,
    "minibatch_discrimination": True,
    "input_corruption": "noise",
    "seed": 0,
    "epochs": 1,
    "batch_size": 7,
    "discriminator_learning_rate": 1e-300,
    "generator_learning_rate": 0.1 + 0.2,
    "anneal_epochs": 9,
    "beta_1": 0.9,
    "adam": "outside",
    "initialization_examples": 0,
    "generator_objective": "minimax",
    "feature_matching_norm": "l1",
    "label_smoothing": 0.1,
    "historical_averaging": 2.5,
    "unlabelled_weight": 0.5,
    "generator_steps": 3,
    "average_decay": 0.99,
    "average_debias": False,
    "label_draws": 3,
    "supervised_baseline": True,
    "strategy": "mirrored",
    "precision": "mixed_float16",
    "jit_compile": True,
    "checkpoint_epochs": 5,
    "score_epochs": 5,
    "score_samples": 100,
    "score_classifier": "inception",
    "score_classifier_range": "-1,1",
    "sample_epochs": 5,
    "histogram_epochs": 0,
}
FREE = {
    *("data_dir", "label_file", "epochs", "checkpoint_epochs", "sample_epochs", "score_epochs", "histogram_epochs"),
    *("checkpoint_minutes", "log_steps", "sample_minutes", "early_sample_steps"),
    *("score_classifier", "score_classifier_range"),
}


def base_of(name):
    """The settings beside which a setting can be given."""
    if name == "score_classifier_range":
        return {"score_classifier": "own.tflite"}
    return {"dataset": "imagenet", "data_dir": "d"} if FIELDS[name].metadata["only"] == "imagenet" else {}


def refused(**settings):
    with pytest.raises(ConfigError) as caught:
        Config(**settings)
    return str(caught.value)


def test_the_defaults_are_the_published_mnist_experiments():
    config = Config()
    assert (config.dataset, config.network_name, config.labels, config.batch_size) == ("mnist", "mnist", 100, 100)
    assert (config.discriminator_learning_rate, config.generator_learning_rate) == (0.003, 0.003)
    assert (config.beta_1, config.adam, config.average_decay) == (0.5, "inside_root", 0.9999)
    assert (config.epochs, config.generator_objective, config.feature_matching_norm) == (300, "feature_matching", "l2")
    assert (config.label_smoothing, config.historical_averaging, config.unlabelled_weight) == (0.0, 0.0, 1.0)


def test_every_setting_is_tested_here():
    assert set(OTHER_VALUES) == set(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_each_setting_is_a_flag_and_passes_through_a_flag_file(name, tmp_path):
    changed = Config(**base_of(name), **{name: OTHER_VALUES[name]})
    assert changed != Config(**base_of(name))
    assert config_from_lines(changed.as_flags()) == changed
    path = tmp_path / "flags.cfg"
    path.write_text("\n".join(changed.as_flags()) + "\n")
    values = flags.FlagValues()
    define_flags(values)
    flags.DEFINE_string("flagfile", "", "", flag_values=values)
    values(["program", f"--flagfile={path}"])
    assert config_from_flags(values) == changed
    assert type(getattr(config_from_flags(values), name)) is type(FIELDS[name].default)


def test_flags_have_the_fields_defaults_and_help():
    values = flags.FlagValues()
    define_flags(values)
    values(["program"])
    assert config_from_flags(values) == Config()
    for name, field in FIELDS.items():
        assert field.metadata["help"] in values[name].help
        assert all(choice in values[name].help for choice in field.metadata["choices"] or ())


def test_lines_that_are_no_settings_are_refused():
    with pytest.raises(ConfigError, match="Unknown command line flag 'epoch'"):
        config_from_lines(["--epoch=3"])
    with pytest.raises(ConfigError, match="--epochs=three"):
        config_from_lines(["--epochs=three"])
    with pytest.raises(ConfigError, match=r"--epochs must be at least 1\. Received: --epochs=0"):
        config_from_lines(["--epochs=0"])


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.metadata["choices"]])
def test_each_choice_is_checked(name):
    choices = FIELDS[name].metadata["choices"]
    assert refused(**{name: "neither"}) == f"--{name} must be one of {', '.join(choices)}. Received: --{name}=neither"


def test_which_settings_have_choices():
    names = {name for name, field in FIELDS.items() if field.metadata["choices"]}
    assert names == {
        *("dataset", "network", "adam", "generator_objective", "feature_matching_norm", "strategy", "precision"),
        *("generator_norm", "input_corruption", "discriminator_norm"),
    }


# A number that is too small for each setting that is a number, and one too large where there is a bound.
TOO_LOW = {
    "labels": -1,
    "train_images": -1,
    "network_width": 0.001,
    "reference_size": 0,
    "anneal_epochs": -1,
    "score_epochs": -1,
    "score_samples": 19,
    "seed_data": -1,
    "image_size": -1,
    "gf_dim": 7,
    "df_dim": 1,
    "latent_size": 0,
    "feature_matching": -0.1,
    "checkpoint_minutes": -0.1,
    "log_steps": -1,
    "sample_minutes": -0.1,
    "early_sample_steps": -1,
    "channels": 0,
    "test_fraction": -0.01,
    "seed": -1,
    "epochs": 0,
    "batch_size": 0,
    "discriminator_learning_rate": -1e-9,
    "generator_learning_rate": -1e-9,
    "beta_1": -0.1,
    "initialization_examples": -1,
    "label_smoothing": -0.1,
    "historical_averaging": -0.1,
    "unlabelled_weight": -0.1,
    "generator_steps": -1,
    "average_decay": -0.1,
    "label_draws": 0,
    "checkpoint_epochs": 0,
    "sample_epochs": 0,
    "histogram_epochs": -1,
}
TOO_HIGH = {
    "seed_data": 2**31,
    "image_size": 513,
    "channels": 4,
    "test_fraction": 0.91,
    "seed": 2**31,
    "beta_1": 1.0,
    "label_smoothing": 1.0,
    "average_decay": 1.0,
}


def test_every_number_has_a_bound():
    numbers = {name for name, field in FIELDS.items() if type(field.default) in (int, float)}
    assert set(TOO_LOW) == numbers


@pytest.mark.parametrize(("name", "value"), TOO_LOW.items())
def test_each_lower_bound_is_checked(name, value):
    low = FIELDS[name].metadata["low"]
    assert refused(**{name: value}) == f"--{name} must be at least {low}. Received: --{name}={value}"


@pytest.mark.parametrize(("name", "value"), TOO_HIGH.items())
def test_each_upper_bound_is_checked(name, value):
    high = FIELDS[name].metadata["high"]
    assert refused(**{name: value}) == f"--{name} must be at most {high}. Received: --{name}={value}"


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if isinstance(field.default, float)])
def test_floats_must_be_finite(name, value):
    message = refused(**{name: float(value)})
    assert message == f"--{name} must be a finite number. Received: --{name}={value}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 3}, "--image_size must be 0 or at least 4. Received: --image_size=3"),
        ({"dataset": "imagenet", "gf_dim": 12}, "--gf_dim must be a multiple of 8. Received: --gf_dim=12"),
        ({"dataset": "imagenet", "df_dim": 3}, "--df_dim must be even. Received: --df_dim=3"),
        (
            {"dataset": "imagenet", "data_dir": "d", "labels": 50},
            "--labels does not concern --dataset=imagenet. Received: --labels=50",
        ),
        ({"use_labels": False}, "--use_labels does not concern --dataset=mnist. Received: --nouse_labels"),
        (
            {"dataset": "imagenet", "data_dir": "d", "network": "mnist"},
            "--network does not concern --dataset=imagenet. Received: --network=mnist",
        ),
        (
            {"dataset": "imagenet", "data_dir": "d", "score_epochs": 1},
            "--score_epochs needs another classifier .* Received: --score_epochs=1",
        ),
        ({"channels": 2}, "--channels must be 1 or 3. Received: --channels=2"),
        ({"dataset": "folder"}, "--dataset=folder needs --data_dir, .* Received: --data_dir="),
        ({"label_file": "f", "label_draws": 2}, "--label_file .* does not go with --label_draws=2"),
        ({"labels": 0, "supervised_baseline": True}, "--supervised_baseline needs .* Received: --labels=0"),
        ({"generator_steps": 0}, "--generator_steps=0 needs --unlabelled_weight=0: .* --unlabelled_weight=1.0"),
        (
            {"unlabelled_weight": 0.0, "generator_objective": "minimax"},
            "--generator_objective=minimax needs .* Received: --unlabelled_weight=0.0",
        ),
        ({"labels": 0, "unlabelled_weight": 0.0}, "nothing to train on. Received: --labels=0 with --unlabelled_weight"),
    ],
)
def test_each_combination_is_checked(settings, message):
    assert re.match(message, refused(**settings))


@pytest.mark.parametrize(
    "settings",
    [
        {"labels": 0},
        {"labels": 0, "label_file": "f", "supervised_baseline": True},
        {"unlabelled_weight": 0.0, "generator_steps": 0},
        {"unlabelled_weight": 0.0},
        {"dataset": "folder", "data_dir": "d"},
        {"dataset": "imagenet", "data_dir": "d", "score_epochs": 1, "score_classifier": "inception"},
    ],
)
def test_what_goes_together_is_allowed(settings):
    Config(**settings)


def test_stray_words_in_flag_lines_are_refused():
    with pytest.raises(ConfigError, match=r"unknown argument: beta_1=0\.9"):
        config_from_lines(["--seed=3", "beta_1=0.9"])


def test_labelled():
    assert Config().labelled
    assert not Config(labels=0).labelled
    assert Config(labels=0, label_file="f").labelled


def test_network_name():
    assert Config(dataset="digits").network_name == "digits"
    assert Config(dataset="folder", data_dir="d").network_name == "mnist"
    assert Config(dataset="digits", network="mnist").network_name == "mnist"


@pytest.mark.parametrize("name", FIELDS)
def test_only_what_leaves_the_numbers_alone_is_free_to_change(name):
    base = base_of(name)
    assert (Config(**base).fixed() == Config(**{**base, name: OTHER_VALUES[name]}).fixed()) == (name in FREE)
    assert (f"--{name}" in Config().fixed()) == (name not in FREE)


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Config(data_dir="here", label_file="labels.csv").with_absolute_paths()
    assert (config.data_dir, config.label_file) == (f"{tmp_path}/here", f"{tmp_path}/labels.csv")
    assert Config(score_classifier="own.tflite").with_absolute_paths().score_classifier == f"{tmp_path}/own.tflite"
    assert Config(score_classifier="inception").with_absolute_paths().score_classifier == "inception"
    for path in ("", "/there", "gs://bucket/data"):
        assert Config(data_dir=path).with_absolute_paths().data_dir == path


def test_a_flag_file_beside_another_is_found_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "configs" / "inner").mkdir(parents=True)
    (tmp_path / "configs" / "base.cfg").write_text("# base\n--seed=3\n\n  --epochs=7\n// end\n")
    (tmp_path / "configs" / "inner" / "more.cfg").write_text("--flagfile=../base.cfg\n--epochs=8\n")
    monkeypatch.chdir(tmp_path)
    expanded = expand_flagfiles(["--labels=20", "--flagfile=configs/inner/more.cfg", "--beta_1=0.9"])
    assert expanded == ["--labels=20", "--seed=3", "--epochs=7", "--epochs=8", "--beta_1=0.9"]
    assert config_from_lines(expanded).epochs == 8
    for arguments in ([f"--flagfile={tmp_path}/configs/base.cfg"], ["--flagfile", f"{tmp_path}/configs/base.cfg"]):
        assert expand_flagfiles([*arguments, "--labels=20"]) == ["--seed=3", "--epochs=7", "--labels=20"]


def test_flag_files_that_cannot_be_are_named(tmp_path):
    with pytest.raises(ConfigError, match=f"--flagfile={tmp_path}/none.cfg cannot be read"):
        expand_flagfiles([f"--flagfile={tmp_path}/none.cfg"])
    (tmp_path / "loop.cfg").write_text("--flagfile=loop.cfg\n")
    with pytest.raises(ConfigError, match=f"--flagfile={tmp_path}/loop.cfg includes itself"):
        expand_flagfiles([f"--flagfile={tmp_path}/loop.cfg"])
    (tmp_path / "binary.cfg").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.cfg cannot be read"):
        expand_flagfiles([f"--flagfile={tmp_path}/binary.cfg"])
