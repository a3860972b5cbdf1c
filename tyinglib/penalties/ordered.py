r"""The ordered weighted l1 norm, ``Omega_w(x) = sum_i w_i |x|_(i)`` with ``|x|_(1) >= |x|_(2) >= ...``.

The weights fall too: w_1 >= w_2 >= ... >= 0.

The largest entry pays the largest weight. So entries of nearly equal size gain by becoming equal: this is a
penalty that chooses groups by itself. Its proximal map is exact, in four steps::

    sort      z = |v| in falling order
    subtract  d = z - w
    pool      the nearest falling sequence to d: neighbours in the wrong order get their mean
    clip      at 0; then back to the old order and the old signs

GrOWL is the same norm of the norms of slices: it drops and ties whole neurons. Constant weights give l1 and the
group lasso.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.autograd import forward_ad

from tyinglib import _sharded
from tyinglib._checks import Array, check_dim, check_step_size, check_tensor, check_weights
from tyinglib._private_apis import under_functorch
from tyinglib._tensors import ratio, scale_slices, wide
from tyinglib.penalties._prox_owl import ProxOWL, prox_rows
from tyinglib.penalties.slices import slice_norms


def owl_norm(weight: Tensor, weights: Tensor) -> Tensor:
    """``Omega_w(x) = sum_i w_i |x|_(i)``, the entries sorted by falling size.

    Parameters
    ----------
    weight
        x, of any shape, with n entries in all; floating point.
    weights
        w, (n,), falling and not negative.

    Returns
    -------
    Tensor
        (), of the weight's dtype (float32 for float16 and bfloat16); differentiable.

    Raises
    ------
    ValueError
        If the weights are not n falling, finite numbers >= 0, or x is not floating point.

    Examples
    --------
    >>> owl_norm(torch.tensor([1.0, -3.0, 2.0]), torch.tensor([1.0, 0.5, 0.0]))
    tensor(4.)

    Reference: Bogdan, van den Berg, Sabatti, Su and Candes (2015), equation (1.4). Chapter: OWL and GrOWL.
    """
    flat = _sharded.whole(wide(check_tensor(weight, "weight"))).flatten()
    w = check_weights(weights, flat.numel())
    return torch.sort(flat.abs(), descending=True).values @ torch.from_numpy(w).to(flat)


def prox_owl(weight: Tensor, weights: Tensor, *, step_size: float = 1.0, batched: bool = False) -> Tensor:
    """argmin over x of 1/2 ||x - v||^2 + step_size * Omega_w(x), exactly.

    Parameters
    ----------
    weight
        v, of any shape and strides, with n entries: float16, bfloat16 (computed in float32), float32, float64.
    weights
        w, (n,), falling and not negative.
    step_size
        Multiplies the weights.
    batched
        Every ``weight[i]`` is a problem of its own, with n entries; the weights are shared.

    Returns
    -------
    Tensor
        x, of the shape, dtype and device of v. Differentiable in v (not in the weights), and usable under
        `torch.func.vmap`: the Jacobian is D S (S^T S)^-1 S^T D, with D the signs of v and S the blocks of equal
        ``|x|``. It averages over each block.

    Raises
    ------
    ValueError
        If v holds NaN or infinite values, the weights are not n falling, finite numbers >= 0, or step_size is
        negative or not finite.

    Examples
    --------
    >>> prox_owl(torch.tensor([5.0, -4.8, 1.0]), torch.tensor([3.0, 1.0, 1.0]))
    tensor([ 2.9000, -2.9000,  0.0000])

    Method: sort, subtract, pool, clip: Bogdan et al. (2015), algorithm 3; Zeng and Figueiredo (2014). The
    pooling is scipy.optimize.isotonic_regression. Chapter: OWL and GrOWL.
    """
    return _prox_owl(weight, weights, step_size, batched)


def growl_norm(weight: Tensor, weights: Tensor, *, dim: int = 1) -> Tensor:
    """Omega_w of the l2 norms of the slices of a weight: sum_i w_i ||slice||_(i).

    Parameters
    ----------
    weight
        Any tensor with at least one dimension; its n slices along `dim` are the groups.
    weights
        w, (n,), falling and not negative.
    dim
        1 (one input neuron or channel a group, as `torch.nn.utils.prune.ln_structured` counts) for Linear and
        convolution weights; 0 for outputs.

    Returns
    -------
    Tensor
        (), differentiable; a slice that is zero contributes no gradient.

    Raises
    ------
    ValueError
        As `owl_norm`; or if there is no such dimension.

    Examples
    --------
    >>> growl_norm(torch.tensor([[3.0, 0.0], [4.0, 1.0]]), torch.tensor([2.0, 1.0]))
    tensor(11.)

    Reference: Oswal, Cox, Lambon-Ralph, Rogers and Nowak (2016); for networks Zhang et al. (2018), equation (2).
    Chapter: OWL and GrOWL.
    """
    return owl_norm(slice_norms(weight, dim), weights)


def prox_growl(weight: Tensor, weights: Tensor, *, dim: int = 1, step_size: float = 1.0) -> Tensor:
    """argmin over X of 1/2 ||X - V||^2 + step_size * growl_norm(X), exactly.

    The prox of OWL on the norms of the slices; every slice is scaled to its new norm and never turned.

    Parameters
    ----------
    weight, weights, dim
        As in `growl_norm`.
    step_size
        Multiplies the weights.

    Returns
    -------
    Tensor
        Of the shape, dtype and device of the weight; differentiable.

    Raises
    ------
    ValueError
        As `prox_owl`; or if there is no such dimension.

    Examples
    --------
    >>> prox_growl(torch.tensor([[3.0, 0.0], [4.0, 1.0]]), torch.tensor([2.0, 1.0]))
    tensor([[1.8000, 0.0000],
            [2.4000, 0.0000]])

    Reference: Zhang et al. (2018), equations (3) and (4). Chapter: OWL and GrOWL.
    """
    return _prox_growl(weight, weights, dim, step_size)


def owl_dual_norm(weight: Tensor, weights: Tensor) -> Tensor:
    """The dual norm of OWL: max over k of (sum of the k largest ``|x|``) / (w_1 + ... + w_k).

    Parameters
    ----------
    weight, weights
        As in `owl_norm`; w_1 > 0.

    Returns
    -------
    Tensor
        (). It is at most 1 just where 0 minimises Omega_w(u) - <u, x>.

    Raises
    ------
    ValueError
        As `owl_norm`; or if all weights are zero: then it is no norm.

    Examples
    --------
    >>> owl_dual_norm(torch.tensor([1.0, -3.0, 2.0]), torch.tensor([2.0, 1.0, 0.0]))
    tensor(2.)

    Reference: Bogdan et al. (2015), section 1.3; Zeng and Figueiredo (2014). Chapter: OWL and GrOWL.
    """
    flat = _sharded.whole(wide(check_tensor(weight, "weight"))).flatten()
    w = check_weights(weights, flat.numel())
    if not flat.numel() or not w[0] > 0:
        raise ValueError("weights must have a first weight above zero: otherwise OWL is zero, and has no dual norm")
    largest = torch.sort(flat.abs(), descending=True).values.double().cumsum(0)
    return (largest / torch.from_numpy(w).to(largest).cumsum(0)).max().to(flat.dtype)


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
        """`ordered.prox_owl` with these weights. As `Penalty.prox`."""
        return _prox_owl(weight, _fitting(self, weight.numel()), step_size, False)

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
        """`ordered.prox_growl` with these weights. As `Penalty.prox`."""
        size = weight.shape[check_dim(self.dim, check_tensor(weight, "weight"))]
        return _prox_growl(weight, _fitting(self, size), self.dim, step_size)

    def lam_max(self, grad: Tensor) -> float:
        """The factor from which on 0 is optimal. As `L1.lam_max`.

        Raises
        ------
        ValueError
            If the gradient is not floating point, or has not one slice for each of the weights.
        """
        return _dual(slice_norms(grad, self.dim), self.weights)


def _owned(weights: Tensor) -> Array:
    """Checked weights, copied: nothing outside can unsort them later."""
    n = weights.shape[0] if isinstance(weights, Tensor) and weights.ndim else 0
    return check_weights(weights, n).copy()


def _fitting(penalty: OWL | GrOWL, n: int) -> Tensor | Array:
    """The checked weights as an array, without another look at them; the tensor, for its error, if n is another."""
    return penalty._checked if len(penalty._checked) == n else penalty.weights


def _dual(grad: Tensor, weights: Tensor) -> float:
    size = float(_sharded.whole(wide(grad).abs().sum()))
    return ratio(size, 0.0) if not weights.any() else float(owl_dual_norm(grad, weights))


# The same for weights that were checked before: a penalty is applied at every step.


def _prox_owl(weight: Tensor, weights: Tensor | Array, step_size: float, batched: bool) -> Tensor:
    check_tensor(weight, "weight")
    if _sharded.is_sharded(weight):
        return _sharded.part_of(_prox_owl(_sharded.whole(weight), weights, step_size, batched), weight)
    if batched and weight.ndim == 0:
        raise ValueError("batched=True needs a first dimension that numbers the problems, got a weight of shape ()")
    size = math.prod(weight.shape[1:]) if batched else weight.numel()
    rows = weight.reshape(weight.shape[0], size) if batched else weight.reshape(1, size)
    step_size = check_step_size(step_size)
    with_labels = weight.requires_grad or forward_ad.unpack_dual(weight).tangent is not None  # type: ignore[no-untyped-call]
    if not with_labels and not under_functorch():  # no derivative, no torch.func
        return prox_rows(rows, weights, step_size).view(weight.shape)
    result: Tensor = ProxOWL.apply(rows, weights, step_size, with_labels)[0]  # type: ignore[no-untyped-call]
    return result.reshape(weight.shape)


def _prox_growl(weight: Tensor, weights: Tensor | Array, dim: int, step_size: float) -> Tensor:
    norms = slice_norms(check_tensor(weight, "weight"), dim)
    shrunk = _prox_owl(norms, weights, step_size, False)
    factor = shrunk / torch.where(norms > 0, norms, torch.ones_like(norms))
    return scale_slices(weight, factor, dim)
