"""Opening the `.keras` files that this package saves, and no others' code with them."""

import contextlib
import json
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from igan_tf.errors import InputError
from igan_tf.files import copies
from igan_tf.files.arrays import check_unpacked
from igan_tf.files.damage import UNREADABLE_ZIP

# Keras's notation of values that are neither classes nor functions. Not "__lambda__", which is code.
_VALUES = ("__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__")
# Where Keras's own functions are looked for.
_FUNCTION_MODULES = ("activations", "constraints", "initializers", "losses", "metrics", "regularizers")
# Layers of Keras's that run code, or open files, that a configuration brings or names.
_UNSAFE_LAYERS = (
    "FlaxLayer",
    "IntegerLookup",
    "JaxLayer",
    "Lambda",
    "StringLookup",
    "TFSMLayer",
    "TextVectorization",
    "TorchModuleWrapper",
)
_LARGEST_CONFIG = 2**26


def register_classes() -> None:
    """Makes this package's classes known to Keras: the models under TensorFlow alone, which they need."""
    import igan_tf.layers
    import igan_tf.losses
    import igan_tf.optimizers  # noqa: F401

    if keras.backend.backend() == "tensorflow":
        from igan_tf.models import ImageNetGAN, SemiSupervisedGAN  # noqa: F401


def load_model(path: str | os.PathLike[str]) -> keras.Model:
    """Opens a `.keras` file made of this package's and Keras's own classes: a network, or a GAN compiled as it was.

    Unlike `keras.saving.load_model` it needs no import of this package's layers before it, and makes nothing of what
    other code of the process has registered with Keras. The file's configuration is checked before any object is made
    of it; then Keras loads it in safe mode.

    ```python
    critic.save("critic.keras")
    critic = igan_tf.load_model("critic.keras")
    ```

    Raises:
        InputError: for a file that is missing, damaged or no `.keras` file, or names another class or function, or a
            layer that runs code or opens files of the configuration's choice, such as `Lambda`.
    """
    # A `Path`: from strings such as "hf://..." Keras fetches a model.
    file = Path(path)
    if file.suffix != ".keras":
        raise InputError(f"`path` must be a .keras file. Received: path={path}")
    register_classes()
    with contextlib.ExitStack() as stack:
        try:
            # What is checked is what is loaded.
            copy = stack.enter_context(copies.private_copy(file))
            refused = next(_refused(_read_config(copy)), None)
        except UNREADABLE_ZIP as error:
            raise InputError(f"`path` cannot be read as a .keras file: {error}. Received: path={path}") from error
        if refused:
            raise InputError(f"`path` must hold igan_tf's and Keras's classes alone. Received: path={path}, {refused}")
        try:
            return keras.saving.load_model(copy, safe_mode=True)
        # A configuration that is wrong in another way can make a class raise anything.
        except Exception as error:
            reason = str(error).partition("\n")[0][:500]
            raise InputError(
                f"`path` cannot be loaded: {type(error).__name__}: {reason}. Received: path={path}"
            ) from error


def _read_config(file: Path) -> Any:
    with zipfile.ZipFile(file) as archive:
        check_unpacked(archive, file.stat().st_size)
        size = archive.getinfo("config.json").file_size
        if size > _LARGEST_CONFIG:
            raise ValueError(f"its config.json has {size} bytes")
        return json.loads(archive.read("config.json"))


def _refused(config: Any) -> Iterator[str]:
    """What a configuration names that may not be made, each as the end of a sentence."""
    if isinstance(config, str):
        # Keras takes a string anywhere for the object registered under it.
        found = keras.saving.get_registered_object(config)
        if found is not None and not str(getattr(found, "__module__", None)).startswith(("igan_tf.", "keras.")):
            yield f"which names {config}, registered by other code"
    elif isinstance(config, list):
        for item in config:
            yield from _refused(item)
    elif isinstance(config, dict):
        if "class_name" in config and not _is_known(config):
            yield f"which names {_description(config)}"
        for item in config.values():
            yield from _refused(item)


def _is_known(config: dict[str, Any]) -> bool:
    """Whether a dict with a class name stands for a plain value, or for a class or function of igan_tf or Keras."""
    name, module = config["class_name"], str(config.get("module"))
    registered = config.get("registered_name", name)
    if name in _VALUES:
        return True
    if name == "function":
        modules = [f"keras.{kind}" for kind in _FUNCTION_MODULES]
        modules = [module] if module in modules else modules if module == "builtins" else []
        return any(hasattr(sys.modules[home], str(config.get("config"))) for home in modules)
    # In Keras's order. What other code has registered is refused as a string.
    if registered is not None and keras.saving.get_registered_object(registered) is not None:
        return True
    if module != "keras" and not module.startswith("keras."):
        return False
    found = getattr(sys.modules.get(module), str(name), None)
    if not isinstance(found, type) or not found.__module__.startswith("keras."):
        return False
    # Of Keras's inner layers models have this one alone; operations such as `a + b` are no layers.
    internal = module.startswith("keras.src.") and name != "Functional" and issubclass(found, keras.Layer)
    return not internal and not issubclass(found, tuple(getattr(keras.layers, layer) for layer in _UNSAFE_LAYERS))


def _description(config: dict[str, Any]) -> str:
    """The class or function that a dict names, for messages."""
    kind, name, registered = "class", config["class_name"], config.get("registered_name")
    if name == "function":
        kind, name = "function", config.get("config")
    known_as = f", registered as {registered}" if registered not in (None, "function", name) else ""
    return f"the {kind} {name} of the module {config.get('module')}{known_as}"
