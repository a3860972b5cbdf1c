"""The directives and roles, in a small book of two chapters; what they must refuse fails the build."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONF = """
import sys
sys.path.insert(0, {extensions!r})
extensions = ["myst_nb", "sphinx_exercise", "sphinx_proof", "anchors", "generated", "ledger", "lists", "landing"]
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "dollarmath"]
html_theme = "basic"
suppress_warnings = ["myst.xref_missing", "mystnb.unknown_mime_type", "myst.domains", "ref", "toc"]
"""
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
1: Look at $\\theta$ first.
```
```{idea}
```
```{chapter-map}
```
```{damages}
```

Quoted: {measured}`15`; {finding}`1`; {verdict}`20`; {finding}`20`; {counted}`chapters`.
Printed: {printed}`1: ratio ([0-9.]+), largest`.
"""


@pytest.fixture(scope="module")
def small_book(tmp_path_factory):
    """Chapters 1 and 3 and one page, not yet built."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "book").mkdir()
    (folder / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "test_the_tests.py", folder / "tools")
    chapters = [next((ROOT / "book").glob(f"{number}-*.ipynb")) for number in ("01", "03")]
    for path in chapters:
        shutil.copy(path, folder / "book")
    toc = {"parts": [{"caption": "All", "chapters": [{"file": f"book/{path.stem}"} for path in chapters]}]}
    (folder / "_toc.yml").write_text(json.dumps(toc))
    (folder / "conf.py").write_text(CONF.format(extensions=str(ROOT / "tools" / "sphinx_ext")))
    (folder / "index.md").write_text(PAGE)
    return folder


def build(folder):
    """The exit code, and what was said."""
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", str(folder), str(folder / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_pages_are_made_from_chapters_and_follow_them(small_book):
    code, said = build(small_book)
    assert code == 0, said
    assert "WARNING" not in said, said
    page = (small_book / "out" / "index.html").read_text()
    text = re.sub(r"<[^>]+>", "", page)
    assert "the file 2.7 x" in text.replace("the\nfile", "the file")
    assert "Ratio" not in text
    assert re.search(r"Printed: 3\.78\.", text)
    assert "; not measured yet; not measured yet ; 2." in text
    assert "pull back by hand" in text
    assert "a sign changed in the library".capitalize() in text
    for label in ("chapter-1-statement-15", "chapter-3-statement-16"):
        chapter = label.split("-")[1]
        assert f'href="book/0{chapter}-' in page
    for target, anchor in re.findall(r'href="(book/[^"#]+)#([^"]+)"', page):
        assert f'id="{anchor}"' in (small_book / "out" / target).read_text()

    chapter = next((small_book / "book").glob("03-*"))
    chapter.write_text(chapter.read_text().replace("# Two models, tied softly", "# Two models, tied gently"))
    code, said = build(small_book)
    assert code == 0, said
    assert "Two models, tied gently" in (small_book / "out" / "index.html").read_text()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{measured}`21`", "wanted '15' or"),
        ("{measured}`15 in chapter 3`", "chapter 3 measured nothing"),
        ("{verdict}`99`", "no statement 99"),
        ("{printed}`1: no such (words)`", "0 times, not once"),
        ("{printed}`7: ([0-9])`", "no chapter 7"),
        ("{counted}`dreams`", "dreams"),
    ],
)
def test_a_quotation_that_is_not_there_is_complained_of(small_book, text, complaint):
    page = small_book / "index.md"
    page.write_text(f"# Page\n\n{text}\n\n```{{ledger}}\n```\n")
    _, said = build(small_book)
    assert complaint in said
