"""The directives and roles, in a small book of two made-up chapters; what they must refuse fails the build."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from tyinglib.book.ledger import STATEMENTS, Ledger

ROOT = Path(__file__).parents[2]
CONF = """
import sys
sys.path.insert(0, {extensions!r})
extensions = ["myst_nb", "sphinx_exercise", "anchors", "generated", "ledger", "lists", "recorded", "landing"]
extensions.append("public_reports")
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "dollarmath"]
html_theme = "basic"
suppress_warnings = ["mystnb.unknown_mime_type"]
"""
TOC = "```{toctree}\n:glob:\nbook/*\nwrong\n```\n"
PAGE = """# Page

```{verdicts}
```
```{ledger}
```
```{exercises}
```
```{key-points}
```
```{lessons}
1: Look at $x$ first.
```
```{idea}
```
```{chapter-map}
```
```{damages}
```
```{repeated}
```
```{matrix}
```

Stored: {recorded}`faults: killed / tries`.
Quoted: {measured}`15`; {finding}`1`; {verdict}`20`; {finding}`20`; {measured}`15 in chapter 3`; {counted}`chapters`.
Printed: {printed}`1: ratio ([0-9.]+), largest`.

Reports: {reported}`all` from {reported}`repositories`; {reported}`mended`.

```{public-reports}
```
"""
REFUSED = {
    "{measured}`21`": "wanted '15' or '15 in chapter 4', got '21'",
    "{measured}`1 in chapter 3`": "chapter 3 measured nothing about statement 1",
    "{verdict}`99`": "there is no statement 99",
    "{printed}`1: no such (words)`": "0 times, not once",
    "{printed}`1: ([0-9])`": "chapter 1 prints '([0-9])'",
    "{printed}`7: ([0-9])`": "there is no chapter 7",
    "{counted}`dreams`": "got 'dreams'",
    "{recorded}`faults: killed / dreams`": "'faults: killed / dreams' is not stored: KeyError('dreams')",
    "{reported}`dreams`": "got 'dreams'",
    "{recorded}`dreams: killed`": "'dreams: killed' is not stored: FileNotFoundError",
}
TOP = """# {title}

**What is chapter {number} about?**

After this chapter you can

- say $x$;
- do it.

*Needs: {needs}. Reading takes an hour, running a minute.*"""
QUESTION = """<div class="predict">

**Predict.** Which?

<details><summary>This.</summary>

**Not this one.** No.

</details>
<details><summary>That.</summary>

**Right.** Yes.

</details>

</div>

:::{{exercise}} With $x_{number}$
:label: ex-{number}

Do it.
:::

## Key points

- Point {number}.
- Another."""


REPORTED = """\"\"\"Files and such.\"\"\"
@report("a/b", 7, "It is `lost`.", today="still so", here="kept by", by=("save_tied", "load_tied"))
def test_it(): ...
@report("c/d", 8, "It is wrong.", today="mended", here="right in", by=("tie",))
def test_that(): ...
def test_no_report(): ...
"""
SLOW = """def test_a_thing_holds(): ...
def helper(): ...
def test_another_does_not(): ...
"""
MATRIX = {
    "two threads": {"01-first": {"verdict": "same"}, "03-third": {"verdict": "differs", "failed": 2}},
    "Python 4": {
        "01-first": {"verdict": "not run", "told": "not to be had"},
        "library": {"verdict": "same", "passed": 1234, "with": "torch 9", "seconds": 5},
    },
}


def chapter(number, title, needs, *findings):
    """A chapter in miniature."""
    ledger = Ledger(number)
    for statement, verdict, measured in findings:
        ledger.add(statement, verdict, measured, True)
    printed = v4.new_output("stream", name="stdout", text=f"ratio {number}.5, largest\n")
    shown = v4.new_output("execute_result", data=ledger._repr_mimebundle_(), execution_count=2)
    cells = [
        v4.new_markdown_cell(TOP.format(title=title, number=number, needs=needs)),
        v4.new_code_cell("assert True\nprint('ratio')", execution_count=1, outputs=[printed]),
        v4.new_markdown_cell(QUESTION.format(number=number)),
        v4.new_code_cell("ledger", execution_count=2, outputs=[shown]),
    ]
    return v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python"}})


@pytest.fixture(scope="module")
def small_book(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    (folder / "book").mkdir()
    (folder / "tools").mkdir()
    (folder / "benchmarks" / "results").mkdir(parents=True)
    for name, content in {"faults": {"killed": {"tries": 1200}}, "matrix": {"results": MATRIX}}.items():
        (folder / "benchmarks" / "results" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    shutil.copy(ROOT / "tools" / "test_the_tests.py", folder / "tools")
    (folder / "tests" / "slow").mkdir(parents=True)
    (folder / "tests" / "slow" / "test_headlines_03.py").write_text(SLOW, encoding="utf-8")
    (folder / "tests" / "reports").mkdir()
    shutil.copy(ROOT / "tests" / "reports" / "reports.py", folder / "tests" / "reports")
    (folder / "tests" / "reports" / "test_files.py").write_text(REPORTED, encoding="utf-8")
    one = chapter(1, "First", "nothing", (1, "holds", "5 < 7."), (15, "holds", "Half."))
    three = chapter(3, "Third", "chapter 1", (15, "does not hold", "Nothing."))
    nbformat.write(one, folder / "book" / "01-first.ipynb")
    nbformat.write(three, folder / "book" / "03-third.ipynb")
    toc = {"parts": [{"caption": "All", "chapters": [{"file": "book/01-first"}, {"file": "book/03-third"}]}]}
    (folder / "_toc.yml").write_text(json.dumps(toc), encoding="utf-8")
    (folder / "conf.py").write_text(CONF.format(extensions=str(ROOT / "tools" / "sphinx_ext")), encoding="utf-8")
    (folder / "index.md").write_text(PAGE + TOC, encoding="utf-8")
    (folder / "wrong.md").write_text("# Wrong\n\n" + "\n\n".join(REFUSED), encoding="utf-8")
    return folder


def build(folder):
    """What was said."""
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", str(folder), str(folder / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def said(small_book):
    return build(small_book)


def test_pages_are_made_from_the_chapters(small_book, said):
    assert "index.md" not in said, said
    page = (small_book / "out" / "index.html").read_text(encoding="utf-8")
    apart = re.sub(r"</?(?:dt|dd|p|li|td|div|h[1-6])\b[^>]*>", " ", page)
    text = " ".join(re.sub(r"<[^>]+>", "", apart).split())
    assert (
        "Quoted: “Half.” (chapter 1) “Nothing.” (chapter 3); holds “5 &lt; 7.” (chapter 1); "
        "not measured yet; not measured yet ; “Nothing.” (chapter 3); 2."
    ) in text
    assert "Printed: 1.5." in text
    assert "Stored: 1,200." in text
    assert "two threads 1 of 2 notebooks 03-third: 2 cells differ" in text
    assert "Python 4 0 of 1 notebooks 1,234 tests passed, 0 failed torch 9; not to be had" in text
    assert "holds (1) 1 holds when … (1) 15 does not hold (0) none not measured yet (18) 2 3" in text
    assert f"15. {STATEMENTS[15]} holds when … Chapter 1, holds: Half. See the cell." in text
    assert "Reading takes an hour, running a minute. 1 questions to vote on" in text
    assert "Question 1: “This”" in text
    assert "Point 3." in text
    assert "A sign changed in the library: noticed by tests of the library." in text
    assert "Chapter 1: nothing. Chapter 3: a thing holds; another does not." in text
    assert "Reports: 2 from 2; 1." in text
    assert "Files and such" in text
    assert "a/b #7 It is lost. still so kept by save_tied, load_tied" in text
    assert 'href="https://github.com/c/d/issues/8"' in page
    assert page.count('href="book/03-third.html"><rect') == 2, "the wide and the tall map"
    links = re.findall(r'href="(book/[^"#]+)#([^"]+)"', page)
    assert {anchor.rpartition("-")[0] for _, anchor in links} >= {"statement", "cell", "question", "ex"}
    for target, anchor in links:
        assert f'id="{anchor}"' in (small_book / "out" / target).read_text(encoding="utf-8")


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_there_is_complained_of(said, text):
    assert REFUSED[text] in said


def test_a_page_follows_a_change_in_a_chapter_and_a_new_one(small_book, said):
    fourth = chapter(4, "Fourth", "chapters 1 and 3", (20, "holds", "New."))
    nbformat.write(fourth, small_book / "book" / "04-fourth.ipynb")
    toc = small_book / "_toc.yml"
    toc.write_text(
        toc.read_text(encoding="utf-8").replace('{"file": "book/01', '{"file": "book/04-fourth"}, {"file": "book/01'),
        encoding="utf-8",
    )
    changed = small_book / "book" / "03-third.ipynb"
    changed.write_text(changed.read_text(encoding="utf-8").replace("Nothing.", "Everything."), encoding="utf-8")
    build(small_book)
    text = (small_book / "out" / "index.html").read_text(encoding="utf-8")
    assert "“Everything.”" in text
    assert "“New.”" in text
