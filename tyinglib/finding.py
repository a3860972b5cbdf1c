r"""Find ties in a weight: which slices point the same way, at the same length.

The similarity of slices a and b is that of Zhang et al. (2018): 1 for equal ones, 0 for orthogonal ones, and b's
length over a's where b points like a and is shorter::

    S(a, b) = <a, b> / max(||a||^2, ||b||^2)

Slices that are zero are pruned. Whole slices are compared, not their norms: GrOWL makes norms exactly equal, and
directions only close.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from tyinglib import _sharded, selection
from tyinglib._checks import check_dim, check_tensor
from tyinglib._tensors import wide
from tyinglib.penalties.slices import slice_norms
from tyinglib.tying import TieSpec


def find_ties(
    weight: Tensor,
    *,
    dim: int,
    method: str = "affinity",
    preference: float | None = None,
    threshold: float | None = None,
    similarity: str = "length",
    damping: float | None = None,
    n_groups: int | None = None,
    slice_weight: Tensor | None = None,
) -> TieSpec:
    """Which slices of a weight to tie: the second stage of GrOWL.

    Parameters
    ----------
    weight
        A trained weight with at least one dimension; slices are taken along `dim`.
    dim
        1 for inputs of a Linear or convolution weight, 0 for outputs.
    method
        ``"affinity"``: affinity propagation, as published; n^2 numbers in memory, for up to a few thousand slices.
        ``"threshold"``: from the longest slice on, each joins the most similar leader, or becomes a leader; for
        tens of thousands. ``"kmeans"``: exactly `n_groups` groups (fewer where fewer slices differ), whose means are
        near their members; where the number of groups is given, not how alike they must be.
    preference
        For affinity: how readily a slice stands for itself, on the scale of the similarity. Higher gives more
        groups. Default: 0.6, as published for MNIST; for VGG-16 it was 0.8.
    threshold
        For threshold: the similarity to its leader that every member has at least; 0 < threshold <= 1. Default: 0.9.
    similarity
        ``"length"``: S above. ``"cosine"``: the angle only.
    damping
        For affinity: where to begin, 0.5 <= damping < 1. Where messages swing and do not settle, more is tried.
        Default: 0.5.
    n_groups
        For kmeans: k >= 1.
    slice_weight
        For kmeans: (n,) numbers >= 0, what an error of each slice costs. The variance of input i is a good one:
        moving w_i by d changes the layer's output by d x_i. A slice of weight 0 costs nothing, and is pruned.

    Returns
    -------
    TieSpec
        Groups numbered in the order of their first slice; -1 for slices that are zero. The same on every run.

    Raises
    ------
    ValueError
        If the weight holds NaN or infinite values, or slices too short to be compared with its longest; if a setting
        is out of its range, or belongs to another method; or if affinity propagation does not settle.

    Examples
    --------
    >>> weight = torch.tensor([[1.0, 1.1, 0.0, -1.0], [2.0, 2.0, 0.0, 1.0]])
    >>> find_ties(weight, dim=1, method="threshold").labels
    tensor([ 0,  0, -1,  1])

    Method: Zhang, Wang, Figueiredo and Balzano (ICLR 2018), section 3.3; Frey and Dueck, Science 315 (2007);
    k-means: Lloyd, IEEE Trans. Information Theory 28(2) (1982), started by Arthur and Vassilvitskii (2007).
    Chapter: GrOWL in a network.
    """
    rows = _rows(weight, dim)
    if similarity not in ("length", "cosine"):
        raise ValueError(f'similarity must be "length" or "cosine", got {similarity!r}')
    important = rows.any(1)
    _refuse_unused(
        method,
        preference=preference,
        threshold=threshold,
        damping=damping,
        n_groups=n_groups,
        slice_weight=slice_weight,
    )
    cost = _slice_weight(slice_weight, len(rows))
    important &= cost > 0
    alive = important.nonzero().flatten()
    labels = torch.full((len(rows),), selection.PRUNED)
    if len(alive):
        kept = _comparable(rows[alive], method, similarity)
        if similarity == "cosine":
            kept = kept / torch.linalg.vector_norm(kept, dim=1, keepdim=True)
        if method == "affinity":
            found = _affinity(kept, 0.6 if preference is None else preference, 0.5 if damping is None else damping)
        elif method == "threshold":
            found = _leaders(kept, 0.9 if threshold is None else threshold)
        else:
            found = _kmeans(kept, n_groups, cost[alive])
        labels[alive] = _in_order_of_appearance(found)
    return TieSpec(labels, dim)


SETTINGS = {
    "affinity": {"preference", "damping"},
    "threshold": {"threshold"},
    "kmeans": {"n_groups", "slice_weight"},
}


def _refuse_unused(method: str, **given: object) -> None:
    if method not in SETTINGS:
        raise ValueError(f'method must be "affinity", "threshold" or "kmeans", got {method!r}')
    unused = [name for name, value in given.items() if value is not None and name not in SETTINGS[method]]
    if unused:
        owners = {name: next(m for m, names in SETTINGS.items() if name in names) for name in unused}
        said = ", ".join(f'{name} is for method="{owner}"' for name, owner in owners.items())
        raise ValueError(f"{said}, and method is {method!r}: leave it out")


def _comparable(rows: Tensor, method: str, similarity: str) -> Tensor:
    """Rows whose squares neither overflow nor get lost: as they are, or in float64 and times a power of two.

    Similarities and distances are compared with each other, so one scale for all changes nothing; for the angle, each
    row has its own.
    """
    lengths = slice_norms(rows, 0)
    numbers = torch.finfo(rows.dtype)
    lowest = math.sqrt(numbers.tiny / numbers.eps * rows.shape[1])
    if float(lengths.min()) > lowest and float(lengths.max()) < 1 / lowest:
        return rows
    wanted = rows.double().numpy()
    largest = np.abs(wanted).max(axis=1 if similarity == "cosine" else None, keepdims=True)
    near_one = torch.from_numpy(np.ldexp(wanted, -np.frexp(largest)[1]))
    lengths = slice_norms(near_one, 0)
    if method != "kmeans" and float(lengths.min()) < 1e-140:
        raise ValueError(
            f"the shortest slice is {float(lengths.min() / lengths.max()):.0e} times as long as the longest, too short "
            "for their similarity to be a number; set such slices to zero (they are pruned then)"
        )
    return near_one


def _rows(weight: Tensor, dim: int) -> Tensor:
    _sharded.refuse_sharded(weight, "weight", "give weight.full_tensor(), on every process")
    dim = check_dim(dim, check_tensor(weight, "weight"))
    if not weight.numel():
        raise ValueError(f"weight of shape {tuple(weight.shape)} has no slices to compare along dim {dim}")
    if not torch.isfinite(weight).all():
        raise ValueError("weight holds NaN or infinite values; find where training diverged before looking for ties")
    rows = wide(weight.detach()).cpu().movedim(dim, 0)
    return rows.reshape(len(rows), -1)


def _affinity(rows: Tensor, preference: float, damping: float) -> Tensor:
    if not isinstance(preference, (int, float)) or not math.isfinite(preference):
        raise ValueError(f"preference must be a finite number on the scale of the similarity, got {preference!r}")
    if not isinstance(damping, (int, float)) or not 0.5 <= damping < 1:
        raise ValueError(f"damping must be a number with 0.5 <= damping < 1, got {damping!r}")
    if len(rows) == 1:
        return torch.zeros(1, dtype=torch.int64)
    from sklearn.cluster import AffinityPropagation  # here: it loads half of scikit-learn

    rows = rows.double()
    squares = rows.square().sum(1)
    similarity = rows @ rows.T / torch.maximum(squares[:, None], squares[None, :])
    for held in sorted({damping, 0.7, 0.9, 0.97}):
        if held < damping:
            continue
        model = AffinityPropagation(
            affinity="precomputed", preference=preference, damping=held, max_iter=1000, random_state=0
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            warnings.filterwarnings("ignore", message="All samples have mutually equal similarities")
            try:
                return torch.from_numpy(model.fit(similarity.numpy()).labels_.astype(np.int64))
            except ConvergenceWarning:
                pass  # the messages swing; try with more damping
    raise ValueError(
        "affinity propagation did not settle in 1000 rounds, with any damping up to 0.97; change the preference, or "
        'use method="threshold"'
    )


BLOCK = 2048  # slices that are compared at once


def _leaders(rows: Tensor, threshold: float) -> Tensor:
    """Every slice, the longest first, joins the leader most similar to it, or leads."""
    if not isinstance(threshold, (int, float)) or not 0 < threshold <= 1:
        raise ValueError(f"threshold must be a number with 0 < threshold <= 1, got {threshold!r}")
    squares = rows.square().sum(1)
    order = squares.argsort(descending=True, stable=True)
    labels = torch.empty(len(rows), dtype=torch.int64)
    leaders = torch.empty(0, dtype=torch.int64)  # their rows, longest first
    # equal slices differ by rounding: a similarity of 1 may come out just below
    enough = threshold * (1 - 1e-6)
    for start in range(0, len(rows), BLOCK):
        block = order[start : start + BLOCK]
        # no shorter slice can be as similar as `enough` to a leader so much longer
        reach = int((squares[leaders] * enough**2 > squares[block[0]]).sum())
        joins = torch.zeros(len(block), dtype=torch.bool)
        if reach < len(leaders):
            near = leaders[reach:]
            similarity = rows[block] @ (rows[near] / squares[near, None]).T
            joins = similarity.amax(1) >= enough  # without places, which take several times as long
            labels[block[joins]] = similarity[joins].argmax(1) + reach
        left = block[~joins]
        new = _lead_in_turn(rows[left], squares[left], enough)
        labels[left] = new + len(leaders)
        leads = torch.from_numpy(np.unique(new.numpy(), return_index=True)[1])
        leaders = torch.cat([leaders, left[leads]])
    return labels


def _lead_in_turn(rows: Tensor, squares: Tensor, enough: float) -> Tensor:
    """The same within one block, where a slice's leader may come just before it."""
    similarity = (rows @ rows.T / squares[:, None]).numpy()  # [i, j]: of j to a leader i
    best = np.full(len(rows), -math.inf)
    labels = np.empty(len(rows), dtype=np.int64)
    count = 0
    for i, row in enumerate(similarity):
        if best[i] < enough:
            labels[i] = count
            closer = row > best
            closer[: i + 1] = False
            labels[closer], best[closer] = count, row[closer]
            count += 1
    return torch.from_numpy(labels)


def _slice_weight(slice_weight: Tensor | None, n: int) -> Tensor:
    if slice_weight is None:
        return torch.ones(n, dtype=torch.float64)
    cost = check_tensor(slice_weight, "slice_weight").detach().cpu().double()
    if cost.shape != (n,):
        raise ValueError(f"slice_weight must have one number a slice, shape ({n},), got shape {tuple(cost.shape)}")
    if not torch.isfinite(cost).all() or (cost < 0).any():
        raise ValueError("slice_weight must be finite and not negative")
    return cost


def _kmeans(rows: Tensor, n_groups: int | None, cost: Tensor) -> Tensor:
    """Lloyd's iterations from four starts, of which the best is kept."""
    if isinstance(n_groups, bool) or not isinstance(n_groups, int) or n_groups < 1:
        raise ValueError(f'n_groups must be a whole number >= 1 with method="kmeans", got {n_groups!r}')
    different, place = np.unique(rows.double().numpy(), axis=0, return_inverse=True)
    if len(different) <= n_groups:  # every slice in its own group; k-means would warn
        return torch.from_numpy(place.reshape(-1))
    from sklearn.cluster import KMeans  # here: it loads half of scikit-learn

    model = KMeans(n_groups, n_init=4, random_state=0)
    shares = np.ldexp(cost.numpy(), -np.frexp(cost.numpy().max())[1])  # the largest near 1: they are summed and divided
    return torch.from_numpy(model.fit(rows.double().numpy(), sample_weight=shares).labels_.astype(np.int64))


def _in_order_of_appearance(labels: Tensor) -> Tensor:
    _, first, inverse = np.unique(labels.numpy(), return_index=True, return_inverse=True)
    return torch.from_numpy(np.argsort(np.argsort(first))[inverse])
