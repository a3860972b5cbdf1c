"""Where a norm is squared, a weight of 1e-25 has none, and one of 1e25 an infinite one: neither may change a result.

Each quantity here is homogeneous, so its value at a scaled weight is known from the weight itself. Scales are powers of
two: scaling rounds nothing.
"""

import math

import numpy as np
import pytest
import torch

from tyinglib import (
    GroupLasso,
    GrOWL,
    GrOWLRegressor,
    KMeans,
    Leaders,
    OWLRegressor,
    bootstrap_selection,
    find_ties,
    tying_penalty,
)
from tyinglib.penalties import group_soft_threshold, growl_norm, prox_growl, slice_norms

EXPONENTS = {  # 1e-40 (where float32 has 17 digits of 24 left) to 1e38; 1e-301 to 1e307
    torch.float32: (-133, -120, -83, -60, 0, 60, 83, 120, 125),
    torch.float64: (-1000, -660, -500, 0, 500, 660, 1000, 1021),
}
CASES = [(dtype, exponent) for dtype, exponents in EXPONENTS.items() for exponent in exponents]
WEIGHTS = torch.tensor([0.5, 0.3, 0.2, 0.1, 0.1], dtype=torch.float64)


def times(tensor, exponent):
    """Times a power of two, in two halves: of 2^1000 there is no float32, and no 2^-1074's inverse."""
    half = exponent // 2
    return torch.ldexp(torch.ldexp(tensor, torch.tensor(half)), torch.tensor(exponent - half))


def slack(dtype, exponent):
    """Rounding of the dtype; and of the smallest numbers, which lie as far apart as the smallest of them is large."""
    spacing = math.ldexp(torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps, -exponent)
    return {"rtol": 1e-5, "atol": 1e-6 + 2 * spacing}


@pytest.fixture
def weight():
    torch.manual_seed(0)
    weight = torch.randn(3, 5, dtype=torch.float64)
    weight[:, 1] = weight[:, 0]
    weight[:, 2] = 0
    return weight.float().double()  # the same numbers in both precisions


@pytest.mark.parametrize(("dtype", "exponent"), CASES)
def test_norms_and_their_gradients(weight, dtype, exponent):
    scaled = times(weight, exponent).to(dtype)
    norms = times(slice_norms(scaled, 1).double(), -exponent)
    torch.testing.assert_close(norms, weight.norm(dim=0), **slack(dtype, exponent))
    free, plain = scaled.clone().requires_grad_(), weight.clone().requires_grad_()
    slice_norms(free, 1).sum().backward()
    slice_norms(plain, 1).sum().backward()
    torch.testing.assert_close(free.grad.double(), plain.grad, **slack(dtype, exponent))
    mapped = torch.func.vmap(lambda one: slice_norms(one, 1))(scaled[None])[0]
    torch.testing.assert_close(mapped, slice_norms(scaled, 1))


@pytest.mark.parametrize(("dtype", "exponent"), CASES)
def test_the_proximal_maps_of_norms(weight, dtype, exponent):
    scaled, strength = times(weight, exponent).to(dtype), math.ldexp(0.3, exponent)
    expected = group_soft_threshold(weight, 0.3, dim=1)
    found = times(group_soft_threshold(scaled, strength, dim=1).double(), -exponent)
    torch.testing.assert_close(found, expected, **slack(dtype, exponent))
    expected = prox_growl(weight, WEIGHTS, dim=1)
    found = times(prox_growl(scaled, times(WEIGHTS, exponent), dim=1).double(), -exponent)
    torch.testing.assert_close(found, expected, **slack(dtype, exponent))
    for penalty in (GroupLasso(1.0, dim=1), GrOWL(WEIGHTS, dim=1)):
        value = times(penalty.value(scaled).double(), -exponent)
        torch.testing.assert_close(value, penalty.value(weight), **slack(dtype, exponent))
        assert math.ldexp(penalty.factor_to_zero(scaled), -exponent) == pytest.approx(
            penalty.factor_to_zero(weight), rel=1e-4
        )


@pytest.mark.parametrize(("dtype", "exponent"), CASES)
@pytest.mark.parametrize("settings", [{}, {"by": Leaders()}, {"by": KMeans(2)}, {"similarity": "cosine"}], ids=str)
def test_ties_that_are_found(weight, dtype, exponent, settings):
    found = find_ties(times(weight, exponent).to(dtype), dim=1, **settings)
    assert found == find_ties(weight, dim=1, **settings)
    assert found.labels[2] == -1
    assert found.labels[0] == found.labels[1] >= 0


def test_what_is_small_is_not_zero():
    """The norm of these slices is 1.7e-25, and its square is 0 in float32."""
    assert find_ties(torch.full((3, 4), 1e-25), dim=1, by=Leaders()).labels.tolist() == [0, 0, 0, 0]
    assert slice_norms(torch.full((3, 4), 1e-25), 1).min() > 1.7e-25
    assert group_soft_threshold(torch.full((3, 4), 1e-25), 1e-26, dim=1).all()


def test_half_precision():
    tiny = torch.full((4, 3), 2.0**-24, dtype=torch.float16)  # the smallest there is
    assert slice_norms(tiny, 1).tolist() == [2.0**-23] * 3
    assert torch.equal(group_soft_threshold(tiny, 2.0**-30, dim=1), tiny)
    assert find_ties(torch.full((4, 3), 6e4, dtype=torch.float16), dim=1).n_groups == 1


def test_lengths_that_differ_more_than_any_similarity_can_say():
    weight = torch.tensor([[1e-300, 1.0, 1e-300]], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"the shortest slice is 1e-300 times as long as the longest.*set such slices"):
        find_ties(weight, dim=1)
    assert find_ties(weight, dim=1, by=KMeans(2)).labels.tolist() == [0, 1, 0]  # distances are numbers
    assert find_ties(weight, dim=1, similarity="cosine").labels.tolist() == [0, 0, 0]
    mixed = torch.tensor([[1e-30, 1.0, 1e-30]])  # float32 can't square that; float64 can
    assert find_ties(mixed, dim=1, by=Leaders()).labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize("cost", [1e-310, 1e-150, 1e150, 4e307])
def test_slice_weights_of_any_size(cost):
    weight, costs = torch.tensor([[1.0, 1.1, 3.0, 3.2, 9.0]]), torch.tensor([1.0, 2, 1, 1, 0], dtype=torch.float64)
    found = find_ties(weight, dim=1, by=KMeans(2, slice_weight=costs * cost))
    assert found.labels.tolist() == [0, 0, 1, 1, -1]


def test_a_norm_beyond_the_largest_number_changes_nothing_by_itself():
    weight = torch.full((10_000, 2), 1e37)
    assert slice_norms(weight, 1).isinf().all()
    assert torch.equal(group_soft_threshold(weight, 1.0, dim=1), weight)


def test_two_models_that_differ_by_little(weight):
    a, b = (torch.nn.Linear(5, 3, bias=False, dtype=torch.float32) for _ in range(2))
    with torch.no_grad():
        b.weight.copy_(torch.zeros(3, 5))
        a.weight.copy_(times(weight, -100))
    penalty = tying_penalty(a, b, ["weight"], GroupLasso(1.0, dim=1))
    assert math.ldexp(float(penalty.detach()), 100) == pytest.approx(
        float(growl_norm(weight, torch.ones(5), dim=1)), rel=1e-6
    )


@pytest.mark.parametrize("scale_x", [1e-74, 1e74])
@pytest.mark.parametrize("scale_y", [1e-74, 1e74])
def test_regression_at_the_ends_of_its_range(scale_x, scale_y):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 5))
    y = x @ np.array([[1.0, 2], [1, 2], [0, 0], [0, 0], [-1, 1]])
    for regressor, responses in ((OWLRegressor, y[:, 0]), (GrOWLRegressor, y)):
        plain = regressor(alpha=0.1).fit(x, responses)
        scaled = regressor(alpha=0.1 * scale_x * scale_y).fit(x * scale_x, responses * scale_y)
        np.testing.assert_allclose(scaled.coef_ / (scale_y / scale_x), plain.coef_, rtol=1e-6, atol=1e-9)
        assert (scaled.labels_ == plain.labels_).all()


@pytest.mark.parametrize(("scale_x", "scale_y", "name"), [(1e-200, 1, "X"), (1, 1e-200, "y"), (1e100, 1, "X")])
def test_regression_outside_its_range_is_refused(scale_x, scale_y, name):
    x = np.random.default_rng(0).standard_normal((10, 2))
    with pytest.raises(ValueError, match=rf"the numbers in {name} \(less their means\) must be of a size between"):
        OWLRegressor(alpha=0.1).fit(x * scale_x, x[:, 0] * scale_y)


def test_small_coefficients_are_selected():
    class Small:
        def __call__(self, x, y):
            return np.full(x.shape[1], 1e-200)

    x = np.random.default_rng(0).standard_normal((10, 3))
    assert (bootstrap_selection(Small(), x, x[:, 0], n_bootstraps=2) != 0).all()
