"""What other pages take from the chapters is what the chapters show."""

import html
import json
import re
from pathlib import Path

import pytest
import stored

from tyinglib.book.ledger import STATEMENTS, VERDICTS, Ledger

ROOT = Path(__file__).parents[2]

CHAPTERS = sorted((ROOT / "book").glob("[0-9][0-9]-*.ipynb"))


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def path(request):
    return request.param


def test_every_chapter_is_in_the_table_of_contents_and_only_once():
    listed = [path for _, paths in stored.chapter_paths(ROOT) for path in paths]
    assert sorted(listed) == CHAPTERS
    assert [path.stem[:2] for path in listed] == sorted(path.stem[:2] for path in listed)


def test_findings_are_the_rows_that_the_chapter_shows(path):
    chapter = stored.read_chapter(path)
    assert stored.LEDGER == Ledger.MIME
    shown = [
        "".join(output["data"]["text/html"])
        for cell in chapter.cells
        for output in cell.get("outputs", [])
        if 'class="ledger"' in "".join(output.get("data", {}).get("text/html", ""))
    ]
    assert len(shown) == 1
    rows = re.findall(r"<tr><td>(\d+)</td><td>(.*?)</td><td><b>(.*?)</b></td><td>(.*?)</td></tr>", shown[0])
    assert rows
    assert [(f.statement, f.verdict, f.measured) for f in chapter.findings] == [
        (int(number), verdict, html.unescape(measured)) for number, _, verdict, measured in rows
    ]
    for (number, statement, _, _), finding in zip(rows, chapter.findings, strict=True):
        assert html.unescape(statement) == STATEMENTS[int(number)]
        assert finding.verdict in VERDICTS
        assert finding.chapter == chapter.number


def test_a_chapter_says_all_that_the_lists_want(path):
    chapter = stored.read_chapter(path)
    text = "\n".join(stored.cell_text(cell) for cell in chapter.cells if cell["cell_type"] == "markdown")
    assert chapter.question.endswith("?")
    assert len(chapter.goals) >= 3
    assert chapter.key_points.count("\n- ") >= 2
    assert chapter.key_points in text
    assert len(chapter.exercises) == text.count(":::{exercise}") >= 3
    assert len(chapter.questions) == text.count('<div class="predict">') >= 2
    assert sum(len(q.answers) for q in chapter.questions) == text.count("<summary>") - text.count("<details class")
    assert all(number < chapter.number for number in chapter.required)


@pytest.mark.parametrize(
    ("needs", "required"),
    [
        ("you have trained one network", []),
        ("chapter 1; chapter 3 helps", [1]),
        ("chapters 1 and 2", [1, 2]),
        ("chapters 5, 6 and 7", [5, 6, 7]),
        ("chapters 5 to 7", [5, 6, 7]),
        ("chapter 5 (the Lasso and ridge)", [5]),
        (r"chapter 1 (a tie is $\theta = S\phi$). Helpful: chapter 6", [1]),
    ],
)
def test_needs_are_understood(needs, required):
    chapter = stored.read_chapter(CHAPTERS[0])
    fields = {name: getattr(chapter, name) for name in stored.Chapter.__dataclass_fields__}
    assert stored.Chapter(**{**fields, "number": 9, "needs": needs}).required == required


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("**What changes when weights must agree?**", "What changes?", "a title and its question"),
        ("After this chapter you can", "You can", "After this chapter"),
        ("*Needs:", "*Wants:", "After this chapter|Needs"),
        ("## Key points", "## Points", "key points"),
        (stored.LEDGER, "application/json", "ledger, found 0"),
        ('"chapter": 1', '"chapter": 2', "says chapter 2"),
    ],
)
def test_what_is_not_as_expected_is_named(tmp_path, old, new, message):
    text = CHAPTERS[0].read_text(encoding="utf-8")
    assert old in text
    damaged = tmp_path / CHAPTERS[0].name
    damaged.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        stored.read_chapter(damaged)


def test_a_chapter_is_read_again_when_it_changed(tmp_path):
    (tmp_path / "book").mkdir()
    copy = tmp_path / "book" / CHAPTERS[0].name
    toc = {"parts": [{"caption": "One", "chapters": [{"file": f"book/{copy.stem}"}, {"file": "book/other"}]}]}
    (tmp_path / "_toc.yml").write_text(json.dumps(toc), encoding="utf-8")  # JSON is YAML
    copy.write_text(CHAPTERS[0].read_text(encoding="utf-8"), encoding="utf-8")
    (part,) = stored.read_book(tmp_path)
    assert stored.read_book(tmp_path)[0].chapters[0] is part.chapters[0]
    copy.write_text(copy.read_text(encoding="utf-8").replace("# One idea:", "# An idea:"), encoding="utf-8")
    assert stored.read_book(tmp_path)[0].chapters[0].title.startswith("An idea:")


def finding(verdict):
    return stored.Finding(1, 1, verdict, "")


def test_chapters_that_differ_make_a_condition():
    assert stored.verdict_of([]) == "not measured yet"
    assert stored.verdict_of([finding("holds"), finding("holds")]) == "holds"
    assert stored.verdict_of([finding("holds"), finding("does not hold")]) == "holds when"
