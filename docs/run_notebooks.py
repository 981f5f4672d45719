"""Runs the notebooks from top to bottom: `python docs/run_notebooks.py`, or `--store` to keep their outputs, too.

Each runs in a kernel of its own in a temporary folder; an error ends the program with the cell's traceback.
"""

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parent / "notebooks"
MOST_BYTES = 300_000
SECONDS = 300


def run(path):
    """The notebook as it is after its run."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with tempfile.TemporaryDirectory() as folder:
        # No times in the cells: what is stored depends on the outputs alone.
        NotebookClient(
            notebook,
            timeout=SECONDS,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        ).execute()
    for cell in notebook.cells:
        # TensorFlow's notices, above all.
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def run_and_report(path, store):
    """Runs a notebook, says how long it took, and stores its outputs where they are wanted."""
    started = time.perf_counter()
    text = nbformat.writes(run(path)) + "\n"
    print(f"{path.name}: {time.perf_counter() - started:.0f} s, {len(text) / 1000:.0f} kB", flush=True)
    if len(text.encode()) > MOST_BYTES:
        sys.exit(f"{path.name}: more than {MOST_BYTES / 1000:.0f} kB with its outputs")
    if store:
        path.write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--store", action="store_true", help="write the outputs into the notebooks")
    arguments = parser.parse_args()
    # The package beside this file, wherever the kernel starts.
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(NOTEBOOKS.parents[1]), os.environ.get("PYTHONPATH", "")])
    )
    # Small networks: a second thread would wait for the first in busy loops.
    os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1", OMP_NUM_THREADS="1")
    paths = arguments.notebooks or sorted(NOTEBOOKS.glob("*.ipynb"))
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(run_and_report, paths, [arguments.store] * len(paths)))


if __name__ == "__main__":
    main()
