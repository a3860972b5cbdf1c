r"""Linear regression with OWL and GrOWL penalties, as scikit-learn estimators::

    OWL     min over b   1/(2n) ||y - X b||^2    + alpha sum_i w_i |b|_(i)
    GrOWL   min over B   1/(2n) ||Y - X B||_F^2  + alpha sum_i w_i ||b||_(i)      b_j: one feature's row of B

A constant w = 1 gives scikit-learn's `Lasso`, and the row-wise group lasso of `MultiTaskLasso`, with the same alpha.
Where w falls, it also ties: correlated features get coefficients (or rows) of the same size. A fit is stopped by a
duality gap: it is proved to be that near the best objective.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from tyinglib._checks import Array, check_count, check_weights
from tyinglib._private_apis import check_sample_weight
from tyinglib.regression import _rows, _solver
from tyinglib.selection import PRUNED

Weights = Callable[[int], Any] | npt.ArrayLike | Tensor | None


SMALLEST, LARGEST = 1e-75, 1e75  # of the largest number in X, and in y


class RegularizationPath(NamedTuple):
    """The solutions for falling strengths, each started from the one before.

    Parameters
    ----------
    alphas
        (k,), falling.
    coefs
        (k, d), or (k, m, d) for m responses: as `coef_`, one a strength.
    intercepts
        (k,), or (k, m).
    gaps
        (k,): duality gaps, relative to the objective at zero.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> path = OWLRegressor().path(*load_diabetes(return_X_y=True), n_alphas=5)
    >>> isinstance(path, RegularizationPath), path.coefs.shape, (path.coefs != 0).sum(axis=1).tolist()
    (True, (5, 10), [0, 6, 8, 10, 10])

    Chapter: OWL and GrOWL.
    """

    alphas: Array
    coefs: Array
    intercepts: Array
    gaps: Array


class _OrderedRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    def __init__(
        self,
        alpha: float = 1.0,
        *,
        w: Weights = None,
        decay: float = 0.5,
        fit_intercept: bool = True,
        tol: float = 1e-8,
        max_iter: int = 10_000,
        warm_start: bool = False,
    ) -> None:
        self.alpha = alpha
        self.w = w
        self.decay = decay
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Find the coefficients.

        Parameters
        ----------
        X
            (n, d), finite numbers.
        y
            (n,) responses; for GrOWL also (n, m).
        sample_weight
            (n,), >= 0: a weight of 2 is the same as having the sample twice. None: all 1.

        Returns
        -------
        OWLRegressor or GrOWLRegressor
            The estimator itself, with `coef_`, `intercept_`, `labels_`, `w_`, `dual_gap_` and `n_iter_`.

        Raises
        ------
        ValueError
            If X, y or sample_weight do not fit each other or are not finite, X or y is too small or too large to be
            squared (1e-75 to 1e75 is not), or a setting is out of its range.
        """
        problem = self._problem(X, y, sample_weight)
        old = getattr(self, "coef_", None) if self.warm_start else None
        start = None
        if old is not None and np.size(old) == len(problem.x.T) * problem.y.shape[1]:
            start = old.reshape(problem.y.shape[1], -1).T
        found = self._solve(problem, _positive("alpha", self.alpha), start)
        self.w_ = problem.w
        self.coef_, self.intercept_ = problem.in_units(found.coef)
        self.labels_ = _labels(found.coef)
        self.dual_gap_, self.n_iter_ = found.gap / problem.n, found.n_iter
        return self

    def predict(self, X: Any) -> Array:
        """The responses that the coefficients give.

        Parameters
        ----------
        X
            (n, d).

        Returns
        -------
        ndarray
            (n,), or (n, m) after a fit to (n, m) responses.

        Raises
        ------
        ValueError
            If X has another number of features, or the estimator is not fitted.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        product: Array = X @ self.coef_.T + self.intercept_
        return product

    def alpha_max(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The smallest strength at which every coefficient is zero: the dual norm of the gradient at zero.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        float
            0 where no feature moves with a response.

        Raises
        ------
        ValueError
            As `fit`.
        """
        return self._problem(X, y, sample_weight).alpha_max()

    def path(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        alphas: npt.ArrayLike | None = None,
        n_alphas: int = 100,
        eps: float = 1e-3,
    ) -> RegularizationPath:
        """Solutions for a row of strengths, from strong to weak; the estimator itself is left as it is.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        alphas
            (k,) strengths > 0, in any order. None: `n_alphas` of them, from `alpha_max` down to eps times it, in equal
            ratios.
        n_alphas
            How many, >= 1.
        eps
            Between 0 and 1.

        Returns
        -------
        RegularizationPath
            By falling alpha.

        Raises
        ------
        ValueError
            As `fit`; or if alphas are not positive numbers, eps is not between 0 and 1, or no feature moves with a
            response and no alphas are given.
        """
        problem = self._problem(X, y, sample_weight)
        if alphas is None:
            check_count("n_alphas", n_alphas)
            if not (isinstance(eps, Real) and 0 < eps < 1):
                raise ValueError(f"eps must be a number strictly between 0 and 1, got {eps!r}")
            top = problem.alpha_max()
            if top <= 0:
                raise ValueError("no feature moves with a response, so every alpha gives zeros: give alphas")
            strengths = np.geomspace(top, eps * top, n_alphas)
        else:
            strengths = np.sort(np.asarray(alphas, dtype=np.float64))[::-1]
            if strengths.ndim != 1 or not len(strengths) or not (np.isfinite(strengths) & (strengths > 0)).all():
                raise ValueError(f"alphas must be a list of finite numbers > 0, got {alphas!r}")
        coefs, intercepts, gaps, start = [], [], [], None
        scale = max(float(np.sum(problem.y**2)) / 2, np.finfo(float).tiny)
        for alpha in strengths:
            found = self._solve(problem, float(alpha), start)
            start = found.coef
            coef, intercept = problem.in_units(found.coef)
            coefs.append(coef)
            intercepts.append(intercept)
            gaps.append(found.gap / scale)
        return RegularizationPath(strengths, np.array(coefs), np.array(intercepts), np.array(gaps))

    def _solve(self, problem: _Prepared, alpha: float, start: Array | None) -> _solver.Solution:
        tol = _positive("tol", self.tol)
        check_count("max_iter", self.max_iter)
        found = _solver.solve(
            problem.x, problem.y, problem.n * alpha * problem.w, tol=tol, max_iter=self.max_iter, start=start
        )
        if not found.converged:
            scale = float(np.sum(problem.y**2)) / 2
            warnings.warn(
                f"stopped after max_iter={self.max_iter} steps with a duality gap of {found.gap / scale:.1e} of the "
                f"objective at zero, above tol={tol:g}: bring the features to one scale (StandardScaler), raise "
                "max_iter, or raise alpha or tol",
                ConvergenceWarning,
                stacklevel=3,
            )
        return found

    def _problem(self, X: Any, y: Any, sample_weight: Any) -> _Prepared:
        several = self.__sklearn_tags__().target_tags.multi_output
        X, y = validate_data(self, X, y, dtype=np.float64, order="F", copy=True, y_numeric=True, multi_output=several)
        y = np.asarray(y, dtype=np.float64)
        share = check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if not share.sum() > 0:
            raise ValueError("sample_weight must have a positive sum: all samples count for nothing")
        return _Prepared(X, y, share, self._checked_w(X.shape[1]), bool(self.fit_intercept))

    def _checked_w(self, d: int) -> Array:
        if self.w is None:
            if not (isinstance(self.decay, Real) and 0 <= self.decay <= 1):
                raise ValueError(f"decay must be a number in 0..1, got {self.decay!r}")
            return 1 - self.decay * np.arange(d) / max(d - 1, 1)
        given = self.w(d) if callable(self.w) else self.w
        checked = check_weights(given if isinstance(given, Tensor) else torch.from_numpy(np.array(given, float)), d)
        if not checked[0] > 0:
            raise ValueError("w must begin above zero, got only zeros: that is least squares")
        return checked.copy()


class _Prepared:
    """Centred and weighted, so that n times the loss is 1/2 ||y - X b||^2; and the way back."""

    def __init__(self, x: Array, y: Array, share: Array, w: Array, centre: bool) -> None:
        self.w, self.one = w, y.ndim == 1
        y = y.reshape(len(y), -1)
        if not share.all():
            x, y, share = x[share > 0], y[share > 0], share[share > 0]
        self.n = len(share)
        share = share / share.sum()
        self.x_mean = share @ x if centre else np.zeros(x.shape[1])
        self.y_mean = share @ y if centre else np.zeros(y.shape[1])
        self.x, self.y = _centred(x, self.x_mean, centre), _centred(y, self.y_mean, centre)
        _check_can_be_squared(X=self.x, y=self.y)
        if np.ptp(share) > 0:
            root = np.sqrt(self.n * share)[:, None]
            self.x, self.y = np.multiply(self.x, root, order="F"), self.y * root

    def alpha_max(self) -> float:
        return _rows.dual_norm(self.x.T @ self.y, self.w) / self.n

    def in_units(self, coef: Array) -> tuple[Array, Any]:
        """coef_ and intercept_ as scikit-learn has them."""
        intercept = self.y_mean - self.x_mean @ coef
        return (coef[:, 0].copy(), float(intercept[0])) if self.one else (coef.T.copy(), intercept)


class OWLRegressor(_OrderedRegressor):
    """Least squares with the ordered weighted l1 norm: a selection that ties correlated features.

    min over b of 1/(2n) ||y - X b - intercept||^2 + alpha sum_i w_i ``|b|_(i)``

    Parameters
    ----------
    alpha
        The strength, > 0. From `alpha_max` on all coefficients are zero.
    w
        w, (d,), falling and not negative; or a function d -> w, such as
        ``functools.partial(slope_bh_weights, q=0.1)``. None: a straight line from 1 down to 1 - decay.
    decay
        0..1. 0 is the Lasso; 1 falls to zero. Not used with w.
    fit_intercept
        Whether to fit a constant that is not penalised.
    tol
        Stop at a duality gap of tol times the objective at zero.
    max_iter
        Steps at most; then a `ConvergenceWarning` says what to do.
    warm_start
        Start the next fit from the coefficients of the last.

    Raises
    ------
    ValueError
        By `fit`, if a setting is out of its range.

    Notes
    -----
    After `fit`: `coef_` (d,) and `intercept_`; `labels_` (d,): features of one label have coefficients of one size, -1
    is zero; `w_` (d,), `dual_gap_`, `n_iter_`. Features should have one scale: put a `StandardScaler` before.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(50, 3))
    >>> x = np.column_stack([x[:, 0], x[:, 0] + 0.1 * x[:, 1], x[:, 2]])  # two alike, one of no use
    >>> model = OWLRegressor(alpha=0.3).fit(x, x[:, 0])
    >>> model.coef_.round(2).tolist(), model.labels_.tolist()
    ([0.39, 0.39, 0.0], [0, 0, -1])

    Reference: Bogdan et al. (2015), equation (1.3); Figueiredo and Nowak (2016), equation (1). Newton inside the tie:
    Luo, Sun, Toh and Xiu (2019). Chapter: OWL and GrOWL.
    """


class GrOWLRegressor(_OrderedRegressor):
    """Least squares for several responses, with the ordered weighted l1 norm of each feature's coefficients.

    min over B of 1/(2n) ||Y - X B - intercept||_F^2 + alpha sum_i w_i ``||b||_(i)``, with b_j the m coefficients of
    feature j.

    Parameters
    ----------
    alpha
        The strength, > 0. From `alpha_max` on all coefficients are zero.
    w
        w, (d,), falling and not negative; or a function d -> w. None: a straight line from 1 down to 1 - decay.
    decay
        0..1. 0 is the `MultiTaskLasso`; 1 falls to zero. Not used with w.
    fit_intercept
        Whether to fit constants that are not penalised.
    tol
        Stop at a duality gap of tol times the objective at zero.
    max_iter
        Steps at most; then a `ConvergenceWarning` says what to do.
    warm_start
        Start the next fit from the coefficients of the last.

    Raises
    ------
    ValueError
        By `fit`, if a setting is out of its range.

    Notes
    -----
    After `fit`: `coef_` (m, d), as scikit-learn's, or (d,) for responses (n,); `intercept_`; `labels_` (d,): features
    of one label have rows of one *norm*, -1 is zero; `w_`, `dual_gap_`, `n_iter_`. Rows of one norm need not be
    equal: `finding.find_ties` looks at whole rows.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(50, 3))
    >>> x = np.column_stack([x[:, 0], x[:, 0] + 0.1 * x[:, 1], x[:, 2]])
    >>> model = GrOWLRegressor(alpha=0.3).fit(x, np.column_stack([x[:, 0], -x[:, 1]]))
    >>> model.coef_.shape, model.labels_.tolist()
    ((2, 3), [0, 0, -1])

    Reference: Oswal, Cox, Lambon-Ralph, Rogers and Nowak (2016), equation (3). Chapter: OWL and GrOWL.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _check_can_be_squared(**arrays: Array) -> None:
    """Squares of squares are needed: of 1e-100 and 1e100 they are 0 and infinite, and the result would be wrong."""
    for name, array in arrays.items():
        largest = float(np.abs(array).max(initial=0))
        if largest and not SMALLEST <= largest <= LARGEST:
            raise ValueError(
                f"the numbers in {name} (less their means) must be of a size between {SMALLEST:g} and {LARGEST:g}, the "
                f"largest is {largest:.3g}: scale them, for example to variance 1"
            )


def _centred(columns: Array, mean: Array, centre: bool) -> Array:
    """columns - mean, in Fortran order; exactly zero, not rounding, where a column is constant."""
    if not centre:
        return np.asfortranarray(columns)
    centred: Array = np.subtract(columns, mean, order="F")
    centred[:, columns.max(axis=0) == columns.min(axis=0)] = 0
    return centred


def _labels(coef: Array) -> Array:
    """Groups of rows of one norm, numbered by falling norm; -1 for zero."""
    norms = _rows.row_norms(coef)
    order = np.argsort(-norms, kind="stable")
    apart = -np.diff(norms[order]) > 1e-9 * norms.max(initial=0)  # a tied norm is equal up to rounding
    labels = np.empty(len(norms), dtype=np.int64)
    labels[order] = np.concatenate([[0], np.cumsum(apart)])
    labels[norms == 0] = PRUNED
    return labels


def _positive(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < np.inf:
        raise ValueError(f"{name} must be a finite number > 0, got {value!r}")
    return float(value)
