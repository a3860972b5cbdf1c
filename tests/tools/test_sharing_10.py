"""Chapter 10's longer runs, made short: what an entry holds, and that the two readers differ in their weights only."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from tyinglib.book.datasets import Split, Splits

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def sharing(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("sharing_10", FOLDER / "sharing_10.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "STEPS", 2)
    return module


def test_an_entry_holds_an_accuracy_for_each_rate(sharing):
    part = Split(torch.randn(30, 40, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 10)
    for weights in ("tied", "untied"):
        found = sharing.run(weights, Splits(part, part, part), 20, seed=0)
        assert set(found) == {"validation", "test"}
        assert found == sharing.run(weights, Splits(part, part, part), 20, seed=0)
        for scores in found.values():
            assert len(scores) == len(sharing.RATES)
            assert all(0 <= score <= 100 for score in scores)


def test_untied_has_the_weights_of_each_moment(sharing):
    tied, untied = (
        sum(p.numel() for p in sharing.Reader(weights).layer.parameters()) for weights in ("tied", "untied")
    )
    assert untied == sharing.MOMENTS * tied
