"""Chapter 3's verdicts with ten seeds that the chapter doesn't show."""

from types import SimpleNamespace

import pytest

from tyinglib.book.cells import load

NEEDED = ["LAMS", "seen_by_b", "deal", "fit_pairs", "right", "sweep", "compare", "gains", "headlines", "verdicts"]


@pytest.mark.slow
def test_ten_other_seeds_give_the_same_verdicts():
    chapter = SimpleNamespace(**load(3, NEEDED))
    found = chapter.headlines(range(100, 110))
    for name, (mean, half) in found.items():
        print(f"{name:38}{mean:+6.1f} ± {half:.1f} points")
    assert chapter.verdicts(found) == {5: True, 16: True}
    assert chapter.verdicts(dict.fromkeys(found, (0.0, 1.0))) == {5: False, 16: False}, "the verdicts cannot fail"
