"""Handwritten digits, from scikit-learn's wheel."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits

from tyinglib.book.datasets._splits import Split, Splits, check_dtype, stratified_order


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

    Raises
    ------
    ValueError
        If the dtype is no floating-point one.

    Examples
    --------
    >>> train, validation, test = digits()
    >>> train.x.shape, train.y.dtype, float(train.x.max())
    (torch.Size([1000, 64]), torch.int64, 1.0)

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository (1998), its test part, as shipped with scikit-learn (BSD-3). Chapter: all.
    """
    raw = load_digits()
    x = torch.as_tensor(raw.data / 16, dtype=check_dtype(dtype))
    y = torch.as_tensor(raw.target, dtype=torch.int64)
    order = stratified_order(raw.target, seed=0)
    parts = [order[:1000], order[1000:1297], order[1297:]]
    return Splits(*(Split(x[part], y[part]) for part in parts))
