r"""What S is: which slices of a weight take which free value, and times which factor.

    theta_i = c_i phi_(l_i)

A row of S holds at most one nonzero number: the label l_i says where, the factor c_i says which. Without factors it is
1. So S^T S stays diagonal, and every map of `selection` a gather or a scatter.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tyinglib import selection
from tyinglib._checks import check_integer
from tyinglib.selection import Factors, Labels


@dataclass(frozen=True, eq=False)
class TieSpec:
    """Which slices of a weight share one value: a selection matrix, and the dimension of the slices.

    Parameters
    ----------
    labels
        (n,) integers 0..k-1, each used; -1 for a pruned slice. With ``dim=None``, of the weight's shape.
    dim
        The dimension of the weight along which a slice is taken: 1 for the inputs of a
        `torch.nn.Linear` or a convolution, 0 for their outputs (of a transposed convolution the other way round), None
        for single entries.
    factors
        Of the labels' shape: slice i is factors[i] times the value of its group, as -1 for its mirror image. Finite,
        and not zero but where a slice is pruned. None: all are 1.
    n_groups
        k, where the codebook has groups that this weight does not use, because other weights do; by default the labels
        name every group.

    Raises
    ------
    ValueError
        If the labels do not describe a selection matrix (`selection.check_labels`), do not fit `dim`, or go beyond
        `n_groups`; if the factors do not fit the labels (`selection.check_factors`).

    Examples
    --------
    >>> spec = TieSpec([0, 0, 1, -1], dim=1)
    >>> spec
    TieSpec(n=4, n_groups=2, pruned=1, dim=1)
    >>> spec == TieSpec([0, 0, 1, -1], dim=1)
    True
    >>> TieSpec([0, 0, 1], dim=0, factors=[1, -1, 1])
    TieSpec(n=3, n_groups=2, pruned=0, dim=0, negative=1)

    Chapter: One idea.
    """

    _labels: Tensor
    dim: int | None
    _factors: Tensor | None
    n_groups: int

    def __init__(
        self, labels: Labels, dim: int | None, *, factors: Factors | None = None, n_groups: int | None = None
    ) -> None:
        if dim is not None:
            check_integer("dim", dim, "or None")
        checked = selection.check_labels(labels, n_groups=n_groups)
        if dim is not None and checked.ndim != 1:
            raise ValueError(
                f"labels along dim {dim} must be one-dimensional, one a slice, got shape "
                f"{tuple(checked.shape)}; to tie single entries use dim=None"
            )
        object.__setattr__(self, "_labels", checked)
        object.__setattr__(self, "dim", dim)
        object.__setattr__(self, "_factors", selection.check_factors(factors, checked))
        object.__setattr__(self, "n_groups", int(checked.max()) + 1 if n_groups is None else n_groups)

    @property
    def labels(self) -> Tensor:
        """The labels, (n,) or of the weight's shape, int64; a copy, for a spec does not change."""
        return self._labels.clone()

    @property
    def factors(self) -> Tensor | None:
        """The factors, of the labels' shape, 0 where pruned; None where all are 1. A copy."""
        return None if self._factors is None else self._factors.clone()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TieSpec):
            return NotImplemented
        return (
            (self.dim, self.n_groups) == (other.dim, other.n_groups)
            and torch.equal(self._labels.cpu(), other._labels.cpu())
            and _equal(self._factors, other._factors)
        )

    def __hash__(self) -> int:
        labels = self._labels.cpu()
        return hash((self.dim, labels.shape, labels.numpy().tobytes()))

    def __repr__(self) -> str:
        pruned = int((self._labels < 0).sum())
        text = f"n={self._labels.numel()}, n_groups={self.n_groups}, pruned={pruned}, dim={self.dim}"
        if self._factors is not None:
            text += f", negative={int((self._factors < 0).sum())}"
            sizes = self._factors[self._labels >= 0].abs()
            text += "" if bool((sizes == 1).all()) else f", scales={float(sizes.min()):g}..{float(sizes.max()):g}"
        return f"TieSpec({text})"


def _equal(x: Tensor | None, y: Tensor | None) -> bool:
    return x is y or (x is not None and y is not None and torch.equal(x.double().cpu(), y.double().cpu()))
