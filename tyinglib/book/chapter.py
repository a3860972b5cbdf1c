"""What a chapter starts with, trains with and measures with: set-up, one training loop, accuracy, intervals."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor, nn

from tyinglib.book import plots
from tyinglib.book.datasets import Split


def setup(seed: int = 0, *, dtype: torch.dtype = torch.float64) -> None:
    """Make a chapter's outputs the same everywhere: seeds, one thread, float64; and the book's figure style.

    Parameters
    ----------
    seed
        For Python's, numpy's and torch's global generators.
    dtype
        Torch's default dtype from here on. float64 keeps rounding of another CPU out of printed digits.

    Examples
    --------
    >>> before = torch.get_default_dtype()
    >>> setup(0)
    >>> torch.zeros(1).dtype
    torch.float64
    >>> torch.set_default_dtype(before)

    Chapter: all.
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (the global generator, for libraries that draw from it)
    torch.manual_seed(seed)
    torch.set_default_dtype(dtype)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    plots.use_style()


def train(
    model: nn.Module,
    data: Split,
    *,
    steps: int = 200,
    lr: float = 0.02,
    weight_decay: float = 0.0,
    penalty: Callable[[], Tensor] | None = None,
) -> list[float]:
    """Minimise the cross-entropy on all of `data` with Adam, in place.

    Parameters
    ----------
    model
        Maps inputs (n, d) to logits (n, classes).
    data
        The training set; every step uses all of it.
    steps, lr, weight_decay
        Of `torch.optim.Adam`.
    penalty
        Called at each step; what it returns (a scalar) is added to the loss.

    Returns
    -------
    list[float]
        The cross-entropy before each step, without the penalty.

    Examples
    --------
    >>> data = Split(torch.eye(3), torch.arange(3))
    >>> losses = train(nn.Linear(3, 3), data, steps=50, lr=0.1)
    >>> losses[-1] < 0.5 * losses[0]
    True

    Chapter: all.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=weight_decay)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(data.x), data.y)
        losses.append(loss.item())
        if penalty is not None:
            loss = loss + penalty()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return losses


def accuracy(model: nn.Module, data: Split) -> float:
    """The share of samples whose largest logit is the right class, in percent.

    Parameters
    ----------
    model
        Maps inputs (n, d) to logits (n, classes).
    data
        Where to measure.

    Returns
    -------
    float
        0..100.

    Examples
    --------
    >>> accuracy(nn.Identity(), Split(torch.eye(4), torch.tensor([0, 1, 2, 0])))
    75.0

    Chapter: all.
    """
    with torch.no_grad():
        right = model(data.x).argmax(1) == data.y
    return 100 * float(right.double().mean())


def interval(values: Tensor) -> tuple[float, float]:
    r"""The mean of some runs, and half the width of its 95 % interval.

    The half width is :math:`t_{0.975, n - 1}\, s / \sqrt n`, with the sample's standard deviation s and Student's t.

    Parameters
    ----------
    values
        Shape (n,), n >= 2: one number a run. Runs must be independent of each other. To compare two methods that ran on
        the same seeds, give the differences.

    Returns
    -------
    tuple
        Mean and half width, in the unit of `values`.

    Raises
    ------
    ValueError
        If `values` does not have the shape (n,) with n >= 2.

    References
    ----------
    Student (1908), The probable error of a mean. Biometrika 6(1), 1-25.

    Examples
    --------
    >>> mean, half = interval(torch.tensor([1.0, 2.0, 3.0]))
    >>> print(f"{mean:.1f} ± {half:.1f}")
    2.0 ± 2.5

    Chapter: Tying from prior knowledge; Two models, tied softly; Convolution.
    """
    if values.dim() != 1 or len(values) < 2:
        raise ValueError(f"values must have the shape (n,) with n >= 2, one number a run; got {tuple(values.shape)}")
    n = len(values)
    return float(values.mean()), float(stdtrit(n - 1, 0.975)) * float(values.std()) / math.sqrt(n)
