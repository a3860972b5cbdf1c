"""tie and untie: the contract with torch.nn modules, optimizers and state_dicts."""

import contextlib
import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from tyinglib import TieSpec, mean_gradients, selection, share, tie, tie_specs, untie

SPEC = TieSpec([0, 0, 1, -1], dim=1)


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Linear(4, 3)


def test_a_tied_layer_is_the_same_layer_with_projected_weights(layer):
    before = layer.weight.detach().clone()
    tied = tie(layer, "weight", SPEC)
    assert tied is layer
    assert isinstance(layer, nn.Linear)
    assert torch.equal(layer.weight, selection.project(before, SPEC.labels, dim=1))


def test_state_dict_holds_the_codebook_and_the_labels_and_nothing_else(layer):
    tie(layer, "weight", SPEC)
    assert set(layer.state_dict()) == {"bias", "parametrizations.weight.original", "parametrizations.weight.0.labels"}
    assert layer.state_dict()["parametrizations.weight.original"].shape == (3, 2)
    assert {name for name, _ in layer.named_parameters()} == {"bias", "parametrizations.weight.original"}


@pytest.mark.parametrize(
    ("module", "name", "dim"),
    [
        (nn.Linear(6, 5), "weight", 1),
        (nn.Linear(6, 5), "weight", 0),
        (nn.Linear(6, 5), "bias", 0),
        (nn.Conv1d(6, 4, 3), "weight", 1),
        (nn.Conv2d(6, 4, 3), "weight", 1),
        (nn.Conv2d(6, 4, 3), "weight", -1),
        (nn.Embedding(6, 3), "weight", 0),
        (nn.BatchNorm1d(6), "weight", 0),
    ],
)
def test_members_agree_after_training_and_their_gradients_were_added(module, name, dim):
    torch.manual_seed(0)
    module = copy.deepcopy(module).double()
    weight = getattr(module, name)
    n = weight.shape[dim]
    labels = torch.arange(n) // 2
    free = weight.detach().clone().requires_grad_()
    tie(module, name, TieSpec(labels, dim))
    upstream = torch.randn_like(free)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    (getattr(module, name) * upstream).sum().backward()
    original = module.parametrizations[name].original
    torch.testing.assert_close(original.grad, selection.pull_back(upstream, labels, dim=dim))
    optimizer.step()
    used = getattr(module, name).detach()
    torch.testing.assert_close(used, selection.project(used, labels, dim=dim))
    assert not torch.allclose(used, selection.project(free.detach(), labels, dim=dim))


def test_tying_all_entries_to_themselves_trains_like_the_free_layer():
    torch.manual_seed(0)
    free = nn.Linear(4, 3).double()
    tied = tie(copy.deepcopy(free), "weight", TieSpec(torch.arange(12).view(3, 4), dim=None))
    x = torch.randn(5, 4, dtype=torch.float64)
    for layer in (free, tied):
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
        for _ in range(5):
            optimizer.zero_grad()
            layer(x).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(tied.weight, free.weight)


def test_assigning_stores_the_nearest_tied_weight(layer):
    tie(layer, "weight", SPEC)
    new = torch.randn(3, 4)
    layer.weight = new
    torch.testing.assert_close(layer.weight, selection.project(new, SPEC.labels, dim=1))


def test_untie_gives_the_plain_layer_back(layer):
    x = torch.randn(2, 4)
    before = tie(layer, "weight", SPEC)(x)
    layer(x).sum().backward()
    untie(layer, "weight")
    assert type(layer) is nn.Linear
    assert torch.equal(layer(x), before)
    assert layer.weight.grad is None
    assert set(layer.state_dict()) == {"weight", "bias"}
    assert layer.weight.is_leaf
    assert layer.weight.requires_grad


def test_the_gradient_is_cleared_and_a_frozen_weight_stays_frozen(layer):
    layer(torch.randn(2, 4)).sum().backward()
    layer.weight.requires_grad_(False)
    tie(layer, "weight", SPEC)
    original = layer.parametrizations.weight.original
    assert original.grad is None
    assert not original.requires_grad


def test_tie_specs_names_every_tie():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 2)))
    assert tie_specs(model) == {}
    tie(model[0], "weight", SPEC)
    tie(model[1][0], "bias", TieSpec([0, 0], dim=0))
    assert tie_specs(model) == {"0.weight": SPEC, "1.0.bias": TieSpec([0, 0], dim=0)}
    assert tie_specs(model[0]) == {"weight": SPEC}


def test_deepcopy_moves_and_state_dict_round_trip(layer):
    tie(layer, "weight", SPEC)
    twin = copy.deepcopy(layer).double()
    assert tie_specs(twin) == {"weight": SPEC}
    assert twin.weight.dtype == torch.float64
    assert twin.parametrizations.weight[0].labels.dtype == torch.int64
    other = tie(nn.Linear(4, 3), "weight", SPEC)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.weight, layer.weight)


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        ("weigth", SPEC, "no parameter 'weigth'"),
        ("0.weight", SPEC, r"Linear has no parameter '0\.weight'; there are 'weight', 'bias'"),
        ("weight", TieSpec([0, 1], dim=1), "4 slices along dim 1"),
        ("weight", TieSpec([0, 0, 1, 1], dim=0), "3 slices along dim 0"),
        ("weight", TieSpec([0, 0, 1, 1], dim=5), "dim must be in"),
        ("weight", TieSpec([[0, 1]], dim=None), "weight's shape"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(layer, name, spec, message):
    layer(torch.randn(2, 4)).sum().backward()
    before, grad = copy.deepcopy(layer.state_dict()), layer.weight.grad.clone()
    with pytest.raises(ValueError, match=message):
        tie(layer, name, spec)
    assert type(layer) is nn.Linear
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
    assert torch.equal(layer.weight.grad, grad)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused(layer, bad):
    with torch.no_grad():
        layer.weight[1, 2] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        tie(layer, "weight", SPEC)
    assert type(layer) is nn.Linear


def test_tying_twice_and_untying_what_is_free_are_refused(layer):
    with pytest.raises(ValueError, match="not tied"):
        untie(layer, "weight")
    tie(layer, "weight", SPEC)
    with pytest.raises(ValueError, match="tied already; untie it first"):
        tie(layer, "weight", SPEC)
    assert tie_specs(layer) == {"weight": SPEC}


def test_foreign_parametrizations_are_left_alone(layer):
    nn.utils.parametrizations.weight_norm(layer)
    with pytest.raises(ValueError, match="another parametrization"):
        tie(layer, "weight", SPEC)
    with pytest.raises(ValueError, match="not tied"):
        untie(layer, "weight")
    assert tie_specs(layer) == {}


def test_integer_parameters_are_refused():
    module = nn.Module()
    module.table = nn.Parameter(torch.arange(4), requires_grad=False)
    with pytest.raises(ValueError, match="floating-point"):
        tie(module, "table", TieSpec([0, 0, 1, 1], dim=0))


def test_specs_check_themselves_compare_and_print():
    with pytest.raises(ValueError, match="integer or None"):
        TieSpec([0, 1], dim="in")
    with pytest.raises(ValueError, match="one-dimensional"):
        TieSpec([[0, 1]], dim=0)
    assert TieSpec([0, 1], dim=0) != TieSpec([0, 1], dim=1)
    assert TieSpec([0, 1], dim=0) != "a spec"
    assert hash(TieSpec([0, 1], dim=0)) == hash(TieSpec([0, 1], dim=0))
    assert "n_groups=2, pruned=1" in str(tie(nn.Linear(4, 3), "weight", SPEC))


@pytest.mark.parametrize("change", ["untie the weight", "tie the bias", "untie the bias"])
@pytest.mark.parametrize("changed", ["copy", "original"])
def test_a_deepcopy_is_tied_and_untied_on_its_own(layer, change, changed):
    tie(layer, "weight", SPEC)
    bias = TieSpec([0, 0, 0], dim=0)
    if change == "untie the bias":
        tie(layer, "bias", bias)
    twin = copy.deepcopy(layer)
    moved, other = (twin, layer) if changed == "copy" else (layer, twin)
    x = torch.randn(2, 4)
    expected, specs = other(x), tie_specs(other)
    if change == "tie the bias":
        tie(moved, "bias", bias)
    else:
        untie(moved, change.split()[-1])
    assert torch.equal(other(x), expected)
    assert tie_specs(other) == specs
    assert tie_specs(moved) != specs
    assert moved(x).shape == expected.shape


@pytest.mark.parametrize(("labels", "dim"), [([0, 0, 1, -1], 1), ([0, 1, 0], 0), ([[0, 0, 1, 1]] * 3, None)])
def test_a_step_with_mean_gradients_is_an_untied_step_averaged_after_it(layer, labels, dim):
    spec, x = TieSpec(torch.tensor(labels), dim=dim), torch.randn(5, 4)
    untied = untie(copy.deepcopy(tie(layer, "weight", spec)), "weight")
    for module in (layer, untied):
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        with mean_gradients(module) if module is layer else contextlib.nullcontext():
            module(x).square().sum().backward()
        optimizer.step()
    assert torch.allclose(layer.weight, selection.project(untied.weight, spec.labels, dim=dim))


def test_after_mean_gradients_the_gradient_is_the_sum_again(layer):
    tie(layer, "weight", SPEC)
    codebook, grads = layer.parametrizations.weight.original, []
    for context in (mean_gradients(layer), contextlib.nullcontext()):
        codebook.grad = None
        with context:
            layer(torch.ones(1, 4)).sum().backward()
        grads.append(codebook.grad)
    assert torch.equal(grads[0] * torch.tensor([2.0, 1.0]), grads[1])


def test_mean_gradients_needs_a_tie():
    with pytest.raises(ValueError, match="no weight of the model is tied"), mean_gradients(nn.Linear(2, 2)):
        pass


# A weight that several modules read: tying one of them changes nothing that another reads.


def sharers():
    """An embedding and its head; two layers with one weight; two in one memory; one that is a view of another."""
    table, head = nn.Embedding(50, 8), nn.Linear(8, 50, bias=False)
    head.weight = table.weight
    yield table, head, TieSpec(torch.arange(50) // 2, dim=0)
    one, other = nn.Linear(4, 3), nn.Linear(4, 3)
    share(other, one, ["weight"])
    yield one, other, SPEC
    one, other = nn.Linear(4, 3), nn.Linear(4, 3)
    other.weight.data = one.weight.data
    yield one, other, SPEC
    one, other = nn.Linear(4, 3), nn.Linear(3, 4)
    other.weight.data = one.weight.data.T
    yield one, other, SPEC


@pytest.mark.parametrize("number", range(4))
def test_what_a_sharer_reads_stays_as_it_was(number):
    tied, other, spec = list(sharers())[number]
    held, values = other.weight, other.weight.detach().clone()
    held.grad = torch.ones_like(held)
    for change in (lambda: tie(tied, "weight", spec), lambda: untie(tied, "weight")):
        change()
        assert other.weight is held
        assert torch.equal(held, values)
        assert torch.equal(held.grad, torch.ones_like(held))
        assert all(parameter.grad is None for parameter in tied.parameters() if parameter.shape != tied_bias(tied))
    with torch.no_grad():
        tied.weight.add_(1)
    assert torch.equal(held, values)


def tied_bias(module):
    return module.bias.shape if getattr(module, "bias", None) is not None else None


def test_untying_leaves_a_shared_codebook_to_the_other(layer):
    other = nn.Linear(4, 3)
    tie(layer, "weight", SPEC)
    tie(other, "weight", SPEC)
    share(other, layer, ["parametrizations.weight.original"])
    codebook = other.parametrizations.weight.original
    expected = other.weight.detach().clone()
    untie(layer, "weight")
    assert other.parametrizations.weight.original is codebook
    assert torch.equal(other.weight, expected)


class Twice(nn.Module):
    """Reads one weight under two names, or one piece of memory."""

    def __init__(self, how):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4))
        self.inner = nn.Linear(4, 3, bias=False)
        if how == "parameter":
            self.inner.weight = self.weight
        else:
            self.inner.weight.data = self.weight.data


def test_two_parameters_in_one_memory_are_refused_and_nothing_changes():
    module = Twice("memory")
    weight, values = module.weight, module.weight.detach().clone()
    with pytest.raises(ValueError, match=r"'weight' and 'inner\.weight' are two parameters in one piece of memory"):
        tie(module, "weight", SPEC)
    assert module.weight is weight
    assert torch.equal(module.inner.weight, values)
    assert (type(module), tie_specs(module)) == (Twice, {})
    module.inner.weight = nn.Parameter(module.inner.weight.detach().clone())  # what the refusal says to do
    assert tie_specs(tie(module, "weight", SPEC)) == {"weight": SPEC}


def test_names_as_tie_specs_gives_them():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 2)))
    weight, values = model[1][0].weight, model[1][0].weight.detach().clone()
    with pytest.raises(ValueError, match=r"Sequential has no parameter '2\.weight'; there are '0\.weight', '0\.bias'"):
        tie(model, "2.weight", SPEC)
    with pytest.raises(ValueError, match=r"'0\.weight' of Sequential is not tied"):
        untie(model, "0.weight")
    assert model[1][0].weight is weight
    assert tie(model, "1.0.weight", SPEC) is model
    assert tie_specs(model) == {"1.0.weight": SPEC}
    for name in tie_specs(model):
        assert untie(model, name) is model
    assert torch.equal(model[1][0].weight, selection.project(values, SPEC.labels, dim=1))


def test_from_above_all_sharers_are_tied_and_untied_together():
    net = nn.ModuleDict({"table": nn.Embedding(6, 4), "head": nn.Linear(4, 6, bias=False)})
    net["head"].weight = net["table"].weight
    spec, values = TieSpec([0, 0, 1, 1, 2, 2], dim=0), net["table"].weight.detach().clone()
    tie(net, "head.weight", spec)
    assert tie_specs(net) == {"table.weight": spec, "head.weight": spec}
    (codebook,) = net.parameters()
    assert torch.equal(net["table"].weight, selection.project(values, spec.labels, dim=0))
    net["head"](net["table"](torch.arange(6))).sum().backward()
    assert codebook.grad.shape == (3, 4)
    with torch.no_grad():
        codebook.sub_(codebook.grad)
    assert torch.equal(net["table"].weight, net["head"].weight)
    untie(net, "table.weight")
    assert net["table"].weight is net["head"].weight
    assert tie_specs(net) == {}


def test_a_sharer_inside_another_parametrization_is_named():
    net = nn.ModuleDict({"table": nn.Embedding(6, 4), "head": nn.Linear(4, 6, bias=False)})
    parametrizations.orthogonal(net["head"], "weight")
    net["head"].parametrizations.weight.original = net["table"].weight
    before = net["table"].weight
    with pytest.raises(ValueError, match=r"one weight with 'head\.parametrizations\.weight\.original', a part of"):
        tie(net, "table.weight", TieSpec([0, 0, 1, 1, 2, 2], dim=0))
    assert net["table"].weight is before


def test_a_layer_with_two_names_is_one_place():
    layer = nn.Linear(4, 4)
    net = nn.Sequential(layer, layer)
    tie(net, "1.weight", SPEC)
    assert tie_specs(layer) == {"weight": SPEC}
    untie(net, "0.weight")
    assert tie_specs(net) == {}


@pytest.mark.parametrize(
    "norm", [nn.utils.weight_norm, nn.utils.spectral_norm, lambda layer: prune.l1_unstructured(layer, "weight", 3)]
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_a_weight_that_a_hook_computes_is_no_parameter(layer, norm):
    """Its parts are, and can be tied: what the hook makes of them is used."""
    norm(layer)
    with pytest.raises(ValueError, match=r"has no parameter 'weight'; there are 'bias', "):
        tie(layer, "weight", SPEC)
    part = next(name for name, value in layer.named_parameters() if value.shape == (3, 4))
    tie(layer, part, SPEC)
    layer(torch.randn(2, 4)).sum().backward()
    assert layer.get_parameter(f"parametrizations.{part}.original").grad.shape == (3, 2)


def test_a_codebook_of_two_weights_is_undone_for_both():
    module = Twice("own")
    module.inner.weight = nn.Parameter(torch.randn(3, 4))
    tie(module, "weight", SPEC)
    tie(module.inner, "weight", SPEC)
    share(module.inner, module, ["parametrizations.weight.original"])
    module.other = module.parametrizations.weight.original
    with pytest.raises(ValueError, match=r"can't be untied: its codebook is one parameter with 'other'"):
        untie(module, "weight")
    assert tie_specs(module) == {"weight": SPEC, "inner.weight": SPEC}
    del module.other
    untie(module, "inner.weight")
    assert tie_specs(module) == {}
    assert module.weight is module.inner.weight  # shared they were, and stay


@pytest.mark.parametrize("dim", [0, 1])
def test_a_tie_that_fails_at_the_last_moment_puts_the_parameter_back(layer, dim, monkeypatch):
    weight, held = layer.weight, list(layer.parameters())
    monkeypatch.setattr(nn.utils.parametrize, "register_parametrization", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tie(layer, "weight", TieSpec([0] * layer.weight.shape[dim], dim=dim))
    assert layer.weight is weight
    assert [a is b for a, b in zip(layer.parameters(), held, strict=True)] == [True, True]


def test_a_weight_without_a_shape_is_refused():
    with pytest.raises(ValueError, match="has no shape before the first forward call"):
        tie(nn.LazyLinear(3), "weight", SPEC)


def test_a_recurrent_layer_uses_its_tied_weight():
    torch.manual_seed(0)
    layer = nn.LSTM(3, 2)
    spec = TieSpec([0, 1, 0], dim=1)
    projected = selection.project(layer.weight_ih_l0.detach(), spec.labels, dim=1)
    plain = copy.deepcopy(layer)
    with torch.no_grad():
        plain.weight_ih_l0.copy_(projected)
    tie(layer, "weight_ih_l0", spec)
    x = torch.randn(4, 1, 3)
    torch.testing.assert_close(layer(x)[0], plain(x)[0])
    layer(x)[0].sum().backward()
    assert layer.parametrizations.weight_ih_l0.original.grad.shape == (8, 2)
