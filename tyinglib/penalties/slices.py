r"""Norms of slices, and the group lasso: whole slices of a weight become zero."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tyinglib import _sharded
from tyinglib._checks import (
    check_dim,
    check_finite,
    check_integer,
    check_step_size,
    check_strength,
    check_tensor,
)
from tyinglib._private_apis import under_functorch
from tyinglib._tensors import largest, ratio, scale_slices, wide
from tyinglib.penalties.protocol import Penalty


def slice_norms(weight: Tensor, dim: int) -> Tensor:
    """The l2 norm of every slice of a weight along `dim`.

    Parameters
    ----------
    weight
        Any tensor with at least one dimension, floating point.
    dim
        Slice j is ``weight.select(dim, j)``.

    Returns
    -------
    Tensor
        (n,); float32 for float16 and bfloat16. The gradient at a zero slice is zero. Of a sharded weight (DTensor), a
        plain tensor that is the same on all processes; n numbers travel.

    Raises
    ------
    ValueError
        If there is no such dimension, or the weight is not floating point.

    Examples
    --------
    >>> slice_norms(torch.tensor([[3.0, 0.0], [4.0, 1.0]]), 1)
    tensor([5., 1.])

    Chapter: Norm penalties.
    """
    check_tensor(weight, "weight")
    others = [d for d in range(weight.ndim) if d != check_dim(dim, weight)]
    if not others:
        return _sharded.whole(wide(weight).abs())
    entries = wide(weight)
    if under_functorch():
        return _scaled_norms(entries, others, entries.abs().amax(others, keepdim=True))  # no value can be looked at
    norms = _plain_norms(entries, others)
    lost = _out_of_range(norms.detach(), entries.numel()).nonzero().flatten()
    if not len(lost) or not weight.numel():
        return norms
    if _sharded.is_sharded(entries):  # no slice of it can be asked for alone, and an empty part has no largest entry
        lost, doubtful = torch.arange(len(norms), device=norms.device), entries
        largest = _sharded.whole(doubtful.detach().abs().sum(others, keepdim=True))
    else:
        doubtful = entries.index_select(dim, lost)
        largest = doubtful.detach().abs().amax(others, keepdim=True)
    if not largest.any():
        return norms  # they are zero: pruned
    return norms.index_copy(0, lost, _scaled_norms(doubtful, others, largest))


def group_soft_threshold(weight: Tensor, threshold: float, *, dim: int) -> Tensor:
    """The prox of threshold * (sum of the slices' l2 norms): every slice gets shorter, or becomes zero.

    Parameters
    ----------
    weight
        Any tensor with at least one dimension, floating point; its slices along `dim` are the groups.
    threshold
        A finite number >= 0.
    dim
        1 for one input neuron or channel a group of a Linear or convolution weight; 0 for outputs; of a transposed
        convolution the other way round.

    Returns
    -------
    Tensor
        Of the weight's shape, dtype and device; differentiable.

    Raises
    ------
    ValueError
        As `soft_threshold`; or if there is no such dimension.

    Examples
    --------
    >>> group_soft_threshold(torch.tensor([[3.0, 0.3], [4.0, 0.4]]), 1.0, dim=1)
    tensor([[2.4000, 0.0000],
            [3.2000, 0.0000]])

    Reference: Parikh and Boyd (2014), section 6.5.4; Yuan and Lin (2006). Chapter: Norm penalties.
    """
    norms = slice_norms(check_finite(weight), dim)
    shorter = (norms - check_strength("threshold", threshold)).clamp(min=0)
    factor = shorter / torch.where(norms > 0, norms, torch.ones_like(norms))
    factor = torch.where(norms == math.inf, torch.ones_like(norms), factor)  # longer than any number: it hardly changes
    return scale_slices(weight, factor, dim)


@dataclass(frozen=True)
class GroupLasso(Penalty):
    """g(x) = lam * sum_j ||slice_j||, the norms not squared. Whole slices become zero.

    Parameters
    ----------
    lam
        A finite number >= 0. Slices of one weight are equally large, so no factor sqrt(size) stands here.
    dim
        The dimension along which slices are taken: 1 for inputs of a Linear or convolution weight, 0 for
        outputs; of a transposed convolution the other way round.

    Raises
    ------
    ValueError
        If lam is negative or not finite, or dim is no integer.

    Examples
    --------
    >>> GroupLasso(1.0, dim=1).value(torch.tensor([[3.0, 0.0], [4.0, 2.0]]))
    tensor(7.)

    Reference: Yuan and Lin (2006). Chapter: Norm penalties.
    """

    lam: float
    dim: int

    def __post_init__(self) -> None:
        check_strength("lam", self.lam)
        check_integer("dim", self.dim)

    def value(self, weight: Tensor) -> Tensor:
        """g(weight). As `Penalty.value`."""
        return self.lam * slice_norms(weight, self.dim).sum()

    def prox(self, weight: Tensor, step_size: float) -> Tensor:
        """`group_soft_threshold` by step_size * lam. As `Penalty.prox`."""
        return group_soft_threshold(weight, check_step_size(step_size) * self.lam, dim=self.dim)

    def factor_to_zero(self, grad: Tensor) -> float:
        """The largest slice's norm over lam. As `Penalty.factor_to_zero`."""
        return ratio(largest(slice_norms(grad, self.dim)), self.lam)


def _plain_norms(entries: Tensor, others: list[int]) -> Tensor:
    if not (torch.is_grad_enabled() and entries.requires_grad):
        return _sharded.whole(entries.square().sum(others)).sqrt()  # several times faster than vector_norm
    norms: Tensor = torch.linalg.vector_norm(entries, dim=others)  # its gradient at 0 is 0, not NaN
    return _sharded.whole(norms)


def _out_of_range(norms: Tensor, terms: int) -> Tensor:
    """Which norms may be wrong: a square overflowed, or became so small that it lost digits, or all of them."""
    numbers = torch.finfo(norms.dtype)
    return ~((norms > math.sqrt(numbers.tiny / numbers.eps * terms)) & (norms < math.inf))


def _scaled_norms(entries: Tensor, others: list[int], largest: Tensor) -> Tensor:
    """Norms of slices of any size: each is divided by a power of two near its largest entry, so squares are near 1.

    Near enough: of the smallest and largest numbers the power's inverse, and a gradient times it, would be none.
    """
    limit = int(0.8 * math.log2(torch.finfo(entries.dtype).max))
    exponent = torch.frexp(largest.nan_to_num()).exponent.clamp(-limit, limit)
    scale = torch.full_like(largest, 2.0) ** exponent
    near_one = entries / _sharded.spread(scale, entries)
    norms = _sharded.whole(torch.linalg.vector_norm(near_one, dim=others, keepdim=True))
    return (norms * scale).flatten()
