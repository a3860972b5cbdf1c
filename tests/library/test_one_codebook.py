"""S in general: factors, one codebook for several weights, and what follows from both."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from tyinglib import (
    TieSpec,
    check_sharing,
    count_parameters,
    load_tied,
    mean_gradients,
    save_tied,
    selection,
    storage_bits,
    tie,
    tie_specs,
    untie,
)

SIGNED = TieSpec([0, 0, 1, -1], dim=1, factors=[1, -1, 1, 1])
SCALED = TieSpec([0, 1, 0, 1], dim=1, factors=[1, 0.5, -2, 3])


def dense(spec, like):
    """S as a matrix, acting on the slices of a weight."""
    return selection.selection_matrix(spec.labels, factors=spec.factors, n_groups=spec.n_groups, dtype=like.dtype)


# Factors


@pytest.mark.parametrize("spec", [SIGNED, SCALED])
def test_every_map_is_that_of_the_matrix(spec):
    torch.manual_seed(0)
    weight = torch.randn(3, 4, dtype=torch.float64)
    matrix = dense(spec, weight)
    labels, factors = spec.labels, spec.factors
    phi = torch.randn(3, 2, dtype=torch.float64)
    torch.testing.assert_close(selection.expand(phi, labels, dim=1, factors=factors), phi @ matrix.T)
    torch.testing.assert_close(selection.pull_back(weight, labels, dim=1, factors=factors), weight @ matrix)
    nearest = torch.linalg.lstsq(matrix, weight.T).solution.T
    torch.testing.assert_close(selection.group_means(weight, labels, dim=1, factors=factors), nearest)
    projected = selection.project(weight, labels, dim=1, factors=factors)
    torch.testing.assert_close(projected, nearest @ matrix.T)
    torch.testing.assert_close(selection.project(projected, labels, dim=1, factors=factors), projected)


def test_single_entries_have_factors_too():
    """HashedNets: a random group and a random sign for each connection."""
    torch.manual_seed(0)
    labels, factors = torch.arange(12).reshape(3, 4) % 5, 1 - 2 * torch.randint(2, (3, 4))
    spec = TieSpec(labels, None, factors=factors)
    layer = nn.Linear(4, 3, bias=False).double()
    nearest = torch.linalg.lstsq(dense(spec, layer.weight), layer.weight.detach().flatten()).solution
    tie(layer, "weight", spec)
    (codebook,) = layer.parameters()
    torch.testing.assert_close(codebook.detach(), nearest)
    assert torch.equal(layer.weight, codebook[labels] * factors)


def test_the_gradient_of_the_codebook_is_signed():
    layer = nn.Linear(4, 1, bias=False)
    tie(layer, "weight", SIGNED)
    layer(torch.tensor([1.0, 10.0, 100.0, 1000.0])).backward()
    assert layer.parametrizations.weight.original.grad.tolist() == [[1.0 - 10.0, 100.0]]
    with mean_gradients(layer):
        layer.zero_grad()
        layer(torch.tensor([1.0, 10.0, 100.0, 1000.0])).backward()
    assert layer.parametrizations.weight.original.grad.tolist() == [[-4.5, 100.0]]


def test_assigning_stores_the_nearest():
    layer = tie(nn.Linear(4, 1, bias=False), "weight", SCALED)
    layer.weight = torch.tensor([[2.0, 1.0, -4.0, 6.0]])
    assert layer.parametrizations.weight.original.tolist() == [[2.0, 2.0]]
    assert layer.weight.tolist() == [[2.0, 1.0, -4.0, 6.0]]


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ([1, 2], "one a label, of shape \\(4,\\), got shape \\(2,\\)"),
        ([1, 0, 1, 1], "to prune it, give it the label -1"),
        ([1, float("nan"), 1, 1], "factors must be finite"),
        ([1, float("inf"), 1, 1], "factors must be finite"),
        (torch.ones(4, dtype=torch.bool), "real numbers"),
        (torch.ones(4, dtype=torch.complex64), "real numbers"),
        ("abcd", "must be numbers"),
    ],
)
def test_bad_factors_are_refused(factors, message):
    with pytest.raises(ValueError, match=message):
        TieSpec([0, 0, 1, -1], dim=1, factors=factors)


def test_specs_with_factors_are_values():
    same = TieSpec([0, 0, 1, -1], dim=1, factors=torch.tensor([1.0, -1.0, 1.0, 99.0], dtype=torch.float64))
    assert same == SIGNED  # what a pruned slice would be times says nothing
    assert hash(same) == hash(SIGNED)
    assert TieSpec([0, 0, 1, -1], dim=1) != SIGNED
    assert TieSpec([0, 0, 1, -1], dim=1, factors=[1, 1, 1, 0.5]) == TieSpec([0, 0, 1, -1], dim=1)
    SIGNED.factors.fill_(7)
    assert SIGNED.factors.tolist() == [1.0, -1.0, 1.0, 0.0]
    assert repr(SCALED) == "TieSpec(n=4, n_groups=2, pruned=0, dim=1, negative=1, scales=0.5..3)"
    with pytest.raises(ValueError, match="labels name group 1, but n_groups=1"):
        TieSpec([0, 1], dim=0, n_groups=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("spec", [SIGNED, SCALED])
def test_factors_are_saved_and_loaded(spec, dtype, tmp_path):
    layer = tie(nn.Linear(4, 3), "weight", spec).to(dtype)
    size, path = save_tied(layer, tmp_path / "file"), tmp_path / "file"
    other = load_tied(nn.Linear(4, 3).to(dtype), path)
    assert tie_specs(other) == {"weight": spec}
    assert torch.equal(other.weight, layer.weight)
    assert torch.equal(load_tied(layer, path).weight, other.weight)  # tied alike already
    with pytest.raises(ValueError, match="tied otherwise"):
        load_tied(tie(nn.Linear(4, 3), "weight", TieSpec([0, 0, 1, -1], dim=1)).to(dtype), path)
    assert size == path.stat().st_size


def test_a_sign_is_a_bit():
    plain = TieSpec(torch.arange(64) % 4, dim=1)
    signs = TieSpec(torch.arange(64) % 4, dim=1, factors=1 - 2 * (torch.arange(64) % 2))
    scales = TieSpec(torch.arange(64) % 4, dim=1, factors=1 + torch.arange(64))
    bits = [storage_bits(tie(nn.Linear(64, 2), "weight", spec)) for spec in (plain, signs, scales)]
    assert (bits[1] - bits[0], bits[2] - bits[0]) == (64, 64 * 32)


# One codebook, several weights


def encoder_and_decoder():
    """An encoder, and a decoder that is its transpose: one codebook, columns here, rows there."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Tanh(), nn.Linear(3, 4, bias=False))
    return tie(net, ["0.weight", "2.weight"], [TieSpec(range(4), dim=1), TieSpec(range(4), dim=0)])


def test_a_decoder_that_is_the_encoders_transpose():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Tanh(), nn.Linear(3, 4, bias=False))
    net = encoder_and_decoder()
    torch.testing.assert_close(net[0].weight, (plain[0].weight + plain[2].weight.T) / 2)
    x = torch.randn(5, 4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    assert check_sharing(net, optimizers=optimizer) == []
    for _ in range(3):
        optimizer.zero_grad()
        (net(x) - x).square().sum().backward()
        optimizer.step()
    assert torch.equal(net[2].weight, net[0].weight.T)
    assert count_parameters(net).unique == 12
    assert count_parameters(net).total == 24


def test_the_gradient_sums_over_all_weights():
    net = encoder_and_decoder().double()
    x, w = torch.randn(5, 4, dtype=torch.float64), net[0].weight.detach().clone().requires_grad_()
    net(x).square().sum().backward()
    (torch.tanh(x @ w.T) @ w).square().sum().backward()
    torch.testing.assert_close(net[0].parametrizations.weight.original.grad, w.grad)


def layers_under_one_codebook():
    """Three layers whose rows come from one codebook of four; none uses all of it, each has its own signs."""
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Linear(3, 3) for _ in range(3)))
    specs = [
        TieSpec([0, 1, 0], dim=0, n_groups=4, factors=[1, 1, -1]),
        TieSpec([1, 2, -1], dim=0, n_groups=4),
        TieSpec([3, 3, 2], dim=0, n_groups=4, factors=[2, 1, 1]),
    ]
    return net, specs


def test_a_stack_under_one_codebook_starts_at_the_nearest():
    net, specs = layers_under_one_codebook()
    net = net.double()
    stacked = torch.cat([dense(spec, net[0].weight) for spec in specs])
    theta = torch.cat([layer.weight.detach() for layer in net])
    nearest = torch.linalg.lstsq(stacked, theta).solution
    tie(net, [f"{i}.weight" for i in range(3)], specs)
    torch.testing.assert_close(net[2].parametrizations.weight.original.detach(), nearest)
    assert len({id(layer.parametrizations.weight.original) for layer in net}) == 1
    assert list(tie_specs(net).values()) == specs


def test_a_stack_is_saved_and_loaded(tmp_path):
    net, specs = layers_under_one_codebook()
    tie(net, [f"{i}.weight" for i in range(3)], specs)
    save_tied(net, tmp_path / "file")
    other, _ = layers_under_one_codebook()
    load_tied(other, tmp_path / "file")
    assert tie_specs(other) == tie_specs(net)
    assert [torch.equal(a.weight, b.weight) for a, b in zip(net, other, strict=True)] == [True] * 3
    assert other[0].parametrizations.weight.original is other[2].parametrizations.weight.original
    load_tied(other, tmp_path / "file")  # tied alike already
    apart = nn.Sequential(*layers_under_one_codebook()[0])
    for layer in apart:
        tie(layer, "weight", TieSpec([0, 1, 0], dim=0))
    with pytest.raises(ValueError, match="tied otherwise"):
        load_tied(apart, tmp_path / "file")


def test_the_transposed_pair_is_saved_and_loaded(tmp_path):
    net = encoder_and_decoder()
    save_tied(net, tmp_path / "file")
    torch.manual_seed(1)
    other = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Tanh(), nn.Linear(3, 4, bias=False))
    load_tied(other, tmp_path / "file")
    assert torch.equal(other[2].weight, net[0].weight.T)
    assert [parameter.shape for parameter in other.parameters()] == [(3, 4)]
    assert torch.equal(load_tied(other, tmp_path / "file")[2].weight, net[0].weight.T)


def test_mean_gradients_count_all_weights_of_a_codebook():
    net, specs = layers_under_one_codebook()
    tie(net, [f"{i}.weight" for i in range(3)], specs)
    x = torch.randn(2, 3)
    net(x).sum().backward()
    codebook = net[0].parametrizations.weight.original
    whole = codebook.grad.clone()
    codebook.grad = None
    with mean_gradients(net):
        net(x).sum().backward()
    sizes = torch.tensor([2.0, 2.0, 2.0, 5.0])  # sums of squared factors over the three weights
    torch.testing.assert_close(codebook.grad, whole / sizes[:, None])


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([TieSpec([0, 1, 0], dim=0), TieSpec([0, 0, 0], dim=0)], "n_groups is 2 of the first and 1 of the second"),
        ([TieSpec([0, 1, 0], dim=0), TieSpec([0, 1, 0, 0], dim=1)], "3 slices along dim 1"),
        (
            [TieSpec([0, 1, 0], dim=0, n_groups=3), TieSpec([0, 1, 1], dim=0, n_groups=3)],
            "group 2 of 3 is used by none of the weights",
        ),
        ([TieSpec([0, 1, 0], dim=0)], "2 names need one TieSpec for all, or one for each"),
    ],
)
def test_weights_that_cannot_have_one_codebook_are_refused(specs, message):
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    held = list(net.parameters())
    with pytest.raises(ValueError, match=message):
        tie(net, ["0.weight", "1.weight"], specs)
    assert all(a is b for a, b in zip(net.parameters(), held, strict=True))
    assert tie_specs(net) == {}


def test_other_refusals_of_one_codebook():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3).double(), nn.Linear(5, 3), nn.Linear(3, 3))
    spec = TieSpec([0, 1, 0], dim=0)
    for name, message in (("1.weight", "its dtype is"), ("2.weight", "the shape of its slices is")):
        with pytest.raises(ValueError, match=message):
            tie(net, ["0.weight", name], spec)
    net[3].weight.requires_grad_(False)
    with pytest.raises(ValueError, match="requires_grad is True of the first and False"):
        tie(net, ["0.weight", "3.weight"], spec)
    with pytest.raises(ValueError, match="there is no name"):
        tie(net, [], [])
    net[3].weight = net[0].weight
    with pytest.raises(ValueError, match="are one weight, and can't be tied in two ways"):
        tie(net, ["0.weight", "3.weight"], [spec, TieSpec([1, 0, 1], dim=0)])
    assert tie_specs(net) == {}


def test_a_failure_half_way_leaves_the_model_as_it_was(monkeypatch):
    net, specs = layers_under_one_codebook()
    held, kinds = list(net.parameters()), [type(layer) for layer in net]
    register, calls = nn.utils.parametrize.register_parametrization, []

    def fail_at_the_third(*arguments, **settings):
        calls.append(1)
        return register(*arguments, **settings) if len(calls) < 3 else 1 / 0

    monkeypatch.setattr(nn.utils.parametrize, "register_parametrization", fail_at_the_third)
    with pytest.raises(ZeroDivisionError):
        tie(net, [f"{i}.weight" for i in range(3)], specs)
    assert len(calls) == 3
    assert all(a is b for a, b in zip(net.parameters(), held, strict=True))
    assert [type(layer) for layer in net] == kinds
    monkeypatch.undo()
    tie(net, [f"{i}.weight" for i in range(3)], specs)  # and can be tied


def test_untying_one_codebook_frees_every_weight():
    net, specs = layers_under_one_codebook()
    tie(net, [f"{i}.weight" for i in range(3)], specs)
    values = [layer.weight.detach().clone() for layer in net]
    untie(net, "1.weight")
    assert tie_specs(net) == {}
    assert len({id(layer.weight) for layer in net}) == 3
    assert all(torch.equal(a, layer.weight) for a, layer in zip(values, net, strict=True))
    assert check_sharing(net) == []


def test_on_a_submodule_a_tie_changes_nothing_that_others_read():
    net = nn.ModuleDict({"table": nn.Embedding(6, 4), "head": nn.Linear(4, 6, bias=False)})
    net["head"].weight = net["table"].weight
    kept = net["head"].weight
    tie(net["table"], "weight", TieSpec([0, 0, 1, 1, 2, 2], dim=0))
    assert net["head"].weight is kept
    assert kept.shape == (6, 4)
    assert [one.kind for one in check_sharing(net)] == ["replaced"]


def test_assigning_to_a_weight_that_uses_a_part_of_the_codebook_is_refused():
    net, specs = layers_under_one_codebook()
    tie(net, [f"{i}.weight" for i in range(3)], specs)
    with pytest.raises(ValueError, match="assign to the codebook"):
        net[0].weight = torch.zeros(3, 3)


# What a tie survives


def tied_model():
    net, specs = layers_under_one_codebook()
    return tie(net, [f"{i}.weight" for i in range(3)], specs)


def through_pickle(model):
    return pickle.loads(pickle.dumps(model))


def through_torch_save(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("way", [copy.deepcopy, through_pickle, through_torch_save])
@pytest.mark.parametrize("build", [tied_model, encoder_and_decoder])
def test_a_copy_is_whole_and_its_own(way, build):
    model = build()
    model(torch.randn(2, 4 if build is encoder_and_decoder else 3)).sum().backward()
    other = way(model)
    assert tie_specs(other) == tie_specs(model)
    assert len(list(other.parameters())) == len(list(model.parameters()))  # one codebook there too
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    untie(other, "0.weight")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert tie_specs(model) == tie_specs(build())
    assert tie_specs(way(way(model))) == tie_specs(model)


@pytest.mark.parametrize("way", [copy.deepcopy, copy.copy, through_pickle, through_torch_save])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_after_a_forward(kind, way):
    torch.manual_seed(0)
    layer = tie(kind(4, 2), "weight_hh_l0", TieSpec([0, 0], dim=1))
    x = torch.randn(5, 1, 4)
    layer(x)[0].sum().backward()
    other = way(layer)
    assert torch.equal(other(x)[0], layer(x)[0])
    if way is copy.copy:
        return  # its parts are the same
    with torch.no_grad():
        other.parametrizations.weight_hh_l0.original.add_(1)
    assert not torch.equal(other(x)[0], layer(x)[0])
    other(x)[0].sum().backward()
    assert other.parametrizations.weight_hh_l0.original.grad is not None


def test_a_class_that_is_yet_another_says_so():
    layer = tie(nn.Linear(4, 3), "weight", SIGNED)
    layer.__class__ = type("Wrapped", (type(layer),), {})
    with pytest.raises(pickle.PicklingError, match="can't be pickled: something gave this tied layer yet another"):
        pickle.dumps(layer)


def test_a_spawned_process_gets_the_tie():
    """What torch.multiprocessing.spawn and a DataLoader's workers do with a model: pickle it."""
    context = torch.multiprocessing.get_context("spawn")
    layer = tie(nn.Linear(4, 3), "weight", SIGNED)
    queue = context.SimpleQueue()
    worker = context.Process(target=_answer, args=(layer, queue))
    worker.start()
    assert queue.get() == layer(torch.ones(4)).tolist()
    worker.join()
    assert worker.exitcode == 0


def _answer(layer, queue):
    queue.put(layer(torch.ones(4)).tolist())


def test_the_meta_device_keeps_the_ties():
    for model in (tied_model(), encoder_and_decoder()):
        specs = tie_specs(model)
        state = {name: value.clone() for name, value in model.state_dict().items()}
        model.to("meta")
        assert "meta" in repr(model)
        model.to_empty(device="cpu")
        assert tie_specs(model) == specs
        model.to_empty(device="cpu")  # from where there is memory, too
        assert tie_specs(model) == specs
        model.load_state_dict(state)
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_model_is_tied_on_the_meta_device():
    """As a large one is built: tied without memory, then given memory, then loaded."""
    with torch.device("meta"):
        net = nn.ModuleDict({"table": nn.Embedding(6, 4), "head": nn.Linear(4, 6, bias=False)})
        net["head"].weight = net["table"].weight
        spec = TieSpec([0, 0, 1, 1, 2, -1], dim=0, factors=[1, -1, 1, 1, 1, 1])
        tie(net, "head.weight", spec)
    assert net["head"].weight.shape == (6, 4)
    assert net["head"].weight.is_meta
    net.to_empty(device="cpu")
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    assert tie_specs(net) == {"table.weight": spec, "head.weight": spec}
    assert net["table"].weight[0].tolist() == (-net["table"].weight[1]).tolist()


def test_half_precision_and_back():
    layer = tie(nn.Linear(4, 3), "weight", SCALED).half()
    assert layer.weight.dtype == torch.float16
    assert layer.float().weight.dtype == torch.float32
    assert tie_specs(layer) == {"weight": SCALED}


def test_an_embedding_with_sparse_gradients_is_refused():
    table = nn.Embedding(4, 3, sparse=True)
    with pytest.raises(ValueError, match=r"'weight' has sparse gradients, .* build it with sparse=False"):
        tie(table, "weight", TieSpec([0, 0, 1, 1], dim=0))
    assert tie_specs(table) == {}


def test_one_of_a_transposed_pair_alone(tmp_path):
    """Its codebook lies along the other dimension, which the file says: it was loaded transposed."""
    net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    tie(net, ["0.weight", "1.weight"], [TieSpec(range(4), dim=1), TieSpec(range(4), dim=0)])
    save_tied(net[1], tmp_path / "file")
    assert torch.equal(load_tied(nn.Linear(4, 4, bias=False), tmp_path / "file").weight, net[1].weight)


def test_mean_gradients_of_a_part_and_in_half_precision():
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    tie(net, ["0.weight", "1.weight"], [TieSpec([0, 0, 0], dim=0, n_groups=2), TieSpec([1, 1, 1], dim=0, n_groups=2)])
    with mean_gradients(net[0]):
        net(torch.ones(1, 3)).sum().backward()
    assert torch.isfinite(net[0].parametrizations.weight.original.grad).all()
    layer = nn.Linear(300, 300, bias=False).half()
    tie(layer, "weight", TieSpec(torch.zeros(300, 300, dtype=torch.int64), dim=None))
    with mean_gradients(layer):
        layer.parametrizations.weight.original.backward(torch.tensor([90000.0]).half().clamp(max=60000))
    assert layer.parametrizations.weight.original.grad.item() > 0  # 90000 is infinite in half precision


def test_means_that_no_number_can_hold_are_refused():
    layer = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(3e38)
    with pytest.raises(ValueError, match=r"are beyond the numbers of torch\.float32"):
        tie(layer, "weight", TieSpec([0, 0, 0, 0], dim=1))
    assert tie_specs(layer) == {}


def test_a_model_with_parametrizations_of_its_own():
    model = nn.Module()
    model.parametrizations = nn.ModuleDict({"x": nn.Linear(2, 2)})
    assert tie_specs(model) == {}
