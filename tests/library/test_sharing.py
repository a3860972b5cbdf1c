"""Two models: shared weights stay shared, the pull is its own gradient, and its prox is the argmin."""

import copy
import functools

import pytest
import torch
from torch import nn

from tyinglib import L1, L2, OWL, GroupLasso, ProxSGD, tying_group
from tyinglib.sharing import prox_tying, share, shared_parameters, tying_penalty, unshare
from tyinglib.tying import TieSpec, tie

F64 = torch.float64
NORMS = {"l2": L2, "l1": L1, "group": functools.partial(GroupLasso, dim=1)}


class Classifier(nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.encoder = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 3))
        self.head = nn.Linear(3, 2)
        self.to(F64)

    def forward(self, x):
        return self.head(self.encoder(x))


@pytest.fixture
def pair():
    return Classifier(0), Classifier(1)


def test_a_module_name_shares_all_its_parameters_and_no_buffers(pair):
    a, b = pair
    shared = share(b, a, ["encoder"])
    assert len(shared) == 6
    assert all(p is q for p, q in zip(a.encoder.parameters(), b.encoder.parameters(), strict=True))
    assert a.encoder[1].running_mean is not b.encoder[1].running_mean
    assert a.head.weight is not b.head.weight
    assert shared_parameters(a, b)[0] == ("0.encoder.0.weight", "1.encoder.0.weight")
    assert len(shared_parameters(a, b)) == 6
    assert shared_parameters(a) == shared_parameters(b) == []
    assert share(b, a, ["encoder", "encoder.0.weight"]) == shared  # again: nothing changes


def test_gradient_is_the_sum_over_both(pair):
    a, b = pair
    share(b, a, ["encoder.0.weight"])
    torch.manual_seed(2)
    x, y = torch.randn(2, 5, 4, dtype=F64)
    grads = []
    for model, data in ((a, x), (b, y)):
        (grad,) = torch.autograd.grad(model(data).square().sum(), a.encoder[0].weight)
        grads.append(grad)
    (a(x).square().sum() + b(y).square().sum()).backward()
    torch.testing.assert_close(a.encoder[0].weight.grad, grads[0] + grads[1])


def test_one_container_one_optimizer(pair):
    models = nn.ModuleDict(dict(zip("ab", pair, strict=True)))
    share(models["b"], models["a"], ["encoder"])
    assert len(list(models.parameters())) == 6 + 4
    optimizer = torch.optim.SGD(models.parameters(), lr=0.1)
    before = models["a"].encoder[0].weight.detach().clone()
    models["a"].encoder[0].weight.grad = torch.ones_like(before)
    optimizer.step()
    torch.testing.assert_close(models["b"].encoder[0].weight, before - 0.1)  # one step, not two
    for copied in (copy.deepcopy(models), models.to(torch.float32)):
        assert copied["a"].encoder[0].weight is copied["b"].encoder[0].weight
        assert copied["a"].encoder[1].weight is copied["b"].encoder[1].weight


def test_unshare(pair):
    a, b = pair
    share(b, a, ["encoder"])
    a.encoder[0].weight.grad = torch.ones_like(a.encoder[0].weight)
    a.encoder[3].weight.requires_grad_(False)
    mine = unshare(b, ["encoder"])
    assert shared_parameters(a, b) == []
    assert torch.equal(a.encoder[0].weight, b.encoder[0].weight)
    assert mine[0] is b.encoder[0].weight
    assert b.encoder[0].weight.grad is None
    assert a.encoder[0].weight.grad is not None
    assert not b.encoder[3].weight.requires_grad


def test_aliases_inside_a_model_are_kept(pair):
    a, b = pair
    b.encoder[3].weight = b.encoder[0].weight = nn.Parameter(torch.randn(3, 3, dtype=F64))
    a.encoder[0].weight = nn.Parameter(torch.randn(3, 3, dtype=F64))
    share(b, a, ["encoder.0.weight"])
    assert b.encoder[0].weight is b.encoder[3].weight is a.encoder[0].weight
    unshare(b, ["encoder.3.weight"])
    assert b.encoder[0].weight is b.encoder[3].weight
    assert b.encoder[0].weight is not a.encoder[0].weight
    assert shared_parameters(b) == [("encoder.0.weight", "encoder.3.weight")]


def test_codebooks_of_tied_layers_can_be_shared(pair):
    a, b = pair
    for model in pair:
        tie(model.encoder[0], "weight", TieSpec([0, 0, 1, 1], dim=1))
    share(b, a, ["encoder.0.parametrizations.weight.original"])
    with torch.no_grad():
        a.encoder[0].parametrizations.weight.original.zero_()
    assert not b.encoder[0].weight.any()


def test_state_dict_keys(pair):
    a, b = pair
    keys = set(b.state_dict())
    share(b, a, ["encoder"])
    assert set(b.state_dict()) == keys
    assert set(nn.ModuleDict({"a": a.head, "b": b.head}).state_dict()) == {"a.weight", "a.bias", "b.weight", "b.bias"}


def test_refusals_leave_both_models_alone(pair):
    a, b = pair
    b.encoder[3] = nn.Linear(3, 5).to(F64)
    with pytest.raises(
        ValueError, match=r"'encoder.3.weight' cannot be shared: its shape is \(5, 3\) in the target and"
    ):
        share(b, a, ["encoder"])
    with pytest.raises(ValueError, match=r"its dtype is torch.float32 in the target and torch.float64"):
        share(Classifier(0).float(), a, ["encoder"])
    with pytest.raises(ValueError, match="its device is meta in the target and cpu"):
        share(Classifier(0).to("meta"), a, ["encoder"])
    with pytest.raises(ValueError, match=r"'encoder.9' is no parameter or module with parameters; there are encoder.0"):
        share(b, a, ["encoder.9"])
    with pytest.raises(ValueError, match=r"the source has no parameter 'head.weight'; it has weight, bias"):
        share(b, nn.Linear(3, 2), ["head"])
    with pytest.raises(
        ValueError, match=r"names must be a list of names, got the string 'encoder'; write \['encoder'\]"
    ):
        share(b, a, "encoder")
    with pytest.raises(ValueError, match="is no parameter"):
        unshare(b, ["encoder", "nothing"])
    assert shared_parameters(a, b) == []


@pytest.mark.parametrize("norm", ["l2", "l1", "group"])
def test_penalty_and_its_gradient(pair, norm):
    a, b = pair
    names = ["encoder.0", "head.bias"]
    value = tying_penalty(a, b, names, NORMS[norm](0.7))
    d = [a.encoder[0].weight - b.encoder[0].weight, a.encoder[0].bias - b.encoder[0].bias, a.head.bias - b.head.bias]
    expected = {
        "l2": sum(x.square().sum() for x in d) / 2,
        "l1": sum(x.abs().sum() for x in d),
        "group": d[0].norm(dim=0).sum() + d[1].norm() + d[2].norm(),
    }[norm]
    torch.testing.assert_close(value, 0.7 * expected)
    value.backward()
    torch.testing.assert_close(a.encoder[0].weight.grad, -b.encoder[0].weight.grad)
    assert a.encoder[0].weight.grad.any()
    same = copy.deepcopy(a)
    same.zero_grad()
    zero = tying_penalty(same, copy.deepcopy(a), names, NORMS[norm](1.0))
    zero.backward()
    assert zero == 0
    assert not same.encoder[0].weight.grad.any()  # and not NaN


@pytest.mark.parametrize("norm", ["l2", "l1", "group"])
@pytest.mark.parametrize("step_size", [0.01, 0.3])
def test_prox_is_the_argmin(pair, norm, step_size):
    """Against an optimizer's answer to min 1/2 |a - a0|^2 + 1/2 |b - b0|^2 + step * penalty, and steps away from it."""
    a, b = pair
    a0, b0 = copy.deepcopy(a), copy.deepcopy(b)
    names = ["encoder.0", "head.weight"]
    equal = prox_tying(a, b, names, NORMS[norm](1.5), step_size=step_size)
    groups = list(zip(a.parameters(), b.parameters(), a0.parameters(), b0.parameters(), strict=True))
    assert equal == sum(int((x == y).sum()) for x, y, _, _ in (groups[0], groups[1], groups[6]))
    if norm == "l2":
        assert equal == 0
    elif step_size == 0.3:
        assert equal > 0

    def objective(a, b):
        near = sum(
            (p - q).square().sum()
            for m, n in ((a, a0), (b, b0))
            for p, q in zip(m.parameters(), n.parameters(), strict=True)
        )
        return near / 2 + step_size * tying_penalty(a, b, names, NORMS[norm](1.5))

    best = objective(a, b).item()
    torch.manual_seed(0)
    for scale in (1e-3, 1e-2, 0.3):
        for _ in range(30):
            c, d = copy.deepcopy(a), copy.deepcopy(b)
            with torch.no_grad():
                for p in [*c.encoder[0].parameters(), *d.encoder[0].parameters()]:
                    p.add_(scale * torch.randn_like(p))
            assert objective(c, d).item() > best
    for share_of_way in (0.5, 0.9):  # on the way back to where it came from
        c, d = copy.deepcopy(a), copy.deepcopy(b)
        with torch.no_grad():
            for x, y, x0, y0 in zip(c.parameters(), d.parameters(), a0.parameters(), b0.parameters(), strict=True):
                x.lerp_(x0, share_of_way)
                y.lerp_(y0, share_of_way)
        assert objective(c, d).item() > best
    # the means stay, untouched parameters too
    for x, y, x0, y0 in groups:
        torch.testing.assert_close(x + y, x0 + y0)
    assert torch.equal(a.encoder[3].weight, a0.encoder[3].weight)


def test_a_large_step_makes_them_one(pair):
    a, b = pair
    assert prox_tying(a, b, ["encoder"], L1(1e6), step_size=1.0) == sum(p.numel() for p in a.encoder.parameters())
    assert all(torch.equal(p, q) for p, q in zip(a.encoder.parameters(), b.encoder.parameters(), strict=True))
    share(b, a, ["encoder"])
    assert prox_tying(a, b, ["encoder"], L1(1.0), step_size=1.0) == 0  # nothing left to do: one parameter


def test_bad_penalties_are_named(pair):
    a, b = pair
    for call in (tying_penalty, tying_group, functools.partial(prox_tying, step_size=1.0)):
        for wrong in ("l2", L1, 0.1):
            with pytest.raises(ValueError, match=r"penalty must be one of tyinglib\.penalties, as L1\(0\.1\)"):
                call(a, b, ["encoder"], wrong)
    with pytest.raises(ValueError, match="step_size must be"):
        prox_tying(a, b, ["encoder"], L1(1.0), step_size=-1)
    with pytest.raises(ValueError, match=r"the second model has no parameter 'head\.weight'"):
        tying_penalty(a, nn.Linear(3, 2), ["head"], L2(1.0))
    with pytest.raises(
        ValueError,
        match=r"cannot be compared: its shape is \(2, 3\) in the first model and \(3, 2\) in the second model",
    ):
        tying_penalty(nn.Linear(3, 2), nn.Linear(2, 3), ["weight"], L2(1.0))
    before = copy.deepcopy(a.state_dict())
    with torch.no_grad():
        b.head.bias[0] = float("nan")
    for norm in ("l2", "l1", "group"):
        with pytest.raises(ValueError, match="NaN or infinite"):
            prox_tying(a, b, ["encoder", "head"], NORMS[norm](1.0), step_size=1.0)
    assert all(torch.equal(before[key], value) for key, value in a.state_dict().items())


def test_recurrent_layers_compute_with_what_they_share():
    """nn.LSTM keeps a list of its own weights: replaced behind its back, it would go on with the old ones."""
    torch.manual_seed(0)
    a, b = nn.LSTM(3, 4).to(F64), nn.LSTM(3, 4).to(F64)
    x = torch.randn(5, 2, 3, dtype=F64)
    share(b, a, ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"])
    assert torch.equal(b(x)[0], a(x)[0])
    unshare(b, ["weight_hh_l0"])
    with torch.no_grad():
        b.weight_hh_l0.zero_()
    assert not torch.equal(b(x)[0], a(x)[0])


@pytest.mark.parametrize(("norm", "expected"), [("l1", 2.5), ("l2", 1 + 2 / 1.5), ("group", 2.5)])
def test_a_frozen_weight_stays_and_the_other_comes_all_the_way(norm, expected):
    """min over x of 1/2 (x - 3)^2 + 1/2 |x - 1| and so on: by hand."""
    a, b = nn.Linear(1, 1, bias=False).to(F64), nn.Linear(1, 1, bias=False).to(F64)
    for model, value in ((a, 3.0), (b, 1.0)):
        nn.init.constant_(model.weight, value)
    b.weight.requires_grad_(False)
    assert prox_tying(a, b, ["weight"], NORMS[norm](0.5), step_size=1.0) == 0
    assert (a.weight.item(), b.weight.item()) == (pytest.approx(expected), 1.0)
    prox_tying(a, b, ["weight"], NORMS[norm](10.0), step_size=1.0)
    assert norm == "l2" or a.weight.item() == 1.0
    a.weight.requires_grad_(False)
    nn.init.constant_(a.weight, 3.0)
    assert prox_tying(a, b, ["weight"], NORMS[norm](10.0), step_size=1.0) == 0
    assert a.weight.item() == 3.0


def test_pairs_with_several_names_count_once_and_triples_are_refused(pair):
    a, b = pair
    for model in pair:
        model.encoder[3].weight = model.encoder[0].weight = nn.Parameter(torch.randn(3, 3, dtype=F64))
    names = ["encoder.0.weight", "encoder.3.weight"]
    once = tying_penalty(a, b, names[:1], L2(1.0))
    torch.testing.assert_close(tying_penalty(a, b, names, L2(1.0)), once)
    assert prox_tying(a, b, names, L1(1e6), step_size=1.0) == 9
    b.encoder[3].weight = nn.Parameter(torch.randn(3, 3, dtype=F64))
    with pytest.raises(ValueError, match="are one parameter in one of the models and two in the other"):
        prox_tying(a, b, names, L1(1.0), step_size=1.0)
    with pytest.raises(ValueError, match="are one parameter in the target and two in the source"):
        share(a, b, names)


def test_ties_dtypes_and_lazy_parameters_must_agree(pair):
    a, b = pair
    with pytest.raises(ValueError, match=r"its dtype is torch\.float64 in the first model and torch\.float32"):
        prox_tying(a, Classifier(1).float(), ["head"], L1(1.0), step_size=1.0)
    tie(a.encoder[0], "weight", TieSpec([0, 0, 1, 1], dim=1))
    codebook = "encoder.0.parametrizations.weight.original"
    with pytest.raises(ValueError, match=r"'encoder\.0\.weight' is not tied there: tie both models alike"):
        tying_penalty(a, b, [codebook], L2(1.0))
    with pytest.raises(ValueError, match=r"it is tied \(parametrized\) there, and made of"):
        share(a, b, ["encoder.0.weight"])
    tie(b.encoder[0], "weight", TieSpec([0, 1, 0, 1], dim=1))
    with pytest.raises(ValueError, match=r"the two models tie \(parametrize\) it differently"):
        share(b, a, [codebook])
    with pytest.raises(ValueError, match="it has no shape before the first forward call"):
        share(nn.LazyLinear(2), nn.Linear(3, 2), ["weight"])


@pytest.mark.parametrize("norm", ["l2", "l1", "group"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_an_optimizer_of_pairs_reaches_the_joint_optimum(pair, norm, momentum):
    """min 1/2 |a - a0|^2 + 1/2 |b - b0|^2 + penalty: what one proximal step of size 1 gives exactly."""
    a, b = pair
    names, penalty = ["encoder.0", "head"], NORMS[norm](0.4)
    targets = [copy.deepcopy(model) for model in pair]
    optimizer = ProxSGD([tying_group(a, b, names, penalty)], lr=0.1, momentum=momentum)
    for _ in range(500):
        optimizer.zero_grad()
        near = sum(
            (p - q).square().sum() / 2
            for model, target in zip(pair, targets, strict=True)
            for p, q in zip(model.parameters(), target.parameters(), strict=True)
        )
        near.backward()
        optimizer.step()
    expected = [copy.deepcopy(model) for model in targets]
    equal = prox_tying(*expected, names, penalty, step_size=1.0)
    for model, other in zip(pair, expected, strict=True):
        for p, q in zip(model.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(p, q)
    in_pairs = zip(optimizer.param_groups[0]["params"][::2], optimizer.param_groups[0]["params"][1::2], strict=True)
    assert equal == sum(int((x == y).sum()) for x, y in in_pairs)
    assert (equal > 0) == (norm != "l2")
    assert optimizer.penalty_value() == pytest.approx(float(tying_penalty(a, b, names, penalty).detach()))


def test_pairs_whose_steps_differ_meet_where_both_objectives_say():
    """x takes steps, y is frozen or has no gradient: x comes all the way, and y stays."""
    a, b = nn.Linear(2, 1).to(F64), nn.Linear(2, 1).to(F64)
    start = b.weight.detach().clone()
    optimizer = ProxSGD([tying_group(a, b, ["weight"], L1(100.0))], lr=0.1, momentum=0.9)
    a(torch.ones(1, 2, dtype=F64)).sum().backward()
    optimizer.step()
    assert torch.equal(b.weight, start)
    assert torch.equal(a.weight, start)


def test_pairs_are_what_the_models_do_not_share(pair):
    a, b = pair
    share(b, a, ["encoder"])
    a.head.bias.requires_grad_(False)
    b.head.bias.requires_grad_(False)
    group = tying_group(a, b, ["encoder", "head"], L2(1.0))
    assert [id(x) for x in group["params"]] == [id(a.head.weight), id(b.head.weight)]


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"params": [torch.zeros(2)], "pairs": True, "penalty": L1(1.0)}, "an even number of parameters"),
        ({"params": [torch.zeros(2), torch.ones(2)], "pairs": True}, "it needs a penalty"),
        (
            {"params": [torch.zeros(2), torch.ones(3)], "pairs": True, "penalty": L1(1.0)},
            r"two shapes, \(2,\) and \(3,\)",
        ),
        (
            {"params": [torch.zeros(2), torch.ones(2)], "pairs": True, "penalty": OWL(torch.ones(3))},
            r"does not fit pair 0 of group 0, of shape \(2,\): w must have one number",
        ),
    ],
)
def test_groups_that_are_no_pairs_are_named(group, message):
    with pytest.raises(ValueError, match=message):
        ProxSGD([group], lr=0.1)
