"""Files: what is stored once, what twice, what is lost."""

import os

import pytest
import torch
from reported_models import TIE, TiedLM
from reports import report
from safetensors.torch import load_file, save_file, save_model
from torch import nn

from tyinglib import TieSpec, check_sharing, load_tied, save_tied, tie
from tyinglib.diagnosis import check_file


class Views(nn.Module):
    """Two Parameters that are parts of one memory: entries `first` and `second` of it."""

    def __init__(self, size, first, second):
        super().__init__()
        values = torch.randn(size)
        self.p, self.q = nn.Parameter(values[first]), nn.Parameter(values[second])


def kept(model, fresh, path):
    """Whether a file of ours brings the values back."""
    save_tied(model, path)
    load_tied(fresh, path)
    return all(torch.equal(x, y) for x, y in zip(model.parameters(), fresh.parameters(), strict=True))


@report(
    "safetensors/safetensors",
    98,
    "The state of a model with a tied head is not written: some tensors share memory.",
    today="by design",
    here="kept by",
    by=("save_tied", "load_tied"),
)
def test_a_tied_model_is_written_and_read(tmp_path):
    model = TiedLM()
    assert kept(model, TiedLM(), tmp_path / "ours.safetensors")
    assert load_tied(TiedLM(), tmp_path / "ours.safetensors").is_tied
    with pytest.raises(RuntimeError) as refusal:
        save_file(model.state_dict(), tmp_path / "theirs.safetensors")
    return "share memory" in str(refusal.value)


@report(
    "safetensors/safetensors",
    202,
    "A model whose Parameters are parts of one memory that none of them covers is not written.",
    today="still so",
    here="works with",
    by=("save_tied", "load_tied"),
)
def test_overlapping_parts_of_one_memory(tmp_path):
    model = Views(10, slice(0, 4), slice(2, 8))
    assert kept(model, Views(10, slice(0, 4), slice(2, 8)), tmp_path / "ours.safetensors")
    with pytest.raises(RuntimeError) as refusal:
        save_model(model, str(tmp_path / "theirs.safetensors"))
    return "no suitable name" in str(refusal.value)


@report(
    "huggingface/diffusers",
    4361,
    "Parameters that lie side by side in one memory are taken for shared ones, and not written.",
    today="mended",
    here="works with",
    by=("save_tied", "load_tied"),
)
def test_parts_of_one_memory_side_by_side(tmp_path):
    model, path = Views(8, slice(0, 4), slice(4, 8)), tmp_path / "theirs.safetensors"
    assert kept(model, Views(8, slice(0, 4), slice(4, 8)), tmp_path / "ours.safetensors")
    save_file(model.state_dict(), path)
    return not torch.equal(load_file(path)["q"], model.q)


@report(
    "alibaba-damo-academy/SpokenNLP",
    6,
    "A file that has one name of a shared weight is refused by a strict load of the same model: keys are missing.",
    today="here too",
    here="kept by",
    by=("save_tied", "load_tied"),
)
def test_one_name_of_two_is_enough(tmp_path):
    model = TiedLM()
    assert kept(model, TiedLM(), tmp_path / "ours.safetensors")
    save_model(model, str(tmp_path / "theirs.safetensors"))
    with pytest.raises(RuntimeError) as refusal:
        TiedLM().load_state_dict(load_file(tmp_path / "theirs.safetensors"))
    return 'Missing key(s) in state_dict: "head.weight"' in str(refusal.value)


@report(
    "safetensors/safetensors",
    236,
    "A checkpoint with two values for what is one weight in the model loads without a word, and one value is lost.",
    today="here too",
    here="reported by",
    by=("check_sharing",),
)
def test_two_values_for_one_weight():
    a, b = TiedLM(tied=False), TiedLM()
    found = check_sharing(b, checkpoint=a.state_dict())
    assert [(one.kind, one.names) for one in found] == [("checkpoint", TIE)]
    b.load_state_dict(a.state_dict())
    return b.is_tied and not torch.equal(b.emb.weight, a.emb.weight)


@report(
    "pytorch/pytorch",
    1995,
    "A file of a small part of a large tensor is as large as the tensor.",
    today="by design",
    here="works with",
    by=("save_tied",),
)
def test_a_part_of_a_large_tensor(tmp_path):
    layer = nn.Linear(10, 1, bias=False)
    layer.weight = nn.Parameter(torch.randn(100, 1000)[:1, :10])
    assert save_tied(layer, tmp_path / "ours.safetensors") < 1000
    torch.save(layer.state_dict(), tmp_path / "theirs.pt")
    return os.path.getsize(tmp_path / "theirs.pt") > 400_000


@report(
    "apple/coremltools",
    1832,
    "Two layers with the same weights are stored twice.",
    today="here too",
    here="reported by",
    by=("check_file",),
)
def test_equal_weights_are_stored_twice(tmp_path):
    one, other = nn.Linear(30, 40, bias=False), nn.Linear(30, 40, bias=False)
    other.load_state_dict(one.state_dict())
    torch.save(nn.ModuleList([one, other]).state_dict(), tmp_path / "both.pt")
    assert [found.names for found in check_file(tmp_path / "both.pt")] == [("0.weight", "1.weight")]
    return os.path.getsize(tmp_path / "both.pt") > 2 * 4 * 30 * 40


@report(
    "EvolvingLMMs-Lab/lmms-engine",
    157,
    "A checkpoint that was put together from shards holds the tied head a second time, hundreds of megabytes.",
    today="here too",
    here="reported by",
    by=("check_file", "save_tied"),
)
def test_a_merged_checkpoint_has_the_head_twice(tmp_path):
    model = TiedLM()
    merged = {name: value.clone() for name, value in model.state_dict().items()}  # each from shards of its own
    save_file(merged, tmp_path / "merged.safetensors")
    (found,) = check_file(tmp_path / "merged.safetensors")
    assert found.names == TIE
    save_tied(model, tmp_path / "ours.safetensors")
    assert check_file(tmp_path / "ours.safetensors") == []
    return len(load_file(tmp_path / "merged.safetensors")) == 2


@report(
    "tensorflow/model-optimization",
    279,
    "Clustered weights take as much room in the file as before, until somebody zips it.",
    today="here too",
    here="works with",
    by=("tie", "save_tied"),
)
def test_clusters_alone_save_nothing(tmp_path):
    labels = torch.arange(200) % 8
    free, tied = nn.Linear(200, 50, bias=False), nn.Linear(200, 50, bias=False)
    tie(tied, "weight", TieSpec(labels, dim=1))
    torch.save(free.state_dict(), tmp_path / "free.pt")
    free.load_state_dict({"weight": tied.weight.detach()})
    torch.save(free.state_dict(), tmp_path / "clustered.pt")
    sizes = [os.path.getsize(tmp_path / name) for name in ("free.pt", "clustered.pt")]
    assert save_tied(tied, tmp_path / "tied.safetensors") < sizes[1] / 10
    return abs(sizes[1] - sizes[0]) < 100
