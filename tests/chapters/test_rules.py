"""What nbval lets through: the stored state of every chapter, its anatomy, and numbers without a source."""

import html
import json
import os
import re
from pathlib import Path

import nbformat
import pytest
from confessions import MOST, OVER, SECTION, confessions

from tyinglib.book.exercises import answer_digest

# tools/test_the_tests.py points this at a damaged copy
ROOT = Path(os.environ.get("BOOK_ROOT", Path(__file__).parents[2]))
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
CHAPTERS = [path for path in NOTEBOOKS if path.stem[:2].isdigit()]  # the others are reference pages
MAX_UNCHECKED = 1 / 5
MAX_INTERACTIVE = 500_000  # bytes of a page


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def page(request):
    return nbformat.read(request.param, as_version=4)


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def prose(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def tags(cell):
    return cell.metadata.get("tags", [])


def interactive_outputs(cell):
    """Of interactive figures: the text form, the alternative texts of the stills, those of all frames, and the HTML."""
    for output in cell.outputs:
        data = output.get("data", {})
        code = data.get("text/html", "")
        if 'class="tyinglib-interactive"' in code:
            shown, _, rest = code.partition('<script type="application/json">')
            stills = re.findall(r'<img src="data:image/png;base64,[^"]+"[^>]* alt="([^"]*)"', shown)
            frames = json.loads(rest.partition("</script>")[0]).get("frames", [])
            yield data.get("text/plain"), list(map(html.unescape, stills)), [frame["alt"] for frame in frames], code


def text_outputs(cell):
    for _, _, alts, _ in interactive_outputs(cell):
        yield from alts
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
        else:
            yield str(output.get("data", {}).get("text/plain", ""))


def test_there_are_chapters():
    assert CHAPTERS


def test_cells_were_run_once_from_top_to_bottom(page):
    counts = [cell.execution_count for cell in code_cells(page)]
    assert counts == list(range(1, len(counts) + 1))


def test_no_stored_error_and_no_stderr(page):
    for cell in code_cells(page):
        for output in cell.outputs:
            assert output.output_type != "error" or "raises-exception" in tags(cell), cell.source
            assert output.get("name") != "stderr", f"stderr is stored below:\n{cell.source}"


def test_cells_that_print_or_draw_have_an_output(page):
    """A stripped output would pass nbval, which has then nothing to compare."""
    shows = re.compile(r"^(print\(|plt\.show\(\)|.*check_answer\(|ledger$|show_\w+\(|interactive\.|table\()", re.M)
    for cell in code_cells(page):
        if shows.search(cell.source):
            assert cell.outputs, f"no output is stored below:\n{cell.source}"


def test_no_cell_ends_with_a_semicolon(page):
    for cell in code_cells(page):
        assert not cell.source.rstrip().endswith(";"), cell.source


def test_few_cells_are_unchecked(page):
    cells = code_cells(page)
    unchecked = [cell for cell in cells if {"nbval-ignore-output", "nbval-skip"} & set(tags(cell))]
    assert len(unchecked) <= MAX_UNCHECKED * len(cells)


def test_every_figure_has_alt_text(page):
    for cell in code_cells(page):
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt) >= 40, f"a figure without an alt text that says what is in it:\n{cell.source}"


def test_every_interactive_figure_has_a_still_and_words_for_every_frame(page):
    weight = 0
    for cell in code_cells(page):
        for plain, stills, alts, code in interactive_outputs(cell):
            assert len(stills) == 1, f"one still picture is wanted, there are {len(stills)}:\n{cell.source}"
            assert plain == stills[0], f"the text form is not the still's alternative text:\n{cell.source}"
            for alt in (*stills, *alts):
                assert len(alt) >= 40, f"{alt!r} does not say what is in the picture:\n{cell.source}"
            assert len(set(alts)) == len(alts), f"two frames are described alike:\n{cell.source}"
            weight += len(code)
    assert weight <= MAX_INTERACTIVE, f"interactive figures of {weight:,} bytes: fewer or smaller frames"


def test_every_part_of_the_anatomy_is_there(chapter):
    text = "\n".join(prose(chapter))
    assert re.match(r"# .+\n\n\*\*.+\?\*\*", chapter.cells[0].source), "a title, then the question in bold"
    assert "After this chapter you can" in chapter.cells[0].source
    assert re.search(r"\*Needs: .+ Reading takes .+ running .+\*", chapter.cells[0].source)
    assert "chapter.setup(" in chapter.cells[1].source, "one set-up cell, after the question"
    for heading in ("Where it fails", "What we measured", "Exercises", "Key points"):
        assert f"## {heading}" in text, f"no section {heading!r}"
    assert "Ledger(" in "\n".join(cell.source for cell in code_cells(chapter))
    assert "{cite" in text


def test_predictions_have_feedback_for_every_answer(chapter):
    blocks = re.findall(r'<div class="predict">(.*?)</div>', "\n".join(prose(chapter)), re.S)
    assert len(blocks) >= 2
    for block in blocks:
        answers = re.findall(r"<details><summary>(.+?)</summary>\n\n(.+?)\n\n</details>", block, re.S)
        assert len(answers) == block.count("<details") >= 2, f"an answer without feedback:\n{block}"
        assert len({text for _, text in answers}) == len(answers), f"two answers with one feedback:\n{block}"
        for answer, feedback in answers:
            said = re.sub(r"\*\*.*?\*\*", "", feedback, count=1).strip()
            assert len(said) >= 20, f"{answer!r}: say why, not only whether\n{block}"
        assert sum(feedback.startswith("**Right") for _, feedback in answers) == 1, block
        assert all(feedback.startswith("**") for _, feedback in answers), block


def right_places(notebook):
    """Of each prediction: (the right answer's place, counted from 0; how many answers there are)."""
    for block in re.findall(r'<div class="predict">(.*?)</div>', "\n".join(prose(notebook)), re.S):
        feedback = re.findall(r"</summary>\n\n(\*\*\w+)", block)
        yield feedback.index("**Right"), len(feedback)


def test_the_right_answer_stands_in_no_favourite_place(chapter):
    """A reader who always takes one place is right in at most half of a chapter's predictions, rounded up."""
    places = [place for place, _ in right_places(chapter)]
    most = max(map(places.count, places))
    assert most <= (len(places) + 1) // 2, f"right answers stand at {[place + 1 for place in places]}: shuffle them"


def test_right_answers_are_spread_over_all_places_of_the_book():
    """Of the predictions with k answers, each place has its k-th part, give or take two."""
    found = [pair for path in CHAPTERS for pair in right_places(nbformat.read(path, as_version=4))]
    for k in {2, 3}:
        places = [place for place, answers in found if answers == k]
        counts = [places.count(place) for place in range(k)]
        assert max(abs(count - len(places) / k) for count in counts) <= 2, f"{k} answers: {counts} at each place"


def test_answers_do_not_stand_open_in_jupyterlab(page):
    """Its Markdown closes an HTML block at a blank line only: without one, what follows is shown in plain sight."""
    for text in prose(page):
        touching = re.search(r"</details>\n?[ \t]*<details", text)
        assert not touching, f"a blank line must stand between </details> and <details>:\n{text}"


def test_exercises_have_checks_and_solutions(chapter):
    text = "\n".join(prose(chapter))
    exercises = re.findall(r":::\{exercise\}.*\n:label: (\S+)", text)
    assert len(exercises) >= 3
    assert len(exercises) == len(set(exercises)) == len(re.findall(r"^:+\{exercise", text, re.M)), "label each"
    for label in exercises:
        solution = rf"^:::\{{solution-start\}} {label}\n(?::label: .*\n)?:class: dropdown\n"
        assert re.search(solution, text, re.M), f"{label}: no solution in a drop-down"
    asked = [c for c in code_cells(chapter) if c.source.startswith("my_answer = None") and "check_answer(" in c.source]
    assert len(asked) == len(exercises)
    for cell in asked:
        with_sum = re.findall(r'"(Exercise [\d.]+)",\s*my_answer,\s*"(\w+)",\s*digit_sum', cell.source)
        tells = [name for name, digest in with_sum if digest in {answer_digest(name, digit) for digit in range(10)}]
        assert not tells, f"{tells}: the sum of one digit is the answer; leave digit_sum out"
    said = "\n".join(t for c in code_cells(chapter) for t in text_outputs(c))
    right = re.findall(r"^Exercise (\d+\.\d+): right\.", said, re.M)
    number = int(re.match(r"ex-(\d+)-", exercises[0])[1])
    assert right == [f"{number}.{k + 1}" for k in range(len(exercises))], "each solution passes its check, in order"


KNOWN_CONFESSIONS = json.loads(Path(__file__).with_name("confessions.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_control_that_was_not_run_is_confessed_in_one_place(path):
    found = confessions(prose(nbformat.read(path, as_version=4)))
    most = OVER.get(path.stem, MOST)
    assert len(found) <= most, f"run the cheap ones; the others belong into a section *{SECTION}*: {found}"
    known = KNOWN_CONFESSIONS.get(path.stem, [])
    new = [sentence for sentence in found if sentence not in known]
    assert not new, f"run it, or move it into a section *{SECTION}* with what it would cost: {new}"
    gone = [sentence for sentence in known if sentence not in found]
    assert not gone, f"well done; take it out of confessions.json too: {gone}"
    assert most in {MOST, len(found)}, f"well done; {path.stem} has {len(found)} now: say so in confessions.OVER"


def test_confessions_are_found_where_they_may_not_stand():
    cheap = "It rains. We did not try snow. The other ways were not measured (we can't tell why). It could have worked!"
    assert confessions([f"## One\n\n{cheap}"]) == re.split(r"(?<=\.) (?=We|The)|(?<=\)\.) ", cheap)[1:]
    assert not confessions([f"## {SECTION}\n\n{cheap}", cheap])  # the section goes on to the next heading
    assert confessions([f"## {SECTION}\n\n{cheap}", f"## Two\n\n{cheap}"]) == confessions([cheap])
    assert (
        len(confessions(["We did not look. Nobody was trained longer. It was not fitted again. Nor did we tune it."]))
        == 4
    )
    assert not confessions(["The gradient never sees $g$. What was never asked is not answered. We tried it."])
    assert not confessions(
        ["A pixel that is zero is never looked at again. Such a filter cannot tell a stroke from a dot."]
    )


def test_solutions_are_closed_in_jupyterlab(chapter):
    """They stand under a collapsed heading of their own, which stays closed when all cells are run."""
    number = int(re.match(r"ex-(\d+)-", re.search(r"^:label: (ex-\S+)", "\n".join(prose(chapter)), re.M)[1])[1])
    exercises = 0
    for cell in chapter.cells:
        before, directive, _ = cell.source.partition(":::{exercise}")
        if directive:
            exercises += 1
            heading = f'<h5 class="lab">Exercise {number}.{exercises}</h5>\n\n'
            where = before.endswith(heading) if exercises == 1 else before == heading
            assert where, f"without this heading first it is hidden with the solution before it: {heading}{cell.source}"
        if "{solution-start}" in cell.source:
            start = r'<h5 class="lab">Solution</h5>\n\n:::\{solution-start\} \S+(?:\n:\w+: .*)*\n:::\s*'
            assert re.fullmatch(start, cell.source), (
                f"a solution starts with a cell of its own, and {start}:\n{cell.source}"
            )
            assert cell.metadata.get("jp-MarkdownHeadingCollapsed") is True, f"open in JupyterLab:\n{cell.source}"
        if "{solution-end}" in cell.source:
            assert re.search(r":::\{solution-end\}\n:::\s*$", cell.source), f"hidden with the solution:\n{cell.source}"


# Numbers in prose. A number must be printed by some output of the chapter or written in some code cell (then it is a
# setting). Exempt: 0 and 1; mathematics, code, questions about made-up cases, exercises (checked by cells),
# references to chapters, sections and statements, and numbers given a source in the cell's metadata ("numbers").
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?")
NOT_PROSE = [
    r"\$\$.*?\$\$",
    r"\$[^$\n]*\$",
    r"`[^`]*`",
    r"\{cite[^`]*`[^`]*`",
    r'<div class="predict">.*?</div>',
    r":::\{(?:exercise|prf:).*?\n:::",
    r"\]\([^)]*\)",
    r"^:\w+:.*$",
    r"(?:[Cc]hapter|[Ss]ection|[Ss]tatement|[Ee]xercise|[Pp]art|equation)s? \d+(?:\.\d+)*",
]


def numbers(text):
    return {match.replace(",", "").rstrip(".") for match in NUMBER.findall(text)}


def test_numbers_in_prose_are_printed_or_set_by_a_cell(page):
    known = {"0", "1"}
    for cell in code_cells(page):
        known |= numbers(cell.source)
        for text in text_outputs(cell):
            known |= numbers(text)
    in_solution = False
    for cell in page.cells:
        if cell.cell_type != "markdown":
            continue
        in_solution = (in_solution or "{solution-start}" in cell.source) and "{solution-end}" not in cell.source
        if in_solution or "{solution-end}" in cell.source:
            continue
        text = cell.source
        for pattern in NOT_PROSE:
            text = re.sub(pattern, " ", text, flags=re.S | re.M if ".*?" in pattern else re.M)
        unknown = numbers(text) - known - set(cell.metadata.get("numbers", {}))
        assert not unknown, f"{sorted(unknown)} is printed by no output of the page:\n{cell.source}"


def test_pages_without_cells_have_no_numbers_of_their_own():
    """They quote chapters by roles. Numbers of lists and of lessons count nothing."""
    for path in sorted((ROOT / "book").glob("*.md")):
        text = re.sub(r"^```.*?^```|^\d+[.:] ", " ", path.read_text(encoding="utf-8"), flags=re.S | re.M)
        for pattern in NOT_PROSE:
            text = re.sub(pattern, " ", text, flags=re.S | re.M if ".*?" in pattern else re.M)
        assert not numbers(text) - {"0", "1"}, f"{path.name} has {numbers(text)}, which no cell prints: quote a chapter"
