r"""Norm penalties g, and their proximal maps: prox(v) = argmin over x of 1/2 ||x - v||^2 + step_size * g(x).

A penalty is a value and a proximal map. Where g has a corner, the map puts weights exactly there: at zero (l1),
whole slices at zero (group lasso), at equal sizes (OWL, GrOWL). A gradient step only circles the corner.

=============  ==============================================  =========================================
penalty        g(x)                                            prox
=============  ==============================================  =========================================
`L1`           lam sum ``|x_i|``                               every entry moves towards 0, and stops there
`L2`           lam/2 ||x||^2 (the square, with the half)       x / (1 + step_size lam)
`ElasticNet`   l1 sum ``|x_i|`` + l2/2 ||x||^2                 L1's, then L2's
`GroupLasso`   lam sum_j ||slice_j||                           every slice gets shorter by step_size lam
`OWL`          ``sum_i w_i |x|_(i)``                           `owl.prox_owl`
`GrOWL`        sum_i w_i ||slice||_(i)                         `owl.prox_growl`
=============  ==============================================  =========================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from tyinglib import _sharded, owl
from tyinglib._checks import Array, check_dim, check_step_size, check_strength, check_tensor, check_weights
from tyinglib._owl_prox import wide
from tyinglib.owl import growl_norm, owl_dual_norm, owl_norm, slice_norms


@runtime_checkable
class Penalty(Protocol):
    """What `optim.ProxSGD` and the regressions need to know of a penalty.

    Examples
    --------
    >>> isinstance(L1(0.1), Penalty)
    True

    Chapter: Norm penalties.
    """

    def value(self, weight: Tensor) -> Tensor:
        """g(x).

        Parameters
        ----------
        weight
            x, of any shape that fits the penalty; floating point.

        Returns
        -------
        Tensor
            A scalar, of shape ().

        Raises
        ------
        ValueError
            If the weight does not fit the penalty.
        """
        ...

    def prox(self, weight: Tensor, step_size: float) -> Tensor:
        """argmin over x of 1/2 ||x - weight||^2 + step_size * g(x).

        Parameters
        ----------
        weight
            Of any shape that fits the penalty; floating point.
        step_size
            A finite number >= 0.

        Returns
        -------
        Tensor
            Of the weight's shape, dtype and device.

        Raises
        ------
        ValueError
            If the weight holds NaN or infinite values, is not floating point or does not fit the penalty, or step_size
            is negative or not finite.
        """
        ...


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
    >>> soft_threshold(torch.tensor([3.0, -0.5, -2.0]), 1.0)
    tensor([ 2.,  0., -1.])

    Reference: Parikh and Boyd, Proximal Algorithms (2014), section 6.5.2. Chapter: Norm penalties.
    """
    _check_finite(weight)
    threshold = check_strength("threshold", threshold)
    # not sign(x) * clamp(|x| - t): that leaves -0
    return weight - weight.clamp(-threshold, threshold)


def group_soft_threshold(weight: Tensor, threshold: float, *, dim: int = 1) -> Tensor:
    """The prox of threshold * (sum of the slices' l2 norms): every slice gets shorter, or becomes zero.

    Parameters
    ----------
    weight
        Any tensor with at least one dimension, floating point; its slices along `dim` are the groups.
    threshold
        A finite number >= 0.
    dim
        1 for one input neuron or channel a group of a Linear or convolution weight; 0 for outputs.

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
    >>> group_soft_threshold(torch.tensor([[3.0, 0.3], [4.0, 0.4]]), 1.0)
    tensor([[2.4000, 0.0000],
            [3.2000, 0.0000]])

    Reference: Parikh and Boyd (2014), section 6.5.4; Yuan and Lin (2006). Chapter: Norm penalties.
    """
    norms = slice_norms(_check_finite(weight), dim)
    shorter = (norms - check_strength("threshold", threshold)).clamp(min=0)
    factor = shorter / torch.where(norms > 0, norms, torch.ones_like(norms))
    factor = torch.where(norms == math.inf, torch.ones_like(norms), factor)  # longer than any number: it hardly changes
    return owl._scale_slices(weight, factor, dim)


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
    >>> prox_l2(torch.tensor([3.0, -1.5]), 0.5)
    tensor([ 2., -1.])

    Reference: Parikh and Boyd (2014), section 6.1.1. Chapter: Norm penalties.
    """
    return _check_finite(weight) / (1 + check_strength("strength", strength))


@dataclass(frozen=True)
class L1:
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

    def lam_max(self, grad: Tensor) -> float:
        """The factor on this penalty from which on 0 is optimal, where the loss has gradient `grad` at 0.

        Parameters
        ----------
        grad
            Of the weight's shape.

        Returns
        -------
        float
            The dual norm of the gradient: for l1, its largest entry in size over lam. 0 where the gradient is zero;
            infinite where no factor is enough.
        """
        return _ratio(_largest(wide(grad).abs()), self.lam)


@dataclass(frozen=True)
class L2:
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

    def lam_max(self, grad: Tensor) -> float:
        """Infinite, unless the gradient is zero: no square makes 0 optimal. As `L1.lam_max`."""
        return math.inf if _largest(grad.abs()) else 0.0


@dataclass(frozen=True)
class ElasticNet:
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

    def lam_max(self, grad: Tensor) -> float:
        """The factor from which on 0 is optimal. As `L1.lam_max`."""
        return _ratio(_largest(wide(grad).abs()), self.l1)


@dataclass(frozen=True)
class GroupLasso:
    """g(x) = lam * sum_j ||slice_j||, the norms not squared. Whole slices become zero.

    Parameters
    ----------
    lam
        A finite number >= 0. Slices of one weight are equally large, so no factor sqrt(size) stands here.
    dim
        The dimension along which slices are taken: 1 for inputs of a Linear or convolution weight, 0 for outputs.

    Raises
    ------
    ValueError
        If lam is negative or not finite.

    Examples
    --------
    >>> GroupLasso(1.0).value(torch.tensor([[3.0, 0.0], [4.0, 2.0]]))
    tensor(7.)

    Reference: Yuan and Lin (2006). Chapter: Norm penalties.
    """

    lam: float
    dim: int = 1

    def __post_init__(self) -> None:
        check_strength("lam", self.lam)

    def value(self, weight: Tensor) -> Tensor:
        """g(weight). As `Penalty.value`."""
        return self.lam * slice_norms(weight, self.dim).sum()

    def prox(self, weight: Tensor, step_size: float) -> Tensor:
        """`group_soft_threshold` by step_size * lam. As `Penalty.prox`."""
        return group_soft_threshold(weight, check_step_size(step_size) * self.lam, dim=self.dim)

    def lam_max(self, grad: Tensor) -> float:
        """The factor from which on 0 is optimal. As `L1.lam_max`.

        Raises
        ------
        ValueError
            If the gradient is not floating point, or has no dimension `dim`.
        """
        return _ratio(_largest(slice_norms(grad, self.dim)), self.lam)


@dataclass(frozen=True, eq=False)
class OWL:
    """``g(x) = sum_i w_i |x|_(i)``: entries become zero, and equal in size.

    Parameters
    ----------
    weights
        w, (n,), one for each entry of the weight, falling and not negative (`weight_sequences`). They are copied.

    Raises
    ------
    ValueError
        If the weights do not fall, are negative, or are not finite.

    Examples
    --------
    >>> OWL(torch.tensor([1.0, 0.5, 0.5])).prox(torch.tensor([3.0, -2.9, 0.5]), step_size=1.0)
    tensor([ 2.2000, -2.2000,  0.0000])

    Reference: Bogdan et al. (2015); Zeng and Figueiredo (2014). Chapter: OWL and GrOWL.
    """

    weights: Tensor
    _checked: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_checked", _owned(self.weights))
        object.__setattr__(self, "weights", torch.from_numpy(self._checked))

    def value(self, weight: Tensor) -> Tensor:
        """g(weight). As `Penalty.value`."""
        return owl_norm(weight, self.weights)

    def prox(self, weight: Tensor, step_size: float) -> Tensor:
        """`owl.prox_owl` with these weights. As `Penalty.prox`."""
        return owl._prox_owl(weight, _fitting(self, weight.numel()), step_size, False)

    def lam_max(self, grad: Tensor) -> float:
        """The factor from which on 0 is optimal. As `L1.lam_max`.

        Raises
        ------
        ValueError
            If the gradient is not floating point, or has not one entry for each of the weights.
        """
        return _dual(grad, self.weights)


@dataclass(frozen=True, eq=False)
class GrOWL:
    """g(x) = sum_i w_i ||slice||_(i): slices become zero, and equal in norm. They are never turned.

    Parameters
    ----------
    weights
        w, (n,), one for each slice along `dim`, falling and not negative (`weight_sequences`). They are copied.
    dim
        1 for inputs of a Linear or convolution weight, 0 for outputs.

    Raises
    ------
    ValueError
        If the weights do not fall, are negative, or are not finite.

    Examples
    --------
    >>> penalty = GrOWL(torch.tensor([1.0, 0.5]), dim=1)
    >>> penalty.prox(torch.tensor([[3.0, 0.0], [4.0, 4.9]]), step_size=1.0).norm(dim=0)
    tensor([4.2000, 4.2000])

    Reference: Zhang, Wang, Figueiredo and Balzano (ICLR 2018), equation (2). Chapter: GrOWL in a network.
    """

    weights: Tensor
    dim: int = 1
    _checked: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_checked", _owned(self.weights))
        object.__setattr__(self, "weights", torch.from_numpy(self._checked))

    def value(self, weight: Tensor) -> Tensor:
        """g(weight). As `Penalty.value`."""
        return growl_norm(weight, self.weights, dim=self.dim)

    def prox(self, weight: Tensor, step_size: float) -> Tensor:
        """`owl.prox_growl` with these weights. As `Penalty.prox`."""
        size = weight.shape[check_dim(self.dim, check_tensor(weight, "weight"))]
        return owl._prox_growl(weight, _fitting(self, size), self.dim, step_size)

    def lam_max(self, grad: Tensor) -> float:
        """The factor from which on 0 is optimal. As `L1.lam_max`.

        Raises
        ------
        ValueError
            If the gradient is not floating point, or has not one slice for each of the weights.
        """
        return _dual(slice_norms(grad, self.dim), self.weights)


def _check_finite(weight: Tensor) -> Tensor:
    if not _sharded.all_finite(check_tensor(weight, "weight")):
        raise ValueError("weight holds NaN or infinite values, which have no proximal point")
    return weight


def _owned(weights: Tensor) -> Array:
    """Checked weights, copied: nothing outside can unsort them later."""
    n = weights.shape[0] if isinstance(weights, Tensor) and weights.ndim else 0
    return check_weights(weights, n).copy()


def _fitting(penalty: OWL | GrOWL, n: int) -> Tensor | Array:
    """The checked weights as an array, without another look at them; the tensor, for its error, if n is another."""
    return penalty._checked if len(penalty._checked) == n else penalty.weights


def _largest(values: Tensor) -> float:
    values = _sharded.whole(values)  # a part may be empty, and nothing has no largest entry
    return float(values.max()) if values.numel() else 0.0


def _ratio(size: float, strength: float) -> float:
    return 0.0 if size == 0 else math.inf if strength == 0 else size / strength


def _dual(grad: Tensor, weights: Tensor) -> float:
    size = float(_sharded.whole(wide(grad).abs().sum()))
    return _ratio(size, 0.0) if not weights.any() else float(owl_dual_norm(grad, weights))
