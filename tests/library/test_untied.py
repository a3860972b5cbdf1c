"""A model without its ties for a while."""

import pytest
import torch
from torch import nn

from tyinglib import TieSpec, check_sharing, share, tie, tie_specs, untied


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    share(net[2], net[1], ["weight"])
    tie(net, "0.weight", TieSpec([0, 0, 1, 2, -1, 1], dim=1))
    return tie(net, "1.weight", TieSpec([0, 0, 1, 1], dim=0, factors=[1, -1, 1, 1]))


def test_the_same_ties_with_the_same_values(net):
    outputs, specs = net(torch.ones(1, 6)), tie_specs(net)
    with untied(net) as inside:
        assert inside is net
        assert tie_specs(net) == {}
        assert net[1].weight is net[2].weight
        assert torch.equal(net(torch.ones(1, 6)), outputs)
        assert check_sharing(net) == []
    assert tie_specs(net) == specs
    assert len(list(net.parameters())) == 5
    assert torch.equal(net(torch.ones(1, 6)), outputs)
    assert check_sharing(net) == []


def test_one_codebook_of_two_weights_is_one_again():
    net = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 4, bias=False))
    tie(net, ["0.weight", "1.weight"], [TieSpec(range(4), dim=1), TieSpec(range(4), dim=0)])
    before = net[0].weight.detach().clone()
    with untied(net):
        assert len(list(net.parameters())) == 2
    assert len(list(net.parameters())) == 1
    assert torch.equal(net[1].weight, net[0].weight.T)
    assert torch.equal(net[0].weight, before)


def test_what_changes_inside_comes_out_as_the_nearest(net):
    with untied(net), torch.no_grad():
        net[0].weight[:, 0] = 1
        net[0].weight[:, 1] = 3
        net[0].weight[:, 4] = 5  # pruned again
    assert torch.equal(net[0].weight[:, [0, 1, 4]], torch.tensor([2.0, 2.0, 0.0]).expand(4, 3))


def test_an_error_inside_ties_again(net):
    specs = tie_specs(net)
    with pytest.raises(KeyError), untied(net):
        raise KeyError
    assert tie_specs(net) == specs


def test_what_no_longer_fits_stays_untied_and_is_named(net):
    with pytest.raises(ValueError, match=r"^0\.weight can't be tied again as before: .*7 slices"), untied(net):
        net[0].weight = nn.Parameter(torch.zeros(4, 7))
    assert set(tie_specs(net)) == {"1.weight", "2.weight"}


def test_what_can_not_be_untied_is_left_tied(net):
    net.register_parameter("codebook", net[0].parametrizations.weight.original)
    specs = tie_specs(net)
    with pytest.raises(ValueError, match="one parameter with 'codebook'"), untied(net):
        raise AssertionError("not reached")
    assert tie_specs(net) == specs


def test_nothing_is_tied():
    layer = nn.Linear(2, 2)
    weight = layer.weight
    with untied(layer):
        pass
    assert layer.weight is weight
