r"""Rows under an OWL penalty of their norms: the penalty, its dual norm, its prox, and the tie that the prox makes.

A matrix B has one row a feature, one column a response; with one column the norms are sizes, and the penalty is OWL.
"""

from __future__ import annotations

import numpy as np

from tyinglib._checks import Array
from tyinglib.penalties._prox_owl import prox_sizes


def dual_norm(grad: Array, w: Array) -> float:
    """max over k of (sum of the k largest row norms) / (w_1 + ... + w_k)."""
    sizes = np.sort(row_norms(grad))[::-1]
    return float((np.cumsum(sizes) / np.cumsum(w[: len(sizes)])).max())


def prox_of_rows(z: Array, w: Array) -> tuple[Array, Array, Array]:
    """The prox of rows; the rows that are not zero, by rising norm; where blocks of equal norms start."""
    norms = row_norms(z)
    rows, sizes, starts = prox_sizes(norms, w)
    first = int(np.searchsorted(sizes, 0.0, side="right"))
    rows, sizes, starts = rows[first:], sizes[first:], starts[starts >= first] - first
    found = np.zeros_like(z)
    if z.shape[1] == 1:  # exactly equal sizes stay so
        found[rows, 0] = np.copysign(sizes, z[rows, 0])
    else:
        found[rows] = z[rows] * (sizes / norms[rows])[:, None]
    return found, rows, starts


def tie_basis(z: Array, found: Array, starts: Array) -> tuple[Array, Array]:
    """An orthonormal basis of the range of the prox's Jacobian, (rows, m, unknowns), and its eigenvalues."""
    rows, m = z.shape
    sizes = np.diff(starts, append=rows)
    blocks = np.repeat(np.arange(len(starts)), sizes)
    norms = row_norms(z)
    directions = z / norms[:, None]
    basis = np.zeros((rows, m, len(starts) + rows * (m - 1)))
    s = np.ones(basis.shape[2])
    basis[np.arange(rows), :, blocks] = directions / np.sqrt(sizes[blocks])[:, None]
    if m > 1:
        # the last m - 1 columns of a Householder reflection that maps the first unit vector to the direction
        across = np.linalg.qr(np.concatenate([directions[:, :, None], np.tile(np.eye(m), (rows, 1, 1))], axis=2))[0]
        for k in range(1, m):
            unknowns = len(starts) + (k - 1) * rows + np.arange(rows)
            basis[np.arange(rows), :, unknowns] = across[:, :, k]
            s[unknowns] = row_norms(found) / norms
    return basis, s


def duality_gap(square: float, with_y: float, penalty: float, grad: Array, w: Array) -> float:
    """Objective - dual objective at the residual, scaled into the dual ball."""
    largest = dual_norm(grad, w)
    scale = min(1.0, 1 / largest) if largest > 0 else 1.0
    return square / 2 + penalty - (scale * with_y - scale**2 * square / 2)


def penalty_of(coef: Array, w: Array) -> float:
    norms = np.sort(row_norms(coef))[::-1]
    return float(norms @ w[: len(norms)])


def row_norms(rows: Array) -> Array:
    """The l2 norm of each row; of rows whose squares leave the range of float64 too."""
    if rows.shape[1] == 1:
        return np.abs(rows[:, 0])
    with np.errstate(over="ignore"):
        norms: Array = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    lost = np.flatnonzero(~((norms > 1e-145) & (norms < np.inf)))
    largest = np.abs(rows[lost]).max(axis=1, initial=0)
    lost, largest = lost[largest > 0], largest[largest > 0]
    if len(lost):
        norms[lost] = largest * np.linalg.norm(rows[lost] / largest[:, None], axis=1)
    return norms
