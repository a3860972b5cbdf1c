"""The fixture for other people's tests, in a test run of its own."""

import copy

import pytest
import torch
from torch import nn

from tyinglib import TieSpec, tie, untie
from tyinglib.testing import keeps_sharing, sharing_kept  # noqa: F401

pytest_plugins = ["pytester"]
SPEC = TieSpec([0, 0, 1, 1], dim=0)


def table_and_head():
    net = nn.ModuleDict({"table": nn.Embedding(4, 3), "head": nn.Linear(3, 4, bias=False)})
    net["head"].weight = net["table"].weight
    return net


def test_a_model_that_keeps_what_it_shares(keeps_sharing):  # noqa: F811
    net = keeps_sharing(table_and_head())
    tied = keeps_sharing(tie(table_and_head(), "head.weight", SPEC))
    for model in (net, tied):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model["head"](model["table"](torch.arange(4))).square().sum().backward()
        optimizer.step()


def lose(net):
    net["head"] = copy.deepcopy(net["head"])


def undo(net):
    untie(net, "head.weight")


@pytest.mark.parametrize(
    ("build", "harm", "words"),
    [
        (table_and_head, lose, "'table.weight' and 'head.weight' should be one parameter and are 2"),
        (lambda: tie(table_and_head(), "head.weight", SPEC), lose, "should be one parameter and are 2"),
        (lambda: tie(table_and_head(), "head.weight", SPEC), undo, "the ties were {.*TieSpec.* and are {}"),
    ],
)
def test_what_it_says_of_one_that_does_not(build, harm, words):
    with pytest.raises(AssertionError, match=words), sharing_kept() as keep:
        harm(keep(build()))


def lose_and_fail():
    with sharing_kept() as keep:
        lose(keep(table_and_head()))
        raise ZeroDivisionError


def test_the_error_of_the_test_comes_first():
    with pytest.raises(ZeroDivisionError):
        lose_and_fail()


def test_as_a_fixture_of_another_project(pytester):
    pytester.makeconftest("from tyinglib.testing import keeps_sharing")
    pytester.makepyfile(
        """
        import copy
        from torch import nn

        def build():
            net = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
            net["b"].weight = net["a"].weight
            return net

        def test_kept(keeps_sharing):
            keeps_sharing(build()).double()

        def test_lost(keeps_sharing):
            net = keeps_sharing(build())
            net["b"] = copy.deepcopy(net["b"])
        """
    )
    outcome = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    outcome.assert_outcomes(passed=2, errors=1)
    outcome.stdout.fnmatch_lines(["*'a.weight' and 'b.weight' should be one parameter and are 2*"])
