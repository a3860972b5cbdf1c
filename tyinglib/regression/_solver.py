r"""Least squares with an OWL or GrOWL penalty, to a proved accuracy.

    min over B of  1/2 ||Y - X B||^2 + sum_i w_i ||b||_(i)        b_j: row j of B, one number a response

Four ideas, each old and each exact:

- *working set*: rows that stay zero are left out; their gradient, looked at now and then, says which must come in.
- *FISTA*, an accelerated proximal gradient step, restarted when it overshoots, finds which rows are zero, which tied.
- *a Newton step inside the tie*: where the pattern of the prox is right, B = V c with far fewer c, and c solves a
  linear system. With one response V is the signed selection matrix: least squares on the summed columns.
- *proximal points*: where columns are so alike that the first two crawl, B moves to the minimum of the objective plus
  ||B' - B||^2 / (2 sigma), again and again, with sigma growing. Each is found by Newton steps on its smooth dual.

A Newton step inside the tie is kept only if the objective falls. The duality gap bounds how far the objective is from
the best one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from tyinglib._checks import Array
from tyinglib.regression._dual import Dual
from tyinglib.regression._rows import duality_gap, penalty_of, prox_of_rows, row_norms, tie_basis

SMALLEST_SET = 50  # rows that are looked at together from the start
POWER_STEPS = 20  # find the largest eigenvalue closely enough: a step a little too long does no harm
CHECK_EVERY = 5  # FISTA steps between looks at the gap
LARGEST_SYSTEM = 2000  # a Newton step with more unknowns costs more than it saves
PATIENCE = 50  # steps until proximal points are tried
FIRST_SIGMA = 100  # over the Lipschitz constant
MOST_INSIDE = 30  # Newton steps for one proximal point; needing more, sigma falls
PATIENCE_OUTSIDE = 8  # proximal points without a smaller gap: rounding allows no more


@dataclass(frozen=True)
class Solution:
    """B, (d, m); the duality gap; how many steps it took; whether the gap was closed."""

    coef: Array
    gap: float
    n_iter: int
    converged: bool


def solve(x: Array, y: Array, w: Array, *, tol: float, max_iter: int, start: Array | None = None) -> Solution:
    """Minimise to a duality gap of at most tol * ||y||^2 / 2, or until max_iter steps are used up.

    x is (n, d), best in Fortran order; y (n, m); w (d,), falling, >= 0, w[0] > 0; start (d, m).
    """
    coef = np.zeros((x.shape[1], y.shape[1])) if start is None else start.copy()
    scale = float(np.sum(y**2)) / 2
    steps, size, accuracy, working = 0, SMALLEST_SET, math.inf, np.array([], dtype=np.intp)
    while True:
        alive = np.flatnonzero(coef.any(axis=1))
        residual = y - x[:, alive] @ coef[alive]
        grad = x.T @ residual
        gap = duality_gap(float(np.sum(residual**2)), float(np.sum(residual * y)), penalty_of(coef[alive], w), grad, w)
        if gap <= tol * scale or steps >= max_iter:
            return Solution(coef, gap, steps, gap <= tol * scale)
        if not math.isfinite(gap):
            raise ValueError("the numbers are too large to be squared: scale x and y, for example to variance 1")
        before, size = working, max(size, 2 * len(alive))
        working = np.union1d(alive, np.argsort(-row_norms(grad), kind="stable")[:size])
        if np.array_equal(before, working):  # not solved well enough, or some that are missing push less hard
            accuracy, size = accuracy / 10, 2 * size
        elif len(working) == len(coef):
            accuracy = tol * scale / 2
        else:
            accuracy = max(gap / 10, tol * scale / 2)
        problem = _Problem(x[:, working], y, w[: len(working)])
        part, used = problem.solve(coef[working], accuracy, max_iter - steps)
        coef = np.zeros_like(coef)
        coef[working] = part
        steps += used


class _Problem:
    """The problem on some columns: everything is done with the gradient b - H B, H = X^T X."""

    def __init__(self, x: Array, y: Array, w: Array) -> None:
        n, d = x.shape
        self.x, self.w = x, w
        self.hessian = x.T @ x if d <= n else None
        self.y, self.b = y, x.T @ y
        self.square = float(np.sum(y**2))
        self.lipschitz = _largest_eigenvalue(x @ x.T if self.hessian is None else self.hessian)

    def apply(self, coef: Array) -> Array:
        """H B."""
        product: Array = self.x.T @ (self.x @ coef) if self.hessian is None else self.hessian @ coef
        return product

    def solve(self, coef: Array, accuracy: float, budget: int) -> tuple[Array, int]:
        """Steps of FISTA and Newton until the duality gap is below the accuracy; B, and how many steps."""
        if self.lipschitz == 0:
            return np.zeros_like(coef), 1
        state = _State(self, coef)
        best, point, t = state, state, 1.0
        used, wait, next_newton, next_points = 0, CHECK_EVERY, CHECK_EVERY, PATIENCE
        while best.gap > accuracy and used < budget:
            found = self._forward_backward(point)[0]
            used += 1
            if float(np.sum((point.coef - found) * (found - state.coef))) > 0:
                t = 1.0  # it overshot
            t_next = (1 + math.sqrt(1 + 4 * t * t)) / 2
            moved = found + (t - 1) / t_next * (found - state.coef)
            state, point, t = _State(self, found), _State(self, moved), t_next
            if used % CHECK_EVERY == 0:
                best = min(best, state, key=lambda s: s.objective)
            if used >= next_newton:
                improved, steps = self._newton_steps(best, budget - used)
                used += steps
                # after a success FISTA goes on from there; after a failure the next try waits longer
                wait = CHECK_EVERY if steps else 2 * wait
                if steps:
                    best = state = point = improved
                    t = 1.0
                next_newton = used + wait
            if used >= next_points and self.y.size <= LARGEST_SYSTEM:
                found, steps = self._proximal_points(best, accuracy, budget - used)
                used, next_points = used + steps, used + steps + PATIENCE
                best = state = point = min(best, _State(self, found), key=lambda s: s.gap)
                t = 1.0
        best, steps = self._newton_steps(min(best, state, key=lambda s: s.objective), budget - used)
        return best.coef, used + steps

    def _newton_steps(self, state: _State, budget: int) -> tuple[_State, int]:
        """Newton steps for as long as the objective falls; where they end, and how many."""
        steps = 0
        while steps < budget and (stepped := self._newton(state)) is not None:
            state, steps = stepped, steps + 1
        return state, steps

    def _forward_backward(self, state: _State) -> tuple[Array, Array, Array]:
        """prox(z), z = B + grad / L; its rows that are not zero, by rising norm; where blocks of equal norms start."""
        return prox_of_rows(state.coef + state.grad / self.lipschitz, self.w / self.lipschitz)

    def _proximal_points(self, start: _State, accuracy: float, budget: int) -> tuple[Array, int]:
        """Proximal points with growing sigma until the gap is below the accuracy, or rounding stops it; B, steps."""
        best, centre, last = start, start.coef, math.inf
        u = self.y - self.x @ centre
        sigma, used, worse = FIRST_SIGMA / self.lipschitz, 0, 0
        while used < budget and worse < PATIENCE_OUTSIDE and best.gap > accuracy:
            inside = 0
            at = Dual(self.x, self.y, self.w, centre, sigma, u)
            nearer = _State(self, at.p)
            while inside < MOST_INSIDE and used < budget:
                moved = at.newton()
                used, inside = used + 1, inside + 1
                if moved is None:  # rounding
                    break
                at, nearer = moved, _State(self, moved.p)
                step = float(np.linalg.norm(at.p - centre)) / math.sqrt(sigma)
                if nearer.gap <= accuracy or at.size <= min(0.1 * step, 0.1 * math.sqrt(accuracy)):
                    break
            worse = 0 if nearer.gap < last else worse + 1
            last = min(last, nearer.gap)
            best = min(best, nearer, key=lambda s: s.gap)
            centre, u = at.p, at.u
            sigma = 4 * sigma if inside < MOST_INSIDE else sigma / 2
        return best.coef, used

    def _newton(self, state: _State) -> _State | None:
        """A semismooth Newton step on B = prox(z(B)), then a proximal step; None if the objective does not fall.

        The prox has the Jacobian V diag(s) V^T: s = 1 along a block, and shrunk norm / norm across a row's direction.
        """
        found, rows, starts = self._forward_backward(state)
        responses = found.shape[1]
        if not len(rows) or len(starts) + len(rows) * (responses - 1) > LARGEST_SYSTEM:
            return None
        z = (state.coef + state.grad / self.lipschitz)[rows]
        basis, s = tie_basis(z, found[rows], starts)  # (rows, m, unknowns)
        flat = basis.reshape(len(rows), -1)
        columns = (self.x[:, rows] @ flat).reshape(-1, basis.shape[2])
        system = columns.T @ columns / self.lipschitz
        system.flat[:: len(s) + 1] += 1 / s - 1
        # V^T (B - H B / L): z without what comes from y
        rest = z - self.b[rows] / self.lipschitz
        right = np.tensordot(found[rows], basis, axes=2) / s - np.tensordot(rest, basis, axes=2)
        try:
            c = cho_solve(cho_factor(system), right)
        except LinAlgError:  # columns of the tied design that depend on each other
            return None
        coef = np.zeros_like(found)
        coef[rows] = basis @ c
        stepped = _State(self, self._forward_backward(_State(self, coef))[0])
        return stepped if stepped.objective < state.objective - 1e-15 * self.square else None


class _State:
    """A point B with its gradient b - H B, objective and duality gap, computed when they are asked for."""

    def __init__(self, problem: _Problem, coef: Array) -> None:
        self.problem, self.coef = problem, coef

    @cached_property
    def grad(self) -> Array:
        return self.problem.b - self.problem.apply(self.coef)

    @cached_property
    def _residual(self) -> tuple[float, float]:
        """||Y - X B||^2 and <Y - X B, Y>."""
        with_y = self.problem.square - float(np.sum(self.problem.b * self.coef))
        return max(with_y - float(np.sum(self.grad * self.coef)), 0.0), with_y

    @cached_property
    def objective(self) -> float:
        return self._residual[0] / 2 + penalty_of(self.coef, self.problem.w)

    @cached_property
    def gap(self) -> float:
        return duality_gap(*self._residual, penalty_of(self.coef, self.problem.w), self.grad, self.problem.w)


def _largest_eigenvalue(matrix: Array) -> float:
    """Of a symmetric matrix with no negative ones, by power iteration; a little above the true one."""
    vector = np.random.RandomState(0).standard_normal(len(matrix))
    size = 0.0
    for _ in range(POWER_STEPS):
        vector = matrix @ vector
        size = math.sqrt(vector @ vector)
        if size == 0:
            return 0.0
        vector /= size
    return 1.1 * size
