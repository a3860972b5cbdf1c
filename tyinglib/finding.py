r"""Find ties in a weight: which slices point the same way, at the same length.

The similarity of slices a and b is that of Zhang et al. (2018): 1 for equal ones, 0 for orthogonal ones, and b's
length over a's where b points like a and is shorter::

    S(a, b) = <a, b> / max(||a||^2, ||b||^2)

Slices that are zero are pruned. Whole slices are compared, not their norms: GrOWL makes norms exactly equal, and
directions only close.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from tyinglib import _sharded, selection
from tyinglib._checks import Array, check_count, check_dim, check_tensor
from tyinglib._tensors import wide
from tyinglib.penalties.slices import slice_norms
from tyinglib.tying import TieSpec

Similarity = Literal["length", "cosine"]


@runtime_checkable
class Grouping(Protocol):
    """A way to group slices: what `find_ties` needs to know of it. A new one needs no more.

    Examples
    --------
    >>> isinstance(Leaders(threshold=0.8), Grouping)
    True

    Chapter: GrOWL in a network.
    """

    def groups(self, rows: Tensor, slices: Tensor, n: int) -> Tensor:
        """A group's number for each row, or -1 to prune it.

        Parameters
        ----------
        rows
            (m, size): the slices that are not zero, float32 or float64, on the CPU; no square of them overflows.
        slices
            (m,) integers: which slices of the weight they are.
        n
            How many slices the weight has.

        Returns
        -------
        Tensor
            (m,) integers. Numbers need not be in any order, nor without gaps.

        Raises
        ------
        ValueError
            If these rows cannot be grouped so.
        """
        ...


@dataclass(frozen=True)
class AffinityPropagation:
    """Affinity propagation on the similarity S, as published; n^2 numbers in memory, for up to a few thousand slices.

    Parameters
    ----------
    preference
        How readily a slice stands for itself, on the scale of the similarity. Higher gives more groups. 0.6 as
        published for MNIST; for VGG-16 it was 0.8.
    damping
        Where to begin, 0.5 <= damping < 1. Where messages swing and do not settle, more is tried.

    Raises
    ------
    ValueError
        If a setting is out of its range; or (in `groups`) if it does not settle.

    Examples
    --------
    >>> weight = torch.tensor([[1.0, 1.1, 0.0, -1.0], [2.0, 2.0, 0.0, 1.0]])
    >>> find_ties(weight, dim=1, by=AffinityPropagation(preference=0.6)).labels
    tensor([ 0,  0, -1,  1])

    Method: Frey and Dueck, Science 315 (2007); Zhang et al. (ICLR 2018), section 3.3. Chapter: GrOWL in a network.
    """

    preference: float = 0.6
    damping: float = 0.5

    def __post_init__(self) -> None:
        if not isinstance(self.preference, (int, float)) or not math.isfinite(self.preference):
            raise ValueError(
                f"preference must be a finite number on the scale of the similarity, got {self.preference!r}"
            )
        if not isinstance(self.damping, (int, float)) or not 0.5 <= self.damping < 1:
            raise ValueError(f"damping must be a number with 0.5 <= damping < 1, got {self.damping!r}")

    def groups(self, rows: Tensor, slices: Tensor, n: int) -> Tensor:
        """As `Grouping.groups`."""
        _refuse_too_short(rows)
        if len(rows) == 1:
            return torch.zeros(1, dtype=torch.int64)
        from sklearn.cluster import AffinityPropagation as Clustering  # here: it loads half of scikit-learn

        rows = rows.double()
        squares = rows.square().sum(1)
        similarity = rows @ rows.T / torch.maximum(squares[:, None], squares[None, :])
        more = [damping for damping in (0.7, 0.9, 0.97) if damping > self.damping]
        # where slices are equal, nothing may change for some rounds long before the messages have settled
        for held, still in itertools.product((self.damping, *more), (15, 100)):
            model = Clustering(
                affinity="precomputed",
                preference=self.preference,
                damping=held,
                convergence_iter=still,
                max_iter=1000,
                random_state=0,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("error", ConvergenceWarning)
                warnings.filterwarnings("ignore", message="All samples have mutually equal similarities")
                try:
                    model.fit(similarity.numpy())
                except ConvergenceWarning:
                    continue  # the messages swing; try with more damping
            found = torch.from_numpy(model.labels_.astype(np.int64))
            leaders = torch.from_numpy(model.cluster_centers_indices_.astype(np.int64))[found]
            own = similarity[torch.arange(len(rows)), leaders]
            # whoever is less similar to its leader than the preference would do better alone: this is no optimum
            if bool((own >= min(self.preference, 1) - 1e-9).all()):
                return found
        raise ValueError(
            "affinity propagation did not settle on a grouping that fits its own preference, in 1000 rounds with any "
            "damping up to 0.97; change the preference, or group by=Leaders()"
        )


@dataclass(frozen=True)
class Leaders:
    """From the longest slice on, each joins the most similar leader, or becomes one; for tens of thousands of slices.

    Parameters
    ----------
    threshold
        The similarity to its leader that every member has at least; 0 < threshold <= 1.

    Raises
    ------
    ValueError
        If the threshold is out of its range.

    Examples
    --------
    >>> weight = torch.tensor([[1.0, 1.1, 0.0, -1.0], [2.0, 2.0, 0.0, 1.0]])
    >>> find_ties(weight, dim=1, by=Leaders(threshold=0.9)).labels
    tensor([ 0,  0, -1,  1])

    Chapter: GrOWL in a network.
    """

    threshold: float = 0.9

    def __post_init__(self) -> None:
        if not isinstance(self.threshold, (int, float)) or not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must be a number with 0 < threshold <= 1, got {self.threshold!r}")

    def groups(self, rows: Tensor, slices: Tensor, n: int) -> Tensor:
        """As `Grouping.groups`."""
        _refuse_too_short(rows)
        return _leaders(rows, self.threshold)


@dataclass(frozen=True)
class KMeans:
    """k-means: exactly `n_groups` groups (fewer where fewer slices differ), whose means are near their members.

    Parameters
    ----------
    n_groups
        k >= 1: where the number of groups is given, not how alike they must be.
    slice_weight
        (n,) numbers >= 0, what an error of each slice costs; copied. The variance of input i is a good one: moving w_i
        by d changes the layer's output by d x_i. A slice of weight 0 costs nothing, and is pruned.

    Raises
    ------
    ValueError
        If a setting is out of its range; or (in `groups`) if slice_weight is not one number for each slice.

    Examples
    --------
    >>> weight = torch.tensor([[1.0, 1.1, 0.0, -1.0], [2.0, 2.0, 0.0, 1.0]])
    >>> find_ties(weight, dim=1, by=KMeans(2)).labels
    tensor([ 0,  0, -1,  1])

    Method: Lloyd, IEEE Trans. Information Theory 28(2) (1982), started by Arthur and Vassilvitskii (2007). Chapter:
    GrOWL in a network.
    """

    n_groups: int
    slice_weight: Tensor | Sequence[float] | None = None

    def __post_init__(self) -> None:
        check_count("n_groups", self.n_groups)
        if self.slice_weight is not None:
            cost = torch.as_tensor(self.slice_weight).detach().double()
            if cost.ndim != 1 or not torch.isfinite(cost).all() or (cost < 0).any():
                ends = f" numbers from {float(cost.min()):g} to {float(cost.max()):g}" if cost.numel() else ""
                raise ValueError(
                    f"slice_weight must be finite and not negative, one number a slice, got {tuple(cost.shape)}{ends}"
                )
            object.__setattr__(self, "slice_weight", tuple(cost.tolist()))

    def groups(self, rows: Tensor, slices: Tensor, n: int) -> Tensor:
        """Lloyd's iterations from four starts, of which the best is kept. As `Grouping.groups`."""
        cost = np.ones(n) if self.slice_weight is None else np.array(self.slice_weight)
        if len(cost) != n:
            raise ValueError(f"slice_weight must have one number a slice, {n}, got {len(cost)}")
        cost = cost[slices.numpy()]
        found = torch.full((len(rows),), selection.PRUNED)
        if (cost > 0).any():
            found[torch.from_numpy(cost > 0)] = self._clusters(rows.double().numpy()[cost > 0], cost[cost > 0])
        return found

    def _clusters(self, rows: Array, cost: Array) -> Tensor:
        different, place = np.unique(rows, axis=0, return_inverse=True)
        if len(different) <= self.n_groups:  # every slice in its own group; k-means would warn
            return torch.from_numpy(place.reshape(-1))
        from sklearn.cluster import KMeans as Clustering  # here: it loads half of scikit-learn

        shares = np.ldexp(cost, -np.frexp(cost.max())[1])  # the largest near 1: they are summed and divided
        model = Clustering(self.n_groups, n_init=4, random_state=0).fit(rows, sample_weight=shares)
        return torch.from_numpy(model.labels_.astype(np.int64))


def find_ties(
    weight: Tensor,
    *,
    dim: int,
    by: Grouping = AffinityPropagation(),
    similarity: Similarity = "length",
    signed: bool = False,
) -> TieSpec:
    """Which slices of a weight to tie: the second stage of GrOWL.

    Parameters
    ----------
    weight
        A trained weight with at least one dimension; slices are taken along `dim`.
    dim
        1 for inputs of a Linear or convolution weight, 0 for outputs; of a transposed convolution the other way round.
    by
        How to group: `AffinityPropagation` (as published), `Leaders` (for very many slices), `KMeans` (a given number
        of groups), each with its own settings, or whatever else is a `Grouping`.
    similarity
        ``"length"``: S above. ``"cosine"``: the angle only.
    signed
        Whether a slice and its mirror image are alike: OWL makes *sizes* equal, whatever the signs. Compared are then
        r r^T / ||r|| instead of r, which have the same lengths and the squares of the cosines.

    Returns
    -------
    TieSpec
        Groups numbered in the order of their first slice; -1 for slices that are zero. If `signed`, with factors of 1
        and -1, 1 for the first slice of each group. The same on every run.

    Raises
    ------
    ValueError
        If the weight holds NaN or infinite values, or slices too short to be compared with its longest; if a setting
        is out of its range; or if affinity propagation does not settle. If `signed`, also for more than 8,192 slices
        of more than 127 entries.

    Examples
    --------
    >>> weight = torch.tensor([[1.0, 1.1, 0.0, -1.0], [2.0, 2.0, 0.0, 1.0]])
    >>> find_ties(weight, dim=1, by=Leaders()).labels
    tensor([ 0,  0, -1,  1])
    >>> mirrored = find_ties(torch.tensor([[2.0, -2.0, 0.5]]), dim=1, by=Leaders(), signed=True)
    >>> mirrored.labels, mirrored.factors
    (tensor([0, 0, 1]), tensor([ 1., -1.,  1.]))

    Method: Zhang, Wang, Figueiredo and Balzano (ICLR 2018), section 3.3. Chapter: GrOWL in a network.
    """
    rows = _rows(weight, dim)
    if similarity not in ("length", "cosine"):
        raise ValueError(f'similarity must be "length" or "cosine", got {similarity!r}')
    if not isinstance(by, Grouping) or isinstance(by, type):
        raise ValueError(
            "by must be AffinityPropagation(), Leaders(), KMeans(n_groups), or have their method "
            f"groups(rows, slices, n), got {by!r}"
        )
    labels = torch.full((len(rows),), selection.PRUNED)
    important = rows.any(1).nonzero().flatten()
    if len(important):
        kept = _comparable(rows[important], similarity)
        if similarity == "cosine":
            kept = kept / torch.linalg.vector_norm(kept, dim=1, keepdim=True)
        compared = _without_sign(kept) if signed else kept
        labels[important] = _in_order_of_appearance(by.groups(compared, important, len(rows)))
    return TieSpec(labels, dim, factors=_signs(rows, labels) if signed else None)


MOST = 8192  # slices for which a matrix of all pairs is made


def _without_sign(rows: Tensor) -> Tensor:
    """Rows (m, .) whose inner products are those of r r^T / ||r||: the same for r and -r."""
    m, size = rows.shape
    lengths = torch.linalg.vector_norm(rows.double(), dim=1, keepdim=True)
    units = rows.double() / lengths
    if size * (size + 1) // 2 <= max(m, MOST):
        i, j = torch.triu_indices(size, size)
        features: Tensor = units[:, i] * units[:, j] * torch.where(i == j, 1, math.sqrt(2)) * lengths
        return features
    if m > MOST:
        raise ValueError(
            f"signed=True compares all pairs of slices: {m} of {size} entries are too many, at most {MOST}, or at most "
            "127 entries; find ties without signs"
        )
    values, vectors = torch.linalg.eigh((units @ units.T).square())
    coordinates: Tensor = vectors * values.clamp(min=0).sqrt() * lengths
    return coordinates


def _signs(rows: Tensor, labels: Tensor) -> Tensor:
    """-1 for slices that point away from the direction of their group, in which its first slice points."""
    signs = torch.ones(len(rows))
    for group in range(int(labels.max()) + 1):
        members = (labels == group).nonzero().flatten()
        direction = torch.linalg.svd(rows[members].double(), full_matrices=False).Vh[0]
        along = torch.where(rows[members].double() @ direction < 0, -1.0, 1.0)
        signs[members] = along * along[0]
    return signs


def _comparable(rows: Tensor, similarity: Similarity) -> Tensor:
    """Rows whose squares neither overflow nor get lost: as they are, or in float64 and times a power of two.

    Similarities and distances are compared with each other, so one scale for all changes nothing; for the angle, each
    row has its own.
    """
    lengths = slice_norms(rows, 0)
    lowest = _shortest(rows)
    if float(lengths.min()) > lowest and float(lengths.max()) < 1 / lowest:
        return rows
    wanted = rows.double().numpy()
    largest = np.abs(wanted).max(axis=1 if similarity == "cosine" else None, keepdims=True)
    return torch.from_numpy(np.ldexp(wanted, -np.frexp(largest)[1]))


def _shortest(rows: Tensor) -> float:
    """A row must be longer, or its square loses digits."""
    numbers = torch.finfo(rows.dtype)
    return math.sqrt(numbers.tiny / numbers.eps * rows.shape[1])


def _refuse_too_short(rows: Tensor) -> None:
    lengths = slice_norms(rows, 0)
    if float(lengths.min()) <= _shortest(rows):
        raise ValueError(
            f"the shortest slice is {float(lengths.min() / lengths.max()):.0e} times as long as the longest, too short "
            "for their similarity to be a number; set such slices to zero (they are pruned then)"
        )


def _rows(weight: Tensor, dim: int) -> Tensor:
    _sharded.refuse_sharded(weight, "weight", "give weight.full_tensor(), on every process")
    dim = check_dim(dim, check_tensor(weight, "weight"))
    if not weight.numel():
        raise ValueError(f"weight of shape {tuple(weight.shape)} has no slices to compare along dim {dim}")
    if not torch.isfinite(weight).all():
        raise ValueError("weight holds NaN or infinite values; find where training diverged before looking for ties")
    rows = wide(weight.detach()).cpu().movedim(dim, 0)
    return rows.reshape(len(rows), -1)


BLOCK = 2048  # slices that are compared at once


def _leaders(rows: Tensor, threshold: float) -> Tensor:
    """Every slice, the longest first, joins the leader most similar to it, or leads."""
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


def _in_order_of_appearance(groups: Tensor) -> Tensor:
    """Groups numbered anew, without gaps, in the order of their first slice; pruned slices stay so."""
    found = groups.numpy()
    kept = found >= 0
    _, first, inverse = np.unique(found[kept], return_index=True, return_inverse=True)
    labels = np.full(len(found), selection.PRUNED)
    labels[kept] = np.argsort(np.argsort(first))[inverse]
    return torch.from_numpy(labels)
