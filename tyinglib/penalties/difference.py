"""A penalty on the difference of two weights: the soft tie of a pair."""

from __future__ import annotations

from torch import Tensor

from tyinglib.penalties.protocol import Penalty
from tyinglib.penalties.slices import GroupLasso


def difference_value(x: Tensor, y: Tensor, penalty: Penalty) -> Tensor:
    """g(x - y).

    Parameters
    ----------
    x, y
        Two weights of one shape, floating point.
    penalty
        g. Under `GroupLasso`, a pair with one dimension (biases) is one group.

    Returns
    -------
    Tensor
        (), differentiable.

    Raises
    ------
    ValueError
        If the difference does not fit the penalty.

    Examples
    --------
    >>> import torch
    >>> from tyinglib.penalties import L1
    >>> difference_value(torch.tensor([3.0, 1.0]), torch.tensor([1.0, 1.0]), L1(2.0))
    tensor(4.)

    Chapter: Two models, tied softly.
    """
    difference, penalty = _fitted(x - y, penalty)
    return penalty.value(difference)


def prox_difference(x: Tensor, y: Tensor, penalty: Penalty, step_x: float, step_y: float) -> tuple[Tensor, Tensor]:
    """argmin over a, b of ||a - x||^2 / (2 step_x) + ||b - y||^2 / (2 step_y) + g(a - b).

    The difference goes through g's prox with step step_x + step_y; a and b share what it loses in the ratio of their
    steps. Where it becomes zero, both are bit for bit the same number, the mean weighted by the other's step.

    Parameters
    ----------
    x, y
        Two weights of one shape, floating point.
    penalty
        g, as in `difference_value`.
    step_x, step_y
        The gradient steps that both have taken, >= 0. A weight whose step is 0 stays: only the other moves.

    Returns
    -------
    tuple[Tensor, Tensor]
        a and b, of the shape of x.

    Raises
    ------
    ValueError
        If the difference holds NaN or infinite values, or does not fit the penalty.

    Examples
    --------
    >>> import torch
    >>> from tyinglib.penalties import L1
    >>> prox_difference(torch.tensor([3.0, 1.0]), torch.tensor([1.0, 0.5]), L1(1.0), 0.25, 0.25)
    (tensor([2.7500, 0.7500]), tensor([1.2500, 0.7500]))

    Derived from the definition of the prox in the coordinates weighted mean and difference. Chapter: Two models, tied
    softly.
    """
    total = step_x + step_y
    if not total:
        return x, y
    difference, fitted = _fitted(x - y, penalty)
    left = fitted.prox(difference, total).view_as(x)
    middle = x if not step_x else y if not step_y else y + (x - y) * (step_y / total)
    equal = left == 0
    new_x, new_y = middle + left * (step_x / total), middle - left * (step_y / total)
    return middle.where(equal, new_x), middle.where(equal, new_y)


def _fitted(difference: Tensor, penalty: Penalty) -> tuple[Tensor, Penalty]:
    if difference.ndim < 2 and isinstance(penalty, GroupLasso):
        return difference.reshape(1, -1), GroupLasso(penalty.lam, dim=0)
    return difference, penalty
