"""Storing: round trips, every kind of damaged file, models that do not fit; after an error all is as it was."""

import os
import stat
import struct

import pytest
import safetensors
import safetensors.torch
import tied_files
import torch
from tied_files import edit, memory_within, rewrite
from torch import nn

from tyinglib import TieSpec, load_tied, save_tied, storage_bits, tie, tie_specs
from tyinglib.saving import _tied_file

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
    tied_files.refused(path, message, model or build())


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
    safetensors.torch.save_file({"other": torch.zeros(3)}, path)
    refused(path, "does not fit the model")
    with pytest.raises(FileNotFoundError):
        load_tied(build(), tmp_path / "absent")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, m: m.update(version="9"), "version '9'"),
        (lambda t, m: m.update(ties="[1]"), "cannot be read"),
        (lambda t, m: m.update(ties="{"), "cannot be read"),
        (lambda t, m: t.pop("0.parametrizations.weight.0.labels"), "without labels"),
        (edit("ties", lambda ties: ties["0.weight"].update(bits=60)), "labels of a tie are damaged"),
        (edit("ties", lambda ties: ties["0.weight"].update(bits=-1)), "damaged"),
        (edit("ties", lambda ties: ties["0.weight"].update(shape=[10**12])), "does not fit its shape"),
        (edit("ties", lambda ties: ties["0.weight"].update(shape="x")), "does not fit its shape"),
        (edit("ties", lambda ties: ties["0.weight"].update(shift=99)), "labels of a tie are damaged"),
        (edit("ties", lambda ties: ties["0.weight"].update(dim=7)), "does not fit its shape"),
        (edit("ties", lambda ties: ties["0.weight"].update(dim="x")), "integer or None"),
        (edit("ties", lambda ties: ties.pop("3.weight")), "too many"),
    ],
)
def test_well_formed_nonsense_is_refused(saved, change, message):
    _, path = saved
    rewrite(path, change)
    refused(path, message)


def test_a_model_that_does_not_fit_is_refused(saved):
    _, path = saved
    other = build_tied()
    refused(path, "torch.float64", build().double())
    refused(path, "lacks", nn.Sequential(*build(), nn.Linear(10, 2)))
    refused(path, "does not have", nn.Linear(64, 32))
    refused(path, "does not fit its shape", nn.Sequential(nn.Linear(65, 32), *list(build())[1:]))
    refused(path, r"\(33, 64\)", nn.Sequential(nn.Linear(64, 33), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)))
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


# Where it is written

posix = pytest.mark.skipif(os.name != "posix", reason="links and modes as POSIX has them")


@posix
def test_a_symbolic_link_stays_and_what_it_names_is_replaced(saved, tmp_path):
    model, path = saved
    link, dangling = tmp_path / "latest", tmp_path / "next"
    link.symlink_to(path.name)
    dangling.symlink_to("new")
    path.write_bytes(b"old")
    for way in (link, dangling):
        save_tied(model, way)
        assert way.is_symlink()
        assert same_state(load_tied(build(), way), model)
    assert {p.name for p in tmp_path.iterdir() if not p.is_symlink()} == {path.name, "new"}


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o664, 0o700])
def test_the_mode_stays(saved, mode):
    """A file that only its owner could read was readable for all after the next save."""
    model, path = saved
    path.chmod(mode)
    save_tied(model, path)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    other = path.with_name("new")
    save_tied(model, other)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(other.stat().st_mode) == 0o666 & ~umask


@posix
def test_what_is_no_file_is_not_replaced(saved, tmp_path):
    model, _ = saved
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.iterdir())
    for name in ("pipe", "folder", "folder/.."):
        with pytest.raises(OSError, match="is no plain file"):
            save_tied(model, tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize(
    "name", ["x" * 255, "\N{BLACK STAR}" * 85, "[a-z]*", " "], ids=["long", "stars", "glob", "blank"]
)
def test_any_name_that_a_file_may_have(tmp_path, name):
    """The unfinished file has a longer name than the file: that was one name too long."""
    model = build_tied()
    try:
        (tmp_path / name).touch()
    except OSError:
        pytest.skip("not here")
    save_tied(model, tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert same_state(load_tied(build(), tmp_path / name), model)


# What is written


class Everything(nn.Module):
    """A buffer of each dtype, of no size, transposed, conjugated, with a name that needs escapes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        for dtype in _tied_file.DTYPES:
            self.register_buffer(f"a {dtype}".replace(".", " "), torch.rand(3, 5).mul(4).to(dtype).T)
        self.register_buffer("nothing", torch.zeros(0, 3))
        self.register_buffer("one", torch.tensor(1.5))
        self.register_buffer("conjugate", torch.tensor([1 + 2j]).conj())
        self.register_buffer('"\N{BLACK STAR}\n\\', torch.ones(1))


def test_the_format_is_safetensors_own(tmp_path):
    model, path = Everything(), tmp_path / "m"
    size = save_tied(model, path)
    assert size == path.stat().st_size
    state = model.state_dict()
    with safetensors.safe_open(path, "pt") as file:
        assert set(file.keys()) == set(state)
        assert file.metadata()["format"] == "tyinglib-tied"
    for read in (safetensors.torch.load_file(path), load_tied(Everything(), path).state_dict()):
        assert all(tied_files.bits(read[key]) == tied_files.bits(value) for key, value in state.items())
        assert all(read[key].dtype == value.dtype for key, value in state.items())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x", torch.zeros(2, dtype=torch.complex128), "'x' of torch.complex128 has no place"),
        ("__metadata__", torch.zeros(2), "'__metadata__' of torch.float32 has no place"),
        ("x", torch.eye(2).to_sparse(), "only dense tensors"),
        ("x", torch.zeros(2, device="meta"), "'x' is on the meta device"),
        ("\ud800", torch.zeros(2), "surrogates not allowed"),
    ],
)
def test_what_the_format_has_no_place_for_is_refused(saved, name, value, message):
    model, path = saved
    before = path.read_bytes()
    model.register_buffer(name, value)
    with pytest.raises(ValueError, match=message):
        save_tied(model, path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_weight_that_changes_meanwhile_leaves_a_whole_file(saved, monkeypatch):
    """Another thread trains on. What was hashed is what was written."""
    model, path = saved
    plain = _tied_file._Digest.pieces

    def pieces(self, key, value):
        for piece in plain(self, key, value):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(1)
            yield piece

    monkeypatch.setattr(_tied_file._Digest, "pieces", pieces)
    save_tied(model, path)
    monkeypatch.undo()
    load_tied(build(), path)


# Memory


def test_saving_takes_no_memory_of_the_models_size(tmp_path):
    """412 MB for a file of 137 MB: a copy, all of it as bytes, and those once more."""
    model = nn.Linear(4096, 2048)
    with memory_within(8 << 20):
        size = save_tied(model, tmp_path / "m")
    assert size > 32 << 20


def test_loading_takes_the_file_and_what_must_be_undone(tmp_path):
    model = nn.Linear(4096, 2048)
    size = save_tied(model, tmp_path / "m")
    with memory_within(size * 2 + (8 << 20)):
        load_tied(model, tmp_path / "m")


def test_labels_of_more_bits_than_they_need_take_no_memory(tmp_path):
    """62 bits a label, where one is enough: a model of 64 MB took 9.3 GB and a minute."""
    path, n = tmp_path / "m", 1024
    layer = nn.Linear(n, n, bias=False)
    tie(layer, "weight", TieSpec(torch.arange(n * n).view(n, n) % 2, dim=None))
    save_tied(layer, path)

    def change(tensors, metadata):
        tensors["parametrizations.weight.0.labels"] = torch.zeros(n * n * 62 // 8, dtype=torch.uint8)
        edit("ties", lambda ties: ties["weight"].update(bits=62))(tensors, metadata)

    rewrite(path, change)
    other = nn.Linear(n, n, bias=False)
    with memory_within(32 << 20):  # the file, twice
        refused(path, "bits and shift 62 and 0", other)


def test_labels_that_need_many_bits_take_the_memory_of_labels(tmp_path):
    """A group an entry: 20 bits a label, which as numbers, one a bit, were 160 bytes a label."""
    path, n = tmp_path / "m", 1024
    layer = nn.Linear(n, n, bias=False)
    tie(layer, "weight", TieSpec(torch.arange(n * n).view(n, n), dim=None))
    labels = 8 * n * n
    with memory_within(4 * labels):
        save_tied(layer, path)
    other = nn.Linear(n, n, bias=False)
    with memory_within(10 * labels):  # of which `tie` takes most
        load_tied(other, path)
    assert same_state(other, layer)
