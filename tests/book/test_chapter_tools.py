"""What chapters stand on: data splits, the ledger, answers, and colours that can be read on both pages."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from tyinglib.book import chapter, exercises, plots
from tyinglib.book.ledger import Ledger


def test_the_ledger_refuses_what_was_not_measured():
    ledger = Ledger(chapter=1)
    with pytest.raises(AssertionError, match="does not support"):
        ledger.add(1, "holds", "2 < 1", False)
    with pytest.raises(ValueError, match="statement must be"):
        ledger.add(21, "holds", "", True)
    with pytest.raises(ValueError, match="statement must be"):
        ledger.add(1, "maybe", "", True)
    ledger.add(1, "holds", "1 < 2 & true", True)
    bundle = ledger._repr_mimebundle_()
    assert "1 &lt; 2 &amp; true" in bundle["text/html"]
    assert bundle[ledger.MIME]["rows"] == [{"statement": 1, "verdict": "holds", "measured": "1 < 2 & true"}]


def test_answers_are_compared_by_value(capsys):
    digest = exercises.answer_digest("e", [3.5, 6.5])
    exercises.check_answer("e", torch.tensor([3.5, 6.5]), digest, digit_sum=19)
    exercises.check_answer("e", np.array([3.5, 6.4]), digest)
    assert capsys.readouterr().out.splitlines()[0] == "e: right."
    assert exercises.answer_digest("e", 4) == exercises.answer_digest("e", 4.0)
    assert exercises.answer_digest("e", " Yes") == exercises.answer_digest("e", "yes")
    assert exercises.answer_digest("e", 4) != exercises.answer_digest("f", 4)
    with pytest.raises(ValueError, match="do not add up"):
        exercises.check_answer("e", [3.5, 6.5], digest, digit_sum=18)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    torch.manual_seed(0)
    hits = []
    for values in torch.randn(4000, 5, dtype=torch.float64) + 3:
        mean, half = chapter.interval(values)
        hits.append(abs(mean - 3) <= half)
    assert 0.94 <= np.mean(hits) <= 0.96
    for wrong in (torch.ones(1), torch.ones(2, 2)):
        with pytest.raises(ValueError, match="one number a run"):
            chapter.interval(wrong)


def luminance(rgb):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(a, b):
    low, high = sorted([luminance(a), luminance(b)])
    return (high + 0.05) / (low + 0.05)


def on_dark_page(rgb):
    """What the style sheet does: invert, then hue-rotate by half a turn (CSS filter specification)."""
    r, g, b = 0.213, 0.715, 0.072
    turn = np.array([[2 * r - 1, 2 * g, 2 * b], [2 * r, 2 * g - 1, 2 * b], [2 * r, 2 * g, 2 * b - 1]])
    return np.clip(turn @ (1 - np.array(rgb)), 0, 1)


@pytest.mark.parametrize("colour", [plots.INK, plots.MUTED, *plots.COLOURS])
def test_colours_can_be_read_on_white_and_turned_over_on_the_dark_page(colour):
    dark_page = np.array([0x12] * 3) / 255
    wanted = 4.5 if colour in (plots.INK, plots.MUTED) else 3  # text; lines and marks (WCAG 1.4.3, 1.4.11)
    assert contrast(to_rgb(colour), (1, 1, 1)) >= wanted
    assert contrast(on_dark_page(to_rgb(colour)), dark_page) >= wanted


def test_series_differ_without_colour():
    assert len(set(plots.MARKERS)) == len(set(plots.LINES)) == len(set(plots.COLOURS)) == 5
