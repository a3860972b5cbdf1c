"""The page of traps holds what it promises: a row of its table for every trap, a damage and then a cure in each."""

import os
import re
from pathlib import Path

import nbformat
import pytest

BOOK = Path(os.environ.get("BOOK_ROOT", Path(__file__).parents[2])) / "book"
CELLS = nbformat.read(BOOK / "traps.ipynb", as_version=4).cells
PROSE = [cell.source for cell in CELLS if cell.cell_type == "markdown"]
LABEL = re.compile(r"^\((trap-[\w-]+)\)=\n### \S", re.M)
TRAPS = [label for text in PROSE for label in LABEL.findall(text)]
ROWS = [line for line in PROSE[0].splitlines() if line.startswith("| ")][1:]  # below the head


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


def tags(cell):
    return [tag for tag in cell.metadata.get("tags", []) if tag.startswith("trap-")]


def test_the_table_lists_the_traps_once_each_in_their_order():
    listed = [re.findall(r"<(trap-[\w-]+)>`", row) for row in ROWS]
    assert all(len(labels) == 1 for labels in listed), "one link a row"
    assert [label for labels in listed for label in labels] == TRAPS
    assert len(set(TRAPS)) == len(TRAPS) >= 17


def test_every_row_says_symptom_cause_and_cure():
    for row in ROWS:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 4, row
        assert all(cells), row


@pytest.mark.parametrize("trap", TRAPS)
def test_every_trap_shows_its_damage_and_then_asserts_its_cure(trap):
    shown = [cell for cell in cells_of(trap) if tags(cell)]
    assert [tags(cell) for cell in shown] == [["trap-damage"], ["trap-cure"]]
    damage, cure = shown
    assert damage.outputs, "the damage is not shown"
    assert re.search(r"^\s*assert ", cure.source, re.M), "nothing holds the cure"


def test_no_damage_or_cure_stands_outside_the_traps():
    assert sum(len(tags(cell)) for cell in CELLS) == 2 * len(TRAPS)


def test_chapter_4_shows_one_trap_and_leads_to_the_page():
    chapter = nbformat.read(BOOK / "04-one-set.ipynb", as_version=4)
    prose = [cell.source for cell in chapter.cells if cell.cell_type == "markdown"]
    fails = re.search(r"^## Where it fails\n(.*?)^## ", "\n\n".join(prose), re.S | re.M)[1]
    assert "deepcopy" in fails
    assert "(traps.ipynb)" in fails
    assert not LABEL.findall("\n".join(prose)), "a trap has one home, the page"
