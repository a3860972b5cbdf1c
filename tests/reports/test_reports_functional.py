"""Functional calls, compilation, export, parametrizations."""

import copy
import warnings

import pytest
import torch
from reported_models import TOKENS, TiedLM, Twice, kinds
from reports import report
from torch import nn
from torch._functorch.aot_autograd import aot_module
from torch._functorch.compilers import nop
from torch.func import functional_call
from torch.nn.utils import parametrizations, parametrize, prune

from tyinglib import TieSpec, check_sharing, share, tie, tie_specs, untie

SPEC = TieSpec([0, 0, 1, 1], dim=1)


@report(
    "pytorch/pytorch",
    86708,
    "`functional_call` with a value for one of two tied names leaves the other as it was.",
    today="mended",
    here="works with",
    by=("share",),
)
def test_a_functional_call_reaches_both_names():
    model, values = TiedLM(tied=False), torch.randn(6, 4)
    share(model.head, model.emb, ["weight"])
    right = values[TOKENS] @ values.T
    for name in ("emb.weight", "head.weight"):
        torch.testing.assert_close(functional_call(model, {name: values}, TOKENS), right)
    with pytest.raises(ValueError, match="multiple values"):
        functional_call(model, {"emb.weight": values, "head.weight": values + 1}, TOKENS)
    return not torch.allclose(functional_call(model, {"emb.weight": values}, TOKENS), right)


@report(
    "pytorch/pytorch",
    195593,
    "After a `functional_call` on a model in which one module has two names, its Parameter is gone.",
    today="still so",
    here="reported by",
    by=("check_sharing",),
)
def test_a_functional_call_loses_a_parameter():
    model = Twice()
    functional_call(model, {"first.weight": torch.zeros(3, 3)}, torch.ones(1, 3))
    assert kinds(check_sharing(model)) == {"tensor"}
    return not isinstance(model.first.weight, nn.Parameter)


@report(
    "pytorch/pytorch",
    127357,
    "`torch.export` refuses a model that uses a weight a second time, transposed.",
    today="mended",
    here="kept by",
    by=("tie",),
)
def test_an_autoencoder_with_one_weight_is_exported():
    class Autoencoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Linear(4, 3, bias=False)

        def forward(self, x):
            return nn.functional.linear(self.encoder(x), self.encoder.weight.t())

    model, x = Autoencoder(), torch.randn(2, 4)
    shows = list(torch.export.export(model, (x,)).state_dict) != ["encoder.weight"]
    tie(model, "encoder.weight", SPEC)
    exported = torch.export.export(model, (x,))
    torch.testing.assert_close(exported.module()(x), model(x))
    assert sorted(value.numel() for value in exported.state_dict.values()) == [4, 6], "labels and codebook, no more"
    return shows


@report(
    "pytorch/pytorch",
    114743,
    "`aot_module`, to which compilation leads, cannot take a model that has one Parameter under two names.",
    today="still so",
    here="works with",
    by=("share",),
)
def test_a_model_that_shares_is_compiled():
    model = TiedLM(tied=False)
    share(model.head, model.emb, ["weight"])
    (right,) = torch.autograd.grad(model(TOKENS).square().sum(), model.emb.weight)
    compiled = torch.compile(model, backend="aot_eager")
    (found,) = torch.autograd.grad(compiled(TOKENS).square().sum(), model.emb.weight)
    torch.testing.assert_close(found, right)
    try:
        aot_module(model, fw_compiler=nop)(TOKENS)
    except ValueError:
        return True
    return False


@report(
    "pytorch/pytorch",
    102981,
    "A layer with `torch.nn.utils.weight_norm` cannot be copied.",
    today="still so",
    here="works with",
    by=("tie",),
)
def test_copies_of_a_reparametrized_layer():
    tied = tie(nn.Linear(4, 3), "weight", SPEC)
    tied(torch.ones(1, 4))
    assert torch.equal(copy.deepcopy(tied).weight, tied.weight)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        old = nn.utils.weight_norm(nn.Linear(4, 3))
    try:
        copy.deepcopy(old)
    except RuntimeError:
        return True
    return False


@report(
    "pytorch/pytorch",
    37322,
    "A model that was pruned with `torch.nn.utils.prune` cannot be copied.",
    today="still so",
    here="works with",
    by=("tie",),
)
def test_copies_of_a_pruned_layer():
    tied = tie(nn.Linear(4, 3), "weight", TieSpec([0, 1, -1, -1], dim=1))
    assert bool((copy.deepcopy(tied).weight[:, 2:] == 0).all())
    pruned = prune.l1_unstructured(nn.Linear(4, 3), "weight", amount=0.5)
    try:
        copy.deepcopy(pruned)
    except RuntimeError:
        return True
    return False


@report(
    "ray-project/ray",
    23894,
    "A policy with spectral normalization cannot be copied: parametrized modules have only a state dict.",
    today="mended",
    here="works with",
    by=("tie", "untie", "tie_specs"),
)
def test_the_copy_of_a_parametrized_layer_is_a_layer_of_its_own():
    tied = tie(nn.Linear(4, 3), "weight", SPEC)
    untie(copy.deepcopy(tied), "weight")
    assert list(tie_specs(tied)) == ["weight"]
    normed = parametrizations.spectral_norm(nn.Linear(4, 3)).eval()
    return not torch.equal(copy.deepcopy(normed).weight, normed.weight)


@report(
    "pytorch/pytorch",
    66363,
    "A layer with spectral normalization that is called twice in one forward pass has no gradient.",
    today="mended",
    here="works with",
    by=("tie", "TieSpec"),
)
def test_a_parametrized_layer_is_called_twice():
    torch.manual_seed(0)
    model, x = tie(Twice(), "first.weight", TieSpec([0, 0, 1], dim=1)), torch.randn(2, 3)
    codebook = model.first.parametrizations.weight.original
    with parametrize.cached():
        (found,) = torch.autograd.grad(model(x).square().sum(), codebook)
    weight = model.first.weight.detach().requires_grad_()
    (right,) = torch.autograd.grad((x @ weight.T @ weight.T).square().sum(), weight)
    torch.testing.assert_close(found, torch.stack([right[:, :2].sum(1), right[:, 2]], dim=1))
    normed, picture = parametrizations.spectral_norm(nn.Conv2d(3, 3, 3, padding=1)), torch.randn(1, 3, 4, 4)
    try:
        normed(normed(picture)).sum().backward()
    except RuntimeError:
        return True
    return False
