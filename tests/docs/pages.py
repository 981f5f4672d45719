"""Programs and commands that stand in README.md and on the pages of docs/."""

import dataclasses
import re
import shlex
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
# A block is run, and not only parsed, where this comment stands before it.
QUICK = "<!-- quick -->"
_BLOCK = re.compile(
    rf"^(?P<quick>{re.escape(QUICK)}\n)?(?P<fence>```)(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
# What starts one of this package's commands, after it its arguments.
_COMMAND = re.compile(r"(?:^|[\s/])(igan-tf|python -m igan_tf[\w.]*)(?= |$)(.*)")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    quick: bool

    def __str__(self):
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


def pages():
    """README.md, then every page."""
    return [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))]


def name_of(page):
    return str(page.relative_to(REPOSITORY))


def blocks(page):
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("fence")) + 1
        yield Block(page, line, match["language"], match["text"], bool(match["quick"]))


def shell_lines(block):
    """The commands of a block, each with what continues it, without comments."""
    if block.language not in ("", "bash", "yaml"):
        return []
    lines = [""]
    for line in block.text.replace("\\\n", " ").splitlines():
        if not is_open(lines[-1]):
            lines.append(line)
        elif not line.strip().startswith("#"):
            lines[-1] += f"\n{line}"
    # YAML, and output among blocks of no language, has quotes of its own.
    lines = lines if block.language == "bash" else block.text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def is_open(line):
    """Whether a quote in the line goes on in the next."""
    try:
        shlex.split(line, comments=True)
    except ValueError:
        return True
    return False


def command_of(line):
    """(program, arguments) of a line that calls this package, as a shell would split it; None of another line."""
    match = _COMMAND.search(line)
    if not match:
        return None
    # A line of a script in quotes may end with the script's own quote.
    words = shlex.split(match[2].strip().rstrip("'"), comments=True)
    # What comes behind is of the shell.
    end = next((place for place, word in enumerate(words) if re.match(r"\d?[|>&]", word)), len(words))
    return match[1], words[:end]
