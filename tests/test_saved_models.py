"""`igan_tf.load_model`, and which imports Keras's own `load_model` needs."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import igan_tf
from igan_tf import saved_models
from igan_tf.errors import InputError
from igan_tf.layers import MinibatchDiscrimination, WeightNorm
from igan_tf.losses import HistoricalAveraging
from igan_tf.models import ImageNetGAN, SemiSupervisedGAN
from igan_tf.networks import digits, imagenet
from igan_tf.optimizers import AnnealedRate, FusedAdam, InsideRootAdam

ROOT = Path(__file__).parents[1]


def make_critic():
    images = keras.Input((8, 8, 1))
    x = WeightNorm(keras.layers.Conv2D(4, 3, activation="leaky_relu"))(images)
    x = MinibatchDiscrimination(num_kernels=3, kernel_dim=2)(keras.layers.GlobalAveragePooling2D()(x))
    critic = keras.Model(images, WeightNorm(keras.layers.Dense(1))(x))
    critic.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    return critic


def make_semi_supervised_gan():
    generator = digits.build_generator(norm="virtual", reference_size=3)
    model = SemiSupervisedGAN(generator, digits.build_discriminator())
    optimizers = InsideRootAdam(AnnealedRate(0.003, 3, 7)), InsideRootAdam(0.003)
    model.compile(*optimizers, techniques=[HistoricalAveraging(0.1)])
    return model


def make_imagenet_gan():
    generator = imagenet.build_generator((32, 32, 3), latent_size=6, reference_size=3, gf_dim=8)
    model = ImageNetGAN(generator, imagenet.build_discriminator((32, 32, 3), 4, df_dim=2))
    model.compile(FusedAdam(0.001), FusedAdam(0.001), label_smoothing=0.1)
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a critic, a generator and both GANs, and what each says about the same inputs."""
    folder = tmp_path_factory.mktemp("saved")
    gan = make_semi_supervised_gan()
    models = {
        "critic": make_critic(),
        "generator": gan.generator,
        "semi_supervised": gan,
        "imagenet": make_imagenet_gan(),
    }
    for name, model in models.items():
        model.save(folder / f"{name}.keras")
        # Not the outputs: latents and noise of the layers are drawn anew.
        np.savez(folder / f"{name}.npz", *model.get_weights())
    return folder


# Each is the start of a program of its own, which then opens all files with `load`.
ORDERS = {
    "keras, igan_tf": "import keras, igan_tf\nload = keras.saving.load_model\n",
    "igan_tf, keras": (
        "import sys, igan_tf\n"
        "assert not {'keras', 'numpy', 'tensorflow'} & set(sys.modules), 'importing igan_tf is light'\n"
        "import keras\n"
        "load = igan_tf.load_model\n"
    ),
    "igan_tf, keras, a layer": (
        "import igan_tf, keras\n"
        "igan_tf.WeightNorm, igan_tf.InsideRootAdam, igan_tf.SemiSupervisedGAN\n"
        "load = keras.saving.load_model\n"
    ),
}
_COMPARE = """
import numpy as np
for name in ("critic", "generator", "semi_supervised", "imagenet"):
    model = load(f"{name}.keras")
    wanted = np.load(f"{name}.npz")
    assert len(model.get_weights()) == len(wanted.files)
    for value, key in zip(model.get_weights(), wanted.files):
        assert np.array_equal(value, wanted[key]), (name, key)
    print(name, type(model).__module__, model.compiled)
"""


@pytest.mark.parametrize("order", ORDERS)
def test_saved_files_open_whatever_was_imported_first(order, saved):
    process = subprocess.run(
        [sys.executable, "-c", ORDERS[order] + _COMPARE],
        cwd=saved,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines() == [
        "critic keras.src.models.functional True",
        "generator keras.src.models.functional False",
        "semi_supervised igan_tf.models.semi_supervised_gan True",
        "imagenet igan_tf.models.imagenet_gan True",
    ]


def test_keras_own_classes_and_functions_open(tmp_path):
    inputs = keras.Input((8, 8, 1))
    inner = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(2, 3, kernel_regularizer="l2", kernel_constraint=keras.constraints.MaxNorm(2.0)),
            keras.layers.RandomFlip(seed=1),
            keras.layers.Flatten(dtype="mixed_bfloat16"),
        ]
    )
    a = keras.layers.Dense(3, activation=keras.activations.gelu)(inner(inputs))
    b = keras.layers.Dense(3, activation=keras.ops.tanh, kernel_initializer=keras.initializers.Orthogonal())(a)
    x = keras.ops.concatenate([a + b, keras.ops.abs(a)[:, 1:]], axis=-1)
    model = keras.Model(inputs, {"out": keras.layers.Bidirectional(keras.layers.GRU(2))(x[..., None])})
    rate = keras.optimizers.schedules.CosineDecay(0.1, 10)
    model.compile(
        keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW(rate)),
        {"out": keras.losses.mean_squared_error},
        metrics=["accuracy", keras.metrics.MeanAbsoluteError()],
    )
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).random((2, 8, 8, 1), "float32")
    np.testing.assert_array_equal(igan_tf.load_model(tmp_path / "model.keras")(images)["out"], model(images)["out"])


# What must not be opened.

# A class of Keras's that another module has, too.
ReLU = keras.layers.ReLU


@keras.saving.register_keras_serializable("elsewhere")
def gain(x):
    raise AssertionError("a function of other code was called")


@keras.saving.register_keras_serializable("elsewhere")
class Gain(keras.layers.Layer):
    def __init__(self, **kwargs):
        raise AssertionError("a class of other code was made")


def layer(module, class_name, registered_name=None, /, **config):
    return {"module": module, "class_name": class_name, "registered_name": registered_name, "config": config}


def function(name, module="builtins", registered_name="function"):
    return {"module": module, "class_name": "function", "config": name, "registered_name": registered_name}


def altered(path, source, edit):
    """Writes `source` to `path` with its configuration edited."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                edit(config)
                content = json.dumps(config).encode()
            new.writestr(name, content)


def no_keras(monkeypatch):
    """Lets nothing of a file be made from here on."""
    monkeypatch.setattr(keras.saving, "load_model", lambda *arguments, **options: pytest.fail("the file was loaded"))


LAMBDA = {"class_name": "__lambda__", "config": {"value": ["", None, None]}}
LAYERS = {
    "lambda": (layer("keras.layers", "Lambda", function=LAMBDA), "class Lambda"),
    "lambda of a function": (layer("keras.layers", "Lambda", function=function("relu")), "class Lambda"),
    "inner name": (layer("keras.src.layers.core.lambda_layer", "Lambda", function=function("relu")), "class Lambda"),
    "bare lambda": (layer("keras.layers", "Activation", activation=LAMBDA), "class __lambda__"),
    "SavedModel": (layer("keras.layers", "TFSMLayer", filepath="/tmp"), "class TFSMLayer"),
    "pickle": (layer("keras.layers", "TorchModuleWrapper", module="x"), "class TorchModuleWrapper"),
    "file": (layer("keras.layers", "StringLookup", vocabulary="/etc/passwd"), "class StringLookup"),
    "inner layer": (
        layer("keras.src.layers.preprocessing.index_lookup", "IndexLookup", vocabulary="/etc/passwd"),
        "class IndexLookup",
    ),
    "registered": (layer("elsewhere", "Gain", "elsewhere>Gain"), "elsewhere>Gain, registered by other code"),
    "under a Keras name": (layer("keras.layers", "ReLU", "elsewhere>Gain"), "elsewhere>Gain"),
    "by its place": (layer(__name__, "Gain"), f"class Gain of the module {__name__}"),
    "standard library": (layer("subprocess", "Popen", args=["false"]), "class Popen of the module subprocess"),
    "other packages": (layer("keras_hub.layers", "RMSNormalization"), "class RMSNormalization"),
    "of Keras, by another's module": (layer(__name__, "ReLU"), f"class ReLU of the module {__name__}"),
    "of others, by Keras's module": (layer("keras.src.utils.dataset_utils", "ThreadPool"), "class ThreadPool"),
    "unknown here": (layer("igan_tf.layers.gone", "Gone", "igan_tf>Gone"), "registered as igan_tf>Gone"),
    "unknown of Keras": (layer("keras.layers", "Gone"), "class Gone of the module keras.layers"),
    "no module": ({"class_name": "ReLU", "config": {}}, "class ReLU of the module None"),
    "no class": (layer("keras.layers", ["ReLU"]), "ReLU"),
    "no name": (layer("keras.layers", "ReLU", ["x"]), "cannot be read"),
    "type spec": (
        {"class_name": "__typespec__", "spec_name": "Popen", "module": "subprocess", "registered_name": None}
        | {"config": []},
        "class __typespec__ of the module subprocess",
    ),
}
FUNCTIONS = {
    "registered": (function("elsewhere>gain", __name__, "elsewhere>gain"), "elsewhere>gain"),
    "of no module": (function("elsewhere>gain"), "function elsewhere>gain of the module builtins"),
    "by the end of its name": (function("gain"), "function gain of the module builtins"),
    "a string": ("elsewhere>gain", "elsewhere>gain, registered by other code"),
    "download": (function("get_file", "keras.utils"), "function get_file of the module keras.utils"),
    "builtin": (function("eval"), "function eval of the module builtins"),
    "of Keras, by another's module": (function("relu", "os"), "function relu of the module os"),
    "standard library": (function("system", "os"), "function system of the module os"),
}


@pytest.mark.parametrize("case", LAYERS)
def test_a_layer_of_other_code_is_refused_before_anything_is_made(case, saved, tmp_path, monkeypatch):
    entry, named = LAYERS[case]

    def edit(config):
        config["config"]["layers"][-2] = entry

    altered(tmp_path / "edited.keras", saved / "critic.keras", edit)
    no_keras(monkeypatch)
    with pytest.raises(InputError) as refusal:
        igan_tf.load_model(tmp_path / "edited.keras")
    assert refusal.value.argument == "path" and named in str(refusal.value)
    assert f"path={tmp_path / 'edited.keras'}" in str(refusal.value)


@pytest.mark.parametrize("case", FUNCTIONS)
@pytest.mark.parametrize("place", ["activation", "metric"])
def test_a_function_of_other_code_is_refused_before_anything_is_made(case, place, saved, tmp_path, monkeypatch):
    entry, named = FUNCTIONS[case]

    def edit(config):
        if place == "metric":
            config["compile_config"]["metrics"] = [entry]
        else:
            config["config"]["layers"][-1]["config"]["layer"]["config"]["activation"] = entry

    altered(tmp_path / "edited.keras", saved / "critic.keras", edit)
    no_keras(monkeypatch)
    with pytest.raises(InputError) as refusal:
        igan_tf.load_model(tmp_path / "edited.keras")
    assert refusal.value.argument == "path" and named in str(refusal.value)


def test_what_a_scope_calls_by_a_name_of_its_own_is_refused(saved, monkeypatch):
    no_keras(monkeypatch)
    with keras.saving.custom_object_scope({"leaky_relu": gain}), pytest.raises(InputError, match="leaky_relu"):
        igan_tf.load_model(saved / "critic.keras")


def test_the_code_of_a_lambda_does_not_run(tmp_path):
    """The same file with safe mode off shows that the code is there."""
    inputs = keras.Input((2,))
    touch = keras.layers.Lambda(lambda x, path: open(path, "w").close() or x, arguments={"path": str(tmp_path / "ran")})
    outputs = touch(inputs)
    (tmp_path / "ran").unlink()
    keras.Model(inputs, outputs).save(tmp_path / "lambda.keras")
    with pytest.raises(InputError, match=r"names the class Lambda of the module keras\.layers"):
        igan_tf.load_model(tmp_path / "lambda.keras")
    assert not (tmp_path / "ran").exists()
    keras.saving.load_model(tmp_path / "lambda.keras", safe_mode=False)
    assert (tmp_path / "ran").exists()


def test_a_config_of_any_size_is_not_read(saved, monkeypatch):
    monkeypatch.setattr(saved_models, "_LARGEST_CONFIG", 99)
    with pytest.raises(InputError, match=r"its config\.json has \d+ bytes"):
        igan_tf.load_model(saved / "critic.keras")


def test_what_is_no_saved_model_is_refused(saved, tmp_path):
    def write(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    whole = (saved / "critic.keras").read_bytes()
    with zipfile.ZipFile(tmp_path / "empty.keras", "w") as archive:
        archive.writestr("metadata.json", "{}")
    with zipfile.ZipFile(tmp_path / "nested.keras", "w") as archive:
        archive.writestr("config.json", '{"a":' * 100_000 + "0" + "}" * 100_000)
    with zipfile.ZipFile(tmp_path / "large.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * (2**26 + 1))
    (tmp_path / "folder.keras").mkdir()
    altered(tmp_path / "shape.keras", saved / "critic.keras", lambda config: config["config"]["layers"].pop())
    altered(tmp_path / "list.keras", saved / "critic.keras", lambda config: config.update(config=None))
    refused = {
        tmp_path / "missing.keras": "No such file",
        "hf://someone/model.keras": "No such file",
        write("model.h5", whole): "must be a .keras file",
        tmp_path: "must be a .keras file",
        tmp_path / "folder.keras": "cannot be read",
        write("text.keras", b"no archive"): "not a zip file",
        write("cut.keras", whole[: len(whole) // 2]): "not a zip file",
        tmp_path / "empty.keras": "config.json",
        tmp_path / "nested.keras": "recursion",
        tmp_path / "large.keras": "its [0-9]+ bytes are packed from",
        tmp_path / "shape.keras": "cannot be loaded",
        tmp_path / "list.keras": "cannot be loaded",
    }
    for path, reason in refused.items():
        with pytest.raises(InputError, match=reason) as refusal:
            igan_tf.load_model(path)
        assert refusal.value.argument == "path" and f"path={path}" in str(refusal.value)
