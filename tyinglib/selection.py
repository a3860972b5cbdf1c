r"""A tie is a linear map: theta = S phi.

theta are the weights a network uses, phi the free values (the *codebook*), and S is the selection matrix: one row a
weight, one column a free value, every row a single 1, or no 1 at all: that weight is pruned, it stays zero. In general
the one number of a row is a *factor*: -1 where a weight is the mirror image of its group's value.

S is never built for work. It is kept as *labels*: ``labels[i] = j`` says that slice i uses value j,
``-1`` that it is pruned; and, where they are not all 1, as *factors*. Four maps are all that a tie needs::

    expand       phi   -> S phi                     the weights that are used
    pull_back    g     -> S^T g                     the gradient: contributions add up
    group_means  theta -> (S^T S)^-1 S^T theta      the codebook nearest to given weights
    project      theta -> S (S^T S)^-1 S^T theta    the nearest tied weights (orthogonal projection)

``dim`` says what one label stands for. An integer: a whole slice of the weight along that dimension
(``dim=1`` of a `torch.nn.Linear` weight of shape (out, in): one input neuron). ``None``: one single
entry, and the labels have the weight's own shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tyinglib import _maps
from tyinglib._checks import check_whole

Labels = Tensor | np.ndarray | Sequence[int]
Factors = Tensor | np.ndarray | Sequence[float]

PRUNED = -1


def check_labels(labels: Labels, *, n_groups: int | None = None) -> Tensor:
    """Labels as an int64 tensor, after checking that they describe a selection matrix.

    Parameters
    ----------
    labels
        Integers 0..k-1, each used at least once; -1 for a pruned slice. Any shape but empty.
    n_groups
        k; then a group may be without a slice. By default the labels say it.

    Returns
    -------
    Tensor
        Of the labels' shape, dtype int64; a copy, on the device they came from.

    Raises
    ------
    ValueError
        If the labels are empty, are not integers, go below -1, or skip a group; or go beyond a given `n_groups`.

    Examples
    --------
    >>> check_labels([0, 1, 0, -1])
    tensor([ 0,  1,  0, -1])
    >>> check_labels([0, 2, 2])
    Traceback (most recent call last):
    ...
    ValueError: labels must use every group 0..2, but group 1 is empty; number the groups without gaps

    Chapter: One idea.
    """
    try:
        tensor = _as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"labels must be integers in a tensor, an array or a sequence, got {labels!r}") from error
    if tensor.numel() == 0:
        raise ValueError("labels must name at least one slice, got none")
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"labels must be integers, got dtype {tensor.dtype}; convert them with .long()")
    tensor = tensor.detach().to(torch.int64, copy=True)
    low, high = int(tensor.min()), int(tensor.max())
    if low < PRUNED:
        raise ValueError(f"labels must be 0..k-1, or -1 for pruned, got {low}")
    if n_groups is not None:
        check_whole("n_groups", n_groups, 0)
        if high >= n_groups:
            raise ValueError(f"labels name group {high}, but n_groups={n_groups}: they must be 0..{n_groups - 1} or -1")
        return tensor
    if high >= tensor.numel():
        raise ValueError(
            f"labels name group {high}, but {tensor.numel()} slices fill at most groups "
            f"0..{tensor.numel() - 1}; number the groups without gaps"
        )
    used = torch.zeros(high + 2, dtype=torch.bool, device=tensor.device)
    used[tensor.flatten()] = True  # pruned ones are -1: the last; counting would take several times the labels' memory
    if not used[:-1].all():
        empty = int((~used[:-1]).nonzero()[0])
        raise ValueError(
            f"labels must use every group 0..{high}, but group {empty} is empty; number the groups without gaps"
        )
    return tensor


def check_factors(factors: Factors | None, labels: Tensor) -> Tensor | None:
    """Factors as a tensor, after checking that they make the rows of a selection matrix.

    Parameters
    ----------
    factors
        Numbers of the labels' shape, finite, and not zero where a slice is in a group; None for ones.
    labels
        Of any shape, as `check_labels` returns them.

    Returns
    -------
    Tensor or None
        Of the labels' shape, on their device, floating point, 0 where pruned; a copy. None where all are 1.

    Raises
    ------
    ValueError
        If the factors are no real numbers, have another shape, are NaN or infinite, or are zero where a slice is used.

    Examples
    --------
    >>> check_factors([1, -1, 5], torch.tensor([0, 0, -1]))
    tensor([ 1., -1.,  0.])
    >>> check_factors([1, 1, 1], torch.tensor([0, 0, -1])) is None
    True

    Chapter: One idea.
    """
    if factors is None:
        return None
    try:
        tensor = _as_tensor(factors)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"factors must be numbers in a tensor, an array or a sequence, got {factors!r}") from error
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"factors must be real numbers, got dtype {tensor.dtype}")
    if tensor.shape != labels.shape:
        raise ValueError(
            f"factors must be one a label, of shape {tuple(labels.shape)}, got shape {tuple(tensor.shape)}"
        )
    tensor = tensor.detach().to(labels.device, copy=True)
    if not tensor.is_floating_point():
        tensor = tensor.to(torch.get_default_dtype())
    used = labels >= 0
    if not torch.isfinite(tensor[used]).all():
        raise ValueError("factors must be finite, got NaN or infinite values")
    if (tensor[used] == 0).any():
        raise ValueError("a factor of 0 leaves nothing of a slice; to prune it, give it the label -1")
    if (tensor[used] == 1).all():
        return None
    return tensor.masked_fill(~used, 0)


def _as_tensor(numbers: object) -> Tensor:
    """A tensor as it is; anything else where its values can be read, even ``with torch.device("meta")``."""
    return numbers if isinstance(numbers, Tensor) else torch.as_tensor(numbers, device="cpu")


def group_sizes(labels: Labels) -> Tensor:
    """How many slices each group has: the diagonal of S^T S.

    Parameters
    ----------
    labels
        Integers of any shape, as in `check_labels`.

    Returns
    -------
    Tensor
        (k,) of dtype int64. Pruned slices are in no group.

    Raises
    ------
    ValueError
        If the labels are bad (`check_labels`).

    Examples
    --------
    >>> group_sizes([0, 1, 0, -1])
    tensor([2, 1])

    Chapter: One idea.
    """
    labels = check_labels(labels)
    return torch.bincount(labels[labels >= 0])


def selection_matrix(
    labels: Labels,
    *,
    factors: Factors | None = None,
    n_groups: int | None = None,
    sparse: bool = False,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """S itself, to look at: S[i, j] = 1, or the factor of slice i, where it uses group j.

    Parameters
    ----------
    labels
        (n,) integers, or the shape of a weight whose entries are tied one by one (read row by row).
    factors
        Of the labels' shape; None for ones.
    n_groups
        As in `check_labels`.
    sparse
        A sparse COO tensor with n entries at most, instead of n * k numbers.
    dtype
        Default: torch's default dtype.

    Returns
    -------
    Tensor
        (n, k).

    Raises
    ------
    ValueError
        If the labels or factors are bad (`check_labels`, `check_factors`).

    Examples
    --------
    >>> selection_matrix([0, 1, 0, -1])
    tensor([[1., 0.],
            [0., 1.],
            [1., 0.],
            [0., 0.]])

    Chapter: One idea.
    """
    labels = check_labels(labels, n_groups=n_groups)
    found = check_factors(factors, labels)
    labels = labels.flatten()
    rows = (labels >= 0).nonzero().flatten()
    columns = labels[rows]
    ones = torch.ones(len(rows), dtype=dtype or torch.get_default_dtype(), device=labels.device)
    if found is not None:
        ones = ones * found.flatten()[rows].to(ones.dtype)
    shape = (len(labels), _maps.count(labels) if n_groups is None else n_groups)
    matrix = torch.sparse_coo_tensor(
        torch.stack([rows, columns]), ones, shape, check_invariants=True, is_coalesced=True
    )
    return matrix if sparse else matrix.to_dense()


def expand(codebook: Tensor, labels: Labels, *, dim: int | None, factors: Factors | None = None) -> Tensor:
    """The weights that are used: theta = S phi.

    Parameters
    ----------
    codebook
        phi, with k slices along `dim`; for ``dim=None`` of shape (k,).
    labels
        (n,) integers; for ``dim=None`` of the weight's shape.
    dim
        The dimension along which slices are tied; None ties single entries.
    factors
        Of the labels' shape: slice i is factors[i] times the value of its group (`check_factors`). None: all are 1.

    Returns
    -------
    Tensor
        With n slices along `dim`, of the codebook's dtype and device. Pruned slices are zero.
        Differentiable: the gradient with respect to the codebook is `pull_back` of the incoming one.

    Raises
    ------
    ValueError
        If the labels or factors are bad, or the codebook does not have one slice for each group.

    Examples
    --------
    >>> expand(torch.tensor([5.0, 7.0]), [0, 1, 0, -1], dim=0)
    tensor([5., 7., 5., 0.])
    >>> expand(torch.tensor([5.0, 7.0]), [0, 1, 0, -1], dim=0, factors=[1, 1, -1, 1])
    tensor([ 5.,  7., -5.,  0.])

    Chapter: One idea, equation (1).
    """
    labels = check_fit(codebook, labels, dim)
    groups = _maps.count(labels)
    size = codebook.numel() if dim is None else codebook.shape[dim]
    if (dim is None and codebook.ndim != 1) or size != groups:
        raise ValueError(
            f"codebook must have {groups} slices along dim {dim}, one a group, got shape {tuple(codebook.shape)}"
        )
    return _maps.expand(codebook, labels, dim, check_factors(factors, labels))


def pull_back(grad: Tensor, labels: Labels, *, dim: int | None, factors: Factors | None = None) -> Tensor:
    """The gradient of the codebook: S^T g, the sum of the gradients of a group's members.

    Parameters
    ----------
    grad
        Anything of the weight's shape, with n slices along `dim`.
    labels, dim, factors
        As in `expand`.

    Returns
    -------
    Tensor
        With k slices along `dim`, of the same dtype and device.

    Raises
    ------
    ValueError
        If the labels or factors are bad or do not fit `grad`.

    Examples
    --------
    >>> pull_back(torch.tensor([1.0, 10.0, 100.0, 1000.0]), [0, 1, 0, -1], dim=0)
    tensor([101.,  10.])

    Chapter: One idea, equation (2).
    """
    labels = check_fit(grad, labels, dim, sliced=True)
    return _maps.pull_back(grad, labels, dim, _maps.count(labels), check_factors(factors, labels))


def group_means(weight: Tensor, labels: Labels, *, dim: int | None, factors: Factors | None = None) -> Tensor:
    """The codebook nearest to given weights: argmin over phi of ||S phi - theta||^2, the group means.

    With factors it is the least-squares value: sum of c_i theta_i over sum of c_i^2.

    Parameters
    ----------
    weight
        theta, with n slices along `dim`.
    labels, dim, factors
        As in `expand`.

    Returns
    -------
    Tensor
        With k slices along `dim`. float16 and bfloat16 are averaged in float32.

    Raises
    ------
    ValueError
        If the labels or factors are bad or do not fit the weight.

    Examples
    --------
    >>> group_means(torch.tensor([1.0, 10.0, 3.0, 9.0]), [0, 1, 0, -1], dim=0)
    tensor([ 2., 10.])
    >>> group_means(torch.tensor([1.0, -3.0]), [0, 0], dim=0, factors=[1, -1])
    tensor([2.])

    Chapter: One idea, equation (3).
    """
    labels = check_fit(weight, labels, dim, sliced=True)
    return _maps.group_means(weight, labels, dim, _maps.count(labels), check_factors(factors, labels))


def project(weight: Tensor, labels: Labels, *, dim: int | None, factors: Factors | None = None) -> Tensor:
    """The nearest tied weights: S (S^T S)^-1 S^T theta, each slice replaced by its group's mean.

    Parameters
    ----------
    weight
        theta, with n slices along `dim`.
    labels, dim, factors
        As in `expand`.

    Returns
    -------
    Tensor
        Of the weight's shape, dtype and device. Pruned slices are zero. Projecting twice changes
        nothing but rounding.

    Raises
    ------
    ValueError
        If the labels or factors are bad or do not fit the weight.

    Examples
    --------
    >>> project(torch.tensor([1.0, 10.0, 3.0, 9.0]), [0, 1, 0, -1], dim=0)
    tensor([ 2., 10.,  2.,  0.])

    Chapter: One idea, equation (3).
    """
    labels = check_fit(weight, labels, dim, sliced=True)
    found = check_factors(factors, labels)
    means = _maps.group_means(weight, labels, dim, _maps.count(labels), found)
    return _maps.expand(means, labels, dim, found)


def check_fit(
    tensor: Tensor, labels: Labels, dim: int | None, *, sliced: bool = False, n_groups: int | None = None
) -> Tensor:
    """Labels, checked, on the tensor's device.

    Parameters
    ----------
    tensor
        A codebook, or a weight, of any shape.
    labels, dim
        As in `expand`.
    sliced
        Whether the tensor must have one slice (with ``dim=None``, one entry) for each label, as a weight has.
    n_groups
        As in `check_labels`.

    Returns
    -------
    Tensor
        Of the labels' shape, int64.

    Raises
    ------
    ValueError
        If the labels are bad, or do not fit.

    Examples
    --------
    >>> check_fit(torch.zeros(2, 3), [0, 1, 0], 1, sliced=True)
    tensor([0, 1, 0])

    Chapter: One idea.
    """
    checked = check_labels(labels, n_groups=n_groups).to(tensor.device)
    if dim is None:
        if sliced and checked.shape != tensor.shape:
            raise ValueError(
                f"with dim=None every entry has its own label: labels must have the weight's shape "
                f"{tuple(tensor.shape)}, got {tuple(checked.shape)}"
            )
        return checked
    if not isinstance(dim, int) or isinstance(dim, bool):
        raise ValueError(f"dim must be an integer or None, got {dim!r}")
    if not -tensor.ndim <= dim < tensor.ndim:
        raise ValueError(
            f"dim must be in {-tensor.ndim}..{tensor.ndim - 1} for a weight of shape {tuple(tensor.shape)}, got {dim}"
        )
    if checked.ndim != 1:
        raise ValueError(
            f"labels along dim {dim} must be one-dimensional, one a slice, got shape "
            f"{tuple(checked.shape)}; to tie single entries use dim=None"
        )
    if sliced and len(checked) != tensor.shape[dim]:
        raise ValueError(
            f"a weight of shape {tuple(tensor.shape)} has {tensor.shape[dim]} slices along dim {dim}, "
            f"but there are {len(checked)} labels"
        )
    return checked
