"""The maps of `selection` for labels and factors that were checked before: a tied layer calls these at every step."""

from __future__ import annotations

import torch
from torch import Tensor

from tyinglib._tensors import along, wide


def count(labels: Tensor) -> int:
    """k, the number of free slices that the labels name."""
    return int(labels.max()) + 1


def expand(codebook: Tensor, labels: Tensor, dim: int | None, factors: Tensor | None = None) -> Tensor:
    """S phi, as `selection.expand`."""
    if codebook.numel() == 0:  # everything pruned: nothing to select from
        shape = list(labels.shape) if dim is None else list(codebook.shape)
        if dim is not None:
            shape[dim] = len(labels)
        return codebook.new_zeros(shape) + codebook.sum()  # the sum of nothing is 0, and keeps autograd's graph
    index = labels.clamp(min=0).flatten()
    theta = codebook.index_select(0 if dim is None else dim, index)
    pruned = labels < 0
    if dim is None:
        theta = theta.view(labels.shape)
    else:
        pruned = along(pruned, dim, theta.ndim)
    if factors is not None:
        theta = theta * _beside(factors, theta, dim)
    # masked_fill, not a product with 0: a NaN in the codebook must not leak into pruned slices
    return theta.masked_fill(pruned, 0)


def pull_back(grad: Tensor, labels: Tensor, dim: int | None, groups: int, factors: Tensor | None = None) -> Tensor:
    """S^T g, as `selection.pull_back`."""
    if factors is not None:
        grad = grad * _beside(factors, grad, dim)
    if dim is None:
        grad, labels, dim = grad.flatten(), labels.flatten(), 0
    # pruned slices are added to a group of their own, which is then cut off
    index = torch.where(labels < 0, groups, labels)
    shape = list(grad.shape)
    shape[dim] = groups + 1
    total = grad.new_zeros(shape).index_add(dim, index, grad)
    return total.narrow(dim, 0, groups)


def squares(labels: Tensor, groups: int, factors: Tensor | None = None) -> Tensor:
    """The diagonal of S^T S, (k,): how many slices each group has, or the sum of their squared factors."""
    used = labels >= 0
    if factors is None:
        return torch.bincount(labels[used], minlength=groups)
    return wide(factors).new_zeros(groups).index_add(0, labels[used], wide(factors)[used].square())


def group_means(weight: Tensor, labels: Tensor, dim: int | None, groups: int, factors: Tensor | None = None) -> Tensor:
    """(S^T S)^-1 S^T theta, as `selection.group_means`."""
    sums = pull_back(wide(weight), labels, dim, groups, factors)
    sizes = squares(labels, groups, factors).to(sums.dtype)
    if dim is not None:
        sizes = along(sizes, dim, sums.ndim)
    return (sums / sizes).to(weight.dtype)


def _beside(factors: Tensor, weight: Tensor, dim: int | None) -> Tensor:
    """Factors that broadcast over the slices of a weight, of its dtype."""
    factors = factors.to(weight.dtype)
    return factors if dim is None else along(factors, dim, weight.ndim)
