"""The same prox elsewhere, where it is installed: other packages (requirements-benchmark.txt), a convex solver."""

import numpy as np
import pytest
import torch

from tyinglib import OWLRegressor
from tyinglib.penalties import oscar_weights, owl_norm, pld_weights, prox_growl, prox_owl, slope_bh_weights

F64 = torch.float64
WEIGHTS = [oscar_weights(40, 0.1, 0.05), pld_weights(40, 0.3, 0.1, 15), slope_bh_weights(40, 0.2)]
every_weights = pytest.mark.parametrize("w", WEIGHTS, ids=["OSCAR", "linear decay", "Benjamini-Hochberg"])


def vectors():
    torch.manual_seed(0)
    return 2 * torch.randn(10, 40, dtype=F64)


@every_weights
@pytest.mark.filterwarnings("ignore")  # theirs
def test_skglm(w):
    penalties = pytest.importorskip("skglm.penalties")
    for v in vectors():
        theirs = penalties.SLOPE(w.numpy(), 1.0).prox_vec(v.numpy().copy(), 1.0)
        np.testing.assert_allclose(prox_owl(v, w), theirs, atol=1e-12)


@every_weights
@pytest.mark.filterwarnings("ignore")
def test_growl_reg(w):
    peer = pytest.importorskip("growl.prox_operator")
    for v in vectors():
        np.testing.assert_allclose(prox_owl(v, w), peer.prox_owl(v.numpy().copy(), w.numpy()), atol=1e-12)
    matrix = vectors().T
    np.testing.assert_allclose(
        prox_growl(matrix, w, dim=0), peer.prox_growl(matrix.numpy(), w.numpy(), dim=1), atol=1e-12
    )


@every_weights
@pytest.mark.filterwarnings("ignore")
def test_cvxpy(w):
    """OWL as a sum of sums of the k largest, solved by an interior-point method."""
    cvxpy = pytest.importorskip("cvxpy")
    steps = np.append(-np.diff(w.numpy()), w[-1].item())
    for v in vectors()[:3]:
        x = cvxpy.Variable(40)
        norm = sum(steps[k - 1] * cvxpy.sum_largest(cvxpy.abs(x), k) for k in range(1, 41))
        cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(x - v.numpy()) / 2 + norm)).solve(solver="CLARABEL")
        ours, theirs = prox_owl(v, w), torch.from_numpy(x.value)
        values = [((y - v).square().sum() / 2 + owl_norm(y, w)).item() for y in (ours, theirs)]
        # the solver stops near the optimum; 1/2 |x - y|^2 is at most the difference of values, for the true prox
        assert values[0] <= values[1] + 1e-12
        assert (ours - theirs).square().sum() / 2 <= values[1] - values[0] + 1e-12
        np.testing.assert_allclose(ours, theirs, atol=1e-2)


@pytest.mark.parametrize("share", [0.5, 0.05])
@every_weights
@pytest.mark.filterwarnings("ignore")
def test_sortedl1_finds_the_same_regression(w, share):
    """GPL-3: measured against where it is installed, never imported by the library."""
    peer = pytest.importorskip("sortedl1")
    x = vectors().repeat(6, 1) + 0.5 * torch.randn(60, 40, dtype=F64)
    x = (x - x.mean(0)).numpy()
    y = x[:, :3] @ np.array([1.0, -2.0, 3.0])
    model = OWLRegressor(w=w, fit_intercept=False)
    model.set_params(alpha=share * model.alpha_max(x, y)).fit(x, y)
    theirs = peer.Slope(lam=model.w_, alpha=model.alpha, fit_intercept=False, tol=1e-12, max_iter=10**6).fit(x, y)
    np.testing.assert_allclose(model.coef_, np.asarray(theirs.coef_).ravel(), atol=1e-6)
