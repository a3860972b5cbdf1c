"""What a public report is: its number, the symptom in our words, its state today, what tyinglib does.

A test of a report returns whether the symptom shows with the PyTorch that is installed; `report` holds that against
`today`, so that the word is measured and not only typed. The other assertions of the test are about tyinglib. The page
*Public reports* is drawn from the decorators (tools/sphinx_ext/public_reports.py), which are read without running a
test: what stands in them is literal.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SHOWS = {
    # word: whether the symptom shows with what is installed here
    "still so": True,
    "by design": True,  # and its maintainers say that it is meant
    "mended": False,
    "here too": True,  # the report is about a program that is not installed here, and is told in the terms of PyTorch
    "not here": False,  # so is this one
    "not run": None,  # such a program, of which no more can be said than what is right
}
VERBS = (
    "reported by",  # the user is told
    "kept by",  # what was shared or tied stays so
    "works with",  # it does what was asked for
    "right in",  # the value is the right one
    "refused by",  # a ValueError says why, and nothing is changed
    "no alarm from",  # all is well, and it says so
)


@dataclass(frozen=True)
class Report:
    """One report. `by`: names of tyinglib that its test uses."""

    repository: str
    number: int
    symptom: str
    today: str
    here: str
    by: tuple[str, ...]

    def __post_init__(self) -> None:
        known = {"today": (self.today, list(SHOWS)), "here": (self.here, list(VERBS))}
        for name, (word, words) in known.items():
            if word not in words:
                raise ValueError(f"{self}: {name} must be one of {words}, got {word!r}")
        if not self.by or not self.symptom.endswith("."):
            raise ValueError(f"{self} must name what of tyinglib it uses, and end its symptom with a full stop")


REPORTS: dict[Report, Callable[..., None]] = {}


def report(
    repository: str, number: int, symptom: str, *, today: str, here: str, by: tuple[str, ...]
) -> Callable[[Callable[..., bool | None]], Callable[..., None]]:
    """Make a test of a function that returns whether the symptom shows, None where nothing can be run."""
    about = Report(repository, number, symptom, today, here, by)

    def decorate(shown: Callable[..., bool | None]) -> Callable[..., None]:
        @functools.wraps(shown)
        def test(**fixtures: Any) -> None:
            shows = shown(**fixtures)
            assert shows is SHOWS[today], f"{repository}#{number} is {today!r}, but the symptom shows: {shows}"

        REPORTS[about] = test
        return test

    return decorate
