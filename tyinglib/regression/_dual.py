r"""One proximal point of least squares with an OWL or GrOWL penalty, by Newton steps on its smooth dual.

    min over B' of  1/2 ||Y - X B'||^2 + sum_i w_i ||b'||_(i) + ||B' - B||^2 / (2 sigma)

Its dual, in u (n, m), has the gradient Y - u - X p and the Hessian -(I + sigma X V diag(s) V^T X^T), where p is the
prox of z = B + sigma X^T u and V diag(s) V^T the prox's Jacobian. Where u is best, p is the new B.

Method: Luo, Sun, Toh and Xiu (2019).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from tyinglib._checks import Array
from tyinglib.regression._rows import penalty_of, prox_of_rows, tie_basis


class Dual:
    """A point u of the dual of a proximal point: its value, gradient and the primal point p it stands for."""

    def __init__(self, x: Array, y: Array, w: Array, centre: Array, sigma: float, u: Array) -> None:
        self.x, self.y, self.w, self.centre, self.sigma, self.u = x, y, w, centre, sigma, u
        self.z = centre + sigma * (x.T @ u)
        self.p, self.rows, self.starts = prox_of_rows(self.z, sigma * w)
        self.grad = y - u - x @ self.p
        self.size = float(np.linalg.norm(self.grad))

    @cached_property
    def value(self) -> float:
        near = float(np.sum((self.p - self.z) ** 2) - np.sum(self.z**2)) / (2 * self.sigma)
        return float(np.sum(self.u * self.y - self.u**2 / 2)) + penalty_of(self.p, self.w) + near

    def newton(self) -> Dual | None:
        """The point after a damped Newton step; None if no step helps."""
        flat = self.grad.ravel()
        direction = flat
        if len(self.rows):
            a = self._columns()
            small = a.shape[1] <= len(flat)
            system = self.sigma * (a.T @ a if small else a @ a.T)
            system.flat[:: len(system) + 1] += 1
            try:
                factor = cho_factor(system)
            except LinAlgError:
                return None
            direction = flat - self.sigma * (a @ cho_solve(factor, a.T @ flat)) if small else cho_solve(factor, flat)
        slope, step = float(flat @ direction), 1.0
        while step > 1e-4:
            u = self.u + step * direction.reshape(self.u.shape)
            moved = Dual(self.x, self.y, self.w, self.centre, self.sigma, u)
            # near the end the value cannot tell any more, and the gradient can
            if moved.size <= (1 - step / 4) * self.size or moved.value >= self.value + 1e-4 * step * slope:
                return moved
            step /= 2
        return None

    def _columns(self) -> Array:
        """X V diag(s)^(1/2), (n m, unknowns)."""
        x = self.x[:, self.rows]
        if self.u.shape[1] == 1:
            sizes = np.diff(self.starts, append=len(self.rows))
            summed: Array = np.add.reduceat(x * np.sign(self.p[self.rows, 0]), self.starts, axis=1)
            return summed / np.sqrt(sizes)
        basis, s = tie_basis(self.z[self.rows], self.p[self.rows], self.starts)
        columns: Array = (x @ basis.reshape(len(self.rows), -1)).reshape(-1, len(s))
        return columns * np.sqrt(s)
