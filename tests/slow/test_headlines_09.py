"""Chapter 9 again, with other seeds: the verdicts must stand."""

from functools import partial

import pytest
import torch
from torch import nn

from tyinglib.book.cells import load
from tyinglib.book.datasets import mnist1d

pytestmark = pytest.mark.slow
SEEDS = range(200, 203)
NAMES = ["photo", "layers", "error", "network", "fit", "moved", "shift_scores", "signal_network", "stored"]


@pytest.fixture(scope="module")
def chapter():
    before = torch.get_default_dtype()
    yield load(9, NAMES)
    torch.set_default_dtype(before)


@pytest.mark.parametrize("seed", SEEDS)
def test_statement_17_equivariance_is_exact_without_stride_or_border_and_for_no_other_layer(chapter, seed):
    torch.manual_seed(seed)
    errors = {}
    for name, (layer, stride) in chapter["layers"].items():
        for parameter in layer.parameters():
            nn.init.normal_(parameter)
        errors[name] = [chapter["error"](layer, stride, turned) for turned in (1, 2)]
    assert max(errors["convolution"]) < 1e-12
    assert min(errors["locally connected"] + errors["dense"]) > 0.7
    assert min(errors["convolution, zero border"]) > 0.05
    for name in ("convolution, stride 2", "convolution, then pooling"):
        assert errors[name][0] > 0.2
        assert errors[name][1] < 1e-12


@pytest.mark.parametrize("seed", SEEDS)
def test_statement_2_a_convolution_with_a_dense_end_is_not_invariant_and_a_maximum_over_places_is(chapter, seed):
    convolution, pooled = (chapter["shift_scores"](kind, seed) for kind in ("convolution", "pooled"))
    assert convolution[0] > 60
    assert convolution[3] < convolution[0] - 30
    assert pooled[2] == pooled[0] > 45
    assert pooled[3] > convolution[3] + 15


@pytest.mark.parametrize("order", ["in order", "shuffled"])
def test_statement_19_sharing_is_quicker_in_order_and_slower_shuffled(chapter, order):
    data = mnist1d(shuffled=order == "shuffled")
    mean = {}
    for kind in ("local", "convolution"):
        rate = chapter["stored"][f"signals {order}, {kind}"]["lr"]
        watch = partial(chapter["chapter"].accuracy, data=data.validation)
        curves = []
        for seed in SEEDS:
            model = chapter["signal_network"](kind, seed)
            curves.append(chapter["fit"](model, data.train, seed, 400, rate, batch=100, watch=watch))
        mean[kind] = torch.tensor(curves).mean(0)
    ahead = mean["convolution"] - mean["local"]
    if order == "in order":
        assert (ahead[3:] > 3).all()
    else:
        assert (ahead[-2:] < 0).all()
