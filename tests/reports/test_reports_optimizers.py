"""Optimizers, averages, gradients and shared weights."""

import pytest
import torch
from reported_models import TIE, TOKENS, TiedLM, Twice, kinds
from reports import report
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.optim.swa_utils import AveragedModel

from tyinglib import (
    L1,
    ProxSGD,
    TieSpec,
    check_sharing,
    compact,
    count_parameters,
    share,
    shared_parameters,
    tie,
)
from tyinglib.penalties import soft_threshold

TARGET = torch.tensor([3.0, 0.5, -0.3, 0.01])  # of 1/2 ||x - TARGET||^2 + ||x||_1: the optimum is (2, 0, 0, 0)


def slope(x):
    """The gradient of the square."""
    return x.detach() - TARGET


@report(
    "pytorch/pytorch",
    40967,
    "A Parameter that stands in one group twice is moved twice in each step; in two groups it is an error.",
    today="still so",
    here="reported by",
    by=("check_sharing",),
)
def test_a_parameter_that_is_there_twice_moves_twice():
    a, b = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    share(b, a, ["weight"])
    before = a.weight.detach().clone()
    with pytest.warns(UserWarning, match="duplicate parameters"):
        optimizer = torch.optim.SGD([*a.parameters(), *b.parameters()], lr=0.1)
    a.weight.grad = torch.ones(1, 2)
    optimizer.step()
    assert kinds(check_sharing(a, b, optimizers=optimizer)) == {"twice"}
    return torch.allclose(a.weight, before - 0.2)


@report(
    "zhuhanqing/APOLLO",
    4,
    "A model with a tied head cannot be trained with one group for each of its modules: the optimizer refuses it.",
    today="here too",
    here="works with",
    by=("shared_parameters", "check_sharing"),
)
def test_groups_by_module_and_a_tied_head():
    model = TiedLM()
    try:
        torch.optim.SGD([{"params": part.parameters()} for part in model.children()], lr=0.1)
        shows = False
    except ValueError:
        shows = True
    assert shared_parameters(model) == [TIE], "one group for both: the parameters() of what holds them"
    assert check_sharing(model, optimizers=torch.optim.SGD(model.parameters(), lr=0.1)) == []
    return shows


@report(
    "rwth-i6/returnn",
    1319,
    "With weight decay for some kinds of modules, a weight of two modules belongs to both groups, or by chance to one.",
    today="here too",
    here="reported by",
    by=("shared_parameters",),
)
def test_decay_by_kind_of_module():
    model = TiedLM()
    decays = {id(p) for part in model.modules() if isinstance(part, nn.Linear) for p in part.parameters()}
    spared = {id(p) for part in model.modules() if isinstance(part, nn.Embedding) for p in part.parameters()}
    assert shared_parameters(model) == [TIE]
    return bool(decays & spared)


@report(
    "pytorch/pytorch",
    14467,
    "An optimizer does not say that the model's Parameters have been replaced: it steps what nobody uses.",
    today="still so",
    here="reported by",
    by=("check_sharing",),
)
def test_an_optimizer_of_parameters_that_nobody_uses():
    layer = nn.Linear(4, 3, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer.weight = nn.Parameter(torch.ones(3, 4))
    layer(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    assert kinds(check_sharing(layer, optimizers=optimizer)) == {"stale", "untrained"}
    return torch.equal(layer.weight, torch.ones(3, 4))


@report(
    "microsoft/nni",
    4521,
    "After layers were replaced by smaller ones, fine-tuning changes nothing.",
    today="here too",
    here="reported by",
    by=("compact", "check_sharing"),
)
def test_fine_tuning_a_compacted_model_with_the_old_optimizer():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        model[2].weight[:, :3] = 0  # three neurons that nobody reads
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    small = compact(model, torch.randn(5, 4))
    before = small[0].weight.detach().clone()
    small(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    assert len(before) == 3
    assert kinds(check_sharing(small, optimizers=optimizer)) == {"stale", "untrained"}
    return torch.equal(small[0].weight, before)


@report(
    "pytorch/pytorch",
    51794,
    "An optimizer writes its settings into the groups that it is given, and the next one takes them for meant.",
    today="still so",
    here="works with",
    by=("ProxSGD",),
)
def test_groups_are_left_as_they_were():
    groups = [{"params": [nn.Parameter(torch.zeros(1))]}]
    ProxSGD(groups, lr=0.1)
    assert list(groups[0]) == ["params"]
    torch.optim.SGD(groups, lr=0.1)
    return torch.optim.SGD(groups, lr=0.5).param_groups[0]["lr"] == 0.1


@report(
    "pytorch/pytorch",
    128011,
    "A checkpoint of an optimizer does not load where the model has tied embeddings.",
    today="mended",
    here="works with",
    by=("ProxSGD", "check_sharing"),
)
def test_a_distributed_state_of_a_tied_model():
    def trained_and_loaded(make):
        model, fresh = TiedLM(), TiedLM()
        optimizer, other = make(model.parameters()), make(fresh.parameters())
        model(TOKENS).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        values, state = get_state_dict(model, optimizer)
        set_state_dict(fresh, other, model_state_dict=values, optim_state_dict=state)
        assert check_sharing(fresh, optimizers=other, expected=[TIE]) == []
        return torch.equal(fresh(TOKENS), model(TOKENS))

    assert trained_and_loaded(lambda parameters: ProxSGD(parameters, lr=0.1, momentum=0.9, penalty=L1(0.1)))
    return not trained_and_loaded(lambda parameters: torch.optim.Adam(parameters, lr=0.1))


@report(
    "pytorch/pytorch",
    69413,
    "`AveragedModel` cannot take a model with a parametrization.",
    today="mended",
    here="works with",
    by=("tie", "check_sharing"),
)
def test_an_average_of_a_tied_layer():
    layer = tie(nn.Linear(4, 3), "weight", TieSpec([0, 0, 1, 1], dim=1))
    average = AveragedModel(layer)
    average.update_parameters(layer)
    assert check_sharing(nn.ModuleList([layer, average])) == []
    return not torch.equal(average.module.weight, layer.weight)


@report(
    "NVIDIA/Megatron-LM",
    7227,
    "The norm of the gradients, by which they are clipped, counts a shared weight at each of its places.",
    today="here too",
    here="works with",
    by=("share", "shared_parameters"),
)
def test_the_norm_of_shared_gradients():
    a, b = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    share(b, a, ["weight"])
    a.weight.grad = torch.ones(2, 2)
    both = nn.ModuleList([a, b])
    assert shared_parameters(both) == [("0.weight", "1.weight")]
    assert torch.nn.utils.clip_grad_norm_(both.parameters(), 100.0) == 2.0
    return bool(torch.nn.utils.clip_grad_norm_([*a.parameters(), *b.parameters()], 100.0) > 2.0)


@report(
    "meta-pytorch/opacus",
    413,
    "Gradients for each sample of a batch cannot be had where two layers share a Parameter.",
    today="not here",
    here="works with",
    by=("tie", "TieSpec"),
)
def test_gradients_for_each_sample_of_a_layer_that_is_used_twice():
    torch.manual_seed(0)
    model, x = tie(Twice(), "first.weight", TieSpec([0, 0, 1], dim=1)), torch.randn(5, 3)
    codebook = dict(model.named_parameters())

    def loss(values, sample):
        return torch.func.functional_call(model, values, sample[None]).square().sum()

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(codebook, x)
    (name, parameter), *others = codebook.items()
    alone = [torch.autograd.grad(model(x[i : i + 1]).square().sum(), parameter)[0] for i in range(5)]
    assert not others
    return not torch.allclose(found[name], torch.stack(alone), atol=1e-5)


@report(
    "pytorch/torchtitan",
    3225,
    "The size of a model with a tied head is reported without its embedding, which was taken off twice.",
    today="not here",
    here="right in",
    by=("count_parameters",),
)
def test_the_size_of_a_tied_model():
    model = TiedLM(tokens=6, width=4)
    count = count_parameters(model)
    assert (count.total, count.unique) == (48, 24)
    return sum(p.numel() for p in model.parameters()) != 24


@report(
    "TylerYep/torchinfo",
    377,
    "A summary counts tied weights once for each layer that uses them.",
    today="here too",
    here="right in",
    by=("count_parameters",),
)
def test_a_sum_over_layers_counts_tied_weights_twice():
    model = TiedLM(tokens=6, width=4)
    assert count_parameters(model).unique == 24
    return sum(p.numel() for part in model.children() for p in part.parameters()) == 48


@report(
    "pmelchior/proxmin",
    23,
    "It is asked how to take Adam's steps and get the Lasso's solution: a threshold of the learning rate does not.",
    today="here too",
    here="right in",
    by=("ProxSGD", "L1"),
)
def test_adam_and_a_soft_threshold_are_not_the_lasso():
    x, y = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(4))
    adam, ours = torch.optim.Adam([x], lr=0.01), ProxSGD([y], lr=0.1, penalty=L1(1.0))
    for _ in range(300):
        x.grad, y.grad = slope(x), slope(y)
        adam.step(), ours.step()
        with torch.no_grad():
            x.copy_(soft_threshold(x, 0.01 * 1.0))
    optimum = torch.tensor([2.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(y.detach(), optimum)
    return bool((x - optimum).abs().max() > 0.5)


@report(
    "torch/optim",
    41,
    "With the sign of the weights added to their gradient, they swing around zero and never are zero.",
    today="here too",
    here="right in",
    by=("ProxSGD", "L1"),
)
def test_the_gradient_of_the_l1_norm_gives_no_zeros():
    x, y = nn.Parameter(TARGET.clone()), nn.Parameter(TARGET.clone())
    plain, ours = torch.optim.SGD([x], lr=0.1), ProxSGD([y], lr=0.1, penalty=L1(1.0))
    for _ in range(200):
        x.grad, y.grad = slope(x) + x.detach().sign(), slope(y)
        plain.step(), ours.step()
    assert (y == 0).tolist() == [False, True, True, True]
    return not bool((x == 0).any())


@report(
    "cmhcbb/Seq2Sick",
    1,
    "The proximal step stands before the gradient's step, so that nothing is zero in the end.",
    today="here too",
    here="right in",
    by=("ProxSGD", "L1"),
)
def test_the_order_of_the_two_steps():
    x, y = nn.Parameter(TARGET.clone()), nn.Parameter(TARGET.clone())
    plain, ours = torch.optim.SGD([x], lr=0.1), ProxSGD([y], lr=0.1, penalty=L1(1.0))
    for _ in range(200):
        with torch.no_grad():
            x.copy_(soft_threshold(x, 0.1))
        x.grad, y.grad = slope(x), slope(y)
        plain.step(), ours.step()
    assert int((y == 0).sum()) == 3
    return not bool((x == 0).any())
