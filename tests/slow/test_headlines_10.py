"""Chapter 10 again, with seeds that the page doesn't show: the verdicts must stand."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from tyinglib.book.cells import BOOK, load
from tyinglib.book.chapter import accuracy as measured_accuracy
from tyinglib.book.datasets import mnist1d

pytestmark = pytest.mark.slow
SEEDS = range(100, 105)
NAMES = ["LENGTH", "Reader", "letters", "READERS", "drum", "GAINS", "FeedForward"]


@pytest.fixture(scope="module")
def chapter():
    before = torch.get_default_dtype()
    yield load(10, NAMES)
    torch.set_default_dtype(before)


def mean(scores):
    return sum(scores) / len(scores)


def test_the_late_moments_make_up_the_gradient_unless_the_matrix_keeps_lengths(chapter):
    late = {}
    for how in ("as PyTorch draws it", "orthogonal"):
        runs = torch.stack([chapter["terms"](chapter["GAINS"][how], seed) for seed in SEEDS])
        assert (runs[:, 0] == 0).all()
        late[how] = runs[:, -5:].sum(1) / runs.sum(1)
    assert late["as PyTorch draws it"].min() > 0.9
    assert late["orthogonal"].max() < 0.8


def test_the_tie_needs_fewer_streams_and_reads_ten_times_the_length(chapter):
    stream, length = chapter["stream"], chapter["LENGTH"]
    fresh = stream(1000, length, seed=3)
    at_50 = {
        kind: mean([measured_accuracy(chapter["letters"](kind, 50, seed), fresh) for seed in SEEDS])
        for kind in ("tied", "untied")
    }
    assert at_50["tied"] > at_50["untied"] + 5
    long = stream(1000, 10 * length, seed=4)
    assert mean([measured_accuracy(chapter["letters"]("tied", 200, seed), long) for seed in SEEDS]) > 95


def test_digits_by_rows_the_tie_costs_at_equal_width_and_not_at_equal_number_of_weights(chapter):
    train, test, rows_right = chapter["train"], chapter["test"], chapter["rows_right"]
    for size, margin in ((30, 4), (300, 1)):
        right = {
            kind: mean([rows_right(kind, train, test, size, seed) for seed in SEEDS]) for kind in chapter["READERS"]
        }
        assert right["untied"] > right["tied"] + margin
        assert right["tied, wide"] > right["tied"] + margin
        assert abs(right["untied"] - right["tied, wide"]) < 4


def test_on_a_drum_the_tie_costs_little(chapter):
    train, test = chapter["drum"](chapter["train"], 10), chapter["drum"](chapter["test"], 11)
    for size in (30, 300):
        tied, untied = (
            mean([chapter["rows_right"](kind, train, test, size, seed) for seed in SEEDS])
            for kind in ("tied", "untied")
        )
        assert abs(untied - tied) < 4


def test_signals_the_lead_of_the_tie_shrinks_when_they_are_shuffled(chapter, monkeypatch):
    path = BOOK.parent / "benchmarks" / "sharing_10.py"
    monkeypatch.syspath_prepend(str(Path(path).parent))
    spec = importlib.util.spec_from_file_location("sharing_10", path)
    sharing = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, sharing)
    spec.loader.exec_module(sharing)
    monkeypatch.setattr(sharing, "RATES", (0.02,))
    lead = {}
    for shuffled in (False, True):
        data = mnist1d(shuffled=shuffled)
        tied, untied = (
            mean([sharing.run(kind, data, 300, seed)["test"][0] for seed in (100, 101)]) for kind in ("tied", "untied")
        )
        lead[shuffled] = tied - untied
    assert lead[False] > 8
    assert lead[True] < 0.7 * lead[False]
