"""Parameters whose values say that they may have been one: equal, or in one piece of memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import AveragedModel

from tyinglib import _sharded
from tyinglib.diagnosis._words import Named, quoted
from tyinglib.diagnosis.diagnosis import Diagnosis

SAMPLES = 64  # entries of a parameter that are looked at before all are


def in_one_memory(named: Named) -> Iterator[Diagnosis]:
    """Two parameters in the same piece of memory."""
    places: dict[tuple[object, ...], list[tuple[Tensor, str]]] = {}
    for _, held, name in _held(named):
        places.setdefault((held.device, held.untyped_storage().data_ptr()), []).append((held, name))
    for members in places.values():
        for (x, first), (y, second) in combinations(members, 2):
            if _overlap(x, y):
                yield Diagnosis(
                    "memory",
                    (first, second),
                    f"{quoted((first, second))} are two parameters in one piece of memory: each has a gradient of its "
                    "own, and an optimizer steps the memory twice (load_state_dict(assign=True) and views do this); "
                    "call share(...) again, then build the optimizer",
                )


def equal(model: nn.Module, named: Named) -> Iterator[Diagnosis]:
    """Parameters with the same values, which are all trained; any number of copies is one diagnosis."""
    apart = _meant_apart(model)
    alike: dict[tuple[object, ...], list[tuple[Tensor, str, object]]] = {}
    for parameter, held, name in _held(named):
        copy_of = apart.get(id(parameter), id(parameter))
        if parameter.requires_grad and copy_of is not None:
            like = (held.device, held.dtype, tuple(parameter.shape), tuple(held.shape), fingerprint(held))
            alike.setdefault(like, []).append((held, name, copy_of))
    for members in alike.values():
        for copies in classes(members):
            if len({copy_of for _, _, copy_of in copies}) < 2:
                continue
            names = tuple(name for _, name, _ in copies)
            count = "two" if len(names) == 2 else str(len(names))
            yield Diagnosis(
                "equal",
                names,
                f"{quoted(names)} hold equal values but are {count} parameters: they will drift apart with "
                "the next step (a deep copy of one model, or a loaded checkpoint, does this); call share(...) "
                "again, or leave it if they should only start equal",
            )


def _held(named: Named) -> Iterator[tuple[nn.Parameter, Tensor, str]]:
    """Every parameter that has values, its values as they lie here, and its first name."""
    for parameter, names in named.values():
        if not is_lazy(parameter) and parameter.numel() and not parameter.is_meta:
            held = _sharded.local(parameter.detach())  # of a sharded parameter, what this process has
            if held.numel():
                yield parameter, held, names[0]


def _meant_apart(model: nn.Module) -> dict[int, object]:
    """By id: None for the members of an average, and one thing for the copies that torch itself starts a stack with."""
    found: dict[int, object] = {}
    for inner in model.modules():
        if isinstance(inner, AveragedModel):
            found.update((id(parameter), None) for parameter in inner.parameters())
        elif isinstance(inner, (nn.TransformerEncoder, nn.TransformerDecoder)):
            for layer in inner.layers:
                found.update((id(x), (id(inner), name)) for name, x in layer.named_parameters())
    return found


def fingerprint(x: Tensor) -> bytes:
    """Equal for equal tensors, and of no more than a few entries: a large model is not read."""
    flat = x.reshape(-1)
    places = (
        torch.arange(SAMPLES, device=x.device) * (len(flat) - 1) // (SAMPLES - 1)
    )  # whole: floats round beyond 2^24
    return flat[places].cpu().view(torch.uint8).numpy().tobytes()


def classes(members: Sequence[tuple[Tensor, str, object]]) -> Iterator[list[tuple[Tensor, str, object]]]:
    """Members that are equal entry for entry, each in memory of its own; constants are equal by accident."""
    classes: list[list[tuple[Tensor, str, object]]] = []
    for member in members if len(members) > 1 else ():
        for one in classes:
            if torch.equal(member[0], one[0][0]):
                if not any(_overlap(member[0], other) for other, _, _ in one):
                    one.append(member)
                break
        else:
            classes.append([member])
    for one in classes:
        flat = one[0][0].reshape(-1)
        if len(one) > 1 and bool((flat != flat[0]).any()):
            yield one


def _overlap(x: Tensor, y: Tensor) -> bool:
    """Whether the bytes from the first to the last entry of each meet."""
    if x.untyped_storage().data_ptr() != y.untyped_storage().data_ptr():
        return False
    (start, end), (other_start, other_end) = _span(x), _span(y)
    return start < other_end and other_start < end


def _span(x: Tensor) -> tuple[int, int]:
    last = sum((int(size) - 1) * int(stride) for size, stride in zip(x.shape, x.stride(), strict=True))
    start = int(x.storage_offset()) * x.element_size()
    return start, start + (last + 1) * x.element_size()
