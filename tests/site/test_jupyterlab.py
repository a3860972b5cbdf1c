"""Notebooks in JupyterLab: figures answer in a trusted one, and are pictures in another; answers are closed."""

import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
from browsing import PATIENCE, ROOT
from made_up import bundles
from nbformat.sign import NotebookNotary
from playwright.sync_api import expect

PANEL = ".jp-NotebookPanel:not(.lm-mod-hidden)"
FIGURE = f"{PANEL} .tyinglib-interactive"
PICTURE = f"{PANEL} .jp-OutputArea-output img"
CHAPTERS = sorted((ROOT / "book").glob("[0-9]*.ipynb"))
# cells out of sight are there too, so that what can't be seen is closed, and not only far away
SETTINGS = {
    "config/lab/user-settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings": '{"windowingMode": "none"}'
}


def notebook():
    v4 = nbformat.v4
    outputs = [v4.new_output("execute_result", bundle, execution_count=1) for bundle in bundles()]
    cells = [v4.new_code_cell("figure", outputs=[output], execution_count=1) for output in outputs[:2]]
    return v4.new_notebook(cells=cells)  # no kernel is named, so none is started


class Lab(NamedTuple):
    """A running server, and the folder that it shows."""

    address: str
    folder: Path


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A server of its own, with settings and signatures of its own."""
    tmp_path = tmp_path_factory.mktemp("lab")
    folder, data = tmp_path / "book", tmp_path / "data"
    for path in (folder, data, tmp_path / "config", tmp_path / "runtime"):
        path.mkdir()
    trusted = notebook()
    nbformat.write(trusted, folder / "trusted.ipynb")
    notary = NotebookNotary(data_dir=str(data))
    notary.sign(nbformat.read(folder / "trusted.ipynb", as_version=4))
    notary.store.close()
    for cell in trusted.cells:
        cell.outputs[0].data["text/html"] += "<!-- not signed -->"
    nbformat.write(trusted, folder / "untrusted.ipynb")
    for name, text in SETTINGS.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    places = {f"JUPYTER_{name.upper()}_DIR": str(tmp_path / name) for name in ("config", "data", "runtime")}
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0", "--IdentityProvider.token="]
    program = [Path(sys.executable).with_name("jupyter"), "lab", *options, f"--ServerApp.root_dir={folder}"]
    with (tmp_path / "log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen(program, env=os.environ | places, stdout=log, stderr=log)
    try:
        yield Lab(wait_for(server, tmp_path / "log"), folder)
    finally:
        server.kill()  # it keeps nothing that must be saved, and takes long to end by itself
        server.wait()


def wait_for(server, log):
    """The address of a server that runs, as soon as its log names it."""
    end = time.monotonic() + PATIENCE / 1000
    while server.poll() is None and time.monotonic() < end:
        # to the end of the address: the line may be written only in part
        if found := re.search(r"(http://127\.0\.0\.1:\d+/)lab\s", log.read_text(encoding="utf-8")):
            with urllib.request.urlopen(f"{found[1]}api"):
                return found[1]
        time.sleep(0.1)
    raise AssertionError(log.read_text(encoding="utf-8"))


def test_figures_answer_in_a_trusted_notebook_and_are_pictures_in_another(lab, browser):
    context = browser.new_context(viewport={"width": 1100, "height": 1200})
    context.set_default_timeout(PATIENCE)
    tab = context.new_page()
    try:
        tab.goto(f"{lab.address}lab/tree/trusted.ipynb")
        tab.wait_for_selector(f"{FIGURE}[data-ready] svg")
        # it asks for a kernel, sooner or later, and takes the focus
        tab.locator(".jp-Dialog button").filter(has_text="No Kernel").click()
        frames, plane = tab.locator(FIGURE).nth(0), tab.locator(FIGURE).nth(1)
        slider = frames.locator("input[type=range]")
        slider.focus()  # JupyterLab would take arrow keys for itself
        for key, value in (("ArrowRight", "2"), ("ArrowDown", "1"), ("ArrowUp", "2"), ("ArrowLeft", "1")):
            tab.keyboard.press(key)
            expect(slider).to_have_attribute("aria-valuetext", value)
        plane.locator("svg").focus()
        tab.keyboard.press("ArrowDown")
        expect(plane.locator("output")).to_have_text(
            "l1 moves (1.2, 0.3) to (0.7, 0). The second weight is exactly zero."
        )
        assert plane.locator("svg").evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(255, 255, 255)"
        tab.goto(f"{lab.address}lab/tree/untrusted.ipynb")
        tab.wait_for_selector(f"{PICTURE}[alt^='Two weights']")
        assert tab.locator(f"{FIGURE}[data-ready]").count() == 0
        assert tab.locator(PICTURE).evaluate_all("a => a.map(i => !i.hidden && i.naturalWidth > 400)") == [True, True]
    finally:
        context.close()


# Whether all marks are seen when every answer is open. JupyterLab may draw prose anew some time after a run, and so
# close an answer again: it is opened at each look.
OPENED = """([panel, marks]) => {
    const all = selector => [...document.querySelectorAll(`${panel} ${selector}`)];
    all('details').forEach(answer => { answer.open = true });
    const seen = all(':is(p, pre)').filter(e => e.checkVisibility()).map(e => e.textContent).join('\\n');
    return marks.every(mark => seen.includes(mark));
}"""


def answers_marked(path):
    """A chapter whose cells print nothing but a mark when they are run, and have printed another; every answer has one.

    Returns it, the marks that must not be seen, and those that must: [before running, after it].
    """
    book = nbformat.read(path, as_version=4)
    inside, secret, plain = False, [], []
    for number, cell in enumerate(book.cells):
        stored, printed = f"STORED{number}END", f"PRINTED{number}END"
        if cell.cell_type == "code":
            cell.source = f"print('PRIN' + 'TED{number}END')"
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=stored + "\n")]
            (secret if inside else plain).append((stored, printed))
            continue
        opening, *answers = re.split(r"(?<=</summary>\n\n)", cell.source)
        marks = [f"ANSWER{number}_{place}END" for place in range(len(answers))]
        marked = [f"{mark} {answer}" for mark, answer in zip(marks, answers, strict=True)]
        cell.source = "".join([f"{stored} {opening}" if inside else opening, *marked])
        secret += [(mark, mark) for mark in [stored] * inside + marks]
        inside = ("{solution-start}" in cell.source or inside) and "{solution-end}" not in cell.source
    return book, list(zip(*secret, strict=True)), list(zip(*plain, strict=True))


# Of each mark, whether its prose or output is "seen", is "there" out of sight, or "absent".
LOOK = """([panel, marks]) => {
    const prose = [...document.querySelectorAll(`${panel} :is(p, pre)`)];
    const known = prose.map(e => [e.textContent, e.checkVisibility()]);
    return marks.map(mark => {
        const found = known.filter(([text]) => text.includes(mark));
        return found.some(([, visible]) => visible) ? 'seen' : found.length ? 'there' : 'absent';
    });
}"""
IS_DRAWN = f"([panel, marks]) => !({LOOK})([panel, marks]).includes('absent')"


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_answers_and_solutions_are_closed_before_and_after_running_all(lab, browser, chapter):
    book, secret, plain = answers_marked(chapter)
    nbformat.write(book, lab.folder / chapter.name)
    context = browser.new_context(viewport={"width": 1100, "height": 1200})
    context.set_default_timeout(PATIENCE)
    tab = context.new_page()
    try:
        tab.goto(f"{lab.address}lab/tree/{chapter.name}?reset")
        for run in (False, True):
            if run:
                tab.get_by_role("menuitem", name="Run", exact=True).click()
                tab.get_by_text("Run All Cells", exact=True).click()
            tab.wait_for_function(IS_DRAWN, arg=[PANEL, [*secret[run], *plain[run]]])
            state = dict(zip(secret[run], tab.evaluate(LOOK, [PANEL, secret[run]]), strict=True))
            assert set(state.values()) == {"there"}, f"{'after' if run else 'before'} running: {state}"
            assert set(tab.evaluate(LOOK, [PANEL, plain[run]])) == {"seen"}
        solutions = tab.locator(f"{PANEL} .jp-showHiddenCellsButton:visible")
        for left in range(solutions.count(), 0, -1):
            expect(solutions).to_have_count(left)
            solutions.first.click()
        tab.wait_for_function(OPENED, arg=[PANEL, secret[True]])
    finally:
        context.close()
