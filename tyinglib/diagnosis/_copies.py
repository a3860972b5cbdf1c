"""Parameters whose values say that they may have been one: equal, or in one piece of memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import AveragedModel

from tyinglib import _sharded
from tyinglib.diagnosis._words import Named, quoted
from tyinglib.diagnosis.diagnosis import Diagnosis

IN_ORDER = 30  # log of one to the chance that random rows are in order: beyond this they are so on purpose
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


def rounded(named: Named) -> Iterator[Diagnosis]:
    """Parameters of which one is the other in fewer digits: one of two sharers was replaced by a cast of it."""
    by_shape: dict[tuple[object, ...], list[tuple[Tensor, str]]] = {}
    for parameter, held, name in _held(named):
        if parameter.requires_grad and parameter.is_floating_point():
            by_shape.setdefault((held.device, tuple(parameter.shape), tuple(held.shape)), []).append((held, name))
    for members in by_shape.values():
        for dtype in {held.dtype for held, _ in members} if len({held.dtype for held, _ in members}) > 1 else ():
            narrow = {fingerprint(held): (held, name) for held, name in members if held.dtype == dtype}
            for wide, name in members:
                other, its_name = narrow.get(fingerprint(wide, dtype), (None, ""))
                if other is None or wide.element_size() <= other.element_size() or _by_formula(other):
                    continue
                if torch.equal(wide.to(dtype), other):
                    yield Diagnosis(
                        "rounded",
                        (name, its_name),
                        f"{quoted((name, its_name))} are two parameters, and the second ({dtype}) is the first "
                        f"({wide.dtype}) in fewer digits: a cast made one of two that were shared a Parameter of its "
                        "own; cast the model that holds both, then share(...) again",
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


def fingerprint(x: Tensor, dtype: torch.dtype | None = None) -> bytes:
    """Equal for equal tensors (of this dtype), and of no more than a few entries: a large model is not read."""
    flat = x.reshape(-1)
    places = (
        torch.arange(SAMPLES, device=x.device) * (len(flat) - 1) // (SAMPLES - 1)
    )  # whole: floats round beyond 2^24
    return flat[places].to(dtype).cpu().view(torch.uint8).numpy().tobytes()


def classes(members: Sequence[tuple[Tensor, str, object]]) -> Iterator[list[tuple[Tensor, str, object]]]:
    """Members that are equal entry for entry, each in memory of its own; what a formula filled is so by accident."""
    classes: list[list[tuple[Tensor, str, object]]] = []
    for member in members if len(members) > 1 else ():
        for one in classes:
            if torch.equal(member[0], one[0][0]):
                if not any(_overlap(member[0], other) for other, _, _ in one):
                    one.append(member)
                break
        else:
            classes.append([member])
    yield from (one for one in classes if len(one) > 1 and not _by_formula(one[0][0]))


def _by_formula(x: Tensor) -> bool:
    """Whether there are one or two values, or every row is in order: of drawn or trained ones of this size, never.

    As ones, an identity, or log(1), log(2), ... in Mamba's state spaces: each layer starts with it.
    """
    flat = x.reshape(-1)
    others = flat[flat != flat[0]]
    if not len(others) or (len(flat) > 2 and bool((others == others[0]).all())):
        return True
    if x.ndim == 0 or math.lgamma(x.shape[-1] + 1) * (len(flat) / x.shape[-1]) < IN_ORDER or x.is_complex():
        return False
    rows = x.float() if x.element_size() == 1 else x  # eight bits have no order
    before, after = rows[..., :-1], rows[..., 1:]
    return bool((before <= after).all()) or bool((before >= after).all())


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
