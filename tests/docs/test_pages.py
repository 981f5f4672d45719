"""What the pages say runs: Python blocks and quick commands run, every other command is parsed by the real flags."""

import importlib
import json
import re

import numpy as np
import pytest
from PIL import Image

import igan_tf.commands
from tests.docs import commands, pages

# Programs of others that the pages call, whose arguments nobody checks here.
OTHERS = {".", "cd", "export", "git", "pip", "tensorboard", "bash", "srun", "exec", "python"}
FLAG = re.compile(r"`--(\w+)")


def class_folders(folder):
    """Two classes of sixty pictures, as the pages suppose them."""
    generator = np.random.default_rng(0)
    for name, level in (("cat", 60), ("dog", 160)):
        (folder / name).mkdir(parents=True)
        for index in range(60):
            pixels = np.clip(generator.normal(level, 40, (40, 48, 3)), 0, 255).astype("uint8")
            Image.fromarray(pixels).save(folder / name / f"{index:03d}.png")


# Page -> the folder of images that its reader has.
IMAGES = {"docs/own_images.md": "my_images", "docs/imagenet.md": "photos"}
RUN = [
    page
    for page in pages.pages()[1:]  # README.md's programs: tests/test_readme.py
    if any(block.language == "python" or block.quick for block in pages.blocks(page))
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


# Keras's warning of an optimizer that is saved before it has variables.
@pytest.mark.filterwarnings("error:Skipping variable loading")
@pytest.mark.parametrize("page", RUN, ids=pages.name_of)
def test_programs_and_quick_commands_run(page, tmp_path, monkeypatch, cache):
    """In the order of the page, in one folder and one namespace, as a reader would try them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IGAN_CACHE_DIR", str(cache))
    if folder := IMAGES.get(pages.name_of(page)):
        class_folders(tmp_path / folder)
    namespace = {}
    for block in pages.blocks(page):
        if block.language == "python":
            exec(compile(block.text, str(block), "exec"), namespace)
        for line in pages.shell_lines(block) if block.quick else []:
            commands.run(*pages.command_of(line))


@pytest.mark.parametrize("page", pages.pages(), ids=pages.name_of)
def test_commands_are_accepted(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    commands.without_work(monkeypatch)
    wrong = []
    for block in pages.blocks(page):
        for line in pages.shell_lines(block):
            found = pages.command_of(line)
            if found and found[1][:1] == ["COMMAND"]:  # any of them
                continue
            problem = commands.refusal(*found) if found else problem_of_other(line, block)
            if problem:
                wrong.append(f"{block}: {line}\n    {problem}")
    assert not wrong, "\n".join(wrong)


def problem_of_other(line, block):
    """What is wrong with a line that calls none of this package's commands; empty where nothing is."""
    program = line.split()[0]
    if block.language == "bash" and program not in OTHERS | {"make"}:
        return f"unknown program {program}"
    makefile = (pages.REPOSITORY / "Makefile").read_text()
    setup = (pages.REPOSITORY / "setup.py").read_text()
    for target in re.findall(r"\bmake ([\w-]+)", line) if program == "make" else []:
        if not re.search(rf"^{target}:", makefile, flags=re.MULTILINE):
            return f"unknown target {target}"
    for extra in re.findall(r"\.\[(\w+)\]", line):
        if f'"{extra}": ' not in setup:
            return f"unknown extra {extra}"
    for script in re.findall(r"python (\w[\w/]*\.py)", line):
        if not (pages.REPOSITORY / script).exists():
            return f"unknown script {script}"
    return ""


@pytest.fixture(scope="module")
def flags():
    """The names of all flags of all commands."""
    with pytest.MonkeyPatch.context() as patch:
        lines = []

        def parse(line, arguments):
            lines.append(line)
            raise commands.Accepted

        patch.setattr("igan_tf.commands.flags.CommandLine.parse", parse)
        for name in igan_tf.commands.COMMANDS:
            with pytest.raises(commands.Accepted):
                igan_tf.commands.main([name])
    return {name for line in lines for name in line.flag_values}


GUIDES = list(pages.DOCS.glob("*.md"))


@pytest.mark.parametrize("page", [*GUIDES, pages.REPOSITORY / "README.md"], ids=pages.name_of)
def test_flags_in_the_text_exist(page, flags):
    named = set(FLAG.findall(page.read_text(encoding="utf-8")))
    known = flags | {f"no{name}" for name in flags} | {"flagfile", "help", "only", "json", "seconds", "small"}
    assert named - known == set()


def test_a_wrong_command_is_noticed(monkeypatch):
    commands.without_work(monkeypatch)
    for line, problem in (
        ("igan-tf train --flagfile=digits --epoch=3", "Unknown command line flag 'epoch'"),
        ("igan-tf train --flagfile=digit", "flagfile"),
        ("python -m igan_tf.main --mode=sample --epochs=3", "--epochs is for --mode=train"),
        ("igan-tf tables --table=digits -- --label=3", "Unknown command line flag 'label'"),
        ("igan-tf records --source=a --output_dir=b --encoding=gif", "--encoding must be one of"),
        ("igan-tf evaluate --source=a --splits=none", "splits"),
        ("igan-tf turing-test --study_dir=a --report --trials=4", "--trials is for a study that is made"),
        ("igan-tf trian", "Did you mean: train"),
        ("python -m igan_tf.evaluat", "no module"),
    ):
        assert problem in commands.refusal(*pages.command_of(line)), line
    assert problem_of_other("make runn", pages.Block(pages.DOCS, 1, "bash", "", False)) == "unknown target runn"


PUBLIC = {
    "layers": ("layers",),
    "losses": ("losses",),
    "optimizers": ("optimizers",),
    "models": ("models", "networks"),
    "evaluation": ("evaluation",),
    "data": ("data",),
    "training": ("training", "experiments"),
}


@pytest.mark.parametrize("page", PUBLIC)
def test_every_public_name_is_in_the_reference(page):
    text = "".join((pages.DOCS / f"api/{name}.md").read_text() for name in (page, "metrics"))
    for package in PUBLIC[page]:
        for name in importlib.import_module(f"igan_tf.{package}").__all__:
            assert re.search(rf"^::: .*\.{name}$|`{name}`", text, flags=re.MULTILINE), f"{package}.{name}"


@pytest.mark.parametrize("path", sorted(pages.DOCS.glob("notebooks/*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_stored_whole_and_small(path):
    """`make notebooks` runs them."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert path.stat().st_size < 300_000
    assert not [cell for cell in cells for output in cell.get("outputs", []) if output["output_type"] == "error"]
