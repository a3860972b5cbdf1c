"""Files from strangers: load_tied refuses with a ValueError or loads; no code runs, no memory is taken on a claim."""

import json
import os
import pickle
import tracemalloc

import pytest
import safetensors.torch
import strangers_file
import strangers_seeds
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import nn

from tyinglib import load_tied, save_tied
from tyinglib.saving import _state, _tied_file

RUNS = int(os.environ.get("FUZZ", "200"))


@st.composite
def damaged(draw):
    """A seed with pieces changed, left out, doubled or put in."""
    data = bytearray(draw(st.sampled_from(strangers_seeds.SEEDS)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(1, max(1, len(data) - 1)))
        size = draw(st.integers(0, 8))
        new = draw(
            st.binary(max_size=4) | st.sampled_from([b"1", b"-", b"null", b"1e9", b"[[", b"{}", b'"', b"99999999999"])
        )
        data[at : at + size] = new
    return bytes(data)


@settings(max_examples=RUNS, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(damaged() | st.binary(max_size=200))
@example(b"\1" + b"[" * 100_000 + b"\n{}")
@example(b"\1{}\n[]")
@example(b'\1{}\n{"a.bias": []}')
@example(b"\2" + b"[" * 100_000)
def test_refused_or_loaded(data):
    assert strangers_file.try_input(data) in ("refused", "loaded")


def test_the_seeds_are_what_they_should_be():
    assert {strangers_file.try_input(seed) for seed in strangers_seeds.LOADED} == {"loaded"}
    assert {strangers_file.try_input(seed) for seed in strangers_seeds.REFUSED} == {"refused"}


class Bomb:
    """Unpickled, it would run code."""

    def __reduce__(self):
        return (os.mkdir, ("it-ran",))


def test_no_code_runs_at_load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps(Bomb())
    saved = tmp_path / "saved.pt"
    torch.save({"weight": Bomb()}, saved)
    for data in (pickled, saved.read_bytes(), len(pickled).to_bytes(8, "little") + pickled):
        (tmp_path / "file").write_bytes(data)
        with pytest.raises(ValueError, match="no safetensors file"):
            load_tied(nn.Linear(2, 2), tmp_path / "file")
    assert not (tmp_path / "it-ran").exists()
    with pytest.raises(FileExistsError):
        pickle.loads(pickled), pickle.loads(pickled)  # the bomb is one


def test_a_claimed_size_takes_no_memory(tmp_path):
    """The file says that a tie has 10^11 labels of no bits, or is far larger than the model: neither is believed."""
    path, model = tmp_path / "file", nn.Linear(4, 3)
    ties = {"weight": {"shape": [10**11], "dim": 1, "bits": 0, "shift": 0}}
    tensors = {
        "parametrizations.weight.original": torch.zeros(3, 1),
        "parametrizations.weight.0.labels": torch.zeros(0, dtype=torch.uint8),
        "bias": torch.zeros(3),
    }
    metadata = {"format": _tied_file.FORMAT, "version": _tied_file.VERSION, "ties": json.dumps(ties), "aliases": "{}"}
    metadata["sha256"] = _tied_file.digest(tensors, metadata)
    path.write_bytes(safetensors.torch.save(tensors, metadata))
    with pytest.raises(ValueError, match="does not fit its shape"):
        load_tied(model, path)
    with open(path, "wb") as file:
        file.truncate(1 << 40)  # a hole: it takes no disk
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="has 1099511627776 bytes, more than this model can need"):
            load_tied(model, path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs a file without end")
def test_a_file_without_end_is_left():
    with pytest.raises(ValueError, match="more bytes than this model can need"):
        load_tied(nn.Linear(4, 3), "/dev/zero")


def test_the_largest_honest_file_is_within_the_limit(tmp_path):
    for layer in (nn.Linear(300, 200), nn.Linear(3, 2).double(), nn.Sequential(*[nn.Linear(2, 2) for _ in range(100)])):
        size = save_tied(layer, tmp_path / "file")
        assert size <= _tied_file.largest(_state.state_of(layer))
        load_tied(layer, tmp_path / "file")
