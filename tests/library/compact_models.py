"""Models for `compact`, and the check that all its tests share."""

import copy

import pytest
import torch
from torch import nn

from tyinglib.compacting import compact
from tyinglib.counting import count_parameters

F64 = torch.float64


def checked(model, x, *, other=None, smaller=True):
    """The compact model, after checking that it computes the same on other inputs and that the model is untouched.

    The example is the first two of `x`; what is computed is compared on `other`, or all of `x`.
    """
    model = model.to(F64)
    torch.manual_seed(3)
    for module in model.modules():  # batch norms that have seen data
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    model.eval()
    before = copy.deepcopy(model.state_dict())
    small = compact(model, x[:2])
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not any(a is b for a in model.parameters() for b in small.parameters())
    x = x if other is None else other
    torch.testing.assert_close(small(x), model(x), rtol=1e-12, atol=1e-12)
    assert (count_parameters(small).total < count_parameters(model).total) == smaller
    return small


def warned(model, x, *, other=None, smaller=False):
    """What the warnings say was left, after `checked`."""
    with pytest.warns(UserWarning, match="compact left") as caught:
        checked(model, x, other=other, smaller=smaller)
    return [str(w.message).removeprefix("compact left ") for w in caught]


def normal(*shape):
    torch.manual_seed(2)
    return torch.randn(*shape, dtype=F64)


def zero(layer, *, inputs=(), outputs=()):
    with torch.no_grad():
        layer.weight[:, list(inputs)] = 0
        layer.weight[list(outputs)] = 0


def shapes(model):
    return [tuple(m.weight.shape) for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d))]
