"""The reports as a whole: none twice, each uses what it names, and the page reads what the tests are."""

import ast
import dataclasses
import importlib
from pathlib import Path

import public_reports
import pytest
from reports import REPORTS, SHOWS, VERBS, Report, report

HERE = Path(__file__).parent
FILES = sorted(path for path in HERE.glob("test_*.py") if path != Path(__file__))


@pytest.fixture(scope="module")
def reports():
    for path in FILES:
        importlib.import_module(path.stem)
    return list(REPORTS)


def names_in(tree):
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def test_there_are_at_least_forty(reports):
    numbers = [(one.repository, one.number) for one in reports]
    assert len(numbers) == len(set(numbers)) >= 40
    assert all(one.number > 0 and one.repository.count("/") == 1 for one in reports)


def test_every_word_is_used(reports):
    assert {one.today for one in reports} == set(SHOWS)
    assert {one.here for one in reports} == set(VERBS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_report_uses_what_it_names(path):
    functions = {node.name: node for node in ast.parse(path.read_text(encoding="utf-8")).body if hasattr(node, "args")}
    bodies = {name: names_in(ast.Module(node.body, [])) for name, node in functions.items()}
    for name, function in functions.items():
        used = bodies[name].union(*(bodies[called] for called in bodies[name] & bodies.keys()))
        for call in public_reports.decorators(ast.Module([function], [])):
            assert set(public_reports.literals(call)["by"]) <= used, name


def test_the_page_shows_the_tests(reports):
    shown = [dataclasses.astuple(one) for theme in public_reports.read_themes(HERE) for one in theme.reports]
    assert sorted(shown) == sorted(map(dataclasses.astuple, reports))


def test_a_word_that_is_not_measured_fails():
    @report("owner/name", 1, "It is so.", today="mended", here="works with", by=("tie",))
    def measured():
        return True

    del REPORTS[next(one for one in REPORTS if one.repository == "owner/name")]
    with pytest.raises(AssertionError, match="owner/name#1 is 'mended', but the symptom shows: True"):
        measured()


@pytest.mark.parametrize("wrong", [{"today": "perhaps"}, {"here": "somehow"}, {"by": ()}, {"symptom": "No full stop"}])
def test_a_report_has_known_words(wrong):
    right = {"symptom": "It is so.", "today": "mended", "here": "works with", "by": ("tie",)}
    with pytest.raises(ValueError, match="must"):
        Report("owner/name", 1, **(right | wrong))
