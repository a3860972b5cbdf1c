"""load_tied is a transaction: the model is loaded, or there is an error and it is as it was, bit for bit."""

import copy
import json

import pytest
import torch
from tied_files import bits, edit, photograph, refused, rewrite, with_header
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from tyinglib import TieSpec, check_sharing, load_tied, save_tied, share, tie, tie_specs

SPEC = TieSpec([0, 0, 1, -1], dim=1)


class Heads(nn.Module):
    """Two heads with one weight, a third, and a buffer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(4, 3)
        self.b.weight = self.a.weight
        self.norm = nn.BatchNorm1d(3)


def used(model):
    """As after an epoch: other values, gradients, a hook, a flag, a frozen weight."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    model.train()
    model.a.eval()
    model.c.register_forward_hook(lambda *_: None)
    model.norm.bias.requires_grad_(False)
    (model.a(torch.ones(2, 4)) + model.b(torch.ones(2, 4)) + model.c(torch.ones(2, 4))).sum().backward()
    return model


@pytest.fixture
def path(tmp_path):
    """Heads whose third is tied."""
    model = Heads()
    tie(model.c, "weight", SPEC)
    save_tied(model, tmp_path / "model")
    return tmp_path / "model"


def nan(model):
    with torch.no_grad():
        for value in (*model.parameters(), *model.buffers()):
            value.fill_(float("nan") if value.is_floating_point() else 77)
    return model


def same_state(model, other):
    mine, theirs = model.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(bits(mine[key]) == bits(theirs[key]) for key in mine)


# What the file says


@pytest.mark.parametrize("aliases", [True, False])
def test_a_tie_on_an_aliases_target_is_refused(path, aliases):
    """It raised KeyError, and the model stayed tied."""

    def change(tensors, metadata):
        for key in ("bias", "parametrizations.weight.original", "parametrizations.weight.0.labels"):
            tensors[f"a.{key}"] = tensors[f"c.{key}"].clone()
        del tensors["a.weight"]
        metadata["ties"] = json.dumps(
            {name: json.loads(metadata["ties"])["c.weight"] for name in ("a.weight", "c.weight")}
        )
        if not aliases:
            metadata["aliases"] = json.dumps({"b.weight": "a.parametrizations.weight.original"})

    rewrite(path, change)
    refused(path, "ties 'a.weight' alone, but in the model \\['a.weight', 'b.weight'\\] are one", used(Heads()))


@pytest.mark.parametrize(
    ("aliases", "message"),
    [
        ("null", "names of shared tensors cannot be read"),
        ("[]", "names of shared tensors cannot be read"),
        ("7", "names of shared tensors cannot be read"),
        ('{"b.weight": null}', "names of shared tensors cannot be read"),
        ('{"b.weight": ["a.weight"]}', "names of shared tensors cannot be read"),
        ('{"b.weight": "a.weight"', "names of shared tensors cannot be read"),
        ('{"b.weight": "x"}', "'b.weight' is another name of 'x', and is not"),
        ('{"b.weight": "b.weight"}', "'b.weight' is another name of 'b.weight', and is not"),
        ('{"b.weight": "c.parametrizations.weight.0.labels"}', "and is not"),
        ('{"b.weight": "a.weight", "a.bias": "b.bias"}', "'a.bias' is another name of 'b.bias', and is not"),
        ('{"b.weight": "c.bias"}', "are one parameter in .* only; share them alike"),
        ('{"b.weight": "a.weight", "\\ud800": "a.weight"}', r"has \['\\ud800'\] too many"),
        ("{}", "lacks"),
        ("[" * 100_000, "names of shared tensors cannot be read"),
        ('{"b.weight": ' + "9" * 5000 + "}", "names of shared tensors cannot be read"),
    ],
)
def test_other_names_that_are_none_are_refused(path, aliases, message):
    rewrite(path, lambda _, metadata: metadata.update(aliases=aliases))
    refused(path, message, used(Heads()))


@pytest.mark.parametrize("value", [None, {}, [], "x", 7, {"format": None}, {"format": {}}, {"format": "tyinglib-tied"}])
def test_metadata_of_any_kind_is_refused(path, value):
    """`null` gave AttributeError."""
    with_header(path, lambda header: header.update(__metadata__=value))
    refused(path, "does not fit the model|no safetensors file|has version None", used(Heads()))


@pytest.mark.parametrize("shape", [[0, 2**62, 8], [2**63 - 1, 0], [-1], [2**70], "x", None, [1.5], [[]], {"a": 1}])
@pytest.mark.parametrize("dtype", ["F32", "F4", "F8_E8M0", "C64", "X", None, 7])
def test_shapes_and_dtypes_of_any_kind_are_refused(path, shape, dtype):
    with_header(path, lambda header: header.update(z={"dtype": dtype, "shape": shape, "data_offsets": [0, 0]}))
    refused(path, "no safetensors file|altered", used(Heads()))


@pytest.mark.parametrize("field", ["shape", "dim", "bits", "shift"])
@pytest.mark.parametrize("value", [None, True, -1, 2, 62, 63, 2**70, 1.0, "1", [], [4], [4, 4], {}, [[4]], [None]])
def test_numbers_of_any_kind_are_refused(path, field, value):
    good = {"shape": [[4]], "dim": [-1], "bits": [2], "shift": []}  # dim -1 is dim 1
    if value in good[field]:
        pytest.skip("this one is right")
    rewrite(path, edit("ties", lambda ties: ties["c.weight"].update({field: value})))
    refused(path, "c.weight", used(Heads()))
    rewrite(path, edit("ties", lambda ties: ties["c.weight"].pop(field)))
    refused(path, "c.weight", used(Heads()))


@pytest.mark.parametrize(
    "name", ["", ".", "c", "c.", "weight", "c.weight.x", "norm.running_mean", "c.parametrizations", "d.weight"]
)
def test_ties_of_what_is_no_weight_are_refused(path, name):
    def change(tensors, metadata):
        ties = json.loads(metadata["ties"])
        ties[name] = ties.pop("c.weight")
        prefix, _, last = name.rpartition(".")
        for key in ("original", "0.labels"):
            tensors[f"{prefix}.parametrizations.{last}.{key}".lstrip(".")] = tensors.pop(
                f"c.parametrizations.weight.{key}"
            )
        metadata["ties"] = json.dumps(ties)

    rewrite(path, change)
    refused(path, "which the model does not have|without labels", used(Heads()))


@pytest.mark.parametrize("labels", [[0, 0, 2, 2], [0, 0, 1, 3], [0, 0, 0, 0]])
def test_labels_that_are_no_groups_of_the_codebook_are_refused(path, labels):
    """Two bits a label, 0 for pruned: the codebook has two groups."""
    packed = sum(label << shift for label, shift in zip(labels, (6, 4, 2, 0), strict=True))

    def change(tensors, _):
        tensors["c.parametrizations.weight.0.labels"] = torch.tensor([packed], dtype=torch.uint8)

    rewrite(path, change)
    refused(path, "labels of 'c.weight'", used(Heads()))


def test_a_long_name_does_not_make_a_long_message(path):
    """A name of 900 kB made a message of 900 kB. `refused` asserts that the message is short."""
    good, name = path.read_bytes(), "x" * 900_000
    rewrite(path, lambda tensors, _: tensors.update({name: torch.zeros(1)}))
    refused(path, "too many", used(Heads()))
    for what, change in (
        ("ties", lambda ties: ties.update({name: ties["c.weight"]})),
        ("ties", lambda ties: ties["c.weight"].update(dim=name)),
        ("ties", lambda ties: ties["c.weight"].update(shape=name)),
        ("ties", lambda ties: ties["c.weight"].update(shape=[1] * 10_000)),
        ("ties", lambda ties: ties["c.weight"].update(bits=[name])),
        ("ties", lambda ties: ties.update(x=name)),
        ("aliases", lambda aliases: aliases.update({name: name})),
        ("aliases", lambda aliases: aliases.update({name + "y": "a.weight"})),
        ("aliases", lambda aliases: aliases.update({str(number): "a.weight" for number in range(10_000)})),
    ):
        path.write_bytes(good)
        rewrite(path, edit(what, change))
        refused(path, str(path), used(Heads()))
    path.write_bytes(good)
    rewrite(path, lambda _, metadata: metadata.update(version=name))
    refused(path, "has version 'xxx", used(Heads()))
    path.write_bytes(good)
    with_header(path, lambda header: header.update({name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 1]}}))
    refused(path, "no safetensors file", used(Heads()))


# What the model is


def test_a_model_whose_weights_are_nan_is_recovered(path):
    """It was refused: the first tie had been made, and the second looked at values that were to be overwritten."""
    model = nan(Heads())
    before = model.c.weight
    load_tied(model, path)
    assert same_state(model, tie_like(Heads()))
    assert torch.isnan(before).all()  # who holds the old weight has it still
    assert same_state(load_tied(nan(tie_like(Heads())), path), model)


def tie_like(model):
    tie(model.c, "weight", SPEC)
    return model


def test_labels_that_the_memory_made_up_are_overwritten(path):
    """After to_empty, or written by hand: such a tie is none, and any forward call would read where it may not."""
    model = tie_like(Heads())
    model.c.parametrizations.weight[0].labels.fill_(10**9)
    with pytest.raises(ValueError, match="labels name group 1000000000"):
        tie_specs(model)
    assert same_state(load_tied(model, path), tie_like(Heads()))
    model.c.parametrizations.weight[0].labels.copy_(torch.tensor([0, 0, 0, -1]))  # sound, but for a codebook of one
    assert same_state(load_tied(model, path), tie_like(Heads()))
    model.c.parametrizations.weight[0].labels.copy_(torch.tensor([0, 1, 1, -1]))  # another tie: that is said
    refused(path, "'c.weight' is tied otherwise", model)
    model.c.parametrizations.weight[0].labels.fill_(10**9)
    with pytest.raises(ValueError, match="labels"):
        save_tied(model, path)
    model.c.parametrizations.weight[0].labels.copy_(torch.tensor([0, 0, 0, -1]))
    with pytest.raises(ValueError, match=r"'c\.weight' has labels that do not fit its codebook"):
        save_tied(model, path)


def test_a_model_without_values_is_refused(path):
    """RuntimeError, and the first tie made."""
    with torch.device("meta"):
        meta = Heads()
    refused(path, "'a.weight' is on the meta device and has no values; give it memory first", meta)
    half = Heads()
    half.c.to("meta")
    refused(path, "'c.weight' is on the meta device", half)
    with pytest.raises(ValueError, match=r"'a\.weight' is on the meta device"):
        save_tied(meta, path)
    lazy = nn.Sequential(nn.LazyLinear(3))
    refused(path, "'0.weight' has no shape before the first forward call", lazy)
    with pytest.raises(ValueError, match="no shape before"):
        save_tied(lazy, path)
    meta.to_empty(device="cpu")
    meta.b.weight = meta.a.weight  # to_empty loses that
    assert same_state(load_tied(meta, path), tie_like(Heads()))


def test_a_tie_inside_another_parametrization_is_refused(tmp_path):
    """It was loaded, and the layer computed NaN: a direction of zeros has no length."""
    path, layer = tmp_path / "file", nn.Linear(4, 4)
    tie(layer, "weight", TieSpec([0, 1, 2, -1], dim=0))
    save_tied(layer, path)

    def change(tensors, metadata):
        ties = json.loads(metadata["ties"])
        ties["parametrizations.weight.original1"] = ties.pop("weight")
        inner = "parametrizations.weight.parametrizations.original1"
        for key in ("original", "0.labels"):
            tensors[f"{inner}.{key}"] = tensors.pop(f"parametrizations.weight.{key}")
        tensors["parametrizations.weight.original0"] = torch.ones(4, 1)
        metadata["ties"] = json.dumps(ties)

    rewrite(path, change)
    refused(path, "a part of another parametrization", parametrizations.weight_norm(nn.Linear(4, 4)))
    refused(path, "which the model does not have", nn.Linear(4, 4))
    by_hand = parametrizations.weight_norm(nn.Linear(4, 4))
    tie(by_hand.parametrizations.weight, "original1", TieSpec([0, 1, 2, -1], dim=0))
    with pytest.raises(ValueError, match="tied inside another parametrization"):
        save_tied(by_hand, path)  # nor is such a file written


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def twice(model):
    return parametrize.register_parametrization(model, "weight", Doubled())


def test_parametrized_models_are_loaded(tmp_path):
    path = tmp_path / "file"
    for build in (
        lambda: parametrizations.weight_norm(nn.Linear(4, 4)),
        lambda: parametrizations.orthogonal(nn.Linear(4, 4)),
        lambda: twice(nn.Linear(4, 4)),
        lambda: twice(tie(nn.Linear(4, 4), "weight", SPEC)),
    ):
        model, other = build(), build()
        save_tied(model, path)
        assert same_state(load_tied(other, path), model)
        if len(other.parametrizations.weight) == 1:
            refused_as_tied(path, other)


def refused_as_tied(path, model):
    layer = tie(nn.Linear(4, 4), "weight", SPEC)
    save_tied(layer, path)
    refused(path, "'weight', which has another parametrization", model)


def test_labels_beside_another_parametrization_are_the_models_own(tmp_path):
    """A tie in a list of two is part of the architecture; the file's labels went in unread, and out of bounds."""
    path, model = tmp_path / "file", twice(tie(nn.Linear(4, 4), "weight", SPEC))
    save_tied(model, path)
    rewrite(path, lambda tensors, _: tensors["parametrizations.weight.0.labels"].fill_(10**9))
    refused(path, "'parametrizations.weight.0.labels' is tied otherwise", model)


def test_a_layer_that_is_used_twice(tmp_path):
    """Its labels were stored a second time, as numbers, and an untied model did not fit."""
    path = tmp_path / "file"

    def build():
        layer = nn.Linear(4, 4)
        return nn.Sequential(layer, nn.ReLU(), layer)

    model = build()
    tie(model[2], "weight", SPEC)
    size = save_tied(model, path)
    for other in (build(), copy.deepcopy(model), nan(build())):
        load_tied(other, path)
        assert same_state(other, model)
        assert other[0] is other[2]
    one = nn.Sequential(model[0])
    assert size < save_tied(one, tmp_path / "one") + 1024  # names, no values
    apart = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    refused(path, "lacks|one parameter in", apart)


def test_a_shared_codebook(tmp_path):
    def build(tied=True):
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        if tied:
            for layer in model:
                tie(layer, "weight", SPEC)
            share(model[1], model[0], ["parametrizations.weight.original"])
        return model

    model, path = build(), tmp_path / "file"
    save_tied(model, path)
    assert same_state(load_tied(build(), path), model)
    again = load_tied(build(tied=False), path)  # the file says that they have one codebook
    assert same_state(again, model)
    assert again[0].parametrizations.weight.original is again[1].parametrizations.weight.original


def test_who_shared_a_weight_from_outside_keeps_it_and_is_found(path):
    model, outside = Heads(), nn.Linear(4, 3)
    share(outside, model.c, ["weight"])
    assert check_sharing(model, outside) == []
    kept = outside.weight.clone()
    good = path.read_bytes()
    rewrite(path, edit("ties", lambda ties: ties.update(x=ties["c.weight"])))
    refused(path, "'x'", model)
    assert check_sharing(model, outside) == []
    path.write_bytes(good)
    load_tied(model, path)
    assert torch.equal(outside.weight, kept)
    assert [diagnosis.names for diagnosis in check_sharing(model, outside)] == [
        ("0.c.parametrizations.weight.original", "1.weight")
    ]


# What fails in the middle


def failing(model, error):
    """The last module's hook fails, when all is tied and all values are written."""

    def hook(*_):
        raise error

    model.register_load_state_dict_post_hook(hook)
    return model


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), OSError("no"), KeyboardInterrupt(), MemoryError(), KeyError("no")]
)
@pytest.mark.parametrize("change", [lambda model: model, nan, tie_like], ids=["plain", "NaN", "tied"])
def test_an_error_in_the_middle_is_undone(path, error, change):
    model = failing(used(change(Heads())) if change is not nan else nan(used(Heads())), error)
    before = photograph(model)
    expected = ValueError if isinstance(error, RuntimeError) else type(error)
    with pytest.raises(expected, match=r"no|^$"):
        load_tied(model, path)
    assert photograph(model) == before
    for held in model._load_state_dict_post_hooks, model.c._forward_hooks:
        assert len(held) == 1
    model._load_state_dict_post_hooks.clear()
    if change is not tie_like:
        x = torch.ones(2, 4)
        assert torch.equal(model.c(x), nn.functional.linear(x, model.c.weight, model.c.bias)) or change is nan
    assert same_state(load_tied(model, path), tie_like(Heads()))  # and it is not in the way of the next


def test_an_error_beside_another_parametrization_is_undone(tmp_path):
    """The layer has a list of parametrizations already; the tie adds to it, and is taken out again."""
    path = tmp_path / "file"

    def build(tied):
        layer = nn.LSTM(4, 3)
        parametrize.register_parametrization(layer, "bias_hh_l0", Doubled())
        return tie(layer, "weight_ih_l0", SPEC) if tied else layer

    saved = build(tied=True)
    save_tied(saved, path)
    model = failing(build(tied=False), OSError("no"))
    before = photograph(model)
    with pytest.raises(OSError, match="no"):
        load_tied(model, path)
    assert photograph(model) == before
    model._load_state_dict_post_hooks.clear()
    assert same_state(load_tied(model, path), saved)


def test_what_torch_cannot_write_is_undone(path):
    model = Heads()
    model.c.bias = nn.Parameter(torch.zeros(1).expand(3))  # one number under three entries
    refused(path, "torch cannot load", model)
    with torch.inference_mode():
        model = Heads()
    refused(path, "torch cannot load", model)


def test_two_parameters_in_one_piece_of_memory(tmp_path):
    """The last one written would be the value of both, in silence."""
    path, model = tmp_path / "file", nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    save_tied(model, path)
    model[1].weight = nn.Parameter(model[0].weight.detach())
    refused(path, "does not keep what .* says", model)
    save_tied(model, path)
    assert same_state(load_tied(model, path), model)


class Extra(nn.Linear):
    """Keeps a tensor of its own way."""

    own = torch.zeros(2)

    def get_extra_state(self):
        return self.own

    def set_extra_state(self, state):
        self.own = state.clone()


def test_extra_state_is_loaded_and_undone(tmp_path):
    path, model = tmp_path / "file", Extra(2, 2)
    model.own = torch.ones(2)
    save_tied(model, path)
    assert load_tied(Extra(2, 2), path).own.tolist() == [1, 1]
    other = failing(Extra(2, 2), OSError("no"))
    with pytest.raises(OSError, match="no"):
        load_tied(other, path)
    assert other.own.tolist() == [0, 0]


def test_who_trains_on_after_a_refused_file_trains_the_same_model(path):
    model, other = used(Heads()), used(Heads())
    optimizers = [torch.optim.Adam(one.parameters(), lr=0.1) for one in (model, other)]
    rewrite(path, edit("ties", lambda ties: ties.update(x=ties["c.weight"])))
    refused(path, "'x'", model)
    for optimizer in optimizers:
        optimizer.step()
    assert same_state(model, other)
