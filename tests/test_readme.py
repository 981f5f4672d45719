"""The README's programs run as they stand."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest

README = Path(__file__).parent.parent / "README.md"


def _programs():
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_layers_in_another_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layers, loading, virtual = (
        program for program in _programs() if "igan_tf.layers" in program or "load_model" in program
    )
    namespace = {}
    exec(layers, namespace)
    saved = namespace["critic"]
    exec(loading, namespace)
    assert namespace["critic"] is not saved
    images = keras.random.uniform((6, 28, 28, 1), seed=1)
    np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(each(images)) for each in (namespace["critic"], saved)))

    exec(virtual, namespace)
    assert namespace["generator"](keras.random.normal((3, 100))).shape == (3, 784)


def test_every_file_that_the_readme_names_exists():
    text = README.read_text(encoding="utf-8")
    named = re.findall(r"\]\(((?!https)[^)]+)\)", text) + re.findall(r"run_configs/\w+\.cfg", text)
    assert named
    for path in named:
        assert (README.parent / path).exists(), path


@pytest.mark.parametrize("target", ["run", "test", "test-backends", "test-layers-alone", "lint", "bench"])
def test_every_make_target_that_the_readme_names_exists(target):
    assert re.search(rf"^{target}:", (README.parent / "Makefile").read_text(), flags=re.MULTILINE)
    assert f"make {target}" in README.read_text(encoding="utf-8")
