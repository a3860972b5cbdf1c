"""One input for load_tied, made of bytes, and what must be true: refused with a ValueError or loaded, no third way.

The first byte chooses the model, and how the rest is read: as a file; as the text about ties and other names, in a
file that is right otherwise; as the text of a whole header; or as changes, byte by byte, of a good file. The hash is
made right again where it can be: a stranger could.
"""

from __future__ import annotations

import json
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import parametrizations

from tests.library.tied_files import bits, photograph
from tyinglib import TieSpec, load_tied, save_tied, tie, tie_specs
from tyinglib.saving import _tied_file

FOLDER = tempfile.TemporaryDirectory(prefix="strangers-")
PATH = Path(FOLDER.name) / "file"
KINDS = 4  # ways to read an input
METADATA = _tied_file.METADATA


class Siamese(nn.Module):
    """A tie along a dimension, a tie of entries, a shared parameter, a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(3)
        self.b.bias = self.a.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(self.a(x))


def tied(model: nn.Module) -> nn.Module:
    tie(model.a, "weight", TieSpec([0, 0, 1, -1], dim=1))
    tie(model.c, "weight", TieSpec([[0, 1, 0], [2, 2, 1]], dim=None))
    return model


def diverged(model: nn.Module) -> nn.Module:
    """NaN everywhere; and labels that stood in the memory, where it is tied."""
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(float("nan") if tensor.is_floating_point() else 10**9)
    return model


def normed(model: nn.Module) -> nn.Module:
    """Other parametrizations, one of them over a tie."""
    parametrizations.weight_norm(model.b)
    parametrizations.spectral_norm(tie(model.norm, "weight", TieSpec([0, 0, 1], dim=0)))
    return model


def doubled(model: nn.Module) -> nn.Module:
    """One layer under two names."""
    model.d = model.c
    return model


def on_meta(model: nn.Module) -> nn.Module:
    return model.to("meta")


# A model to load into, and what was saved for it.
MODELS: list[tuple[Callable[[nn.Module], nn.Module], Callable[[nn.Module], nn.Module]]] = [
    (lambda model: model, tied),
    (diverged, tied),
    (tied, tied),
    (lambda model: diverged(tied(model)), tied),
    (normed, lambda model: tied(normed(model))),
    (doubled, lambda model: tied(doubled(model))),
    (on_meta, tied),
]


def build(change: Callable[[nn.Module], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return change(Siamese())


def good_file(change: Callable[[nn.Module], nn.Module]) -> bytes:
    save_tied(build(change), PATH)
    return PATH.read_bytes()


def header_of(data: bytes) -> bytes:
    return data[8 : 8 + int.from_bytes(data[:8], "little")]


GOOD = [good_file(saved) for _, saved in MODELS]
TENSORS = [safetensors.torch.load(data) for data in GOOD]
TEXTS = [json.loads(header_of(data))[METADATA] for data in GOOD]


def file_of(data: bytes) -> tuple[int, bytes]:
    """The number of the model, and the file that the input stands for."""
    first, rest = data[0] if data else 0, data[1:]
    number, kind = first // KINDS % len(MODELS), first % KINDS
    good = GOOD[number]
    if kind == 0:
        return number, rest
    if kind == 1:
        ties, _, aliases = rest.decode("latin-1").partition("\n")
        return number, hashed(TENSORS[number], {**TEXTS[number], "ties": ties, "aliases": aliases}) or rest
    if kind == 2:
        return number, right_hash(len(rest).to_bytes(8, "little") + rest + good[8 + len(header_of(good)) :])
    changed = bytearray(good)
    for at in range(0, len(rest) - 2, 3):
        changed[int.from_bytes(rest[at : at + 2], "little") % len(changed)] = rest[at + 2]
    return number, right_hash(bytes(changed))


def hashed(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> bytes | None:
    try:
        return safetensors.torch.save(tensors, {**metadata, "sha256": _tied_file.digest(tensors, metadata)})
    except (safetensors.SafetensorError, ValueError):
        return None


def right_hash(data: bytes) -> bytes:
    try:
        return hashed(safetensors.torch.load(data), json.loads(header_of(data))[METADATA]) or data
    except Exception:
        return data


class CodeRan(BaseException):
    """A file made Python load a pickle."""


def forbid(*_: object, **__: object) -> None:
    raise CodeRan


def try_input(data: bytes) -> str:
    """Load it: "loaded" or "refused"; AssertionError if the model is not what it must be."""
    number, file = file_of(data)
    PATH.write_bytes(file)
    model = build(MODELS[number][0])
    before = photograph(model)
    kept = pickle.Unpickler, pickle.loads, pickle.load
    pickle.Unpickler, pickle.loads, pickle.load = forbid, forbid, forbid  # type: ignore[misc, assignment]
    try:
        load_tied(model, PATH)
        message = None
    except ValueError as error:
        message = str(error)
    finally:
        pickle.Unpickler, pickle.loads, pickle.load = kept  # type: ignore[misc]
    if message is not None:
        assert photograph(model) == before, "a refused file has changed the model"
        assert len(message) < 2000, "a file wrote the message"
        return "refused"
    tie_specs(model)  # sound, all of them
    model.eval()(torch.zeros(1, 4))  # what was loaded can be used
    before = [bits(value) for value in model.state_dict().values()]
    save_tied(model, PATH)
    again = load_tied(build(MODELS[number][0]), PATH)  # and saved
    assert [bits(value) for value in again.state_dict().values()] == before
    return "loaded"
