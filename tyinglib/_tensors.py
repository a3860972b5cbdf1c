"""What several rooms do to a tensor before they look at its numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tyinglib import _sharded


def wide(tensor: Tensor) -> Tensor:
    """Half precision as float32, anything else as it is."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def along(vector: Tensor, dim: int, ndim: int) -> Tensor:
    """A vector shaped to broadcast along `dim` of a tensor with `ndim` dimensions."""
    shape = [1] * ndim
    shape[dim] = -1
    return vector.view(shape)


def largest(values: Tensor) -> float:
    """The largest value; 0 where there is none."""
    values = _sharded.whole(values)  # a part may be empty, and nothing has no largest entry
    return float(values.max()) if values.numel() else 0.0


def scale_slices(weight: Tensor, factor: Tensor, dim: int) -> Tensor:
    """Slice j of the weight times factor[j]; a sharded weight stays where it is."""
    factors = _sharded.spread(along(factor, dim, weight.ndim), weight)
    return (wide(weight) * factors).to(weight.dtype)


def ratio(size: float, strength: float) -> float:
    """size / strength; 0 where there is no size, and infinite where no strength is against it."""
    return 0.0 if size == 0 else math.inf if strength == 0 else size / strength
