"""Data that comes with the install: no download, fixed splits, the same on every machine."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor


class Split(NamedTuple):
    """Inputs x, one row a sample, and integer classes y.

    Parameters
    ----------
    x
        (n, features), floating point.
    y
        (n,), int64.

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
        Each a `Split`: x of shape (n, features), y of shape (n,).

    Examples
    --------
    >>> isinstance(digits(), Splits), digits().validation.y.shape
    (True, torch.Size([297]))

    Chapters: all.
    """

    train: Split
    validation: Split
    test: Split


def digits(*, dtype: torch.dtype | None = None) -> Splits:
    """Handwritten digits, 8 x 8 pixels: 1000 to train on, 297 to choose on, 500 to test on.

    Parameters
    ----------
    dtype
        Of the inputs. Default: torch's default dtype.

    Returns
    -------
    Splits
        x of shape (n, 64) with values 0..1 (ink), row by row of the image; y of shape (n,), int64,
        0..9. The split is fixed, and stratified by class.

    Examples
    --------
    >>> train, validation, test = digits()
    >>> train.x.shape, train.y.dtype, float(train.x.max())
    (torch.Size([1000, 64]), torch.int64, 1.0)

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository (1998), its test part, as shipped with scikit-learn (BSD-3). Chapters: all of part I.
    """
    raw = load_digits()
    x = torch.as_tensor(raw.data / 16, dtype=dtype or torch.get_default_dtype())
    y = torch.as_tensor(raw.target, dtype=torch.int64)
    order = _stratified_order(raw.target, seed=0)
    parts = [order[:1000], order[1000:1297], order[1297:]]
    return Splits(*(Split(x[part], y[part]) for part in parts))


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
        If there are fewer samples than asked for.

    Examples
    --------
    >>> subset(digits().train, 20, seed=0).y.bincount().tolist()
    [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]

    Chapter: Tying from prior knowledge.
    """
    if not 1 <= size <= len(split.y):
        raise ValueError(f"size must be 1..{len(split.y)}, the number of samples at hand, got {size}")
    order = _stratified_order(split.y.numpy(), seed=seed)[:size]
    return Split(split.x[order], split.y[order])


def _stratified_order(classes: np.ndarray, *, seed: int) -> np.ndarray:
    """An order in which every beginning holds the classes as evenly as they come."""
    # RandomState, not default_rng: its stream is frozen, so the splits outlive numpy's versions
    shuffled = np.random.RandomState(seed).permutation(len(classes))
    rank = np.empty(len(classes))
    for c in np.unique(classes):
        members = shuffled[classes[shuffled] == c]
        rank[members] = np.arange(len(members)) / len(members)
    return shuffled[np.argsort(rank[shuffled], kind="stable")]
