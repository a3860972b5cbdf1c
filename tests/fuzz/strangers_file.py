"""One input for load_tied, made of bytes, and what must be true: refused with a ValueError or loaded, no third way.

The first byte chooses how the rest is read: as a file; as the text about ties and other names, in a file that is
right otherwise; as the text of a whole header; or as changes, byte by byte, of a good file. The hash is made right
again where it can be: a stranger could.
"""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from tyinglib import TieSpec, compression, load_tied, save_tied, tie, tie_specs

FOLDER = tempfile.TemporaryDirectory(prefix="strangers-")
PATH = Path(FOLDER.name) / "file"


class Siamese(nn.Module):
    """A tie along a dimension, a tie of entries, a shared parameter, a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(3)
        self.b.bias = self.a.bias


def good_file() -> bytes:
    torch.manual_seed(0)
    model = Siamese()
    tie(model.a, "weight", TieSpec([0, 0, 1, -1], dim=1))
    tie(model.c, "weight", TieSpec([[0, 1, 0], [2, 2, 1]], dim=None))
    save_tied(model, PATH)
    return PATH.read_bytes()


GOOD = good_file()
TENSORS, METADATA = compression._read(PATH, 1 << 30)
SEEDS = [
    b"\0" + GOOD,
    b"\1" + METADATA["ties"].encode() + b"\n" + METADATA["aliases"].encode(),
    b"\2" + GOOD[8 : 8 + int.from_bytes(GOOD[:8], "little")],
    b"\3" + bytes([0, 20, 7, 1, 44, 65]),
    b"\1" + b'{"c.weight": {"bits": 0, "dim": null, "shape": [9999999999], "shift": 0}}\n{}',
    b"\1" + b"[" * 300 + b"\n{}",
]


def file_of(data: bytes) -> bytes:
    """The file that the input stands for."""
    kind, rest = data[0] % 4 if data else 0, data[1:]
    if kind == 0:
        return rest
    if kind == 1:
        ties, _, aliases = rest.decode("latin-1").partition("\n")
        metadata = {**METADATA, "ties": ties, "aliases": aliases}
        metadata["sha256"] = compression._digest(TENSORS, metadata)
        try:
            return safetensors.torch.save(TENSORS, metadata)
        except (safetensors.SafetensorError, ValueError):
            return rest
    if kind == 2:
        return right_hash(len(rest).to_bytes(8, "little") + rest + GOOD[8 + int.from_bytes(GOOD[:8], "little") :])
    changed = bytearray(GOOD)
    for at in range(0, len(rest) - 2, 3):
        changed[int.from_bytes(rest[at : at + 2], "little") % len(changed)] = rest[at + 2]
    return right_hash(bytes(changed))


def right_hash(data: bytes) -> bytes:
    try:
        tensors = safetensors.torch.load(data)
        PATH.write_bytes(data)
        with safetensors.safe_open(PATH, "pt") as file:
            metadata = dict(file.metadata() or {})
        metadata["sha256"] = compression._digest(tensors, metadata)
        return safetensors.torch.save(tensors, metadata)
    except Exception:
        return data


class CodeRan(BaseException):
    """A file made Python load a pickle."""


def forbid(*_: object, **__: object) -> None:
    raise CodeRan


def model_state(model: nn.Module) -> list[object]:
    return [sorted(tie_specs(model)), *((key, id(value)) for key, value in model.state_dict(keep_vars=True).items())]


BEFORE = {key: value.clone() for key, value in Siamese().state_dict().items()}


def try_input(data: bytes) -> str:
    """Load it: "loaded" or "refused"; AssertionError if the model is not what it must be."""
    PATH.write_bytes(file_of(data))
    model = Siamese()
    model.load_state_dict(BEFORE)
    names = model_state(model)
    kept = pickle.Unpickler, pickle.loads, pickle.load
    pickle.Unpickler, pickle.loads, pickle.load = forbid, forbid, forbid  # type: ignore[misc, assignment]
    try:
        load_tied(model, PATH)
    except ValueError:
        assert model_state(model) == names, "a refused file has changed the model's structure"
        assert all(torch.equal(value, BEFORE[key]) for key, value in model.state_dict().items()), "or its values"
        return "refused"
    finally:
        pickle.Unpickler, pickle.loads, pickle.load = kept  # type: ignore[misc]
    model.c(model.a(torch.zeros(1, 4)))  # what was loaded can be used
    return "loaded"
