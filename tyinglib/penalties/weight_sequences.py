r"""Weight sequences for OWL and GrOWL: w_1 >= w_2 >= ... >= w_n >= 0.

How fast they fall decides how eagerly entries are tied; the last one is what even the smallest entry pays::

    OSCAR                w_i = l1 + l2 (n - i)
    PLD                  w_i = l1 + l2 (p - i + 1) for i <= p, then l1
    Benjamini-Hochberg   w_i = Phi^-1(1 - i q / (2 n))
"""

from __future__ import annotations

import torch
from torch import Tensor

from tyinglib._checks import check_count, check_strength


def oscar_weights(n: int, l1: float, l2: float) -> Tensor:
    """w_i = l1 + l2 (n - i): an l1 norm and a pairwise l_infinity norm in one.

    Parameters
    ----------
    n
        How many, >= 1.
    l1, l2
        `l1` >= 0 is the smallest weight, `l2` >= 0 the step from one to the next.

    Returns
    -------
    Tensor
        (n,), float64, falling.

    Raises
    ------
    ValueError
        If n is no count, or l1 or l2 is negative or not finite.

    Examples
    --------
    >>> oscar_weights(3, 1.0, 0.5).tolist()
    [2.0, 1.5, 1.0]

    Reference: Bondell and Reich (2008); in this form Zeng and Figueiredo (2014). Chapter: OWL and GrOWL.
    """
    check_count("n", n)
    return check_strength("l1", l1) + check_strength("l2", l2) * torch.arange(n - 1, -1, -1, dtype=torch.float64)


def pld_weights(n: int, l1: float, l2: float, p: int | None = None) -> Tensor:
    """Linear decay of the first p: w_i = l1 + (p - i + 1) l2 for i <= p, and l1 after.

    Parameters
    ----------
    n
        How many, >= 1.
    l1, l2
        >= 0. With l2 = 0 all weights are l1: OWL is l1, GrOWL is the group lasso.
    p
        0..n; None for n.

    Returns
    -------
    Tensor
        (n,), float64, falling.

    Raises
    ------
    ValueError
        If n or p is no such count, or l1 or l2 is negative or not finite.

    Examples
    --------
    >>> pld_weights(4, 1.0, 0.5, p=2).tolist()
    [2.0, 1.5, 1.0, 1.0]

    Reference: Zhang, Wang, Figueiredo and Balzano (ICLR 2018), section 3.2. Chapter: GrOWL in a network.
    """
    check_count("n", n)
    p = n if p is None else p
    if isinstance(p, bool) or not isinstance(p, int) or not 0 <= p <= n:
        raise ValueError(f"p must be an integer 0..n = {n}, the number of weights that decay, got {p!r}")
    steps = torch.arange(p, p - n, -1, dtype=torch.float64).clamp(min=0)
    return check_strength("l1", l1) + check_strength("l2", l2) * steps


def slope_bh_weights(n: int, q: float) -> Tensor:
    """w_i = Phi^-1(1 - i q / (2 n)), the Benjamini-Hochberg critical values of a normal sample.

    Parameters
    ----------
    n
        How many, >= 1.
    q
        The target false discovery rate, strictly between 0 and 1. It is kept where the inputs are orthogonal; where
        they are not, as with random ones, more of what is selected is false.

    Returns
    -------
    Tensor
        (n,), float64, falling. Multiply by the noise's standard deviation.

    Raises
    ------
    ValueError
        If n is no count, or q is not between 0 and 1.

    Examples
    --------
    >>> slope_bh_weights(2, 0.1).round(decimals=3).tolist()
    [1.96, 1.645]

    Reference: Bogdan et al. (2015), equation (1.7). Chapter: OWL and GrOWL.
    """
    check_count("n", n)
    if not (isinstance(q, (int, float)) and 0 < q < 1):
        raise ValueError(f"q must be a rate strictly between 0 and 1, got {q!r}")
    # -Phi^-1(tail): 1 - tail would lose its digits when n is large
    quantiles: Tensor = torch.special.ndtri(torch.arange(1, n + 1, dtype=torch.float64) * (q / (2 * n)))
    return -quantiles
