"""Which rows of layer 1 share a value: affinity propagation on the released code's similarity.

Its configuration asks for `norm_euclidean`, computes that, and then clusters S all the same (`utils_retrain.py`)::

    S_ij = <w_i, w_j> / max(||w_i||^2, ||w_j||^2)
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from sklearn.cluster import AffinityPropagation
from torch import Tensor


def similarity(rows: Tensor, kind: str = "paper") -> Tensor:
    """S, or with "norm_euclidean" minus the distance by the shorter length."""
    rows = rows.double()
    lengths = rows.norm(dim=1)
    if kind == "paper":
        return rows @ rows.T / torch.maximum(lengths[:, None], lengths[None, :]).square()
    if kind == "norm_euclidean":
        return -torch.cdist(rows, rows) / torch.minimum(lengths[:, None], lengths[None, :])
    raise ValueError(f'kind must be "paper" or "norm_euclidean", got {kind!r}')


def groups(rows: Tensor, preference: float, kind: str = "paper", **settings: Any) -> tuple[Tensor, dict[str, Any]]:
    """(labels of the rows, what is to be said of them). Damping .5 and 200 rounds are scikit-learn's defaults."""
    if len(rows) < 2:
        return torch.zeros(len(rows), dtype=torch.int64), {"groups": len(rows), "converged": True, "rounds": 0}
    model = AffinityPropagation(affinity="precomputed", preference=preference, random_state=0, **settings)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model.fit(similarity(rows, kind).numpy())
    labels = torch.from_numpy(model.labels_).long()
    converged = not any("did not converge" in str(warning.message) for warning in said)
    if (labels < 0).any():  # no exemplar was found: every row for itself
        labels = torch.arange(len(rows))
    found = {"groups": len(labels.unique()), "converged": converged, "rounds": int(model.n_iter_)}
    return labels, found
