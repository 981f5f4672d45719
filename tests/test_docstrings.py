"""Every example of a public docstring runs, in a process that knows the package's public names."""

import importlib
import inspect
import pkgutil
import re
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from igan_tf.networks import imagenet

PACKAGES = ("layers", "losses", "models", "networks", "optimizers")
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def modules():
    for name in PACKAGES:
        package = importlib.import_module(f"igan_tf.{name}")
        yield package
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(module.name)


def public_objects(module):
    """Public classes, their methods, and functions that are defined in `module`, by name; the module itself."""
    yield module.__name__, module
    for name, found in vars(module).items():
        if name.startswith("_") or getattr(found, "__module__", None) != module.__name__:
            continue
        yield f"{module.__name__}.{name}", found
        if inspect.isclass(found):
            for method, function in vars(found).items():
                if not method.startswith("_") and inspect.isfunction(function):
                    yield f"{module.__name__}.{name}.{method}", function


def examples():
    found = {}
    for module in modules():
        for name, each in public_objects(module):
            # Not `inspect.getdoc`: a class without a docstring has not its base's.
            docstring = inspect.cleandoc(each.__doc__ or "")
            for index, block in enumerate(BLOCK.finditer(docstring)):
                found[f"{name}-{index}"] = (module, textwrap.dedent(block.group(2)))
    return found


EXAMPLES = examples()


def namespace(module):
    names = {"keras": keras, "np": np, "ops": ops, "tf": tf, "imagenet": imagenet}
    for package in PACKAGES:
        public = importlib.import_module(f"igan_tf.{package}")
        names.update({name: getattr(public, name) for name in public.__all__})
    return names | {name: value for name, value in vars(module).items() if not name.startswith("_")}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs(name):
    module, code = EXAMPLES[name]
    exec(compile(code, name, "exec"), namespace(module))


@pytest.mark.parametrize("package", ["layers", "losses", "models", "optimizers"])
def test_every_public_class_has_an_example(package):
    public = importlib.import_module(f"igan_tf.{package}")
    classes = {name for name in public.__all__ if inspect.isclass(getattr(public, name))} - {"PlayerStep"}
    shown = {name.split(".")[-1].split("-")[0] for name in EXAMPLES}
    assert {getattr(public, name).__name__ for name in classes} <= shown
