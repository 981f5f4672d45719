import re
from pathlib import Path

import numpy as np
import pytest

from igan_tf.commands.flags import in_flags
from igan_tf.commands.train import command_line, config_of
from igan_tf.errors import ConfigError
from igan_tf.experiments.configs import (
    CONFIGS,
    ImageNetConfig,
    as_lines,
    as_text,
    build_config,
    config_from_lines,
    config_from_text,
    flag_lines,
    recipes_with,
    setting_fields,
)
from igan_tf.experiments.run_configs import expand_flagfiles

FIELDS = setting_fields()
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
    "image_size": "64x96",
    "fit": "pad",
    "background": "#102030",
    "max_megapixels": 12.5,
    "max_unreadable": 0.0,
    "channels": 1,
    "test_fraction": 1 / 3,
    "train_images": 30,
    "train_split": "test[:8000]",
    "test_split": "test[8000:]",
    "balance": False,
    "network": "digits",
    "network_width": 0.3,
    "generator_norm": "virtual",
    "reference_size": 3,
    "minibatch_discrimination": True,
    "noise": "exact",
    "input_corruption": "noise",
    "discriminator_weight_norm": "none",
    "seed": 0,
    "init_from": "/some where/run",
    "epochs": 1,
    "batch_size": 7,
    "discriminator_learning_rate": 1e-300,
    "generator_learning_rate": 0.1 + 0.2,
    "anneal_epochs": 9,
    "anneal_start": 0.25,
    "beta_1": 0.9,
    "adam": "outside",
    "initialization_examples": 0,
    "generator_objective": "minimax",
    "feature_matching_norm": "l1",
    "label_smoothing": 0.1,
    "historical_averaging": 2.5,
    "r1_penalty": 10.0,
    "augmentation": "color,cutout",
    "generator_average_decay": 0.99,
    "unlabelled_weight": 0.5,
    "generator_steps": 3,
    "average_decay": 0.99,
    "average_debias": False,
    "label_draws": 3,
    "supervised_baseline": True,
    "strategy": "mirrored",
    "expected_replicas": 4,
    "worker_timeout_minutes": 0.5,
    "all_reduce_megabytes": 0,
    "gpu_memory_growth": True,
    "deterministic": True,
    "precision": "mixed_float16",
    "jit_compile": True,
    "checkpoint_epochs": 5,
    "score_epochs": 5,
    "score_samples": 100,
    "score_classifier": "inception",
    "score_classifier_range": "-1,1",
    "sample_epochs": 5,
    "histogram_epochs": 0,
    "profile_steps": "2,3",
}
FREE = {
    *("data_dir", "label_file", "epochs", "checkpoint_epochs", "sample_epochs", "score_epochs", "histogram_epochs"),
    *("checkpoint_minutes", "log_steps", "sample_minutes", "early_sample_steps"),
    *("score_classifier", "score_classifier_range"),
    *("max_unreadable", "max_megapixels", "worker_timeout_minutes", "expected_replicas"),
    *("all_reduce_megabytes", "gpu_memory_growth", "deterministic", "profile_steps"),
}


def base_of(name):
    """The settings beside which a setting can be given."""
    if name == "score_classifier_range":
        return {"score_classifier": "own.tflite"}
    return {"dataset": "imagenet", "data_dir": "d"} if recipes_with(name) == ["imagenet"] else {}


def refused(**settings):
    with pytest.raises(ConfigError) as caught:
        build_config(**settings)
    return str(caught.value)


def refused_by_itself(name, value):
    return refused(recipe=recipes_with(name)[0], **{name: value})


def test_the_defaults_are_the_published_mnist_experiments():
    config = build_config()
    assert (config.dataset, config.network_name, config.labels, config.batch_size) == ("mnist", "mnist", 100, 100)
    assert (config.discriminator_learning_rate, config.generator_learning_rate) == (0.003, 0.003)
    assert (config.beta_1, config.adam, config.average_decay) == (0.5, "inside_root", 0.9999)
    assert (config.epochs, config.generator_objective, config.feature_matching_norm) == (300, "feature_matching", "l2")
    assert (config.label_smoothing, config.historical_averaging, config.unlabelled_weight) == (0.0, 0.0, 1.0)


def test_every_setting_is_tested_here():
    assert set(OTHER_VALUES) == set(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_each_setting_is_a_flag_and_passes_through_a_flag_file(name, tmp_path):
    changed = build_config(**base_of(name), **{name: OTHER_VALUES[name]})
    assert changed != build_config(**base_of(name))
    assert config_from_lines(as_lines(changed)) == changed
    path = tmp_path / "flags.cfg"
    path.write_text(as_text(changed))
    line = command_line()
    assert line.parse([f"--flagfile={path}"]) == []
    assert config_of(line) == config_from_text(path.read_text()) == changed.with_absolute_paths()
    assert type(getattr(config_of(line), name)) is FIELDS[name].metadata["kind"]


def test_flags_have_the_fields_defaults_and_help():
    line = command_line()
    line.parse([])
    assert config_of(line) == build_config() and line.given == set()
    shown = " ".join(line.help().split())
    for name, field in FIELDS.items():
        assert re.search(rf"--(\[no\])?{name}\b", shown)
        assert in_flags(field.metadata["help"], FIELDS) in shown
        assert all(choice in shown for choice in field.metadata["choices"] or ())


def test_equal_names_are_one_setting():
    """One flag serves both recipes: it must mean the same and start from the same."""
    for name in FIELDS:
        found = [
            config.__dataclass_fields__[name] for config in CONFIGS.values() if name in config.__dataclass_fields__
        ]
        assert len({(field.default, field.metadata["help"]) for field in found}) == 1


def test_choices_are_what_the_models_take():
    from igan_tf.evaluation.classifiers import load_classifier
    from igan_tf.layers import differentiable_augmentation
    from igan_tf.models.semi_supervised_gan import GENERATOR_OBJECTIVES
    from igan_tf.networks.registry import AUGMENTATIONS
    from igan_tf.training.distribution import build_strategy

    assert AUGMENTATIONS == differentiable_augmentation.KINDS
    assert FIELDS["generator_objective"].metadata["choices"] == GENERATOR_OBJECTIVES
    with pytest.raises(ValueError, match="'auto', 'single', 'mirrored', 'multi_worker'"):
        build_strategy("none")
    with pytest.raises(ValueError, match="inception, keras_inception_v3, domain"):
        load_classifier("none")


def test_lines_that_are_no_settings_are_refused():
    with pytest.raises(ConfigError, match=r"unknown setting 'epoch'\. Did you mean: epochs"):
        config_from_lines(["--epoch=3"])
    with pytest.raises(ConfigError, match=r"`epochs` must be a whole number\. Received: epochs=three"):
        config_from_lines(["--epochs=three"])
    with pytest.raises(ConfigError, match=r"`epochs` must be at least 1\. Received: epochs=0"):
        config_from_lines(["--epochs=0"])


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.metadata["choices"]])
def test_each_choice_is_checked(name):
    choices = FIELDS[name].metadata["choices"]
    assert (
        refused_by_itself(name, "neither") == f"`{name}` must be one of {', '.join(choices)}. Received: {name}=neither"
    )


def test_which_settings_have_choices():
    names = {name for name, field in FIELDS.items() if field.metadata["choices"]}
    assert names == {
        *("dataset", "network", "adam", "generator_objective", "feature_matching_norm", "strategy", "precision"),
        *("generator_norm", "input_corruption", "discriminator_norm", "noise"),
        *("discriminator_weight_norm", "fit"),
    }


# A number that is too small for each setting that is a number, and one too large where there is a bound.
TOO_LOW = {
    "labels": -1,
    "train_images": -1,
    "network_width": 0.001,
    "reference_size": 0,
    "anneal_epochs": -1,
    "anneal_start": -0.5,
    "score_epochs": -1,
    "score_samples": 19,
    "seed_data": -1,
    "expected_replicas": -1,
    "all_reduce_megabytes": -1,
    "max_unreadable": -0.01,
    "gf_dim": 7,
    "df_dim": 1,
    "latent_size": 0,
    "feature_matching": -0.1,
    "checkpoint_minutes": -0.1,
    "worker_timeout_minutes": 0.009,
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
    "r1_penalty": -0.1,
    "generator_average_decay": -0.1,
    "unlabelled_weight": -0.1,
    "generator_steps": -1,
    "average_decay": -0.1,
    "label_draws": 0,
    "checkpoint_epochs": 0,
    "sample_epochs": 0,
    "histogram_epochs": -1,
}
TOO_HIGH = {
    **{name: field.metadata["high"] + 1 for name, field in FIELDS.items() if field.metadata["kind"] is int},
    "max_unreadable": 1.01,
    "max_megapixels": 178.1,
    "worker_timeout_minutes": 100_001.0,
    "test_fraction": 0.91,
    "beta_1": 1.0,
    "label_smoothing": 1.0,
    "average_decay": 1.0,
    "generator_average_decay": 1.0,
}


@pytest.mark.parametrize(
    ("name", "value", "stands_for"),
    [
        ("epochs", np.int64(3), 3),
        ("seed", np.uint8(3), 3),
        ("beta_1", np.float32(0.5), 0.5),
        ("beta_1", 0, 0.0),
        ("supervised_baseline", np.True_, True),
        ("data_dir", Path("a") / "b", "a/b"),
        ("dataset", np.str_("digits"), "digits"),
        ("balance", None, None),
    ],
)
def test_what_stands_for_a_settings_value_becomes_it(name, value, stands_for):
    found = getattr(build_config(**{name: value}), name)
    assert found == stands_for and type(found) is type(stands_for)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", "3", "a whole number. Received: epochs=3"),
        ("epochs", 3.0, "a whole number. Received: epochs=3.0"),
        ("epochs", np.float64(3), "a whole number. Received: epochs=3.0"),
        ("epochs", True, "a whole number. Received: epochs=True"),
        ("epochs", None, "a whole number. Received: epochs=None"),
        ("epochs", [3], r"a whole number. Received: epochs=\[3\]"),
        ("epochs", 10**400, "at most 1000000000. Received: epochs=0x"),
        ("beta_1", "0.5", "a number. Received: beta_1=0.5"),
        ("beta_1", False, "a number. Received: beta_1=False"),
        ("unlabelled_weight", 10**400, "a finite number. Received: unlabelled_weight=0x"),
        ("supervised_baseline", 1, "true or false. Received: supervised_baseline=1"),
        ("data_dir", 3, "text. Received: data_dir=3"),
        ("data_dir", b"a", "text. Received: data_dir=b'a'"),
        ("data_dir", "a\nb", r"a path in one line. Received: data_dir='a\\nb'"),
        ("dataset", None, "one of digits, mnist"),
        ("dataset", np.arange(2), "one of digits, mnist"),
    ],
)
def test_what_a_setting_cannot_be_is_refused(name, value, message):
    assert re.match(f"`{name}` must be {message}", refused(**{name: value}))


@pytest.mark.parametrize(
    "name", ["data ", " data", "#data", "//data", "--data", "da=ta", "--flagfile=x", "dätä", "da\tta"]
)
def test_odd_paths_are_read_back(name, tmp_path):
    config = build_config(dataset="folder", data_dir=str(tmp_path / name), label_file=str(tmp_path / name))
    (tmp_path / "flags.cfg").write_text(as_text(config))
    line = command_line()
    line.parse([f"--flagfile={tmp_path}/flags.cfg"])
    assert config_of(line) == config_from_text(as_text(config)) == config


def test_every_number_has_a_bound():
    numbers = {name for name, field in FIELDS.items() if type(field.default) in (int, float)}
    # A bound that is excluded.
    assert set(TOO_LOW) == numbers - {"max_megapixels"}
    assert refused_by_itself("max_megapixels", 0) == "`max_megapixels` must be above 0. Received: max_megapixels=0"


@pytest.mark.parametrize(("name", "value"), TOO_LOW.items())
def test_each_lower_bound_is_checked(name, value):
    low = FIELDS[name].metadata["low"]
    assert refused_by_itself(name, value) == f"`{name}` must be at least {low}. Received: {name}={value}"


@pytest.mark.parametrize(("name", "value"), TOO_HIGH.items())
def test_each_upper_bound_is_checked(name, value):
    high = FIELDS[name].metadata["high"]
    assert refused_by_itself(name, value) == f"`{name}` must be at most {high}. Received: {name}={value}"


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if isinstance(field.default, float)])
def test_floats_must_be_finite(name, value):
    message = refused_by_itself(name, float(value))
    assert message == f"`{name}` must be a finite number. Received: {name}={value}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *(
            ({"image_size": size}, f"`image_size` must be 0, or from 4 to 512. Received: image_size={size}$")
            for size in (3, "3x64", "64x513", "513", "0x64")
        ),
        *(
            ({"image_size": size}, f"`image_size` must be a size such as 64, or HEIGHTxWIDTH .*: image_size={size}$")
            for size in (-1, "64x", "x64", "64x64x64", "1e2", "64 x 64", "")
        ),
        *(
            ({"background": colour}, f"`background` must be a colour's name .* Received: background={colour}$")
            for colour in ("transparent", "#12345", "#11223344", "")
        ),
        ({"dataset": "imagenet", "gf_dim": 12}, "`gf_dim` must be a multiple of 8. Received: gf_dim=12"),
        ({"dataset": "imagenet", "df_dim": 3}, "`df_dim` must be even. Received: df_dim=3"),
        (
            {"dataset": "imagenet", "data_dir": "d", "score_epochs": 1},
            "`score_epochs` needs another classifier .* Received: score_epochs=1",
        ),
        ({"channels": 2}, "`channels` must be 1 or 3. Received: channels=2"),
        *(
            (
                {"augmentation": kinds},
                f"`augmentation` must be one or more of color, .* Received: augmentation={kinds}$",
            )
            for kinds in ("blur", "color,", "color cutout")
        ),
        ({"dataset": "folder"}, "`dataset=folder` needs `data_dir`, .* Received: data_dir="),
        ({"label_file": "f", "label_draws": 2}, "`label_file` .* does not go with `label_draws=2`"),
        (
            {"label_file": "f", "labels": 0, "balance": True},
            "`balance` needs `labels`.* Received: balance=True labels=0",
        ),
        (
            {"dataset": "digits", "train_split": "train[:9]"},
            "`train_split` is .*, not for `dataset=digits`. Received: tr",
        ),
        ({"labels": 0, "supervised_baseline": True}, "`supervised_baseline` needs .* Received: labels=0"),
        ({"generator_steps": 0}, "`generator_steps=0` needs `unlabelled_weight=0`: .* unlabelled_weight=1.0"),
        (
            {"unlabelled_weight": 0.0, "generator_objective": "minimax"},
            "`generator_objective=minimax` needs .* Received: unlabelled_weight=0.0",
        ),
        ({"labels": 0, "unlabelled_weight": 0.0}, "nothing to train on. Received: labels=0 with unlabelled_weight"),
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
    build_config(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"dataset": "imagenet", "labels": 100},
            "`labels` is a setting of `recipe=semi_supervised`, not of `recipe=imag",
        ),
        (
            {"gf_dim": 64},
            "`gf_dim` is a setting of `recipe=imagenet`, not of `recipe=semi_supervised`. Received: gf_dim=64",
        ),
        ({"recipe": "imagenet", "dataset": "cifar10", "network": "auto"}, "`network` is a setting of `recipe=semi_sup"),
        ({"recipe": "image"}, "`recipe` must be one of semi_supervised, imagenet. Received: recipe=image"),
        ({"gf": 1}, "unknown setting 'gf'"),
    ],
)
def test_a_setting_of_another_recipe_is_refused_whatever_its_value(settings, message):
    assert message in refused(**settings)


def test_the_data_set_decides_the_recipe_only_where_none_is_named():
    assert build_config(dataset="imagenet", data_dir="d").recipe == "imagenet"
    assert build_config(dataset="cifar10").recipe == "semi_supervised"
    assert isinstance(build_config(recipe="imagenet", dataset="cifar10", gf_dim=8), ImageNetConfig)
    assert build_config(recipe="semi_supervised", dataset="imagenet", data_dir="d").network_name == "cifar10"
    assert config_from_lines(["--dataset=folder", "--data_dir=d", "--recipe=imagenet"]).recipe == "imagenet"


def test_an_early_flags_cfg_is_read():
    """The defaults of the other recipe stood there, too, and meant nothing."""
    semi, imagenet = (["# a comment", *lines] for lines in flag_lines._FOREIGN_ONCE.values())
    mine = ["--dataset=digits", *imagenet, *semi, "--labels=50"]
    assert config_from_text("\n".join(mine)).changed() == {"dataset": "digits", "labels": 50}
    theirs = ["--dataset=imagenet", "--data_dir=d", *semi, *imagenet, "--flip"]
    assert config_from_text("\n".join(theirs)).changed() == {"dataset": "imagenet", "data_dir": "d", "flip": True}
    with pytest.raises(ConfigError, match="`gf_dim` is a setting of `recipe=imagenet`"):
        config_from_text("\n".join([*mine, "--gf_dim=32"]))
    # A file of somebody's own that says so is refused, as is a new one.
    with pytest.raises(ConfigError, match="`flip` is a setting of"):
        config_from_text("--dataset=digits\n--noflip")
    with pytest.raises(ConfigError, match="is a setting of"):
        config_from_text("\n".join([flag_lines.VERSION_LINE, *mine]))


def test_a_text_without_settings_is_refused():
    with pytest.raises(ConfigError, match="it holds no settings"):
        config_from_text("# a comment\n")


def test_stray_words_in_flag_lines_are_refused():
    with pytest.raises(ConfigError, match=r"unknown argument: beta_1=0\.9"):
        config_from_lines(["--seed=3", "beta_1=0.9"])


def test_labelled():
    assert build_config().labelled
    assert not build_config(labels=0).labelled
    assert build_config(labels=0, label_file="f").labelled


def test_network_name():
    assert build_config(dataset="digits").network_name == "digits"
    assert build_config(dataset="folder", data_dir="d").network_name == "mnist"
    assert build_config(dataset="digits", network="mnist").network_name == "mnist"


@pytest.mark.parametrize("name", FIELDS)
def test_only_what_leaves_the_numbers_alone_is_free_to_change(name):
    base = base_of(name)
    assert (build_config(**base).fixed() == build_config(**{**base, name: OTHER_VALUES[name]}).fixed()) == (
        name in FREE
    )
    assert (f"--{name}" in build_config(**base).fixed()) == (name not in FREE)


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = build_config(data_dir="here", label_file="labels.csv").with_absolute_paths()
    assert (config.data_dir, config.label_file) == (f"{tmp_path}/here", f"{tmp_path}/labels.csv")
    assert (
        build_config(score_classifier="own.tflite").with_absolute_paths().score_classifier == f"{tmp_path}/own.tflite"
    )
    assert build_config(score_classifier="inception").with_absolute_paths().score_classifier == "inception"
    for path in ("", "/there", "gs://bucket/data"):
        assert build_config(data_dir=path).with_absolute_paths().data_dir == path


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
    with pytest.raises(ConfigError, match=f"`flagfile` must be .* tried {tmp_path}/none.cfg"):
        expand_flagfiles([f"--flagfile={tmp_path}/none.cfg"])
    (tmp_path / "loop.cfg").write_text("--flagfile=loop.cfg\n")
    with pytest.raises(ConfigError, match=f"--flagfile={tmp_path}/loop.cfg includes itself"):
        expand_flagfiles([f"--flagfile={tmp_path}/loop.cfg"])
    (tmp_path / "binary.cfg").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.cfg cannot be read"):
        expand_flagfiles([f"--flagfile={tmp_path}/binary.cfg"])
