"""What MkDocs does beside its plugins: notebooks, formulas, flags, and links to files that the site does not hold."""

import base64
import contextlib
import html
import io
import json
import os
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.structure.files import File

REPOSITORY = Path(__file__).parent.parent
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s:#]+)(#[^)]*)?\)")


def on_files(files, config):
    """Adds a page for each notebook, and a picture for each that its outputs hold."""
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        stem = notebook.src_uri.removesuffix(".ipynb")
        markdown, pictures = as_markdown(json.loads(Path(notebook.abs_src_path).read_text()), Path(stem).name)
        files.append(File.generated(config, f"{stem}.md", content=markdown))
        for name, content in pictures.items():
            files.append(File.generated(config, f"{Path(stem).parent.as_posix()}/{name}", content=content))
    return files


def as_markdown(notebook, stem):
    """A notebook as Markdown, and its pictures by file name."""
    parts, pictures = [], {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{stem}_{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![Output of the cell above]({name})")
            elif text := "".join(output.get("text", data.get("text/plain", ""))).rstrip():
                parts.append(f"```text\n{text}\n```")
    # After the title, the file itself: HTML, so that the link stays one to the notebook.
    parts.insert(1, f'<a href="{stem}.ipynb" download>Download this notebook</a>')
    return "\n\n".join(parts) + "\n", pictures


def on_page_markdown(markdown, page, config, files):
    """Fills in `<!-- help: COMMAND -->`, and leads links to where the site has what they mean."""
    markdown = re.sub(r"<!-- help: (\S+) -->", lambda match: f"```text\n{help_of(match[1])}\n```", markdown)
    folder = (Path(config["docs_dir"]) / page.file.src_uri).parent

    def led(match):
        text, path, anchor = match[1], match[2], match[3] or ""
        target = (folder / path).resolve()
        if target.is_relative_to(config["docs_dir"]):
            return f"[{text}]({path.removesuffix('.ipynb')}.md{anchor})" if path.endswith(".ipynb") else match[0]
        # Of the repository, and so no part of the site.
        return text if target.is_relative_to(REPOSITORY) and target.exists() else match[0]

    return _LINK.sub(led, markdown)


def help_of(command):
    """What `igan-tf COMMAND --help` prints."""
    from igan_tf.commands import main

    os.environ["COLUMNS"] = "90"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([command, "--help"])
    return printed.getvalue().rstrip()


def on_page_content(content, page, config, files):
    """Turns formulas into MathML, which browsers draw without a script."""

    def formula(match):
        block = match[1] == "div"
        return convert(html.unescape(match[2]), display="block" if block else "inline")

    return re.sub(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', formula, content, flags=re.DOTALL)
