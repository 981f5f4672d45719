"""What is built from the repository: the source distribution, and from that alone the wheel."""

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import keras
import pytest

import igan_tf
from igan_tf.commands.start import import_tensorflow
from igan_tf.errors import InputError

ROOT = Path(__file__).parents[1]


def build(kind, source, folder):
    """Runs the build backend as pip does, with what is installed here."""
    code = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
    process = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=source, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def distribution(tmp_path_factory):
    """The source distribution's names and the wheel, of a copy: a build leaves files behind."""
    folder = tmp_path_factory.mktemp("build")
    kept = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "runs", "shared")
    shutil.copytree(ROOT, folder / "checkout", ignore=kept)
    (folder / "sdist").mkdir()
    (folder / "wheel").mkdir()
    with tarfile.open(build("sdist", folder / "checkout", folder / "sdist")) as archive:
        names = [Path(name).relative_to(Path(name).parts[0]) for name in archive.getnames()]
        archive.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    return names, build("wheel", source, folder / "wheel")


def files_below(folder):
    return {path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".pyc", ".pyo")}


def test_the_wheel_holds_every_file_of_the_package_and_every_configuration(distribution):
    _, wheel = distribution
    expected = {path.relative_to(ROOT).as_posix() for path in files_below(ROOT / "igan_tf")}
    expected |= {f"igan_tf/{path.relative_to(ROOT).as_posix()}" for path in files_below(ROOT / "run_configs")}
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == expected
    assert {"igan_tf/py.typed", "igan_tf/run_configs/digits.cfg", "igan_tf/turing_test/schema.sql"} <= names


def test_the_source_distribution_holds_no_part_of_the_tests(distribution):
    names, _ = distribution
    tops = {name.parts[0] for name in names if name.parts}
    assert "tests" not in tops and {"LICENSE", "README.md", "pyproject.toml", "run_configs"} <= tops


def test_metadata(distribution):
    with zipfile.ZipFile(distribution[1]) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(path))
    assert metadata["Version"] == igan_tf.__version__
    assert f"(c) 2026 {metadata['Author']}\n" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert metadata["Home-page"] == re.search(r"https://arxiv.org/abs/[0-9.]+", (ROOT / "README.md").read_text())[0]
    assert "Typing :: Typed" in metadata.get_all("Classifier")


def test_the_citation_and_the_changes_name_this_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {igan_tf.__version__}\n" in citation and "\nlicense: MIT\n" in citation
    changes = re.findall(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert changes[0] == igan_tf.__version__


def test_the_installed_package_finds_its_configurations_anywhere(distribution, tmp_path):
    with zipfile.ZipFile(distribution[1]) as archive:
        archive.extractall(tmp_path / "installed")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = (
        "from igan_tf.experiments.run_configs import config_names, find_config\n"
        "print(*config_names())\n"
        "print(find_config('run_configs/digits.cfg'))\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    names, found = process.stdout.splitlines()
    assert names.split() == sorted(path.stem for path in (ROOT / "run_configs").glob("*.cfg"))
    assert found == str(tmp_path / "installed/igan_tf/run_configs/digits.cfg")


@pytest.mark.parametrize("name", ["SemiSupervisedGAN", "ImageNetGAN"])
def test_models_say_that_they_need_tensorflow(monkeypatch, name):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ImportError, match=rf"models\.{name} needs Keras on TensorFlow, .*Received: KERAS_BACKEND=jax"):
        getattr(igan_tf.models, name)


def test_commands_refuse_another_backend(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(InputError, match=r"the commands need Keras on TensorFlow.* Received: KERAS_BACKEND=jax"):
        import_tensorflow()


@pytest.mark.parametrize(
    ("name", "given", "found"),
    [
        ("TF_GPU_THREAD_MODE", None, "gpu_private"),
        ("TF_GPU_THREAD_MODE", "global", "global"),
        ("TF_ENABLE_ONEDNN_OPTS", None, "1"),
        ("TF_ENABLE_ONEDNN_OPTS", "0", "0"),
    ],
)
def test_commands_have_tensorflow_use_fast_threads_and_kernels_unless_the_user_says_otherwise(
    monkeypatch, name, given, found
):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setenv(name, given or "")
    if given is None:
        monkeypatch.delenv(name)
    import_tensorflow()
    assert os.environ[name] == found


def test_other_processors_keep_tensorflows_choice_of_kernels(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "")
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    import_tensorflow()
    assert "TF_ENABLE_ONEDNN_OPTS" not in os.environ
