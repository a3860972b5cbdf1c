"""Tables: straight columns, the same with and without the package that knows wide characters, and narrow."""

import pytest
import tabulate
import torch

from tyinglib.book.tables import WIDEST, table


def test_what_a_table_writes(capsys):
    table(
        iter([("long", 1234, 0.25), ("x", torch.tensor(2.0), (-0.05, 22.0))]), ("a", "bb", "c"), title="Title", digits=2
    )
    assert capsys.readouterr().out.splitlines() == [
        "Title",
        "a        bb              c",
        "long  1,234           0.25",
        "x      2.00  -0.05 ± 22.00",
    ]


def test_a_table_without_head_without_rows_and_with_gaps(capsys):
    table([("a", ""), ("bb", "1")])
    table([], ("only", "a head"))
    assert capsys.readouterr().out == "a\nbb  1\nonly  a head\n"


@pytest.mark.parametrize("wide", [True, False])
def test_a_table_is_the_same_wherever_it_is_made(capsys, monkeypatch, wide):
    monkeypatch.setattr(tabulate, "WIDE_CHARS_MODE", wide)
    table([("Φ ± λ°", "→ 0.5", "-1 ≤ ∞"), ("½", "1e5", "“b”")], ("φ", "θ", "°"))
    assert capsys.readouterr().out.splitlines() == [
        "φ           θ       °",
        "Φ ± λ°  → 0.5  -1 ≤ ∞",
        "½         1e5     “b”",
    ]


@pytest.mark.parametrize("head", [("a", "b"), ()])
@pytest.mark.parametrize("wrong", [("x",), ("x", "1", "2")])
def test_a_row_of_another_length_is_refused(head, wrong):
    with pytest.raises(ValueError, match="each row must have 2 entries"):
        table([("y", "z"), wrong], head)


def test_a_table_too_wide_is_refused(capsys):
    table([("a" * WIDEST,)])
    with pytest.raises(ValueError, match=rf"may be {WIDEST} characters wide, this one is {WIDEST + 1}"):
        table([("a" * (WIDEST + 1),)])
