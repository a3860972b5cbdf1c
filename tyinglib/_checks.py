"""What several rooms refuse, in the same words: what was expected, what came."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tyinglib import _sharded
from tyinglib._private_apis import is_mapped, outside_transforms

Array = npt.NDArray[Any]


def check_tensor(tensor: Tensor, name: str) -> Tensor:
    """The tensor, if it is a real floating-point one; ValueError by name if not."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        got = f"dtype {tensor.dtype}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ValueError(f"{name} must be a floating-point tensor, got {got}")
    return tensor


def check_step_size(step_size: float) -> float:
    """The step size, if it is a finite number >= 0; ValueError by name if not."""
    if isinstance(step_size, Tensor) and step_size.numel() == 1:
        step_size = step_size.item()
    if not isinstance(step_size, (int, float)) or not 0 <= step_size < math.inf:
        raise ValueError(f"step_size must be a finite number >= 0, got {step_size!r}")
    return float(step_size)


def check_weights(w: Tensor, n: int) -> Array:
    """OWL's w as a float64 array; ValueError if it is not n falling, finite numbers >= 0."""
    if not isinstance(w, Tensor) or w.dtype in (torch.bool, torch.complex64, torch.complex128):
        raise ValueError(f"w must be a tensor of numbers, got {getattr(w, 'dtype', type(w).__name__)}")
    if is_mapped(w):
        raise ValueError("w is mapped over by torch.func.vmap; map over the weight alone: all problems share one w")
    if w.ndim != 1 or len(w) != n:
        raise ValueError(
            f"w must have one number for each of {n} entries (GrOWL: slices), shape ({n},), got shape {tuple(w.shape)}"
        )
    with outside_transforms():  # which would wrap it
        array = w.detach().cpu().numpy().astype(np.float64, copy=False)
    if n == 0 or (array[0] < math.inf and array[-1] >= 0 and (array[1:] <= array[:-1]).all()):  # False for NaN
        return array
    if not np.isfinite(array).all():
        raise ValueError("w must be finite, got NaN or infinite values")
    if array[-1] < 0:
        raise ValueError(f"w must not be negative, got {array[-1]:g} at the end")
    first = int(np.flatnonzero(array[1:] > array[:-1])[0])
    raise ValueError(
        f"w must fall, but w[{first}] = {array[first]:g} < w[{first + 1}] = {array[first + 1]:g}; sort it with "
        "w.sort(descending=True).values"
    )


def check_dim(dim: int, weight: Tensor) -> int:
    """The dimension, counted from 0; ValueError if the weight has no such dimension."""
    if isinstance(dim, bool) or not isinstance(dim, int) or not -weight.ndim <= dim < weight.ndim:
        raise ValueError(
            f"dim must be an integer in {-weight.ndim}..{weight.ndim - 1} for a weight of shape "
            f"{tuple(weight.shape)}, got {dim!r}"
        )
    return dim % weight.ndim


def check_integer(name: str, n: int, other: str = "") -> int:
    """A whole number; ValueError by name if not."""
    if isinstance(n, bool) or not isinstance(n, int):
        raise ValueError(f"{name} must be an integer{other and ' ' + other}, got {n!r}")
    return n


def check_count(name: str, n: int) -> None:
    """A whole number >= 1; ValueError by name if not."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"{name} must be a whole number >= 1, got {n!r}")


def check_strength(name: str, value: float) -> float:
    """The number, if it is finite and >= 0; ValueError by name if not."""
    if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a finite number >= 0, got {value!r}")
    return float(value)


def check_finite(weight: Tensor) -> Tensor:
    if not _sharded.all_finite(check_tensor(weight, "weight")):
        raise ValueError("weight holds NaN or infinite values, which have no proximal point")
    return weight


def check_whole(name: str, value: Any, low: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{name} must be a whole number >= {low}, got {value!r}")
    return value
