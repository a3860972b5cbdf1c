"""What a penalty is: anything with a value and a proximal map."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Penalty(Protocol):
    """What `optim.ProxSGD` and the soft ties of `sharing` need to know of a penalty.

    Examples
    --------
    >>> from tyinglib.penalties import L1
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

    def factor_to_zero(self, grad: Tensor) -> float:
        """The smallest factor on this penalty with which 0 is optimal, where the loss has gradient `grad` at 0.

        Parameters
        ----------
        grad
            Of the weight's shape; floating point.

        Returns
        -------
        float
            The dual norm of the gradient. 0 where the gradient is zero; infinite where no factor is enough.

        Raises
        ------
        ValueError
            If the gradient does not fit the penalty.
        """
        ...
