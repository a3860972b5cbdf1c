"""Re-run chapters and store their outputs, in a form that does not change unless something did.

    python tools/run_notebooks.py [--fresh] [NAME ...]      NAME: part of a file name; none: all chapters

A chapter is written only when a checked output or the source changed: timings (cells tagged nbval-ignore-output) alone
leave the file as it is, unless --fresh asks for new ones. A chapter that fails, or a run that is interrupted, leaves
the file as it was.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# One thread, so that sums are taken in the same order; set before a kernel starts.
THREADS = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def execute(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """A copy of the notebook with fresh outputs; progress is drawn in one line."""
    fresh = copy.deepcopy(notebook)
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    os.environ.pop("MPLBACKEND", None)  # kernels inherit it, and would then store no figures
    count, start = len(fresh.cells), time.monotonic()

    def progress(cell: nbformat.NotebookNode, cell_index: int) -> None:
        print(f"\r{name}: cell {cell_index + 1} of {count}, {time.monotonic() - start:.0f} s ", end="", flush=True)

    client = NotebookClient(
        fresh,
        timeout=3600,  # seconds a cell, and below those in which a kernel must start: for what hangs, not what is slow
        startup_timeout=600,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": ROOT / "book"}},
    )
    client.on_cell_start = progress
    client.execute()
    print(f"\r{name}: {count} cells in {time.monotonic() - start:.0f} s     ")
    return fresh


def normalise(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop what differs between two runs of the same thing, and number the cells' runs 1..n."""
    notebook = copy.deepcopy(notebook)
    notebook.metadata = nbformat.from_dict(METADATA)
    count = 0
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        if cell.source.strip():
            count += 1
        cell.execution_count = count if cell.source.strip() else None
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
        cell.outputs = merge_streams(cell.outputs)
    return notebook


def merge_streams(outputs: list) -> list:
    """Neighbouring pieces of one stream as one: how a stream was cut depends on timing."""
    merged: list = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last and output.output_type == "stream" and last.output_type == "stream" and last.name == output.name:
            last.text += output.text
        else:
            merged.append(output)
    return merged


def checked_part(notebook: nbformat.NotebookNode) -> list:
    """All that nbval compares, and the pictures."""
    return [
        (cell.cell_type, cell.source, dict(cell.metadata), None if ignored(cell) else cell.get("outputs"))
        for cell in notebook.cells
    ]


def ignored(cell: nbformat.NotebookNode) -> bool:
    """Whether the cell's outputs are shown, but not compared."""
    return "nbval-ignore-output" in cell.metadata.get("tags", [])


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Whole or not at all."""
    temporary = path.with_suffix(".ipynb.tmp")
    try:
        temporary.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="parts of file names; none: all chapters")
    parser.add_argument("--fresh", action="store_true", help="store new timings even if nothing else changed")
    options = parser.parse_args()
    chapters = sorted((ROOT / "book").glob("*.ipynb"))
    paths = [p for p in chapters if not options.names or any(name in p.stem for name in options.names)]
    if not paths:
        print(f"no chapter is called {' or '.join(options.names)}; there are {', '.join(p.stem for p in chapters)}")
        return 2
    os.environ.update(THREADS)
    failed = 0
    for path in paths:
        old = nbformat.read(path, as_version=4)
        try:
            new = normalise(execute(old, path.stem))
        except CellExecutionError as error:
            print(f"\n{path.stem}: a cell failed, the file stays as it was.\n{error}")
            failed += 1
            continue
        if not options.fresh and checked_part(new) == checked_part(normalise(old)) and has_run(old):
            print(f"{path.stem}: unchanged")
        else:
            write(new, path)
            print(f"{path.stem}: stored")
    return 1 if failed else 0


def has_run(notebook: nbformat.NotebookNode) -> bool:
    """Whether the stored file is in normal form already, so that it may stay."""
    return nbformat.writes(normalise(notebook)) == nbformat.writes(notebook) and all(
        cell.outputs for cell in notebook.cells if cell.cell_type == "code" and ignored(cell)
    )


if __name__ == "__main__":
    sys.exit(main())
