"""The page of traps and chapter 4 agree: every row leads to a damage and a cure, and every trap has a row."""

import os
import re
from pathlib import Path

import nbformat
import pytest

BOOK = Path(os.environ.get("BOOK_ROOT", Path(__file__).parents[2])) / "book"
CELLS = nbformat.read(BOOK / "04-one-set.ipynb", as_version=4).cells
PAGE = (BOOK / "traps.md").read_text(encoding="utf-8")
LABEL = re.compile(r"^\((trap-[\w-]+)\)=\n### \S", re.M)
TRAPS = [label for cell in CELLS if cell.cell_type == "markdown" for label in LABEL.findall(cell.source)]


def cells_of(trap):
    """The code cells between a trap's heading and the next label."""
    inside, found = False, []
    for cell in CELLS:
        if cell.cell_type == "markdown":
            labels = re.findall(r"^\(([\w-]+)\)=$", cell.source, re.M)
            headings = re.findall(r"^##+ ", cell.source, re.M)
            if labels or headings:
                inside = labels[-1:] == [trap] if labels else False
        elif inside:
            found.append(cell)
    return found


def test_the_page_lists_the_traps_of_the_chapter_once_each():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]
    listed = [re.findall(r"<(trap-[\w-]+)>`", row) for row in rows]
    assert all(len(labels) == 1 for labels in listed), "one link a row"
    assert sorted(label for labels in listed for label in labels) == sorted(TRAPS)
    assert len(set(TRAPS)) == len(TRAPS) >= 9


@pytest.mark.parametrize("trap", TRAPS)
def test_every_trap_shows_its_damage_and_then_asserts_its_cure(trap):
    cells = cells_of(trap)
    tags = [tag for cell in cells for tag in cell.metadata.get("tags", []) if tag.startswith("trap-")]
    assert tags == ["trap-damage", "trap-cure"]
    damage, cure = (next(c for c in cells if tag in c.metadata.get("tags", [])) for tag in tags)
    assert damage.outputs, "the damage is not shown"
    assert re.search(r"^\s*assert ", cure.source, re.M), "nothing holds the cure"
