"""Counting and storing: by hand on small models, and every kind of damaged file."""

import json
import os
import struct

import pytest
import safetensors.torch
import torch
from torch import nn

from tyinglib import TieSpec, count_parameters, load_tied, save_tied, storage_bits, tie, tie_specs
from tyinglib.compression import ParameterCount

HEADER = 4096


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))


def build_tied():
    model = build()
    tie(model[0], "weight", TieSpec(torch.arange(64) // 4, dim=1))
    tie(model[3], "weight", TieSpec([*range(5), *[-1] * 27], dim=1))
    return model


class Siamese(nn.Module):
    """Two heads that use one Parameter."""

    def __init__(self, shared=True):
        super().__init__()
        self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)
        if shared:
            self.b.weight = self.a.weight


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    model = build_tied()
    save_tied(model, path)
    return model, path


def same_state(model, other):
    mine, theirs = model.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_counts_by_hand():
    total = 64 * 32 + 32 + 64 + 10 * 32 + 10
    assert count_parameters(build()) == ParameterCount(total, total - 32, total - 32)  # BatchNorm's 32 biases are 0
    model = build_tied()
    nonzero = 64 * 32 + 32 + 32 + 10 * 5 + 10
    unique = 16 * 32 + 32 + 32 + 10 * 5 + 10
    assert count_parameters(model) == ParameterCount(total, nonzero, unique)


def test_rates():
    count = ParameterCount(total=100, nonzero=40, unique=10)
    assert (count.sparsity, count.sharing_rate, count.compression_rate) == (0.6, 4.0, 10.0)
    assert count.compression_rate == pytest.approx(count.sharing_rate / (1 - count.sparsity))
    empty = count_parameters(nn.ReLU())
    assert empty.sparsity == 0
    assert empty.compression_rate != empty.compression_rate  # nan: nothing to compress


def test_equal_values_are_not_shared_but_one_parameter_is():
    layer = nn.Linear(3, 2, bias=False)
    nn.init.ones_(layer.weight)
    assert count_parameters(layer).unique == 6
    assert count_parameters(Siamese()) == ParameterCount(16, 16, 10)
    assert count_parameters(Siamese(shared=False)).unique == 16


def test_storage_bits_by_hand():
    layer = tie(nn.Linear(5, 2, bias=False), "weight", TieSpec([0, 1, 2, -1, 0], dim=1))
    assert storage_bits(layer) == 3 * 2 * 32 + 5 * 2  # three groups and "pruned": 2 bits a label
    assert storage_bits(layer, value_bits=8) == 3 * 2 * 8 + 5 * 2
    one = tie(nn.Linear(5, 2, bias=False), "weight", TieSpec([0] * 5, dim=1))
    assert storage_bits(one) == 2 * 32  # one group: a label says nothing
    for bad in (0, 1.5, True):
        with pytest.raises(ValueError, match="positive integer"):
            storage_bits(layer, value_bits=bad)


@pytest.mark.parametrize("model", [build(), build_tied(), Siamese()], ids=["free", "tied", "shared"])
def test_file_is_values_and_labels_and_a_header(model, tmp_path):
    size = save_tied(model, tmp_path / "m")
    assert size == (tmp_path / "m").stat().st_size
    assert size <= 1.05 * storage_bits(model) / 8 + HEADER


def test_large_ties_are_stored_within_five_percent(tmp_path):
    model = nn.Linear(1024, 512, bias=False)
    tie(model, "weight", TieSpec(torch.arange(1024 * 512).view(512, 1024) % 300, dim=None))
    exact = 300 * 4 + 1024 * 512 * 9 / 8
    assert save_tied(model, tmp_path / "m") <= 1.05 * exact


def test_round_trip_is_bit_for_bit_and_ties_again(saved):
    model, path = saved
    again = load_tied(build(), path)
    assert tie_specs(again) == tie_specs(model)
    assert same_state(again, model)
    x = torch.randn(8, 64)
    assert torch.equal(again.eval()(x), model.eval()(x))
    assert same_state(load_tied(build_tied(), path), model)  # tied already, in the same way


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("k", [1, 2, 3, 255, 256, 257])
def test_round_trip_of_every_label_width_and_dtype(dtype, k, tmp_path):
    labels = (torch.arange(600) % k).view(20, 30)
    labels[0, 0] = -1 if k > 1 else 0
    layer = nn.Linear(30, 20).to(dtype)
    tie(layer, "weight", TieSpec(labels, dim=None))
    save_tied(layer, tmp_path / "m")
    again = load_tied(nn.Linear(30, 20).to(dtype), tmp_path / "m")
    assert same_state(again, layer)


def test_everything_pruned_and_a_bare_layer(tmp_path):
    layer = tie(nn.Linear(3, 2), "weight", TieSpec([-1, -1, -1], dim=1))
    save_tied(layer, tmp_path / "m")
    assert same_state(load_tied(nn.Linear(3, 2), tmp_path / "m"), layer)


def test_shared_parameters_are_stored_once_and_must_be_shared_again(tmp_path):
    model = Siamese()
    save_tied(model, tmp_path / "m")
    again = load_tied(Siamese(), tmp_path / "m")
    assert again.a.weight is again.b.weight
    assert same_state(again, model)
    with pytest.raises(ValueError, match="share them alike"):
        load_tied(Siamese(shared=False), tmp_path / "m")
    save_tied(Siamese(shared=False), tmp_path / "n")
    with pytest.raises(ValueError, match="share them alike"):
        load_tied(Siamese(), tmp_path / "n")


def refused(path, message, model=None):
    """load_tied refuses, and the model is as it was."""
    model = model or build()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    specs = tie_specs(model)
    with pytest.raises(ValueError, match=message):
        load_tied(model, path)
    assert tie_specs(model) == specs
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_file_cut_short_anywhere_is_refused(saved):
    _, path = saved
    data = path.read_bytes()
    for length in range(0, len(data), len(data) // 60):
        path.write_bytes(data[:length])
        refused(path, "cut short|no safetensors|altered|save_tied")


def test_a_flipped_bit_anywhere_is_refused(saved):
    _, path = saved
    data = bytearray(path.read_bytes())
    end_of_header = 8 + struct.unpack("<Q", data[:8])[0]
    places = [*range(8, end_of_header, 37), *range(end_of_header, len(data), 501)]
    for place in places:
        data[place] ^= 4
        path.write_bytes(data)
        refused(path, "cut short|no safetensors|altered|damaged|save_tied|version")
        data[place] ^= 4
    path.write_bytes(data)
    load_tied(build(), path)  # all bits put back: it loads


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(b"PK\x03\x04 not ours")
    refused(path, "no safetensors file")
    torch.save(build().state_dict(), path)
    refused(path, "no safetensors file")
    safetensors.torch.save_file(build().state_dict(), path)
    refused(path, "not written by save_tied")
    with pytest.raises(FileNotFoundError):
        load_tied(build(), tmp_path / "absent")


def rewritten(path, change):
    """The file with its metadata changed and the hash made right again, as a stranger could."""
    from tyinglib import compression

    tensors, metadata = compression._read(path, 1 << 30)
    change(tensors, metadata)
    metadata["sha256"] = compression._digest(tensors, metadata)
    path.write_bytes(safetensors.torch.save(tensors, metadata))


def edit_ties(edit):
    def change(_tensors, metadata):
        ties = json.loads(metadata["ties"])
        edit(ties)
        metadata["ties"] = json.dumps(ties)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, m: m.update(version="9"), "version '9'"),
        (lambda t, m: m.update(ties="[1]"), "cannot be read"),
        (lambda t, m: m.update(ties="{"), "cannot be read"),
        (lambda t, m: t.pop("0.parametrizations.weight.0.labels"), "cannot be read"),
        (edit_ties(lambda ties: ties["0.weight"].update(bits=60)), "labels of a tie are damaged"),
        (edit_ties(lambda ties: ties["0.weight"].update(bits=-1)), "damaged"),
        (edit_ties(lambda ties: ties["0.weight"].update(shape=[10**12])), "labels of a tie are damaged"),
        (edit_ties(lambda ties: ties["0.weight"].update(shape="x")), "damaged"),
        (edit_ties(lambda ties: ties["0.weight"].update(shift=99)), "labels of a tie are damaged"),
        (edit_ties(lambda ties: ties["0.weight"].update(dim=7)), "does not fit its shape"),
        (edit_ties(lambda ties: ties["0.weight"].update(dim="x")), "integer or None"),
        (edit_ties(lambda ties: ties.pop("3.weight")), "too many"),
    ],
)
def test_well_formed_nonsense_is_refused(saved, change, message):
    _, path = saved
    rewritten(path, change)
    refused(path, message)


def test_a_model_that_does_not_fit_is_refused(saved):
    _, path = saved
    other = build_tied()
    refused(path, "torch.float64", build().double())
    refused(path, "lacks", nn.Sequential(*build(), nn.Linear(10, 2)))
    refused(path, "does not have", nn.Linear(64, 32))
    refused(path, "does not fit its shape", nn.Sequential(nn.Linear(65, 32), *list(build())[1:]))
    refused(path, r"\(33,\)", nn.Sequential(nn.Linear(64, 33), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)))
    wrong = build()
    tie(wrong[0], "weight", TieSpec(torch.arange(64) // 2, dim=1))
    refused(path, "tied otherwise", wrong)
    tie(other[0], "bias", TieSpec(torch.zeros(32, dtype=torch.int64), dim=0))
    refused(path, "untie it first", other)


def test_what_cannot_be_stored_is_refused_and_the_old_file_stays(saved):
    _, path = saved
    before = path.read_bytes()

    class Odd(nn.Linear):
        def get_extra_state(self):
            return {"a": 1}

        def set_extra_state(self, state):
            pass

    with pytest.raises(ValueError, match="only tensors"):
        save_tied(Odd(2, 2), path)
    assert path.read_bytes() == before


def test_a_failed_write_leaves_the_old_file_and_no_litter(saved, monkeypatch):
    model, path = saved
    before = path.read_bytes()

    def full_disk(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_tied(model, path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_what_killed_writers_left_is_removed_an_hour_later(saved):
    model, path = saved
    old, young = (path.with_name(f".{path.name}.{digit * 16}.tmp") for digit in "0f")
    others = [path.with_name(f".other.{'0' * 16}.tmp"), path.with_name(f".{path.name}.mine.tmp")]
    for file in (old, young, *others):
        file.write_bytes(b"unfinished")
        os.utime(file, (0, 0))
    os.utime(young)
    save_tied(model, path)
    assert {p.name for p in path.parent.iterdir()} == {p.name for p in (path, young, *others)}
