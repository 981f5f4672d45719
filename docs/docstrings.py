"""Griffe extension of the site: the house's docstrings as Markdown.

Sections that griffe does not know, such as "Input shape:", get a bold name in place of a box, and a star between two
factors stays a star.
"""

import re

import griffe

_SECTION = re.compile(
    r"^(Input shape|Output shape|Reference|Differs from the original code|Distribution|Weights, none trainable):"
    r" *(?:\n +)?(\S.*(?:\n +\S.*)*)",
    re.MULTILINE,
)
_CALL_ARGUMENTS = re.compile(r"^Call arguments:\n((?:    .+\n?)+)", re.MULTILINE)
# Fenced blocks, indented blocks and code spans: left as they are.
_CODE = re.compile(r"(^ *```.*?^ *```$|^\n(?: {4,}[^\n]*\n|\n)+|`[^`\n]+`)", re.MULTILINE | re.DOTALL)


def as_markdown(text):
    """A docstring whose sections and stars Markdown shows as they are meant."""
    text = _SECTION.sub(lambda match: f"**{match[1]}:** {' '.join(match[2].split())}", text)
    text = _CALL_ARGUMENTS.sub(lambda match: f"**Call arguments:**\n\n{_as_list(match[1])}", text)
    text = re.sub("^Example:$", "Examples:", text, flags=re.MULTILINE)
    parts = _CODE.split(text)
    parts[::2] = [re.sub(r"(?<=[\w)])( ?)\*( ?)(?=[\w(])", r"\1\\*\2", part) for part in parts[::2]]
    return "".join(parts)


def _as_list(lines):
    """`    name: text`, each with lines that continue it, as a list."""
    items = re.findall(r"^    (\w.*(?:\n {5,}.*)*)", lines, re.MULTILINE)
    pairs = [re.sub(r"\s+", " ", item).partition(": ") for item in items]
    return "".join(f"- **`{name}`** – {text}\n" for name, _, text in pairs)


class HouseDocstrings(griffe.Extension):
    """Rewrites each docstring before it is parsed."""

    def on_instance(self, *, obj, **kwargs):
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)
