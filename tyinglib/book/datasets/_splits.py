"""Train, validation, test: what every data set comes as."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Split(NamedTuple):
    """Inputs x, one row a sample, and what to predict, y.

    Parameters
    ----------
    x
        (n, features), floating point.
    y
        (n,), int64, classes; or (n, responses), floating point.

    Examples
    --------
    >>> Split(torch.zeros(5, 2), torch.zeros(5, dtype=torch.int64)).x.shape
    torch.Size([5, 2])

    Chapters: all.
    """

    x: Tensor
    y: Tensor


class Splits(NamedTuple):
    """Three parts of a data set: fit on `train`, choose on `validation`, report on `test`, once.

    Parameters
    ----------
    train, validation, test
        Each a `Split`: x of shape (n, features), y of shape (n,) or (n, responses).

    Examples
    --------
    >>> from tyinglib.book.datasets import digits
    >>> isinstance(digits(), Splits), digits().validation.y.shape
    (True, torch.Size([297]))

    Chapters: all.
    """

    train: Split
    validation: Split
    test: Split


def subset(split: Split, size: int, *, seed: int) -> Split:
    """A smaller training set with (nearly) equally many samples of each class.

    Parameters
    ----------
    split
        Where to draw from, without replacement.
    size
        How many samples, 1..len.
    seed
        A different draw for each. Draws of one seed are nested: the larger holds the smaller.

    Returns
    -------
    Split
        With `size` samples.

    Raises
    ------
    ValueError
        If there are fewer samples than asked for, or y is not one class a sample.

    Examples
    --------
    >>> from tyinglib.book.datasets import digits
    >>> subset(digits().train, 20, seed=0).y.bincount().tolist()
    [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]

    Chapter: Tying from prior knowledge.
    """
    if not 1 <= size <= len(split.y):
        raise ValueError(f"size must be 1..{len(split.y)}, the number of samples at hand, got {size}")
    if split.y.ndim != 1 or split.y.is_floating_point():
        raise ValueError(f"y must be one whole number a sample, got {split.y.dtype} of shape {tuple(split.y.shape)}")
    order = stratified_order(split.y.numpy(), seed=seed)[:size]
    return Split(split.x[order], split.y[order])


def stratified_order(classes: np.ndarray, *, seed: int) -> np.ndarray:
    """An order in which every beginning holds the classes as evenly as they come."""
    # RandomState, not default_rng: its stream is frozen, so the splits outlive numpy's versions
    shuffled = np.random.RandomState(seed).permutation(len(classes))
    rank = np.empty(len(classes))
    for c in np.unique(classes):
        members = shuffled[classes[shuffled] == c]
        rank[members] = np.arange(len(members)) / len(members)
    return shuffled[np.argsort(rank[shuffled], kind="stable")]


def check_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """The dtype, or torch's default for None; ValueError if it cannot hold fractions."""
    dtype = dtype or torch.get_default_dtype()
    if not dtype.is_floating_point:
        raise ValueError(f"dtype must be a floating-point one, such as torch.float32, got {dtype}")
    return dtype
