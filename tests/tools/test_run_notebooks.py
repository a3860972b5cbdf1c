"""make notebooks: what is stored, and what is left alone."""

import importlib.util
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

spec = importlib.util.spec_from_file_location("run_notebooks", Path(__file__).parents[2] / "tools/run_notebooks.py")
run_notebooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run_notebooks)


def stream(text, name="stdout"):
    return v4.new_output("stream", text=text, name=name)


def test_pieces_of_one_stream_become_one():
    merged = run_notebooks.merge_streams([stream("a"), stream("b"), stream("c", "stderr"), stream("d")])
    assert [(output.name, output.text) for output in merged] == [("stdout", "ab"), ("stderr", "c"), ("stdout", "d")]


def test_normal_form_numbers_runs_and_drops_times():
    cells = [
        v4.new_code_cell("1", execution_count=7, metadata={"execution": {"iopub.status.busy": "now"}}),
        v4.new_code_cell(""),
        v4.new_code_cell("2", execution_count=9, outputs=[v4.new_output("execute_result", execution_count=9)]),
    ]
    notebook = run_notebooks.normalise(v4.new_notebook(cells=cells, metadata={"widgets": {}}))
    assert [cell.execution_count for cell in notebook.cells] == [1, None, 2]
    assert notebook.cells[2].outputs[0].execution_count == 2
    assert "execution" not in notebook.cells[0].metadata
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert run_notebooks.normalise(notebook) == notebook


def test_timings_alone_are_no_change():
    def notebook(checked, timing):
        timed = v4.new_code_cell("t", metadata={"tags": ["nbval-ignore-output"]}, outputs=[stream(timing)])
        cells = [v4.new_code_cell("c", outputs=[stream(checked)]), timed]
        for number, cell in enumerate(cells):
            cell.id = f"cell-{number}"
        return v4.new_notebook(cells=cells)

    part = run_notebooks.checked_part
    assert part(notebook("1", "3 ms")) == part(notebook("1", "4 ms"))
    assert part(notebook("1", "3 ms")) != part(notebook("2", "3 ms"))


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "chapter.ipynb"
    path.write_text("old", encoding="utf-8")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_notebooks.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_notebooks.write(v4.new_notebook(), path)
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["chapter.ipynb"]


def test_stored_chapters_are_in_normal_form():
    for path in (Path(__file__).parents[2] / "book").glob("*.ipynb"):
        assert run_notebooks.has_run(nbformat.read(path, as_version=4)), path.name
