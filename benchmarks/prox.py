"""prox_owl beside np.argsort of the same vector, and beside the peers' prox."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from timing import medians, side_by_side

from tyinglib.penalties import oscar_weights, pld_weights, prox_owl, slope_bh_weights


def cases(n: int) -> dict[str, torch.Tensor]:
    """Weights for a standard normal vector: what is left is dense, or one entry in ten."""
    return {
        "dense, steep": oscar_weights(n, 0.0, 1.0 / n),
        "dense, flat": oscar_weights(n, 0.0, 0.1 / n),
        "dense, Benjamini-Hochberg": 0.02 * slope_bh_weights(n, 0.05),
        "90 % zero, linear decay": pld_weights(n, 1.42, 0.5 / n, n // 2),
        "90 % zero, OSCAR": oscar_weights(n, 0.0, 1.98 / n),
    }


def peers(w: np.ndarray) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Their prox as a function of v, float64, compiled; empty if they are not installed."""
    found = {}
    try:
        from skglm.penalties import SLOPE
        from skglm.utils.jit_compilation import compiled_clone

        penalty = compiled_clone(SLOPE(w, 1.0))
        found["skglm"] = lambda v: penalty.prox_vec(v, 1.0)
    except ImportError:
        pass
    try:
        from growl.prox_operator import prox_owl as growl_prox

        found["growl-reg"] = lambda v: growl_prox(v, w)
    except ImportError:
        pass
    return found


def measure(sizes: tuple[int, ...] = (1000, 10_000, 100_000, 1_000_000, 10_000_000)) -> list[dict[str, object]]:
    """One entry for each size, dtype and case."""
    rows = []
    for n in sizes:
        repeats = {1000: 400, 10_000: 200, 100_000: 60, 1_000_000: 15}.get(n, 5)
        for dtype in (torch.float32, torch.float64):
            v = torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=dtype)
            array = v.numpy()
            for name, w in cases(n).items():
                functions = {
                    "np.argsort": lambda array=array: np.argsort(array),
                    "tyinglib": lambda v=v, w=w: prox_owl(v, w),
                }
                x = prox_owl(v, w)
                if dtype == torch.float64 and name == "dense, steep":
                    for peer, function in peers(w.numpy()).items():
                        if peer == "growl-reg" and n > 1_000_000:
                            continue  # a Python loop over the entries
                        theirs = function(array.copy())
                        if not np.allclose(theirs, x.numpy(), atol=1e-9):
                            raise AssertionError(f"{peer} gives another prox at n={n}")
                        functions[peer] = lambda f=function, array=array: f(array)
                summary = medians(side_by_side(functions, repeats=repeats), "np.argsort")
                share = float((x != 0).double().mean())
                rows.append({"n": n, "dtype": str(dtype)[6:], "case": name, "nonzero": share, "times": summary})
                ratios = "  ".join(f"{k} {1e3 * s['seconds']:.3f} ms ({s['ratio']:.2f})" for k, s in summary.items())
                print(f"prox  n={n:<9} {str(dtype)[6:]} {name:28} nonzero {share:.2f}  {ratios}", flush=True)
    return rows
