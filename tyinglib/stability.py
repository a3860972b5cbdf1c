r"""How far do repeated selections agree? One minus the variance that was seen over the variance of random picks::

    Phi = 1 - mean_f s_f^2 / [ (kbar / d) (1 - kbar / d) ],    s_f^2 = M / (M - 1) * p_f (1 - p_f)

Z is (M, d), 0 or 1, one row a run: Z[i, f] = 1 if run i selected feature f. p_f is the share of runs that selected
f, kbar the mean number selected. Phi = 1: every run selected the same set. Phi = 0: no better agreement than random
sets of these sizes, in expectation. Never below -1 / (M - 1). Unlike a mean overlap it is corrected for the number
selected, and selected and left-out features play the same part: Phi(1 - Z) = Phi(Z).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from sklearn.base import clone
from torch import Tensor


@dataclass(frozen=True)
class Stability:
    """The stability of a selection, and the confidence interval that its runs allow.

    Parameters
    ----------
    phi
        The estimate, at most 1.
    lower, upper
        The interval phi -+ z sqrt(variance). It is not cut at 1.
    variance
        Of the estimate.

    Examples
    --------
    >>> Stability(phi=0.5, lower=0.3, upper=0.7, variance=0.01).phi
    0.5

    Chapter: Unstable selection.
    """

    phi: float
    lower: float
    upper: float
    variance: float


def selection_stability(selections: ArrayLike | Tensor, *, level: float = 0.95) -> Stability:
    """Phi of repeated selections, with its confidence interval.

    The variance is the one of the influence of single runs, 4 / M^2 sum_i (Phi_i - mean Phi)^2 with::

        Phi_i = [ 1/d sum_f Z_if p_f - k_i kbar / d^2 + Phi/2 (2 k_i kbar / d^2 - k_i / d - kbar / d + 1) ]
                / [ (kbar / d) (1 - kbar / d) ],        k_i the number that run i selected.

    Parameters
    ----------
    selections
        Z of shape (M, d), M >= 2: bool, or numbers 0 and 1. For coefficients give ``coefficients != 0``.
    level
        Of the interval, between 0 and 1.

    Returns
    -------
    Stability
        The interval is asymptotic in M. In simulations 95 % intervals held the true value in 70 to 84 % of cases
        at M = 5, in 84 to 94 % at M = 10, in 91 % or more from M = 20. Its runs count as independent: with
        bootstraps of one data set it speaks of more bootstraps of that data set, not of other data sets.

    Raises
    ------
    ValueError
        If Z is not (M, d) of zeros and ones with M >= 2, or if Phi is undefined (0 / 0) because no run
        selected anything or every run selected everything; if `level` is not between 0 and 1.

    Examples
    --------
    >>> runs = [[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0]]
    >>> result = selection_stability(runs)
    >>> round(result.phi, 4), round(result.lower, 4), round(result.upper, 4)
    (0.3333, -0.0296, 0.6962)
    >>> selection_stability([[1, 1, 0, 0], [0, 0, 1, 1]]).phi  # the lower bound for two runs
    -1.0

    Method: Nogueira, Sechidis and Brown, JMLR 18(174):1-54 (2018), definition 4 and corollary 9.
    Chapter: Unstable selection.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, for example 0.95, got {level}")
    z = _check_selections(selections)
    runs, features = z.shape
    frequency = z.mean(axis=0)
    share = z.mean(axis=1)  # k_i / d
    mean_share = share.mean()  # kbar / d
    if mean_share in (0, 1):
        what = "no run selected anything" if mean_share == 0 else f"every run selected all {features} features"
        raise ValueError(f"stability is undefined (0 / 0): {what}; change the strength of the penalty")
    random_variance = mean_share * (1 - mean_share)
    seen_variance = runs / (runs - 1) * (frequency * (1 - frequency)).mean()
    phi = 1 - seen_variance / random_variance
    influence = (
        z @ frequency / features - share * mean_share + phi / 2 * (2 * share * mean_share - share - mean_share + 1)
    ) / random_variance
    variance = 4 / runs**2 * np.square(influence - influence.mean()).sum()
    half = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(variance)
    return Stability(float(phi), float(phi - half), float(phi + half), float(variance))


def jaccard(selections: ArrayLike | Tensor) -> float:
    """The mean over pairs of runs of |A and B| / |A or B|, the share of common features.

    Easy to read, and not corrected for chance: two random halves of many features overlap by 1/3, two
    random tenths by 1/19. So it prefers dense selections. Two empty sets agree: they count 1.

    Parameters
    ----------
    selections
        Z of shape (M, d), M >= 2, as in `selection_stability`.

    Returns
    -------
    float
        0..1.

    Raises
    ------
    ValueError
        If Z is not (M, d) of zeros and ones with M >= 2.

    Examples
    --------
    >>> jaccard([[1, 1, 0, 0], [1, 0, 1, 0]]) == 1 / 3
    True

    Source: P. Jaccard, New Phytologist 11(2):37-50 (1912). Chapter: Unstable selection.
    """
    z = _check_selections(selections)
    both = z @ z.T
    sizes = np.diag(both)
    either = sizes[:, None] + sizes - both
    # where both are empty 0 / 0 becomes 1 / 1
    index = np.where(either == 0, 1, both) / np.where(either == 0, 1, either)
    return float(index[np.triu_indices(len(z), k=1)].mean())


def bootstrap_coefficients(
    fit: Any,
    x: ArrayLike | Tensor,
    y: ArrayLike | Tensor,
    *,
    n_bootstraps: int,
    seed: int = 0,
    n_jobs: int | None = None,
    progress: bool = False,
    sample_fraction: float = 1.0,
    replace: bool = True,
) -> np.ndarray:
    """Fit on bootstraps of the data, in parallel by joblib: the coefficients of every run.

    Run i draws its samples, and seeds its fit, from stream i of ``numpy.random.SeedSequence(seed)``. So the result
    does not depend on `n_jobs`, and the first runs of 100 are the runs of 50. (Equal to the last bit if a fit uses
    one thread here as in the workers, and draws random numbers from the seed it is given only.)

    Parameters
    ----------
    fit
        A callable ``(x, y)`` that returns coefficients or a mask, an array or a tensor of shape (d,) or, for m
        responses, (d, m). If it has a parameter `seed` it is given an integer by that name. Or a scikit-learn
        estimator: a clone is fitted and its ``coef_``, (d,) or (m, d), is read; where its ``random_state`` is
        None it is set to that integer.
    x, y
        (n, d) and (n, ...). Tensors reach `fit` as tensors, anything else as numpy arrays.
    n_bootstraps
        M, the number of runs.
    seed
        0 or greater.
    n_jobs
        Workers; None is 1, or what ``joblib.parallel_config(backend=..., n_jobs=...)`` around the call says. By
        that also the backends "threading", "dask" and "ray". Torch's default dtype goes along to the workers.
    progress
        Show a bar on stderr. It moves as runs end; with backends that hand all results over at the end
        ("multiprocessing", "ray") it fills at the end.
    sample_fraction, replace
        A run sees round(sample_fraction * n) samples, drawn with replacement or without: 1.0, True
        is the bootstrap; 0.5, False the subsampling of stability selection.

    Returns
    -------
    ndarray
        (M, d) or (M, d, m), row i from run i, of the dtype that `fit` returns.

    Raises
    ------
    ValueError
        If an option is out of range, x and y do not fit, or what `fit` returns has another shape or is not finite.
    RuntimeError
        If `fit` raises. The message has the number of the bootstrap, and the error.

    Examples
    --------
    >>> from sklearn.linear_model import Lasso
    >>> x = np.random.RandomState(0).randn(50, 4)
    >>> coefficients = bootstrap_coefficients(Lasso(alpha=0.5), x, 3 * x[:, 0], n_bootstraps=10)
    >>> coefficients.shape, (coefficients != 0).mean(axis=0).tolist()
    ((10, 4), [1.0, 0.0, 0.0, 0.0])

    Method: Meinshausen and Buhlmann, J. R. Stat. Soc. B 72(4):417-473 (2010), for subsampling.
    Chapter: Unstable selection.
    """
    x, y, size = _check_bootstrap(fit, x, y, n_bootstraps, seed, sample_fraction)
    streams = np.random.SeedSequence(seed).spawn(n_bootstraps)
    dtype = torch.get_default_dtype()
    tasks = (delayed(_run)(fit, x, y, number, stream, size, replace, dtype) for number, stream in enumerate(streams))
    try:
        parallel = Parallel(n_jobs=n_jobs, return_as="generator")
    except ValueError:  # backends built on multiprocessing.Pool, Ray's among them, cannot stream results
        parallel = Parallel(n_jobs=n_jobs)
    results = parallel(tasks)
    if progress:
        from tqdm import tqdm

        results = tqdm(results, total=n_bootstraps, unit="fit")
    runs = list(results)
    for number, run in enumerate(runs):
        if run.shape != runs[0].shape:
            raise ValueError(
                f"every run must give coefficients of one shape, but bootstrap 0 gave {runs[0].shape} and "
                f"bootstrap {number} {run.shape}; did a class or a response drop out of the sample?"
            )
    return np.stack(runs)


def bootstrap_selection(
    fit: Any,
    x: ArrayLike | Tensor,
    y: ArrayLike | Tensor,
    *,
    n_bootstraps: int,
    seed: int = 0,
    n_jobs: int | None = None,
    progress: bool = False,
    sample_fraction: float = 1.0,
    replace: bool = True,
) -> np.ndarray:
    """Which features each bootstrap selects: Z for `selection_stability`.

    A feature is selected if its coefficient is not zero, with several responses that of any.

    Parameters
    ----------
    fit, x, y, n_bootstraps, seed, n_jobs, progress, sample_fraction, replace
        As in `bootstrap_coefficients`. There: the same runs' coefficients, for those who need both.

    Returns
    -------
    ndarray
        Z, (M, d) of dtype bool.

    Raises
    ------
    ValueError, RuntimeError
        As `bootstrap_coefficients`.

    Examples
    --------
    >>> from sklearn.linear_model import Lasso
    >>> x = np.random.RandomState(0).randn(50, 4)
    >>> runs = bootstrap_selection(Lasso(alpha=0.5), x, 3 * x[:, 0], n_bootstraps=10)
    >>> runs.shape, selection_stability(runs).phi
    ((10, 4), 1.0)

    Chapter: Unstable selection.
    """
    coefficients = bootstrap_coefficients(
        fit,
        x,
        y,
        n_bootstraps=n_bootstraps,
        seed=seed,
        n_jobs=n_jobs,
        progress=progress,
        sample_fraction=sample_fraction,
        replace=replace,
    )
    selected: np.ndarray = coefficients != 0
    return selected if selected.ndim == 2 else selected.any(axis=2)


def _check_selections(selections: ArrayLike | Tensor) -> np.ndarray:
    """Z as float64, after checking that it is one."""
    z = _to_numpy(selections)
    if z.ndim != 2 or z.shape[0] < 2 or z.shape[1] < 1:
        raise ValueError(
            f"selections must be (M, d), one row for each of two or more runs, got shape {z.shape}; "
            "agreement needs two runs to compare"
        )
    if z.dtype.kind not in "biuf":
        raise ValueError(f"selections must be 0 or 1, bool or numbers, got dtype {z.dtype}")
    if np.isnan(z).any():
        raise ValueError(f"selections must be 0 or 1, got NaN in run {int(np.isnan(z).any(axis=1).argmax())}")
    bad = (z != 0) & (z != 1)
    if bad.any():
        raise ValueError(
            f"selections must be 0 or 1, got {z[bad][0]}; coefficients become selections by `coefficients != 0`"
        )
    return z.astype(np.float64)


def _check_bootstrap(
    fit: Any, x: Any, y: Any, n_bootstraps: int, seed: int, sample_fraction: float
) -> tuple[np.ndarray | Tensor, np.ndarray | Tensor, int]:
    """x and y as they are indexed, and the number of samples a run sees."""
    if isinstance(fit, type) or not (_is_estimator(fit) or callable(fit)):
        raise ValueError(
            f"fit must be a callable (x, y) or a scikit-learn estimator such as Lasso(alpha=0.1), got {fit!r}"
        )
    if not isinstance(n_bootstraps, int) or n_bootstraps < 1:
        raise ValueError(f"n_bootstraps must be an integer, 1 or greater, got {n_bootstraps!r}")
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be an integer, 0 or greater, got {seed!r}")
    if not 0 < sample_fraction <= 1:
        raise ValueError(f"sample_fraction must be above 0 and at most 1, got {sample_fraction}")
    x, y = (data if isinstance(data, Tensor) else np.asarray(data) for data in (x, y))
    if x.ndim != 2 or y.ndim < 1 or len(x) != len(y) or len(x) == 0:
        raise ValueError(f"x must be (n, d) and y have n rows, n > 0, got shapes {tuple(x.shape)} and {tuple(y.shape)}")
    return x, y, max(1, round(sample_fraction * len(x)))


def _run(
    fit: Any,
    x: np.ndarray | Tensor,
    y: np.ndarray | Tensor,
    number: int,
    stream: np.random.SeedSequence,
    size: int,
    replace: bool,
    dtype: torch.dtype,
) -> np.ndarray:
    """One bootstrap, in a worker."""
    # RandomState: its stream is frozen, so the samples outlive numpy's versions
    random = np.random.RandomState(np.random.MT19937(stream))
    n, d = x.shape
    rows = random.randint(n, size=size, dtype=np.int64) if replace else random.permutation(n)[:size]
    fit_seed = int(random.randint(2**31 - 1, dtype=np.int64))
    before = torch.get_default_dtype()  # another process starts with float32
    torch.set_default_dtype(dtype)
    try:
        result = _fit_once(fit, x[rows], y[rows], fit_seed)
    except Exception as error:
        # one plain message: the error's own class may not survive the way back from another process
        raise RuntimeError(f"bootstrap {number} failed: {type(error).__name__}: {error}") from error
    finally:
        torch.set_default_dtype(before)
    coefficients = _to_numpy(result)
    if coefficients.ndim not in (1, 2) or len(coefficients) != d:
        raise ValueError(
            f"fit must return coefficients of shape ({d},) or ({d}, m), one row a feature, "
            f"but bootstrap {number} gave shape {coefficients.shape}"
        )
    if coefficients.dtype.kind not in "biuf" or not np.isfinite(coefficients).all():
        raise ValueError(
            f"fit must return finite numbers or a mask, but bootstrap {number} gave NaN, infinite or no numbers"
        )
    return coefficients


def _fit_once(fit: Any, x: np.ndarray | Tensor, y: np.ndarray | Tensor, seed: int) -> Any:
    if not _is_estimator(fit):
        call: Callable[..., Any] = fit
        return call(x, y, seed=seed) if "seed" in inspect.signature(call).parameters else call(x, y)
    estimator = clone(fit)
    free = [
        name
        for name, value in estimator.get_params().items()
        if value is None and (name == "random_state" or name.endswith("__random_state"))
    ]
    estimator.set_params(**dict.fromkeys(free, seed)).fit(x, y)
    if not hasattr(estimator, "coef_"):
        raise AttributeError(
            f"{type(estimator).__name__} has no coef_ after fit; give a callable (x, y) that returns the coefficients"
        )
    return np.asarray(estimator.coef_).T


def _is_estimator(fit: Any) -> bool:
    return hasattr(fit, "fit") and hasattr(fit, "get_params")


def _to_numpy(data: Any) -> np.ndarray:
    return data.detach().cpu().numpy() if isinstance(data, Tensor) else np.asarray(data)
