"""Data: the same everywhere, parts that do not overlap, origins beside the files."""

import pytest
import torch

from tyinglib.datasets import digits, subset, tecator


def test_digits_are_split_without_overlap_and_evenly():
    parts = digits(dtype=torch.float64)
    assert [len(part.y) for part in parts] == [1000, 297, 500]
    rows = torch.cat([part.x for part in parts])
    assert len(rows) == 1797
    assert len(rows.unique(dim=0)) == 1797  # no image twice, so none in two parts
    for part in parts:
        assert part.y.bincount().min() > 0.8 * len(part.y) / 10
        assert 0 <= part.x.min() <= part.x.max() <= 1


def test_subsets_are_nested_balanced_and_differ_by_seed():
    train = digits().train
    small, large = subset(train, 20, seed=3), subset(train, 50, seed=3)
    assert torch.equal(large.x[:20], small.x)
    assert large.y.bincount().tolist() == [5] * 10
    assert not torch.equal(small.x, subset(train, 20, seed=4).x)
    for size in (0, 1001):
        with pytest.raises(ValueError, match=r"size must be 1\.\.1000"):
            subset(train, size, seed=0)


def test_tecator_is_what_statlib_describes():
    spectra = tecator(repeats=True, dtype=torch.float64)
    assert [len(part.y) for part in spectra[:3]] == [129, 43, 43]
    x, y = (torch.cat([part[i] for part in spectra[:3]]) for i in (0, 1))
    # first, 130th and 173rd sample, and ends, as in the StatLib file
    assert x[0, [0, 1, 99]].tolist() == [2.61776, 2.61814, 2.8192]
    assert x[129, 0] == 3.0035
    assert x[172, [0, 99]].tolist() == [2.83385, 3.15905]
    assert y[[0, 129, 172]].tolist() == [[60.5, 22.5, 16.7], [54.1, 29.8, 15.7], [40.7, 47.7, 11.8]]
    assert spectra.responses == ("water", "fat", "protein")
    assert (y.min(0).values.tolist(), y.max(0).values.tolist()) == ([39.3, 0.9, 11.0], [76.6, 49.1, 21.8])
    assert spectra.wavelengths[[0, -1]].tolist() == [850.0, 1050.0]
    assert len(spectra.wavelengths) == x.shape[1] == 100
    correlations = x.T.corrcoef()[*torch.triu_indices(100, 100, 1)]
    assert len(correlations) == 4950
    assert correlations.min() > 0.96
    assert 2.3e6 < torch.linalg.cond((x - x.mean(0)) / x.std(0)) < 2.5e6


def test_tecator_has_each_meat_once():
    published, parts = tecator(repeats=True)[:3], tecator()[:3]
    assert [len(part.y) for part in parts] == [115, 32, 31]
    contents = torch.cat([part.y for part in parts])
    assert len(contents.unique(dim=0)) == len(contents) == 178
    assert len(torch.cat([part.x for part in parts]).unique(dim=0)) == 178
    for kept, all_of_it in zip(parts, published, strict=True):  # a part keeps its first of each meat, in order
        rows = [tuple(row) for row in torch.cat([all_of_it.y, all_of_it.x], 1).tolist()]
        places = [rows.index(tuple(row)) for row in torch.cat([kept.y, kept.x], 1).tolist()]
        assert places == sorted(places)
    seen = torch.cat([published[0].y, published[1].y])
    assert sum((row == seen).all(1).any().item() for row in published[2].y) == 11  # what the docstring says
    spectra = torch.cat([published[0].x, published[1].x])
    assert sum((row == spectra).all(1).any().item() for row in published[2].x) == 7
