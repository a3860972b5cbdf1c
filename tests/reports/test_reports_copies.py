"""Sharing that is lost by copies, by loading, by moving; and sharing that nobody meant."""

import copy

import pytest
import torch
from reported_models import TIE, TOKENS, TiedLM, descend, kinds
from reports import report
from torch import nn

from tyinglib import (
    check_sharing,
    count_parameters,
    load_tied,
    save_tied,
    share,
    shared_parameters,
)


@report(
    "pytorch/pytorch",
    188346,
    "`load_state_dict(assign=True)` makes two Parameters of one that has two names, and an optimizer steps both.",
    today="still so",
    here="reported by",
    by=("check_sharing",),
)
def test_assign_makes_two_of_one():
    model = TiedLM()
    model.load_state_dict(TiedLM().state_dict(), assign=True)
    shows = not model.is_tied
    assert [(found.kind, found.names) for found in check_sharing(model)] == [("memory", TIE)]
    return shows


@report(
    "pytorch/pytorch",
    188166,
    "A state dict that was once loaded with `assign=True` remembers it: a later plain load replaces Parameters too.",
    today="still so",
    here="reported by",
    by=("check_sharing",),
)
def test_a_state_remembers_that_it_was_assigned():
    state, model = TiedLM().state_dict(), TiedLM()
    TiedLM().load_state_dict(state, assign=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model.emb.weight
    model.load_state_dict(state)
    shows = model.emb.weight is not before
    assert kinds(check_sharing(model, optimizers=optimizer)) == {"memory", "stale", "untrained"}
    return shows


@report(
    "pytorch/pytorch",
    79788,
    "`copy.deepcopy` gives each of two Parameters that lie in one memory a memory of its own.",
    today="still so",
    here="reported by",
    by=("check_sharing",),
)
def test_a_deepcopy_parts_what_lies_in_one_memory():
    values = torch.randn(3)
    pair = nn.ParameterList([nn.Parameter(values), nn.Parameter(values)])
    twin = copy.deepcopy(pair)
    shows = pair[0].data_ptr() == pair[1].data_ptr() and twin[0].data_ptr() != twin[1].data_ptr()
    assert kinds(check_sharing(pair)) == {"memory"}
    assert kinds(check_sharing(twin)) == {"equal"}
    return shows


@report(
    "pytorch/pytorch",
    86274,
    "All layers of a fresh `nn.TransformerEncoder` start with the same values.",
    today="still so",
    here="no alarm from",
    by=("check_sharing",),
)
def test_a_fresh_encoder_starts_equal_and_is_not_accused():
    layer = nn.TransformerEncoderLayer(d_model=4, nhead=2, dim_feedforward=8, batch_first=True)
    encoder = nn.TransformerEncoder(layer, num_layers=3)
    shows = torch.equal(encoder.layers[0].linear1.weight, encoder.layers[1].linear1.weight)
    assert check_sharing(encoder) == []
    return shows


@report(
    "harvardnlp/annotated-transformer",
    9,
    "A stack that is made by `deepcopy` of one layer starts with the same values in every layer.",
    today="here too",
    here="reported by",
    by=("check_sharing",),
)
def test_a_stack_of_copies_is_one_finding():
    layer = nn.Linear(3, 3)
    stack = nn.ModuleList(copy.deepcopy(layer) for _ in range(4))
    shows = torch.equal(stack[0].weight, stack[3].weight)
    weights = next(found for found in check_sharing(stack) if "0.weight" in found.names)
    assert weights.names == ("0.weight", "1.weight", "2.weight", "3.weight")
    return shows


@report(
    "Modalities/modalities",
    357,
    "A model with tied embeddings that is made on `meta` and filled later has a head of its own.",
    today="here too",
    here="reported by",
    by=("check_sharing", "share"),
)
def test_to_empty_unties():
    with torch.device("meta"):
        model = TiedLM()
    expected = shared_parameters(model)
    model.to_empty(device="cpu")
    shows = not model.is_tied
    assert kinds(check_sharing(model, expected=expected)) == {"expected"}
    share(model.head, model.emb, ["weight"])
    assert check_sharing(model, expected=expected) == []
    return shows


@report(
    "Lightning-AI/pytorch-lightning",
    2705,
    "Moving a model to a TPU unties it without a word; so does any conversion that replaces Parameters.",
    today="here too",
    here="reported by",
    by=("check_sharing",),
)
def test_a_move_that_replaces_parameters_unties():
    model = TiedLM()
    expected = shared_parameters(model)
    model.double()
    assert model.is_tied, "torch's own moves keep it"
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # what XLA tensors bring about
    try:
        model.float()
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
    assert kinds(check_sharing(model, expected=expected)) == {"expected"}
    return not model.is_tied


@report(
    "pytorch/xla",
    2719,
    "Weights that are tied by assigning `.data`, transposed, are two as soon as the model is moved.",
    today="here too",
    here="reported by",
    by=("check_sharing",),
)
def test_a_tie_by_data_does_not_survive_a_move():
    there, back = nn.Linear(3, 2, bias=False), nn.Linear(2, 3, bias=False)
    back.weight.data = there.weight.data.t()
    assert kinds(check_sharing(there, back)) == {"memory"}
    there.double(), back.double()
    with torch.no_grad():
        there.weight.fill_(7.0)
    return not bool((back.weight == 7.0).any())


@report(
    "TransformerLensOrg/TransformerLens",
    1725,
    "A checkpoint that has one of two tied names, loaded with `assign=True`, leaves the old head in place.",
    today="here too",
    here="reported by",
    by=("check_sharing",),
)
def test_a_partial_load_leaves_a_stale_head():
    model, other = TiedLM(), TiedLM()
    model.load_state_dict({"emb.weight": other.emb.weight.detach()}, strict=False, assign=True)
    shows = not torch.equal(model.head.weight, other.emb.weight)
    assert [found.names for found in check_sharing(model, expected=[TIE])] == [TIE]
    return shows


@report(
    "google/flax",
    1263,
    "Setting the head's values to those of the embedding does not tie them: training moves them apart.",
    today="here too",
    here="works with",
    by=("check_sharing", "share"),
)
def test_equal_values_are_no_tie():
    torch.manual_seed(0)
    model = TiedLM(tied=False)
    model.head.load_state_dict({"weight": model.emb.weight})
    assert [found.names for found in check_sharing(model)] == [TIE]
    descend(model, model(TOKENS).square().sum())
    shows = not torch.equal(model.head.weight, model.emb.weight)
    share(model.head, model.emb, ["weight"])
    descend(model, model(TOKENS).square().sum())
    assert torch.equal(model.head.weight, model.emb.weight)
    return shows


@report(
    "keras-team/keras",
    10898,
    "A layer that a model uses twice comes back from disk as two layers, which then train apart.",
    today="here too",
    here="refused by",
    by=("load_tied",),
)
def test_a_shared_layer_is_not_loaded_into_two(tmp_path):
    saved, two = TiedLM(), TiedLM(tied=False)
    two.load_state_dict(saved.state_dict())  # all keys match
    shows = torch.equal(two.head.weight, two.emb.weight) and not two.is_tied
    save_tied(saved, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"head\.weight"):
        load_tied(two, tmp_path / "model.safetensors")
    assert load_tied(TiedLM(), tmp_path / "model.safetensors").is_tied
    return shows


@report(
    "mlverse/torch",
    305,
    "The list of a model's parameters has a layer that is there under two names twice.",
    today="not here",
    here="works with",
    by=("shared_parameters", "count_parameters"),
)
def test_a_layer_with_two_names_is_listed_once():
    layer = nn.Linear(10, 10)
    model = nn.ModuleDict({"x": layer, "y": layer})
    assert shared_parameters(model) == [("x.weight", "y.weight"), ("x.bias", "y.bias")]
    assert count_parameters(model).unique == 110
    return len(list(model.parameters())) != 2


@report(
    "learnables/learn2learn",
    174,
    "Cloning a model in which layers have two names doubles the number of its parameters.",
    today="not here",
    here="no alarm from",
    by=("check_sharing", "shared_parameters"),
)
def test_a_deepcopy_keeps_layers_with_two_names():
    parts = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    model = nn.ModuleDict({"parts": parts, "net": nn.Sequential(parts, nn.Linear(3, 1))})
    clone = copy.deepcopy(model)
    assert shared_parameters(clone) == shared_parameters(model) != []
    assert check_sharing(clone, expected=shared_parameters(model)) == []
    return len(list(clone.parameters())) != len(list(model.parameters()))


@report(
    "acids-ircam/ddsp_pytorch",
    37,
    "`[layer] * 2` is one layer twice: two parts of a network share their weights by accident.",
    today="here too",
    here="reported by",
    by=("shared_parameters",),
)
def test_a_list_times_two_shares_by_accident():
    parts = nn.ModuleList([nn.Linear(1, 2)] * 2)
    assert shared_parameters(parts) == [("0.weight", "1.weight"), ("0.bias", "1.bias")]
    return parts[0].weight is parts[1].weight


@report(
    "espnet/espnet",
    5533,
    "Averaging checkpoints over the names of a state dict, in place, adds a weight with two names twice.",
    today="here too",
    here="reported by",
    by=("shared_parameters",),
)
def test_averaging_over_names_counts_a_shared_weight_twice():
    model, other = TiedLM(), TiedLM()
    right = (model.emb.weight + other.emb.weight).detach()
    total = model.state_dict()
    for name, value in other.state_dict().items():
        total[name] += value
    assert shared_parameters(model) == [TIE], "go over parameters(), or over the first of these names"
    return not torch.allclose(total["emb.weight"], right)


@report(
    "NVIDIA-NeMo/Automodel",
    2571,
    "A head that is not tied, though the settings say so, is left out of the checkpoint, and resuming changes it.",
    today="here too",
    here="kept by",
    by=("save_tied", "load_tied"),
)
def test_a_head_of_its_own_is_saved(tmp_path):
    model = TiedLM(tied=False)
    state = {"emb.weight": model.emb.weight, "head.weight": model.emb.weight}  # "tied, so one of them will do"
    resumed = TiedLM(tied=False)
    resumed.load_state_dict(state)
    shows = not torch.equal(resumed(TOKENS), model(TOKENS))
    save_tied(model, tmp_path / "model.safetensors")
    assert torch.equal(load_tied(resumed, tmp_path / "model.safetensors")(TOKENS), model(TOKENS))
    return shows


@report(
    "microsoft/onnxruntime-genai",
    2306,
    "A model whose head is a matrix of its own is tied all the same, and answers nonsense, without a word.",
    today="here too",
    here="reported by",
    by=("check_sharing",),
)
def test_a_checkpoint_of_an_untied_model_in_a_tied_one():
    checkpoint, model = TiedLM(tied=False).state_dict(), TiedLM()
    assert [(f.kind, f.names) for f in check_sharing(model, checkpoint=checkpoint)] == [("checkpoint", TIE)]
    told = model.load_state_dict(checkpoint)
    return not (told.missing_keys or told.unexpected_keys) and torch.equal(model.emb.weight, model.head.weight)


@report(
    "patrick-kidger/equinox",
    790,
    "It is asked how n networks can share one part and keep the rest, without naming each of its weights.",
    today="not run",
    here="works with",
    by=("share", "check_sharing"),
)
def test_networks_share_one_part_by_its_name():
    nets = nn.ModuleList(
        nn.ModuleDict({"attention": nn.Linear(4, 4), "mlp": nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4))})
        for _ in range(3)
    )
    for net in nets[1:]:
        share(net, nets[0], ["mlp"])
    assert len(shared_parameters(nets)) == 4
    assert count_parameters(nets).unique == 3 * 20 + 40 + 36
    assert check_sharing(nets, optimizers=torch.optim.SGD(nets.parameters(), lr=0.1)) == []
    return None
