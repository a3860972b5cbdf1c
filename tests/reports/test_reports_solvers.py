"""Proximal maps and solvers: the values that others got wrong. Their packages are not installed here."""

import numpy as np
import pytest
import torch
from reports import report
from sklearn.linear_model import Lasso
from torch import nn

from tyinglib import L1, L2, OWL, GroupLasso, GrOWL, OWLRegressor, tying_penalty
from tyinglib.penalties import owl_norm, prox_l2, prox_owl, soft_threshold

FALLING = torch.tensor([4.0, 3.0, 2.0, 1.0])


def objective(x, v, penalty):
    """What the proximal map of a penalty makes smallest."""
    return 0.5 * (x - v).square().sum() + penalty.value(x)


def is_best(x, v, penalty):
    """Whether no point of a ring around x is better."""
    torch.manual_seed(0)
    around = (x + scale * torch.randn_like(x) for scale in (1e-3, 1e-2, 0.1, 1.0) for _ in range(50))
    here = objective(x, v, penalty)
    return all(objective(other, v, penalty) >= here - 1e-6 for other in around)


@report(
    "scikit-learn-contrib/skglm",
    178,
    "With weights that are all equal, the proximal map of SLOPE is not soft thresholding.",
    today="not run",
    here="right in",
    by=("OWL", "soft_threshold"),
)
def test_slope_with_equal_weights_is_the_lasso():
    v = torch.tensor([1.764, 0.4, 0.979, 2.241, 1.868, -0.977, 0.95, -0.151, -0.103, 0.411])
    penalty = OWL(torch.ones(10))
    found = penalty.prox(v, 1.0)
    torch.testing.assert_close(found, soft_threshold(v, 1.0))
    reported = torch.tensor([0.764, 0.0, 1.241, 1.241, 0.868, -0.868, 0.868, 0.0, -0.868, 0.868])
    assert objective(found, v, penalty) < objective(reported, v, penalty)
    return None


@report(
    "scikit-learn-contrib/skglm",
    92,
    "The value of the SLOPE penalty is computed without absolute values.",
    today="not run",
    here="right in",
    by=("OWL", "owl_norm"),
)
def test_the_value_of_negative_entries():
    x = torch.tensor([-3.0, 1.0, -2.0, 0.5])
    by_hand = 4 * 3.0 + 3 * 2.0 + 2 * 1.0 + 1 * 0.5
    assert OWL(FALLING).value(x).item() == owl_norm(x, FALLING).item() == by_hand
    return None


@report(
    "jolars/SLOPE",
    13,
    "With the identity for a design, the solution is zero, not the response less the weights.",
    today="not run",
    here="right in",
    by=("OWLRegressor", "prox_owl"),
)
def test_slope_with_an_identity():
    y = np.array([8.0, 6.0, 4.0, 2.0])
    model = OWLRegressor(alpha=1.0, w=FALLING.numpy() / 4, fit_intercept=False, tol=1e-12).fit(np.eye(4), y)
    np.testing.assert_allclose(model.coef_, [4.0, 3.0, 2.0, 1.0], atol=1e-6)
    torch.testing.assert_close(prox_owl(torch.from_numpy(y).float(), FALLING), torch.tensor([4.0, 3.0, 2.0, 1.0]))
    return None


@report(
    "CEA-COSMIC/ModOpt",
    48,
    "It is asked for the proximal map of the ordered weighted l1 norm, to be tested by its relation to the Lasso.",
    today="not run",
    here="right in",
    by=("prox_owl", "soft_threshold"),
)
def test_the_map_that_was_asked_for():
    v = torch.arange(5.0) * 5
    torch.testing.assert_close(prox_owl(v, torch.arange(4.0, -1, -1)), torch.arange(5.0) * 4)
    torch.testing.assert_close(prox_owl(-v, torch.full((5,), 7.0)), soft_threshold(-v, 7.0))
    return None


@report(
    "CEA-COSMIC/ModOpt",
    79,
    "The proximal map of the ordered norm brings entries back in a wrong order, and sorts weights that rise.",
    today="not run",
    here="right in",
    by=("OWL", "prox_owl"),
)
def test_entries_come_back_in_their_order():
    torch.manual_seed(0)
    v, w, order = torch.randn(12), torch.linspace(1, 0, 12), torch.randperm(12)
    found = prox_owl(v, w)
    torch.testing.assert_close(prox_owl(v[order], w), found[order])
    assert is_best(found, v, OWL(w))
    with pytest.raises(ValueError, match="w must fall"):
        prox_owl(v, w.flip(0))
    return None


@report(
    "X-DataInitiative/tick",
    15,
    "Where every entry is above its weight, the search for the crossing leaves the array.",
    today="not run",
    here="right in",
    by=("prox_owl",),
)
def test_entries_that_are_all_above_their_weights_and_all_below():
    w = torch.tensor([3.0, 2.0, 1.0])
    torch.testing.assert_close(prox_owl(torch.tensor([-9.0, 5.0, 7.0]), w), torch.tensor([-6.0, 4.0, 5.0]))
    assert prox_owl(torch.tensor([-0.9, 0.5, 0.7]), w).tolist() == [0.0, 0.0, 0.0]
    return None


@report(
    "glm-tools/pyglmnet",
    170,
    "The proximal map of the group lasso returns NaN for a group that is zero.",
    today="not run",
    here="right in",
    by=("GroupLasso", "GrOWL"),
)
def test_a_group_that_is_zero():
    v = torch.tensor([[0.0, 3.0], [0.0, 4.0]])
    right = torch.tensor([[0.0, 2.4], [0.0, 3.2]])
    torch.testing.assert_close(GroupLasso(1.0, dim=1).prox(v, 1.0), right)
    torch.testing.assert_close(GrOWL(torch.ones(2), dim=1).prox(v, 1.0), right)
    return None


@report(
    "yngvem/group-lasso",
    7,
    "The penalty of a group grows with the root of its size, and there is no way to turn that off.",
    today="not run",
    here="right in",
    by=("GroupLasso",),
)
def test_a_group_is_penalised_by_its_norm_and_no_more():
    for size in (1, 4, 9):
        assert GroupLasso(2.0, dim=1).value(torch.ones(size, 1)).item() == 2.0 * size**0.5
    return None


@report(
    "yngvem/group-lasso",
    23,
    "At one strength the solution differs from that of other Lasso solvers: the square has no half, which is not said.",
    today="not run",
    here="right in",
    by=("OWLRegressor",),
)
def test_the_half_and_the_mean_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6)), rng.normal(size=40)
    ours = OWLRegressor(decay=0.0, tol=1e-12)
    top = ours.alpha_max(x, y)
    np.testing.assert_allclose(top, np.abs((x - x.mean(0)).T @ (y - y.mean())).max() / 40)
    ours.set_params(alpha=top / 2).fit(x, y)
    np.testing.assert_allclose(ours.coef_, Lasso(alpha=top / 2, tol=1e-12).fit(x, y).coef_, atol=1e-6)
    assert np.any(ours.coef_ != 0)
    return None


@report(
    "dask/dask-glm",
    47,
    "The proximal map of the square belongs to a penalty with a half, and the other methods to one without.",
    today="not run",
    here="right in",
    by=("L2", "prox_l2"),
)
def test_value_and_map_of_the_square_belong_together():
    v, penalty = torch.tensor([3.0, -1.5]), L2(0.5)
    assert penalty.value(v).item() == 0.5 / 2 * (9 + 2.25)
    torch.testing.assert_close(penalty.prox(v, 1.0), v / 1.5)
    torch.testing.assert_close(prox_l2(v, 0.5), v / 1.5)
    assert is_best(penalty.prox(v, 1.0), v, penalty)
    return None


@report(
    "scikit-learn-contrib/lightning",
    32,
    "The square shrinks weights by 1 - t, where its proximal map is 1 / (1 + t); it was meant as a gradient's step.",
    today="not run",
    here="right in",
    by=("L2",),
)
def test_the_map_of_the_square_at_large_steps():
    v = torch.tensor([1.0, -2.0])
    found = L2(1.0).prox(v, 3.0)
    torch.testing.assert_close(found, v / 4)
    assert objective(found, v, L2(3.0)) < objective((1 - 3.0) * v, v, L2(3.0))
    return None


@report(
    "unc-optimization/FedDR",
    1,
    "The proximal map of the squared norm is that of the norm: it makes zeros where there should be none.",
    today="not run",
    here="right in",
    by=("L2", "GroupLasso"),
)
def test_the_norm_and_its_square():
    v = torch.tensor([0.3, -0.4])
    assert bool((L2(1.0).prox(v, 1.0) != 0).all())
    assert GroupLasso(1.0, dim=1).prox(v[:, None], 1.0).count_nonzero() == 0
    assert is_best(L2(1.0).prox(v, 1.0), v, L2(1.0))
    return None


@report(
    "daducci/COMMIT",
    73,
    "The proximal map of the Euclidean norm is wrong.",
    today="not run",
    here="right in",
    by=("GroupLasso",),
)
def test_the_map_of_the_euclidean_norm():
    v, penalty = torch.tensor([[3.0], [4.0]]), GroupLasso(1.0, dim=1)
    torch.testing.assert_close(penalty.prox(v, 1.0), v * (1 - 1 / 5))
    assert is_best(penalty.prox(v, 1.0), v, penalty)
    return None


@report(
    "odlgroup/odl",
    1181,
    "The proximal map of the l1 norm gives another result where it may write over what it reads.",
    today="not run",
    here="right in",
    by=("L1", "OWL", "GroupLasso"),
)
def test_maps_leave_what_they_read():
    torch.manual_seed(0)
    for penalty in (L1(0.3), OWL(torch.linspace(1, 0, 6)), GroupLasso(0.3, dim=1)):
        v = torch.randn(2, 3)
        before = v.clone()
        found = penalty.prox(v, 1.0)
        assert torch.equal(v, before)
        v.copy_(penalty.prox(v, 1.0))
        assert torch.equal(v, found)
    return None


@report(
    "PyLops/pyproximal",
    221,
    "The value of a norm of a difference forgets what is subtracted.",
    today="not run",
    here="right in",
    by=("tying_penalty", "L1"),
)
def test_the_norm_of_a_difference():
    a, b = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        a.weight.copy_(torch.tensor([[3.0, -1.0]]))
        b.weight.copy_(torch.tensor([[1.0, -1.0]]))
    assert tying_penalty(a, b, ["weight"], L1(0.5)).item() == 1.0
    return None


@report(
    "google/jaxopt",
    617,
    "All coefficients are zero, and nothing says that the strength is above the one from which on they are.",
    today="not run",
    here="right in",
    by=("L1", "OWL"),
)
def test_the_strength_from_which_on_all_is_zero():
    torch.manual_seed(0)
    target = torch.randn(8)  # of 1/2 ||x - target||^2: its gradient at zero is -target
    for penalty, stronger in ((L1(0.1), lambda t: L1(0.1 * t)), (OWL(FALLING.repeat_interleave(2)), None)):
        factor = penalty.factor_to_zero(-target)
        assert penalty.prox(target, 1.001 * factor).count_nonzero() == 0
        assert penalty.prox(target, 0.999 * factor).count_nonzero() > 0
        if stronger is not None:
            assert stronger(1.001 * factor).prox(target, 1.0).count_nonzero() == 0
    return None


@report(
    "probabl-ai/skore",
    3204,
    "Of two columns that are alike, the Lasso drops one, and which it drops is chance.",
    today="still so",
    here="right in",
    by=("OWLRegressor",),
)
def test_of_two_equal_columns_the_lasso_drops_one():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3))
    y = 2 * x[:, 0] + 0.1 * rng.normal(size=50)
    twice, order = x[:, [0, 0, 1, 2]], [1, 0, 2, 3]
    ours = OWLRegressor(alpha=0.1, tol=1e-12).fit(twice, y)
    np.testing.assert_allclose(ours.coef_[0], ours.coef_[1])
    assert ours.labels_[0] == ours.labels_[1] >= 0
    lasso = Lasso(alpha=0.1).fit(twice, y).coef_
    again = Lasso(alpha=0.1).fit(twice[:, order], y).coef_[order]
    kept, kept_again = abs(lasso[:2]).argmax(), abs(again[:2]).argmax()
    return bool(abs(lasso[:2]).min() < 1e-9 < abs(lasso[:2]).max() and kept != kept_again)
