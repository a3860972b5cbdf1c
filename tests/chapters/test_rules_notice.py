"""The rules for answers and confessions notice a bad chapter: a good one is damaged in one way at a time."""

import copy
import os
import re
from pathlib import Path

import nbformat
import pytest
import test_rules as rules
from confessions import MOST

PATH = Path(os.environ.get("BOOK_ROOT", Path(__file__).parents[2])) / "book/01-one-idea.ipynb"


MANY = [f"We did not try {number}." for number in range(MOST + 1)]


@pytest.fixture(scope="module")
def good():
    return nbformat.read(PATH, as_version=4)


@pytest.fixture
def chapter(good):
    return copy.deepcopy(good)


def replace(notebook, pattern, new):
    """In every markdown cell; something must be there to replace."""
    found = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source, count = re.subn(pattern, new, cell.source, flags=re.S | re.M)
            found += count
    assert found, f"cannot damage the chapter: {pattern} is not in it"


def right_answer_second(match):
    """A prediction's answers in the order in which a book leaks them: what is right stands second."""
    answers = re.findall(r"<details>.*?</details>", match[0], re.S)
    answers.sort(key=lambda answer: "**Right" in answer)
    answers.insert(1, answers.pop())
    given = iter(answers)
    return re.sub(r"<details>.*?</details>", lambda _: next(given), match[0], flags=re.S)


def test_right_answers_in_one_place(chapter):
    rules.test_the_right_answer_stands_in_no_favourite_place(chapter)
    replace(chapter, r'<div class="predict">.*?</div>', right_answer_second)
    with pytest.raises(AssertionError, match=r"right answers stand at \[2, 2, .*\]: shuffle them"):
        rules.test_the_right_answer_stands_in_no_favourite_place(chapter)


def test_right_answers_in_one_place_of_the_book(monkeypatch, tmp_path):
    rules.test_right_answers_are_spread_over_all_places_of_the_book()
    paths = []
    for path in rules.CHAPTERS:
        book = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_markdown_cell(text) for text in rules.prose(nbformat.read(path, as_version=4))]
        )
        replace(book, r'<div class="predict">.*?</div>', right_answer_second)
        paths.append(tmp_path / path.name)
        nbformat.write(book, paths[-1])
    monkeypatch.setattr(rules, "CHAPTERS", paths)
    with pytest.raises(AssertionError, match=r"at each place"):
        rules.test_right_answers_are_spread_over_all_places_of_the_book()


@pytest.mark.parametrize("gap", ["\n", "", "\n  "], ids=["no blank line", "one line", "spaces"])
def test_answers_that_touch(chapter, gap):
    rules.test_answers_do_not_stand_open_in_jupyterlab(chapter)
    replace(chapter, r"</details>\n\n<details", f"</details>{gap}<details")
    with pytest.raises(AssertionError, match="a blank line must stand between"):
        rules.test_answers_do_not_stand_open_in_jupyterlab(chapter)


@pytest.mark.parametrize(
    ("pattern", "new", "said"),
    [
        (r'<h5 class="lab">Exercise 1.2</h5>\n\n', "", "hidden with the solution before it"),
        (r'<h5 class="lab">Exercise 1.1</h5>\n\n', "", "without this heading"),
        (r'(<h5 class="lab">Exercise 1.3</h5>\n\n)', r"A word before.\n\n\1", "hidden with the solution before it"),
        (r'<h5 class="lab">Solution</h5>\n\n', "", "a solution starts with a cell of its own"),
        (r"(:::\{solution-start\} .*?\n:::)", r"\1\n\nThe answer is 7.", "a solution starts with a cell of its own"),
        (r"(:::\{solution-end\}\n:::)", r"\1\n\nNow the next.", "hidden with the solution"),
    ],
)
def test_solutions_that_open_or_hide_too_much(chapter, pattern, new, said):
    rules.test_solutions_are_closed_in_jupyterlab(chapter)
    replace(chapter, pattern, new)
    with pytest.raises(AssertionError, match=said):
        rules.test_solutions_are_closed_in_jupyterlab(chapter)


def test_a_solution_whose_heading_is_open(chapter):
    start = next(cell for cell in chapter.cells if "{solution-start}" in cell.source)
    del start.metadata["jp-MarkdownHeadingCollapsed"]
    with pytest.raises(AssertionError, match="open in JupyterLab"):
        rules.test_solutions_are_closed_in_jupyterlab(chapter)


@pytest.mark.parametrize(
    ("confessed", "listed", "said"),
    [
        (["We did not try it."], [], "run it, or move it into a section"),
        ([], ["We did not try it."], "well done"),
        (MANY, MANY, "cheap ones"),
    ],
    ids=["new", "gone", "more than three, though listed"],
)
def test_confessions_beside_the_list(monkeypatch, tmp_path, confessed, listed, said):
    path = tmp_path / "12-made-up.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(" ".join(confessed))]), path)
    monkeypatch.setitem(rules.KNOWN_CONFESSIONS, path.stem, listed)
    with pytest.raises(AssertionError, match=said):
        rules.test_a_control_that_was_not_run_is_confessed_in_one_place(path)


def test_as_many_confessions_as_are_listed_pass(monkeypatch, tmp_path):
    path = tmp_path / "12-made-up.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(" ".join(MANY[1:]))]), path)
    monkeypatch.setitem(rules.KNOWN_CONFESSIONS, path.stem, MANY[1:])
    rules.test_a_control_that_was_not_run_is_confessed_in_one_place(path)


def test_a_chapter_that_confesses_less_than_it_may(monkeypatch, tmp_path):
    path = tmp_path / "12-made-up.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[]), path)
    monkeypatch.setitem(rules.OVER, path.stem, MOST + 1)
    with pytest.raises(AssertionError, match="has 0 now: say so"):
        rules.test_a_control_that_was_not_run_is_confessed_in_one_place(path)
