"""Whether two models give the same outputs, to rounding: tensors, or tuples, lists, dicts and dataclasses of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tyinglib.compacting._inputs import Inputs


def called(model: nn.Module, inputs: Inputs) -> Any:
    """What the model returns. It may write into its inputs: they are copies."""
    inputs = inputs.cloned()
    return model(*inputs.args, **inputs.kwargs)


def parts(value: Any) -> dict[str, Any]:
    """What a model returned, by its place: tensors, numbers, strings and None."""
    return {
        place: part.detach().clone() if isinstance(part, Tensor) else part for place, part in _parts(value, "output")
    }


def same(got: list[dict[str, Any]], expected: list[dict[str, Any]], model: nn.Module) -> bool:
    """Whether each run gave the same. Rounding is allowed at the size that a place has over all runs.

    Sums are taken in another order: a thousand eps cover sums of thousands of terms. In half precision that would
    allow anything; sqrt(eps) is less there. eps is the coarsest among the model's dtypes and the output's.
    """
    model_eps = max((_eps(p) for p in [*model.parameters(), *model.buffers()]), default=0.0)
    for place in {place for run in expected for place in run}:
        scale = max((_size(run[place]) for run in expected if place in run), default=0.0)
        for one, other in zip(got, expected, strict=True):
            if one.keys() != other.keys() or (place in one and not _equal(one[place], other[place], scale, model_eps)):
                return False
    return True


def _equal(got: Any, expected: Any, scale: float, eps: float) -> bool:
    if not isinstance(expected, Tensor) or not isinstance(got, Tensor):
        return type(got) is type(expected) and bool(got == expected)
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return False
    eps = max(eps, _eps(expected))
    if not _eps(expected):
        return torch.equal(got, expected)
    return torch.allclose(got, expected, rtol=0, atol=min(1000 * eps, eps**0.5) * scale, equal_nan=True)


def _eps(x: Tensor) -> float:
    return torch.finfo(x.dtype).eps if x.is_floating_point() or x.is_complex() else 0.0


def _size(value: Any) -> float:
    if not isinstance(value, Tensor) or not _eps(value):
        return 0.0
    finite = value[value.isfinite()].abs()
    return float(finite.max()) if finite.numel() else 0.0


def _parts(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if value is None or isinstance(value, (Tensor, bool, int, float, str)):
        yield place, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _parts(part, f"{place}[{key!r}]")
    elif isinstance(value, (tuple, list)):
        for number, part in enumerate(value):
            yield from _parts(part, f"{place}[{number}]")
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _parts(getattr(value, field.name), f"{place}.{field.name}")
    else:
        raise ValueError(
            f"the model must return tensors, or tuples, lists, dicts or dataclasses of them, got "
            f"{type(value).__name__} as {place}; compact the parts that it is made of"
        )
