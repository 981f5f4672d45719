"""BUILD_NOTES.md: its length, its dependencies, and the references to it and from it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTES = (ROOT / "BUILD_NOTES.md").read_text(encoding="utf-8")
TITLES = set(re.findall(r"^#+ (.+)$", NOTES, flags=re.MULTILINE))
# Pages whose links stay within the repository.
PAGES = [ROOT / "BUILD_NOTES.md", *sorted((ROOT / "docs/results").glob("*.md"))]


def _requirements():
    """Names of all requirements in setup.py, those of its extras included."""
    code = "import json, setuptools; setuptools.setup = lambda **keys: print(json.dumps(["
    code += "*keys['install_requires'], *sum(keys['extras_require'].values(), [])])); exec(open('setup.py').read())"
    code = f"__file__ = 'setup.py'; {code}"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted({re.match(r"[\w-]+", each)[0] for each in re.findall(r'"([^"]+)"', printed)})


def test_short_enough_to_read():
    assert len(NOTES.split()) <= 4000


def test_every_dependency_has_its_reason():
    table = NOTES[NOTES.index("## Dependencies") : NOTES.index("## Deviations")]
    names = _requirements()
    assert len(names) > 20
    assert [
        name for name in names if not re.search(rf"^\|[^|]*\b{name}\b|^\| extra [^|]*\|[^|]*\b{name}\b", table, re.M)
    ] == []


def test_every_reference_to_a_section_resolves():
    named = {}
    for folder in ("igan_tf", "tests", "docs", "run_configs", "benchmarks"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".md", ".cfg") and path != Path(__file__):
                for title in re.findall(r'BUILD_NOTES\.md`?,\s+"([^"]+)"', path.read_text(encoding="utf-8")):
                    named[title] = path
    named |= {title: "setup.py" for title in re.findall(r'BUILD_NOTES\.md, "([^"]+)"', (ROOT / "setup.py").read_text())}
    assert named
    assert {title: place for title, place in named.items() if title not in TITLES} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_page_of_results_is_listed():
    index = ROOT / "docs/results/index.md"
    listed = NOTES + (index.read_text(encoding="utf-8") if index.exists() else "")
    assert [page.name for page in PAGES[1:] if page != index and page.name not in listed] == []
