"""The PDF's page numbers: printed until they stand still, or an error that says where they don't."""

import make_pdf
import pytest


@pytest.mark.parametrize(
    "printings",
    [
        [{"one": 3}, {"one": 3}],
        [{"one": 3, "two": 9}, {"one": 3, "two": 10}, {"one": 3, "two": 10}],  # the second breaks elsewhere
        [{"one": 3}, {"one": 4}, {"one": 3}, {"one": 4}, {"one": 4}],
    ],
)
def test_it_prints_until_the_numbers_are_those_that_were_written(printings):
    written = [{}]
    assert make_pdf.settle(iter(printings).__next__, written.append) == len(printings)
    assert written[-1] == printings[-1]


def test_numbers_that_never_stand_still_are_an_error_that_names_the_chapters():
    printings = iter([{"still": 1, "moves": number} for number in range(100)])
    with pytest.raises(RuntimeError, match=r"did not stand still in 8 printings; these changed at last: moves\. "):
        make_pdf.settle(printings.__next__, lambda pages: None)
    assert next(printings)["moves"] == make_pdf.PRINTINGS
