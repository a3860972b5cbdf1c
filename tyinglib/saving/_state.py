"""What a model's state holds: every tensor once, its other names beside it, and the labels of ties apart."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from tyinglib import _sharded
from tyinglib.tying import Tie, TieSpec

State = dict[str, Tensor]

_NAMES = reprlib.Repr()
_NAMES.maxstring = _NAMES.maxother = 100
quote = _NAMES.repr  # a name may have a million letters, a list as many names: a message shows the ends


def dotted(*parts: str | int) -> str:
    """A name in a model; a part may be empty."""
    return ".".join(str(part) for part in parts if part != "")


def codebook_key(name: str) -> str:
    """Where the state keeps the codebook of a tied weight: of ``0.weight`` under ``0.parametrizations.weight``."""
    prefix, _, weight = name.rpartition(".")
    return dotted(prefix, "parametrizations", weight, "original")


def labels_key(name: str) -> str:
    """Where the state keeps the labels of a tied weight."""
    prefix, _, weight = name.rpartition(".")
    return dotted(prefix, "parametrizations", weight, 0, "labels")


class Tied(NamedTuple):
    """A weight's two parts, as they stand in the model, sound or not."""

    codebook: Tensor
    tie: Tie


def ties_of(model: nn.Module, *, every_name: bool = False) -> dict[str, Tied]:
    """As `tie_specs`, without a look at the labels. `every_name`: a layer under several names is listed under each."""
    found = {}
    for prefix, module in model.named_modules(remove_duplicate=not every_name):
        if parametrize.is_parametrized(module):
            for name, chain in module.get_submodule("parametrizations").named_children():
                ties = list(chain.children())
                if len(ties) == 1 and isinstance(ties[0], Tie):
                    found[dotted(prefix, name)] = Tied(chain.get_parameter("original"), ties[0])
    return found


def used_shape(tied: Tied) -> list[int]:
    """The shape of the weight that a tie makes."""
    labels, dim, shape = tied.tie.labels, tied.tie.dim, list(tied.codebook.shape)
    if dim is None:
        return list(labels.shape)
    if -len(shape) <= dim < len(shape):
        shape[dim] = labels.numel()
    return shape


def groups_of(used: Sequence[int], codebook: Sequence[int], dim: int | None) -> int | None:
    """k, if this is the shape of a codebook for a weight of that shape."""
    if dim is None:
        return codebook[0] if len(codebook) == 1 and codebook[0] <= math.prod(used) else None
    if len(codebook) != len(used) or not -len(used) <= dim < len(used) or codebook[dim] > used[dim]:
        return None
    alike = list(used)
    alike[dim] = codebook[dim]
    return codebook[dim] if alike == list(codebook) else None


def sound(tied: Tied) -> TieSpec | None:
    """The tie, if its labels fit its codebook; after ``to_empty`` they are whatever stood in the memory."""
    try:
        spec = TieSpec(tied.tie.labels, tied.tie.dim)
    except ValueError:
        return None
    return spec if groups_of(used_shape(tied), tied.codebook.shape, spec.dim) == spec.n_groups else None


def state_of(model: nn.Module) -> State:
    """The state itself, not a copy: tensors only."""
    state: State = model.state_dict(keep_vars=True)
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise ValueError(
                f"the state of the model holds {quote(key)} of type {type(value).__name__}; "
                "only tensors can be stored: register it as a buffer or leave it out"
            )
    return state


def distinct(state: State, ties: Iterable[Tied]) -> tuple[State, dict[str, str]]:
    """The state without labels, a shared tensor once; and which names are other names of which."""
    labels = {id(tied.tie.labels) for tied in ties}
    values: State = {}
    aliases: dict[str, str] = {}
    first: dict[int, str] = {}
    for key, value in state.items():
        if id(value) in labels:
            continue
        if id(value) in first:
            aliases[key] = first[id(value)]
        else:
            first[id(value)] = key
            values[key] = value
    return values, aliases


def check_plain(state: State, *, sharded: str, meta: str) -> None:
    """ValueError if a tensor has no values of its own, here, one beside the other; the remedies are the caller's."""
    for key, value in state.items():
        _sharded.refuse_sharded(value, quote(key), sharded)
        if is_lazy(value):
            raise ValueError(f"{quote(key)} has no shape before the first forward call; call the model once")
        if value.is_meta:
            raise ValueError(f"{quote(key)} is on the meta device and has no values; {meta}")
        if value.layout is not torch.strided or value.is_quantized:
            raise ValueError(
                f"{quote(key)} is {value.layout} {value.dtype}; only dense tensors can be stored: convert it"
            )
