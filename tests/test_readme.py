"""README's programs run as they stand, and what README and CONTRIBUTING name is there."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PAGES = [README, CONTRIBUTING, ROOT / "CHANGELOG.md", ROOT / "docs/cluster/README.md"]
# Without the documentation site its guides are not there.
SITE = (ROOT / "mkdocs.yml").exists()


def _programs(page=README):
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_layers_in_another_model(tmp_path):
    (program,) = _programs()
    namespace = {}
    exec(program, namespace)
    critic, images = namespace["critic"], keras.random.uniform((6, 28, 28, 1), seed=1)
    assert critic(images).shape == (6, 1)
    critic.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    critic.fit(images, keras.ops.ones((6, 1)), verbose=0)
    critic.save(tmp_path / "critic.keras")
    loaded = keras.saving.load_model(tmp_path / "critic.keras")
    np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(each(images)) for each in (critic, loaded)))


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_the_page_names_exists(page):
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(((?!https?:)[^)#]+)", text) if SITE or not _is_guide(page.parent / link)]
    assert [link for link in links if not (page.parent / link).exists()] == []
    named = re.findall(r"\b(?:run_configs|igan_tf|tests)/[\w/]+\.\w+", text)
    assert [path for path in named if not (ROOT / path).exists() and path not in EXAMPLES] == []


# Files that CONTRIBUTING's walks make.
EXAMPLES = {
    *("igan_tf/losses/logit_penalty.py", "tests/losses/test_logit_penalty.py"),
    *("igan_tf/metrics/feature_quantile.py", "tests/metrics/test_feature_quantile.py"),
}


def _is_guide(path):
    path = path.resolve()
    return path.parent == ROOT / "docs" or path == ROOT / "docs/results/index.md"


TARGETS = [(README, ["run", "test"]), (CONTRIBUTING, ["lint", "test", "test-backends", "test-layers-alone", "bench"])]


@pytest.mark.parametrize(("page", "target"), [(page, target) for page, targets in TARGETS for target in targets])
def test_every_make_target_that_the_page_names_exists(page, target):
    text, makefile = page.read_text(encoding="utf-8"), (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"make {target}" in text
    assert [name for name in re.findall(r"^(?:make ([\w-]+))", text, re.M) if f"\n{name}:" not in makefile] == []
