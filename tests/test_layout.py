"""The package's structure: imports run downwards only, and no source file grows beyond reading."""

import ast
from pathlib import Path

import pytest

from tests import breakages

PACKAGE = Path(__file__).parent.parent / "igan_tf"
# From the bottom up; a line's packages may import one another's lines below, and not each other.
LEVELS = [
    {"devices", "errors", "lazy", "memory", "precision", "types"},
    {"files"},
    {"pretrained"},
    {"settings"},
    {"images"},
    {"records"},
    {"data"},
    {"layers", "optimizers", "metrics"},
    {"losses"},
    {"networks"},
    {"models"},
    {"evaluation", "training", "saved_models"},
    {"experiments"},
    {"tables", "turing_test"},
    {"commands"},
]
LEVEL = {package: level for level, packages in enumerate(LEVELS) for package in packages}
# Modules that only start a command: what their package is called is older than `commands`.
ALIASES = {"main.py", "evaluate.py", "__main__.py", "tables/__main__.py", "turing_test/__main__.py"}
ALIASES |= {"data/imagenet_records.py"}
MOST_LINES = 300
FILES = sorted(PACKAGE.rglob("*.py"))


def part_of(module):
    """The part of the package that `igan_tf.part.module` belongs to; None for the package itself."""
    names = module.split(".")
    return names[1] if len(names) > 1 else None


def imported(path):
    """(line, module) of every import of this package in a file, also inside functions, but not for types alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "igan_tf":
            for alias in node.names:
                yield node.lineno, node.module if node.module != "igan_tf" else f"igan_tf.{alias.name}"
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == "igan_tf")


def test_every_part_has_a_level():
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert parts - {"__init__", "__main__", "main", "evaluate"} == set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downwards(path):
    name = str(path.relative_to(PACKAGE))
    if name in ALIASES or name == "__init__.py":
        return
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for line, module in imported(path):
        part = part_of(module)
        if part in LEVEL and part != own:
            assert LEVEL[part] < LEVEL[own], f"{name}:{line} imports {module}, which is not below {own}"


def test_no_module_imports_in_a_circle():
    modules = {f"igan_tf.{'.'.join(path.relative_to(PACKAGE).with_suffix('').parts)}": path for path in FILES}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    graph = {name: {found for _, found in imported(path) if found in modules} for name, path in modules.items()}
    # A package's lazy names lead to its own modules: what they import is their business.
    graph = {name: found - {name} for name, found in graph.items()}
    done, trail = set(), []

    def visit(name):
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            trail.append(name)
            for found in sorted(graph[name]):
                visit(found)
            done.add(trail.pop())

    for name in sorted(graph):
        visit(name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_is_too_long_to_read(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES


def test_every_breakage_can_be_tried():
    """`make breakages` breaks source text that is there, once, and calls tests that are there."""
    outdated = {breakage.name: breakages.what_is_outdated(PACKAGE.parent, breakage) for breakage in breakages.BREAKAGES}
    assert {name: what for name, what in outdated.items() if what} == {}
