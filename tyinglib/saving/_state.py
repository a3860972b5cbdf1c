"""What a model's state holds: every tensor once, its other names beside it, and the labels of ties apart."""

from __future__ import annotations

import contextlib
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tyinglib import _sharded
from tyinglib._private_apis import COMPILED
from tyinglib.tying import Tie, TieSpec
from tyinglib.tying._places import own_parametrizations, tie_of

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


def factors_key(name: str) -> str:
    """Where the state keeps the factors of a tied weight, if it has any."""
    prefix, _, weight = name.rpartition(".")
    return dotted(prefix, "parametrizations", weight, 0, "factors")


def plain(name: str) -> str:
    """A name in a model as it was before torch.compile wrapped it, or parts of it."""
    return dotted(*(part for part in name.split(".") if part != COMPILED))


def names_in(model: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Plain names -> the names in this model, parts of which may be compiled."""
    wrapped = sorted(
        ((plain(prefix), prefix) for prefix, _ in model.named_modules() if prefix.rpartition(".")[2] == COMPILED),
        key=lambda pair: -len(pair[0]),  # the innermost first
    )
    found = {}
    for name in names:
        inside = (pair for pair in wrapped if not pair[0] or name == pair[0] or name.startswith(f"{pair[0]}."))
        outer, prefix = next(inside, ("", ""))
        found[name] = dotted(prefix, name[len(outer) :].lstrip("."))
    return found


class Tied(NamedTuple):
    """A weight's two parts, as they stand in the model, sound or not."""

    codebook: Tensor
    tie: Tie


def ties_of(model: nn.Module, *, every_name: bool = False) -> dict[str, Tied]:
    """As `tie_specs`, without a look at the labels. `every_name`: a layer under several names is listed under each."""
    found = {}
    for prefix, module in model.named_modules(remove_duplicate=not every_name):
        for name, chain in own_parametrizations(module).items():
            tie = tie_of(module, name)
            if tie is not None:
                found[dotted(prefix, name)] = Tied(chain.get_parameter("original"), tie)
    return found


def used_shape(tied: Tied) -> list[int]:
    """The shape of the weight that a tie makes."""
    labels, dim, shape = tied.tie.labels, tied.tie.dim, list(tied.codebook.shape)
    if dim is None:
        return list(labels.shape)
    if not all(-len(shape) <= one < len(shape) for one in (dim, codebook_dim(tied.tie))):
        return shape
    del shape[codebook_dim(tied.tie)]
    shape.insert(dim % (len(shape) + 1), labels.numel())
    return shape


def codebook_dim(tie: Tie) -> int:
    """The dimension of the codebook along which its slices lie."""
    return tie.dim or 0 if tie.codebook_dim is None else tie.codebook_dim


def groups_of(used: Sequence[int], codebook: Sequence[int], dim: int | None, slices: int) -> int | None:
    """k, if this is the shape of a codebook for a weight of that shape: its slices lie along dimension `slices`."""
    if dim is None:
        return codebook[0] if len(codebook) == 1 else None
    n = len(used)
    if len(codebook) != n or not (-n <= dim < n and -n <= slices < n):
        return None
    of_weight, of_codebook = list(used), list(codebook)
    del of_weight[dim], of_codebook[slices]
    return codebook[slices] if of_weight == of_codebook else None


def sound_specs(ties: Mapping[str, Tied]) -> dict[str, TieSpec | None]:
    """Each tie, if its labels fit its codebook, and the codebook's ties use all of it; what was loaded may not."""
    specs: dict[str, TieSpec | None] = {}
    used: dict[int, Tensor] = {}
    for name, tied in ties.items():
        groups = groups_of(used_shape(tied), tied.codebook.shape, tied.tie.dim, codebook_dim(tied.tie))
        specs[name] = None
        with contextlib.suppress(ValueError):
            spec = tied.tie.spec()
            if groups == spec.n_groups:
                specs[name] = spec
                used[id(tied.codebook)] = used_groups(spec) | used.get(id(tied.codebook), torch.tensor(False))
    return {name: spec if spec and used[id(ties[name].codebook)].all() else None for name, spec in specs.items()}


def used_groups(spec: TieSpec) -> Tensor:
    """(k,) whether a slice of this weight is in the group."""
    used = torch.zeros(spec.n_groups + 1, dtype=torch.bool)
    used[spec.labels.cpu().flatten()] = True  # pruned ones are -1: the last
    return used[:-1]


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
    """The state without labels and factors, a shared tensor once; and which names are other names of which."""
    labels = {id(one) for tied in ties for one in (tied.tie.labels, tied.tie.factors)}
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
