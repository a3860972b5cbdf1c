r"""The ordered weighted l1 norm, ``Omega_w(x) = sum_i w_i |x|_(i)`` with ``|x|_(1) >= |x|_(2) >= ...``.

w falls as well: w_1 >= w_2 >= ... >= 0.

The largest entry pays the largest price. So entries of nearly equal size gain by becoming equal: this is a
penalty that chooses groups by itself. Its proximal map is exact, in four steps::

    sort      z = |v| in falling order
    subtract  d = z - w
    pool      the nearest falling sequence to d: neighbours in the wrong order get their mean
    clip      at 0; then back to the old order and the old signs

GrOWL is the same norm of the norms of slices: it drops and ties whole neurons. A constant w gives l1 and the
group lasso.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from tyinglib import _sharded
from tyinglib._checks import Array, check_integer, check_step_size, check_tensor, check_weights
from tyinglib._private_apis import under_functorch
from tyinglib._tensors import ratio, scale_slices, wide
from tyinglib.penalties._prox_owl import ProxOWL, prox_rows
from tyinglib.penalties.protocol import Penalty
from tyinglib.penalties.slices import slice_norms


def owl_norm(weight: Tensor, w: Tensor) -> Tensor:
    """``Omega_w(x) = sum_i w_i |x|_(i)``, the entries sorted by falling size.

    Parameters
    ----------
    weight
        x, of any shape, with n entries in all; floating point.
    w
        (n,), falling and not negative.

    Returns
    -------
    Tensor
        (), of the weight's dtype (float32 for float16 and bfloat16); differentiable.

    Raises
    ------
    ValueError
        If w are not n falling, finite numbers >= 0, or x is not floating point.

    Examples
    --------
    >>> owl_norm(torch.tensor([1.0, -3.0, 2.0]), torch.tensor([1.0, 0.5, 0.0]))
    tensor(4.)

    Reference: Bogdan, van den Berg, Sabatti, Su and Candes (2015), equation (1.4). Chapter: OWL and GrOWL.
    """
    flat = _flat(weight)
    return _owl_norm(flat, check_weights(w, flat.numel()))


def prox_owl(weight: Tensor, w: Tensor, *, step_size: float = 1.0, batched: bool = False) -> Tensor:
    """argmin over x of 1/2 ||x - v||^2 + step_size * Omega_w(x), exactly.

    Parameters
    ----------
    weight
        v, of any shape and strides, with n entries: float16, bfloat16 (computed in float32), float32, float64.
    w
        (n,), falling and not negative.
    step_size
        Multiplies w.
    batched
        Every ``weight[i]`` is a problem of its own, with n entries; they share w.

    Returns
    -------
    Tensor
        x, of the shape, dtype and device of v. Differentiable in v (not in w), and usable under
        `torch.func.vmap`: the Jacobian is D S (S^T S)^-1 S^T D, with D the signs of v and S the blocks of equal
        ``|x|``. It averages over each block.

    Raises
    ------
    ValueError
        If v holds NaN or infinite values, w are not n falling, finite numbers >= 0, or step_size is
        negative or not finite.

    Examples
    --------
    >>> prox_owl(torch.tensor([5.0, -4.8, 1.0]), torch.tensor([3.0, 1.0, 1.0]))
    tensor([ 2.9000, -2.9000,  0.0000])

    Method: sort, subtract, pool, clip: Bogdan et al. (2015), algorithm 3; Zeng and Figueiredo (2014). The
    pooling is scipy.optimize.isotonic_regression. Chapter: OWL and GrOWL.
    """
    check_tensor(weight, "weight")
    if batched and weight.ndim == 0:
        raise ValueError("batched=True needs a first dimension that numbers the problems, got a weight of shape ()")
    n = math.prod(weight.shape[1:]) if batched else weight.numel()
    return _prox_owl(weight, check_weights(w, n), check_step_size(step_size), n)


def growl_norm(weight: Tensor, w: Tensor, *, dim: int) -> Tensor:
    """Omega_w of the l2 norms of the slices of a weight: sum_i w_i ||slice||_(i).

    Parameters
    ----------
    weight
        Any tensor with at least one dimension; its n slices along `dim` are the groups.
    w
        (n,), falling and not negative.
    dim
        1 (one input neuron or channel a group, as `torch.nn.utils.prune.ln_structured` counts) for Linear and
        convolution weights; 0 for outputs; of a transposed convolution the other way round.

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
    >>> growl_norm(torch.tensor([[3.0, 0.0], [4.0, 1.0]]), torch.tensor([2.0, 1.0]), dim=1)
    tensor(11.)

    Reference: Oswal, Cox, Lambon-Ralph, Rogers and Nowak (2016); for networks Zhang et al. (2018), equation (2).
    Chapter: OWL and GrOWL.
    """
    norms = slice_norms(weight, dim)
    return _owl_norm(norms, check_weights(w, len(norms)))


def prox_growl(weight: Tensor, w: Tensor, *, dim: int, step_size: float = 1.0) -> Tensor:
    """argmin over X of 1/2 ||X - V||^2 + step_size * growl_norm(X), exactly.

    The prox of OWL on the norms of the slices; every slice is scaled to its new norm and never turned.

    Parameters
    ----------
    weight, w, dim
        As in `growl_norm`.
    step_size
        Multiplies w.

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
    >>> prox_growl(torch.tensor([[3.0, 0.0], [4.0, 1.0]]), torch.tensor([2.0, 1.0]), dim=1)
    tensor([[1.8000, 0.0000],
            [2.4000, 0.0000]])

    Reference: Zhang et al. (2018), equations (3) and (4). Chapter: OWL and GrOWL.
    """
    norms = slice_norms(weight, dim)
    return _prox_growl(weight, norms, check_weights(w, len(norms)), dim, check_step_size(step_size))


def owl_dual_norm(weight: Tensor, w: Tensor) -> Tensor:
    """The dual norm of OWL: max over k of (sum of the k largest ``|x|``) / (w_1 + ... + w_k).

    Parameters
    ----------
    weight, w
        As in `owl_norm`; w_1 > 0.

    Returns
    -------
    Tensor
        (). It is at most 1 just where 0 minimises Omega_w(u) - <u, x>.

    Raises
    ------
    ValueError
        As `owl_norm`; or if all of w is zero: then it is no norm.

    Examples
    --------
    >>> owl_dual_norm(torch.tensor([1.0, -3.0, 2.0]), torch.tensor([2.0, 1.0, 0.0]))
    tensor(2.)

    Reference: Bogdan et al. (2015), section 1.3; Zeng and Figueiredo (2014). Chapter: OWL and GrOWL.
    """
    flat = _flat(weight)
    checked = check_weights(w, flat.numel())
    if not flat.numel() or not checked[0] > 0:
        raise ValueError("w must begin above zero: otherwise OWL is zero, and has no dual norm")
    return _dual_norm(flat, checked)


class _Ordered(Penalty):
    """What OWL and GrOWL have in common: w, checked once and kept where nothing outside can change it."""

    _w: Array  # float64, read-only

    def __init__(self, w: Tensor) -> None:
        kept = check_weights(w, w.shape[0] if isinstance(w, Tensor) and w.ndim else 0).copy()
        kept.setflags(write=False)
        object.__setattr__(self, "_w", kept)

    @property
    def w(self) -> Tensor:
        """The weights w, (n,) float64; a copy."""
        return torch.from_numpy(self._w.copy())

    def _of_size(self, n: int) -> Array:
        """w, for a weight that has n entries (GrOWL: slices)."""
        return self._w if len(self._w) == n else check_weights(self.w, n)  # which says what is wrong

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(
            f"a penalty does not change: make a new {type(self).__name__}, and give it to the optimizer"
        )

    __delattr__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._others() == other._others() and np.array_equal(self._w, other._w)

    def __hash__(self) -> int:
        return hash((type(self), self._w.tobytes(), *self._others().items()))

    def __repr__(self) -> str:
        ends = f"{self._w[0]:g}..{self._w[-1]:g}" if len(self._w) else "none"
        others = "".join(f", {name}={value}" for name, value in self._others().items())
        return f"{type(self).__name__}(w={ends}, n={len(self._w)}{others})"

    def _others(self) -> dict[str, object]:
        """What it has beside w."""
        return {name: value for name, value in vars(self).items() if name != "_w"}


class OWL(_Ordered):
    """``g(x) = sum_i w_i |x|_(i)``: entries become zero, and equal in size.

    Parameters
    ----------
    w
        (n,), one number for each entry of the weight, falling and not negative (`weight_sequences`). They are copied.

    Raises
    ------
    ValueError
        If w does not fall, is negative, or is not finite.

    Examples
    --------
    >>> OWL(torch.tensor([1.0, 0.5, 0.5])).prox(torch.tensor([3.0, -2.9, 0.5]), step_size=1.0)
    tensor([ 2.2000, -2.2000,  0.0000])

    Reference: Bogdan et al. (2015); Zeng and Figueiredo (2014). Chapter: OWL and GrOWL.
    """

    def value(self, weight: Tensor) -> Tensor:
        """g(weight). As `Penalty.value`."""
        flat = _flat(weight)
        return _owl_norm(flat, self._of_size(flat.numel()))

    def prox(self, weight: Tensor, step_size: float) -> Tensor:
        """`prox_owl` with this w. As `Penalty.prox`."""
        n = check_tensor(weight, "weight").numel()
        return _prox_owl(weight, self._of_size(n), check_step_size(step_size), n)

    def factor_to_zero(self, grad: Tensor) -> float:
        """The dual norm of the gradient (`owl_dual_norm`). As `Penalty.factor_to_zero`."""
        flat = _flat(grad)
        return _factor(flat, self._of_size(flat.numel()))


class GrOWL(_Ordered):
    """g(x) = sum_i w_i ||slice||_(i): slices become zero, and equal in norm. They are never turned.

    Parameters
    ----------
    w
        (n,), one number for each slice along `dim`, falling and not negative (`weight_sequences`). They are copied.
    dim
        1 for inputs of a Linear or convolution weight, 0 for outputs; of a transposed convolution the other way round.

    Raises
    ------
    ValueError
        If w does not fall, is negative, or is not finite; or if dim is no integer.

    Examples
    --------
    >>> penalty = GrOWL(torch.tensor([1.0, 0.5]), dim=1)
    >>> penalty
    GrOWL(w=1..0.5, n=2, dim=1)
    >>> penalty.prox(torch.tensor([[3.0, 0.0], [4.0, 4.9]]), step_size=1.0).norm(dim=0)
    tensor([4.2000, 4.2000])

    Reference: Zhang, Wang, Figueiredo and Balzano (ICLR 2018), equation (2). Chapter: GrOWL in a network.
    """

    dim: int

    def __init__(self, w: Tensor, dim: int) -> None:
        super().__init__(w)
        object.__setattr__(self, "dim", check_integer("dim", dim))

    def value(self, weight: Tensor) -> Tensor:
        """g(weight). As `Penalty.value`."""
        norms = slice_norms(weight, self.dim)
        return _owl_norm(norms, self._of_size(len(norms)))

    def prox(self, weight: Tensor, step_size: float) -> Tensor:
        """`prox_growl` with this w. As `Penalty.prox`."""
        norms = slice_norms(weight, self.dim)
        return _prox_growl(weight, norms, self._of_size(len(norms)), self.dim, check_step_size(step_size))

    def factor_to_zero(self, grad: Tensor) -> float:
        """The dual norm of the norms of the gradient's slices. As `Penalty.factor_to_zero`."""
        norms = slice_norms(grad, self.dim)
        return _factor(norms, self._of_size(len(norms)))


# What follows trusts its arguments: they were checked at the door, once.


def _flat(weight: Tensor) -> Tensor:
    return _sharded.whole(wide(check_tensor(weight, "weight"))).flatten()


def _owl_norm(flat: Tensor, w: Array) -> Tensor:
    return torch.sort(flat.abs(), descending=True).values @ torch.tensor(w).to(flat)


def _dual_norm(flat: Tensor, w: Array) -> Tensor:
    sums = torch.sort(flat.abs(), descending=True).values.double().cumsum(0)
    return (sums / torch.tensor(w).to(sums).cumsum(0)).max().to(flat.dtype)


def _factor(flat: Tensor, w: Array) -> float:
    return float(_dual_norm(flat, w)) if len(w) and w[0] > 0 else ratio(float(flat.abs().sum()), 0.0)


def _prox_owl(weight: Tensor, w: Array, step_size: float, n: int) -> Tensor:
    """The prox of each row of n entries."""
    if _sharded.is_sharded(weight):
        return _sharded.part_of(_prox_owl(_sharded.whole(weight), w, step_size, n), weight)
    rows = weight.reshape(-1, n) if n else weight.reshape(len(weight) if weight.ndim > 1 else 1, 0)
    with_labels = weight.requires_grad or forward_ad.unpack_dual(weight).tangent is not None  # type: ignore[no-untyped-call]
    if not with_labels and not under_functorch():  # no derivative, no torch.func
        return prox_rows(rows, w, step_size).view(weight.shape)
    result: Tensor = ProxOWL.apply(rows, w, step_size, with_labels)[0]  # type: ignore[no-untyped-call]
    return result.reshape(weight.shape)


def _prox_growl(weight: Tensor, norms: Tensor, w: Array, dim: int, step_size: float) -> Tensor:
    shrunk = _prox_owl(norms, w, step_size, len(norms))
    factor = shrunk / torch.where(norms > 0, norms, torch.ones_like(norms))
    return scale_slices(weight, factor, dim)
