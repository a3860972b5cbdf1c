"""Norms of single entries: l1, the squared l2, and both (elastic net)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from tyinglib import _sharded
from tyinglib._checks import (
    check_finite,
    check_step_size,
    check_strength,
)
from tyinglib._tensors import largest, ratio, wide
from tyinglib.penalties.protocol import Penalty


def soft_threshold(weight: Tensor, threshold: float) -> Tensor:
    """The prox of threshold * l1: every entry moves towards zero by `threshold`, and stops there.

    Parameters
    ----------
    weight
        Of any shape, floating point.
    threshold
        A finite number >= 0.

    Returns
    -------
    Tensor
        Of the weight's shape, dtype and device; differentiable.

    Raises
    ------
    ValueError
        If the weight holds NaN or infinite values, or the threshold is negative or not finite.

    Examples
    --------
    >>> import torch
    >>> soft_threshold(torch.tensor([3.0, -0.5, -2.0]), 1.0)
    tensor([ 2.,  0., -1.])

    Reference: Parikh and Boyd, Proximal Algorithms (2014), section 6.5.2. Chapter: Norm penalties.
    """
    check_finite(weight)
    threshold = check_strength("threshold", threshold)
    # not sign(x) * clamp(|x| - t): that leaves -0
    return weight - weight.clamp(-threshold, threshold)


def prox_l2(weight: Tensor, strength: float) -> Tensor:
    """The prox of strength/2 ||x||^2: x / (1 + strength). The norm is squared, and halved.

    Parameters
    ----------
    weight
        Of any shape, floating point.
    strength
        A finite number >= 0.

    Returns
    -------
    Tensor
        Of the weight's shape, dtype and device; differentiable. Nothing becomes zero.

    Raises
    ------
    ValueError
        As `soft_threshold`.

    Examples
    --------
    >>> import torch
    >>> prox_l2(torch.tensor([3.0, -1.5]), 0.5)
    tensor([ 2., -1.])

    Reference: Parikh and Boyd (2014), section 6.1.1. Chapter: Norm penalties.
    """
    return check_finite(weight) / (1 + check_strength("strength", strength))


@dataclass(frozen=True)
class L1(Penalty):
    """g(x) = lam * sum ``|x_i|``: the Lasso's penalty. Single entries become zero.

    Parameters
    ----------
    lam
        A finite number >= 0.

    Raises
    ------
    ValueError
        If lam is negative or not finite.

    Examples
    --------
    >>> import torch
    >>> L1(2.0).prox(torch.tensor([3.0, -0.5]), step_size=0.5)
    tensor([2., 0.])

    Reference: Tibshirani (1996). Chapter: Norm penalties.
    """

    lam: float

    def __post_init__(self) -> None:
        check_strength("lam", self.lam)

    def value(self, weight: Tensor) -> Tensor:
        """g(weight). As `Penalty.value`."""
        return self.lam * _sharded.whole(wide(weight).abs().sum())

    def prox(self, weight: Tensor, step_size: float) -> Tensor:
        """`soft_threshold` by step_size * lam. As `Penalty.prox`."""
        return soft_threshold(weight, check_step_size(step_size) * self.lam)

    def factor_to_zero(self, grad: Tensor) -> float:
        """The largest entry in size over lam. As `Penalty.factor_to_zero`."""
        return ratio(largest(wide(grad).abs()), self.lam)


@dataclass(frozen=True)
class L2(Penalty):
    """g(x) = lam/2 * ||x||^2: weight decay, ridge. Everything gets smaller, nothing becomes zero.

    Parameters
    ----------
    lam
        A finite number >= 0.

    Raises
    ------
    ValueError
        If lam is negative or not finite.

    Examples
    --------
    >>> import torch
    >>> L2(2.0).value(torch.tensor([3.0, 4.0]))
    tensor(25.)

    Reference: Hoerl and Kennard (1970). Chapter: Norm penalties.
    """

    lam: float

    def __post_init__(self) -> None:
        check_strength("lam", self.lam)

    def value(self, weight: Tensor) -> Tensor:
        """g(weight). As `Penalty.value`."""
        return self.lam / 2 * _sharded.whole(wide(weight).square().sum())

    def prox(self, weight: Tensor, step_size: float) -> Tensor:
        """`prox_l2` of strength step_size * lam. As `Penalty.prox`."""
        return prox_l2(weight, check_step_size(step_size) * self.lam)

    def factor_to_zero(self, grad: Tensor) -> float:
        """Infinite, unless the gradient is zero: no square makes 0 optimal. As `Penalty.factor_to_zero`."""
        return math.inf if largest(grad.abs()) else 0.0


@dataclass(frozen=True)
class ElasticNet(Penalty):
    """g(x) = l1 * sum ``|x_i|`` + l2/2 * ||x||^2. Zeros as with l1, but correlated features share.

    Parameters
    ----------
    l1, l2
        Finite numbers >= 0.

    Raises
    ------
    ValueError
        If l1 or l2 is negative or not finite.

    Examples
    --------
    >>> import torch
    >>> ElasticNet(1.0, 1.0).prox(torch.tensor([3.0, -0.5]), step_size=1.0)
    tensor([1., 0.])

    Reference: Zou and Hastie (2005), equation (3), here with the half. Chapter: Norm penalties.
    """

    l1: float
    l2: float

    def __post_init__(self) -> None:
        check_strength("l1", self.l1)
        check_strength("l2", self.l2)

    def value(self, weight: Tensor) -> Tensor:
        """g(weight). As `Penalty.value`."""
        return L1(self.l1).value(weight) + L2(self.l2).value(weight)

    def prox(self, weight: Tensor, step_size: float) -> Tensor:
        """`soft_threshold`, then `prox_l2`: in this order it is exact. As `Penalty.prox`."""
        return L2(self.l2).prox(L1(self.l1).prox(weight, step_size), step_size)

    def factor_to_zero(self, grad: Tensor) -> float:
        """The largest entry in size over l1. As `Penalty.factor_to_zero`."""
        return ratio(largest(wide(grad).abs()), self.l1)
