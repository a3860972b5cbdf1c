r"""How stable is a selection? Nogueira's Phi over M runs, each of which selects some of d features.

With p_f the share of runs that select feature f, and k the mean number selected::

    Phi = 1 - [ 1/d sum_f M/(M-1) p_f (1 - p_f) ] / [ k/d (1 - k/d) ]

1: every run selects the same. 0: no more alike than random picks of these sizes. Never below -1/(M-1). Unlike the
Jaccard index it does not rise by itself when more features are selected.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import joblib
import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import norm
from sklearn.base import BaseEstimator, clone
from torch import Tensor

from tyinglib.regression import _rows

Array = npt.NDArray[Any]
Select = Callable[[Array, Array], Any]


class Stability(NamedTuple):
    """Phi, and its approximate confidence interval.

    Parameters
    ----------
    phi
        At most 1.
    lower, upper
        The ends of the interval, not cut off at 1.

    Examples
    --------
    >>> Stability(phi=0.5, lower=0.4, upper=0.6).phi
    0.5

    Chapter: The Lasso is unstable.
    """

    phi: float
    lower: float
    upper: float


def selection_stability(selections: Tensor | npt.ArrayLike, *, level: float = 0.95) -> Stability:
    """Nogueira's Phi of a table of selections, with its confidence interval.

    Parameters
    ----------
    selections
        (M, d): row i is run i, entries 0 or 1 (or bool): was feature f selected? M >= 2.
    level
        Of the interval, between 0 and 1. It is asymptotic in M: below some 20 runs it is too narrow. Runs count as
        independent: over bootstraps of one data set it speaks of more of these, not of other data sets.

    Returns
    -------
    Stability
        Floats (phi, lower, upper); the interval is not cut off at 1.

    Raises
    ------
    ValueError
        If there are fewer than 2 runs, entries are not 0 or 1, or Phi is undefined: nothing, or everything, selected
        by every run.

    Examples
    --------
    >>> selection_stability([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0]]).phi.__round__(3)
    0.333
    >>> selection_stability([[1, 0, 0], [1, 0, 0]]).phi
    1.0

    Reference: Nogueira, Sechidis and Brown, JMLR 18(174), 2018: definition 4 and theorem 7. Chapter: The Lasso is
    unstable.
    """
    z = _table(selections)
    if not (isinstance(level, (int, float)) and 0 < level < 1):
        raise ValueError(f"level must be a number strictly between 0 and 1, got {level!r}")
    m = len(z)
    share = z.mean()  # k / d
    if share in (0.0, 1.0):
        raise ValueError(
            f"Phi is undefined where every run selects {'nothing' if share == 0 else 'everything'}; "
            "choose a penalty at which some features are selected"
        )
    chance = share * (1 - share)
    p = z.mean(axis=0)
    phi = 1 - m / (m - 1) * (p * (1 - p)).mean() / chance
    # what run i adds: the influence function of Phi, up to terms that vanish with M
    sizes = z.mean(axis=1)
    alike = (z * p).mean(axis=1) - sizes * share
    shift = phi / 2 * (2 * sizes * share - sizes - share + 1)
    influence = (alike + shift) / chance
    deviation = 2 / m * math.sqrt(float(((influence - influence.mean()) ** 2).sum()))
    width = float(norm.ppf((1 + level) / 2)) * deviation
    return Stability(float(phi), float(phi) - width, float(phi) + width)


def jaccard(selections: Tensor | npt.ArrayLike) -> float:
    """The mean Jaccard index over pairs of runs: what both select, over what either selects.

    It flatters dense selections: random halves of the features score 1/3, random tenths 1/19.

    Parameters
    ----------
    selections
        As in `selection_stability`.

    Returns
    -------
    float
        0..1; two runs that both select nothing count as 1.

    Raises
    ------
    ValueError
        If there are fewer than 2 runs, or entries are not 0 or 1.

    Examples
    --------
    >>> jaccard([[1, 1, 0], [1, 0, 1]]).__round__(3)
    0.333

    Reference: Kalousis, Prados and Hilario (2007). Chapter: The Lasso is unstable.
    """
    z = _table(selections)
    both = z @ z.T
    sizes = z.sum(axis=1)
    either = sizes[:, None] + sizes[None, :] - both
    first, second = np.triu_indices(len(z), k=1)
    pairs = either[first, second]
    return float(np.where(pairs > 0, both[first, second] / np.maximum(pairs, 1), 1.0).mean())


def bootstrap_selection(
    select: Select | BaseEstimator,
    x: Tensor | npt.ArrayLike,
    y: Tensor | npt.ArrayLike,
    *,
    n_bootstraps: int = 100,
    seed: int = 0,
    n_jobs: int | None = None,
    progress: bool = False,
) -> Array:
    """The coefficients that a method gives on resampled data, one row a bootstrap.

    Parameters
    ----------
    select
        A scikit-learn estimator with ``coef_`` (cloned for every bootstrap; a ``random_state`` of None becomes the
        bootstrap's own seed), or a function (x, y) -> (d,) coefficients, or a mask. It is given arrays.
    x, y
        (n, d) inputs and (n,) or (n, m) responses. Rows are drawn with replacement, n of them.
    n_bootstraps
        M, >= 1.
    seed
        >= 0. Each bootstrap has its own random stream: results do not depend on n_jobs.
    n_jobs
        As `joblib.Parallel`'s; inside ``joblib.parallel_config(backend="dask")`` or ``"ray"`` they run there.
        Torch's default dtype goes along.
    progress
        Show a progress bar (tqdm, on stderr). With ``"ray"`` and ``"multiprocessing"`` it only fills at the end.

    Returns
    -------
    ndarray
        (M, d) floats. What was selected is ``result != 0``: give that to `selection_stability`. With several
        responses, the l2 norm of a feature's coefficients.

    Raises
    ------
    ValueError
        If x and y do not fit, n_bootstraps < 1, seed < 0, or a result has not one finite number a feature.
    RuntimeError
        If a fit fails: with the number of the bootstrap, and the error.

    Examples
    --------
    >>> from sklearn.linear_model import Lasso
    >>> from sklearn.datasets import load_diabetes
    >>> x, y = load_diabetes(return_X_y=True)
    >>> coefficients = bootstrap_selection(Lasso(alpha=0.5), x, y, n_bootstraps=20)
    >>> coefficients.shape, selection_stability(coefficients != 0).phi > 0.7
    ((20, 10), True)

    Reference: Efron (1979); Meinshausen and Buhlmann (2010) for selection. Chapter: The Lasso is unstable.
    """
    inputs, responses = _array(x), _array(y)
    if inputs.ndim != 2 or len(inputs) == 0 or responses.shape[:1] != inputs.shape[:1]:
        raise ValueError(f"x must be (n, d) and y have n rows, got shapes {inputs.shape} and {responses.shape}")
    if isinstance(n_bootstraps, bool) or not isinstance(n_bootstraps, int) or n_bootstraps < 1:
        raise ValueError(f"n_bootstraps must be a whole number >= 1, got {n_bootstraps!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be a whole number >= 0, got {seed!r}")
    if isinstance(select, type) or not (callable(select) or hasattr(select, "fit")):
        raise ValueError(f"select must be an estimator or a function (x, y) -> coefficients, got {select!r}")
    streams = np.random.SeedSequence(seed).spawn(n_bootstraps)
    dtype = torch.get_default_dtype()
    jobs = (
        joblib.delayed(_one)(select, inputs, responses, stream, number, dtype) for number, stream in enumerate(streams)
    )
    try:
        parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator")
    except ValueError:  # backends made of multiprocessing's pool, Ray's too, cannot hand results over one by one
        parallel = joblib.Parallel(n_jobs=n_jobs)
    results = parallel(jobs)
    if progress:
        from tqdm import tqdm  # not tqdm.auto: that warns in a notebook without ipywidgets

        results = tqdm(results, total=n_bootstraps, desc="bootstraps", unit="fit")
    return np.stack(list(results))


def _one(select: Any, x: Array, y: Array, stream: np.random.SeedSequence, number: int, dtype: torch.dtype) -> Array:
    rng = np.random.default_rng(stream)
    rows = rng.integers(0, len(x), len(x))
    before = torch.get_default_dtype()  # another process starts with float32
    torch.set_default_dtype(dtype)
    try:
        found = _coefficients(select, x[rows], y[rows], int(rng.integers(2**31 - 1)))
    except Exception as error:
        # one plain message: the error's own class may not survive the way back from another process
        raise RuntimeError(f"bootstrap {number} failed: {type(error).__name__}: {error}") from error
    finally:
        torch.set_default_dtype(before)
    if found.shape != (x.shape[1],):
        raise ValueError(
            f"bootstrap {number}: expected one number for each of {x.shape[1]} features, got shape {found.shape}"
        )
    found = found.astype(np.float64)
    if not np.isfinite(found).all():
        raise ValueError(f"bootstrap {number}: expected finite numbers, got NaN or infinity")
    return found


def _coefficients(select: Any, x: Array, y: Array, seed: int) -> Array:
    if not hasattr(select, "fit"):
        return _array(select(x, y))
    estimator = clone(select)
    options = estimator.get_params().items()
    free = [name for name, value in options if name.split("__")[-1] == "random_state" and value is None]
    found = np.asarray(estimator.set_params(**dict.fromkeys(free, seed)).fit(x, y).coef_)
    return _rows.row_norms(found.T) if found.ndim == 2 and len(found) > 1 else found.reshape(-1)


def _array(data: Any) -> Array:
    return data.detach().cpu().numpy() if isinstance(data, Tensor) else np.asarray(data)


def _table(selections: Tensor | npt.ArrayLike) -> Array:
    z = _array(selections)
    if z.ndim != 2 or z.shape[0] < 2 or z.shape[1] < 1:
        raise ValueError(f"selections must be a table (runs, features) with at least 2 runs, got shape {z.shape}")
    if not np.isin(z, (0, 1)).all():
        raise ValueError("selections must be 0 or 1: was the feature selected? For coefficients, give coef != 0")
    return z.astype(np.float64)
