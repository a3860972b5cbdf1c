"""What other libraries wrote, read by `load_tied`; and what `save_tied` wrote, read by them."""

import pytest
import safetensors.torch
import torch
from torch import nn

from tyinglib import TieSpec, load_tied, save_tied, share, tie, tie_specs


class Language(nn.Module):
    """An embedding, and a head that shares it."""

    def __init__(self, seed=0, shared=True):
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Embedding(6, 4)
        self.body = nn.Linear(4, 4)
        self.head = nn.Linear(4, 6)
        if shared:
            self.head.weight = self.embed.weight


def same(model, other):
    mine, theirs = model.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_what_save_model_wrote(tmp_path):
    """The names that it left out stand in the metadata."""
    model, path = Language(), tmp_path / "file"
    safetensors.torch.save_model(model, path)
    other = load_tied(Language(1), path)
    assert same(other, model)
    assert other.head.weight is other.embed.weight
    with pytest.raises(ValueError, match=r"are one parameter in .* only; share them alike"):
        load_tied(Language(1, shared=False), path)


@pytest.mark.parametrize("left_out", ["embed.weight", "head.weight"])
def test_what_transformers_writes(tmp_path, left_out):
    """The names that it left out stand nowhere: the model knows."""
    model, path = Language(), tmp_path / "file"
    state = {key: value for key, value in model.state_dict().items() if key != left_out}
    safetensors.torch.save_file(state, path, metadata={"format": "pt"})
    assert same(load_tied(Language(1), path), model)
    with pytest.raises(ValueError, match=f"it lacks \\['{left_out}'\\]"):
        load_tied(Language(1, shared=False), path)


def test_copies_of_a_shared_weight_must_agree(tmp_path):
    """As converted from a file of torch.save: every name has its own copy."""
    model, path = Language(), tmp_path / "file"
    state = {key: value.clone() for key, value in model.state_dict().items()}
    safetensors.torch.save_file(state, path)
    assert same(load_tied(Language(1), path), model)
    assert same(load_tied(Language(1, shared=False), path), model)
    state["head.weight"] += 1
    safetensors.torch.save_file(state, path)
    other = Language(1)
    with pytest.raises(ValueError, match="are one parameter in the model only; share them alike"):
        load_tied(other, path)
    assert same(other, Language(1))


@pytest.mark.parametrize("factors", [None, [1, -1, 1, 1]])
def test_a_tied_model_through_save_model(tmp_path, factors):
    """The file has the labels as numbers, and not the dimension: the model must be tied alike."""
    spec, path = TieSpec([0, 0, 1, -1], dim=0, factors=factors), tmp_path / "file"
    model, other = (tie(Language(seed), "body.weight", spec) for seed in (0, 1))
    safetensors.torch.save_model(model, path)
    assert same(load_tied(other, path), model)
    assert tie_specs(other) == {"body.weight": spec}
    untied = Language(1)
    with pytest.raises(ValueError, match="does not fit the model"):
        load_tied(untied, path)
    assert same(untied, Language(1))
    if factors is not None:
        return
    otherwise = tie(Language(1), "body.weight", TieSpec([0, 1, 1, -1], dim=0))
    with pytest.raises(ValueError, match="tied otherwise"):
        load_tied(otherwise, path)
    state = model.state_dict()
    state["body.parametrizations.weight.0.labels"] = torch.tensor([0, 0, 9, -1])
    safetensors.torch.save_file({key: value for key, value in state.items() if key != "head.weight"}, path)
    with pytest.raises(ValueError, match="are no groups of its codebook"):
        load_tied(other, path)


def test_what_save_tied_writes_of_shared_parameters_others_read(tmp_path):
    """Of ties they know nothing: they get them by `dense_state`."""
    model, path = Language(), tmp_path / "file"
    save_tied(model, path)
    other = Language(1)
    missing, unexpected = safetensors.torch.load_model(other, path)
    assert (list(missing), list(unexpected)) == ([], [])
    assert same(other, model)


def test_two_models_that_share(tmp_path):
    pair, path = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)}), tmp_path / "file"
    share(pair["b"], pair["a"], ["weight"])
    safetensors.torch.save_model(pair, path)
    again = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    share(again["b"], again["a"], ["weight"])
    assert same(load_tied(again, path), pair)


def test_a_file_without_a_hash_is_refused_where_it_does_not_fit(tmp_path):
    path = tmp_path / "file"
    safetensors.torch.save_file({"embed.weight": torch.zeros(7, 4)}, path)
    with pytest.raises(ValueError, match="does not fit the model"):
        load_tied(Language(), path)
    safetensors.torch.save_model(Language().double(), path)
    with pytest.raises(ValueError, match=r"(?s)float64 in .*, but .* torch\.float32 in the model"):
        load_tied(Language(), path)
