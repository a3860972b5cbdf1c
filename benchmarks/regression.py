"""OWL regression beside sortedl1, skglm and growl-reg: the time to the same objective, to 1e-8 of the best."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable

import numpy as np
from timing import medians, side_by_side

from tyinglib import OWLRegressor, oscar_weights, slope_bh_weights

Fit = Callable[[float], np.ndarray]  # from a tolerance to coefficients
ACCURACY = 1e-8  # of the objective, relative
SLOW = 5.0  # seconds: what takes longer is timed once
LIMIT = 60.0  # seconds: a package that has not got there by then is left, and its time is a lower bound


def data(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Features in blocks of ten, correlated .8 within a block; twenty of them count. Centred, one scale."""
    rng = np.random.default_rng(0)
    blocks = np.repeat(rng.normal(size=(n, d // 10)), 10, axis=1)
    x = np.sqrt(0.8) * blocks + np.sqrt(0.2) * rng.normal(size=(n, d))
    truth = np.zeros(d)
    truth[:20] = 2 * rng.normal(size=20)
    y = x @ truth + rng.normal(size=n)
    x -= x.mean(0)
    return np.asfortranarray(x / x.std(0)), y - y.mean()


def objective(x: np.ndarray, y: np.ndarray, w: np.ndarray, coef: np.ndarray) -> float:
    """1/(2n) ||y - X b||^2 + sum_i w_i ``|b|_(i)``."""
    return float(np.sum((y - x @ coef) ** 2) / (2 * len(y)) + w @ np.sort(np.abs(coef))[::-1])


def fits(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> dict[str, Fit]:
    """Each package's fit of the same problem; those that are not installed are left out."""

    def ours(tol: float) -> np.ndarray:
        return OWLRegressor(1.0, w=w, fit_intercept=False, tol=tol).fit(x, y).coef_

    found: dict[str, Fit] = {"tyinglib": ours}
    try:
        from sortedl1 import Slope

        def sortedl1(tol: float) -> np.ndarray:
            model = Slope(lam=w, alpha=1.0, fit_intercept=False, tol=tol, max_iter=10_000_000)
            return np.asarray(model.fit(x, y).coef_).ravel()

        found["sortedl1"] = sortedl1
    except ImportError:
        pass
    try:
        from skglm import GeneralizedLinearEstimator
        from skglm.datafits import Quadratic
        from skglm.penalties import SLOPE
        from skglm.solvers import FISTA

        def skglm(tol: float) -> np.ndarray:
            solver = FISTA(max_iter=100_000, tol=tol, opt_strategy="fixpoint")
            return GeneralizedLinearEstimator(Quadratic(), SLOPE(w, 1.0), solver).fit(x, y).coef_.ravel()

        found["skglm"] = skglm
    except ImportError:
        pass
    try:
        from growl.fista_solver import growl_fista

        def growl_reg(tol: float) -> np.ndarray:
            return growl_fista(x, y, w=w, max_iter=5_000_000 // len(w), tol=tol, check_type="relative_cost")[0].ravel()

        found["growl-reg"] = growl_reg
    except ImportError:
        pass
    return found


def tolerance(fit: Fit, value: Callable[[np.ndarray], float], goal: float) -> tuple[float, float, bool]:
    """The loosest tolerance, by tens, that reaches the goal; the seconds of that fit; whether it was reached at all."""
    spent = 0.0
    for power in range(2, 16):
        start = time.perf_counter()
        reached = value(fit(10.0**-power))
        seconds = time.perf_counter() - start
        spent += seconds
        if reached <= goal:
            return 10.0**-power, seconds, True
        if spent > LIMIT:
            return 10.0**-power, spent, False
    raise AssertionError(f"stays at {reached!r}, above {goal!r}, at every tolerance")


STRENGTHS = {(200, 500): (0.5, 0.1, 0.02), (1000, 5000): (0.1,)}


def measure(problems: dict[tuple[int, int], tuple[float, ...]] = STRENGTHS) -> list[dict[str, object]]:
    """One entry for each size, weight sequence and strength (a share of the one at which all is zero)."""
    warnings.simplefilter("ignore")  # theirs: a loose tolerance that stops early is what is looked for
    rows = []
    for (n, d), strengths in problems.items():
        x, y = data(n, d)
        for name, shape in {"OSCAR": oscar_weights(d, 0.5, 0.5 / d), "BH": slope_bh_weights(d, 0.1)}.items():
            top = OWLRegressor(w=shape, fit_intercept=False).alpha_max(x, y)
            for share in strengths:
                w = share * top * shape.numpy()
                value = functools.partial(objective, x, y, w)
                every = fits(x, y, w)
                best = value(every["tyinglib"](1e-13))
                timed, once = {}, {}
                for peer, fit in every.items():
                    fit(1e-2)  # compiles
                    tol, seconds, there = tolerance(fit, value, best * (1 + ACCURACY))
                    if seconds > SLOW or not there:
                        once[peer] = {"seconds": seconds, "reached": there}
                    else:
                        timed[peer] = functools.partial(fit, tol)
                times = medians(side_by_side(timed, repeats=7, warm_up=0), "tyinglib")
                for peer, entry in once.items():
                    times[peer] = entry | {"ratio": entry["seconds"] / times["tyinglib"]["seconds"]}
                coef = every["tyinglib"](1e-10)
                sizes_found = np.unique(np.abs(coef[coef != 0]))
                rows.append(
                    {
                        "n": n,
                        "d": d,
                        "weights": name,
                        "strength": share,
                        "nonzero": int(np.count_nonzero(coef)),
                        "values": len(sizes_found),
                        "times": times,
                    }
                )
                ratios = "  ".join(f"{k} {1e3 * s['seconds']:.1f} ms ({s['ratio']:.1f})" for k, s in times.items())
                print(
                    f"fit  n={n} d={d} {name:5} strength {share:<5} nonzero {rows[-1]['nonzero']:<4} {ratios}",
                    flush=True,
                )
    return rows
