"""Chapter 9 again, with other seeds: the verdicts must stand."""

import pytest
import torch
from chapter_cells import load
from torch import nn

pytestmark = pytest.mark.slow
SEEDS = range(200, 203)
NAMES = ["photo", "layers", "error", "network", "fit", "moved", "shift_scores", "stored", "signal_network"]


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
