"""Counting: by hand on small models."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from tyinglib import ParameterCount, TieSpec, count_parameters, storage_bits, tie


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))


def build_tied():
    model = build()
    tie(model[0], "weight", TieSpec(torch.arange(64) // 4, dim=1))
    tie(model[3], "weight", TieSpec([*range(5), *[-1] * 27], dim=1))
    return model


class Siamese(nn.Module):
    """Two heads that use one Parameter."""

    def __init__(self, shared=True):
        super().__init__()
        self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)
        if shared:
            self.b.weight = self.a.weight


def test_counts_by_hand():
    total = 64 * 32 + 32 + 64 + 10 * 32 + 10
    assert count_parameters(build()) == ParameterCount(total, total - 32, total - 32)  # BatchNorm's 32 biases are 0
    model = build_tied()
    nonzero = 64 * 32 + 32 + 32 + 10 * 5 + 10
    unique = 16 * 32 + 32 + 32 + 10 * 5 + 10
    assert count_parameters(model) == ParameterCount(total, nonzero, unique)


def test_rates():
    count = ParameterCount(total=100, nonzero=40, unique=10)
    assert (count.sparsity, count.sharing_rate, count.compression_rate) == (0.6, 4.0, 10.0)
    assert count.compression_rate == pytest.approx(count.sharing_rate / (1 - count.sparsity))
    empty = count_parameters(nn.ReLU())
    assert empty.sparsity == 0
    assert empty.compression_rate != empty.compression_rate  # nan: nothing to compress


def test_equal_values_are_not_shared_but_one_parameter_is():
    layer = nn.Linear(3, 2, bias=False)
    nn.init.ones_(layer.weight)
    assert count_parameters(layer).unique == 6
    assert count_parameters(Siamese()) == ParameterCount(16, 16, 10)
    assert count_parameters(Siamese(shared=False)).unique == 16


def test_pruned_weights_are_zero_as_they_are_used():
    layer = nn.Linear(5, 4, bias=False)
    prune.l1_unstructured(layer, "weight", amount=8)
    assert count_parameters(layer) == ParameterCount(20, 12, 12)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    assert count_parameters(model) == ParameterCount(40, 24, 12)  # under two names
    prune.remove(layer, "weight")
    assert count_parameters(layer) == ParameterCount(20, 12, 12)


def test_a_buffer_that_is_called_a_mask_is_none():
    attention = nn.Module()
    attention.weight = nn.Parameter(torch.ones(3))
    attention.register_buffer("causal_mask", torch.zeros(3))
    assert count_parameters(attention) == ParameterCount(3, 3, 3)


def test_a_tie_among_other_parametrizations_is_refused():
    layer = tie(nn.Linear(4, 4, bias=False), "weight", TieSpec([0, 0, 1, 1], dim=1))
    parametrizations.spectral_norm(layer)
    with pytest.raises(ValueError, match=r"'parametrizations\.weight' is a tie in one list with .*Tie, _SpectralNorm"):
        count_parameters(layer)
    beside = tie(nn.Linear(4, 4), "weight", TieSpec([0, 0, 1, 1], dim=1))
    parametrizations.weight_norm(beside, "bias", dim=None)  # of another weight of the layer
    assert count_parameters(beside).total == 16 + 1 + 4


def test_storage_bits_by_hand():
    layer = tie(nn.Linear(5, 2, bias=False), "weight", TieSpec([0, 1, 2, -1, 0], dim=1))
    assert storage_bits(layer) == 3 * 2 * 32 + 5 * 2  # three groups and "pruned": 2 bits a label
    assert storage_bits(layer, value_bits=8) == 3 * 2 * 8 + 5 * 2
    one = tie(nn.Linear(5, 2, bias=False), "weight", TieSpec([0] * 5, dim=1))
    assert storage_bits(one) == 2 * 32  # one group: a label says nothing
    for bad in (0, 1.5, True):
        with pytest.raises(ValueError, match="positive integer"):
            storage_bits(layer, value_bits=bad)


def test_two_parameters_in_one_piece_of_memory_are_stored_once():
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    net[1].weight.data = net[0].weight.data
    assert (count_parameters(net).total, count_parameters(net).unique) == (18, 9)
    net[1].weight.data = net[0].weight.data.clone()
    assert count_parameters(net).unique == 18
    net[1].weight.data = net[0].weight.data.T  # in another order
    assert count_parameters(net).unique == 9
