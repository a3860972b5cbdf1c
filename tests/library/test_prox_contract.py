"""One contract for every proximal map: what is true of any prox of a convex, positively scaled penalty.

Float64. Sums of n terms of size up to s round by about n * s * eps: tolerances are 1e-12 times the sizes at hand.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tyinglib.penalties import L1, L2, OWL, ElasticNet, GroupLasso, GrOWL, oscar_weights, pld_weights, slope_bh_weights

F64 = torch.float64
SHAPE = (4, 5)
PENALTIES = {
    "l1": L1(0.7),
    "l2": L2(0.7),
    "elastic net": ElasticNet(0.5, 0.3),
    "group lasso, inputs": GroupLasso(0.8, dim=1),
    "group lasso, outputs": GroupLasso(0.8, dim=0),
    "OWL, OSCAR": OWL(oscar_weights(20, 0.1, 0.05)),
    "OWL, Benjamini-Hochberg": OWL(slope_bh_weights(20, 0.2)),
    "OWL, linear decay": OWL(pld_weights(20, 0.2, 0.1, p=8)),
    "OWL, only the largest": OWL(torch.eye(20, dtype=F64)[0]),
    "GrOWL, inputs": GrOWL(pld_weights(5, 0.3, 0.2, p=3), dim=1),
    "GrOWL, outputs": GrOWL(oscar_weights(4, 0.1, 0.4), dim=0),
}
every_penalty = pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
steps = pytest.mark.parametrize("step_size", [1e-3, 0.3, 1.0, 7.0])


def points(count, seed=0):
    torch.manual_seed(seed)
    scale = torch.logspace(-1, 1, count, dtype=F64).view(-1, 1, 1)
    return scale * torch.randn(count, *SHAPE, dtype=F64)


@every_penalty
@steps
def test_three_point_inequality(penalty, step_size):
    """2 t (g(p) - g(u)) <= |u - v|^2 - |u - p|^2 - |p - v|^2 for p = prox(v) and every u: p is the argmin."""
    for v in points(6):
        p = penalty.prox(v, step_size)
        for u in [*points(6, seed=1), torch.zeros_like(v), v, 0.9 * p, 1.1 * p, p + 1e-3 * points(1)[0]]:
            gain = 2 * step_size * (penalty.value(p) - penalty.value(u))
            bound = (u - v).square().sum() - (u - p).square().sum() - (p - v).square().sum()
            size = v.square().sum() + u.square().sum() + step_size * penalty.value(u)
            assert gain <= bound + 1e-12 * (1 + size)


@every_penalty
@steps
def test_firmly_nonexpansive(penalty, step_size):
    vectors = points(8)
    for a, b in zip(vectors, vectors.flip(0), strict=True):
        p, q = penalty.prox(a, step_size), penalty.prox(b, step_size)
        assert (p - q).square().sum() <= ((p - q) * (a - b)).sum() + 1e-12 * (a - b).square().sum()


@every_penalty
def test_signs_and_orders_go_through(penalty):
    """Flipped signs flip the result; slices in another order give the result in that order."""
    v = points(1)[0]
    dim = getattr(penalty, "dim", 1)
    order = torch.randperm(v.shape[dim], generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(penalty.prox(-v, 0.3), -penalty.prox(v, 0.3), rtol=0, atol=0)
    torch.testing.assert_close(
        penalty.prox(v.index_select(dim, order), 0.3), penalty.prox(v, 0.3).index_select(dim, order)
    )
    assert torch.equal(penalty.value(-v), penalty.value(v))


@every_penalty
def test_limits(penalty):
    v = points(1)[0]
    torch.testing.assert_close(penalty.prox(v, 0.0), v, rtol=1e-15, atol=0)
    # as the step grows the prox goes to the smallest minimiser of g, here 0; for l2 only in the limit
    far = penalty.prox(v, 1e9)
    assert far.abs().max() < 1e-8 * v.abs().max()
    assert torch.equal(penalty.prox(torch.zeros_like(v), 1.0), torch.zeros_like(v))
    assert penalty.value(torch.zeros_like(v)) == 0


@every_penalty
def test_value_is_convex(penalty):
    a, b = points(2)
    assert penalty.value((a + b) / 2) <= (penalty.value(a) + penalty.value(b)) / 2 * (1 + 1e-15)


@every_penalty
def test_factor_to_zero_is_where_zero_becomes_optimal(penalty):
    """With a loss <grad, x> + 1/2 |x|^2 the optimum is prox(-grad): zero from the factor factor_to_zero on."""
    grad = points(1)[0]
    limit = penalty.factor_to_zero(grad)
    if isinstance(penalty, L2):
        assert limit == float("inf")
        assert penalty.factor_to_zero(torch.zeros(SHAPE)) == 0
        return
    assert not penalty.prox(-grad, limit * (1 + 1e-9)).any()
    assert penalty.prox(-grad, limit * (1 - 1e-6)).any()


@every_penalty
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, F64])
def test_dtype_and_memory_layout(penalty, dtype):
    v = points(1)[0].to(dtype)
    result = penalty.prox(v, 0.3)
    assert result.dtype == dtype
    assert result.shape == v.shape
    exact = penalty.prox(v.double(), 0.3)
    # half precision is computed in float32: one rounding at the end, not one a step
    torch.testing.assert_close(result.double(), exact, rtol=2 * torch.finfo(dtype).eps, atol=2e-6)
    transposed = v.T.contiguous().T
    assert not transposed.is_contiguous()
    torch.testing.assert_close(penalty.prox(transposed, 0.3), result)
    before = v.clone()
    penalty.prox(v, 0.3)
    assert torch.equal(v, before)


@every_penalty
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_no_proximal_point_of_nan_or_infinity(penalty, bad):
    v = points(1)[0]
    v[1, 2] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        penalty.prox(v, 0.3)


@every_penalty
@pytest.mark.parametrize("step_size", [-1.0, float("nan"), float("inf"), "1", None])
def test_bad_step_sizes_are_named(penalty, step_size):
    with pytest.raises(ValueError, match="step_size must be a finite number >= 0"):
        penalty.prox(points(1)[0], step_size)


@every_penalty
def test_integers_are_refused(penalty):
    with pytest.raises(ValueError, match=r"floating-point tensor, got dtype torch\.int64"):
        penalty.prox(torch.ones(SHAPE, dtype=torch.int64), 0.3)


@every_penalty
def test_gradient_of_the_prox(penalty):
    v = points(1)[0].requires_grad_()
    assert torch.autograd.gradcheck(lambda v: penalty.prox(v, 0.3), (v,))


@every_penalty
@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.floats(-100, 100, allow_subnormal=False), min_size=20, max_size=20), st.floats(0, 10))
def test_no_point_nearby_is_better(penalty, entries, step_size):
    """The prox, against 20 single steps away from it and the step back to v: values with ties, zeros, extremes."""
    v = torch.tensor(entries, dtype=F64).view(SHAPE)

    def objective(x):
        return (x - v).square().sum() / 2 + step_size * penalty.value(x)

    p = penalty.prox(v, step_size)
    best = objective(p)
    slack = 1e-12 * (1 + v.square().sum() + step_size * penalty.value(v))
    for i in range(20):
        for distance in (1e-4, -1e-4, 1.0, -1.0):
            x = p.clone()
            x.view(-1)[i] += distance
            assert best <= objective(x) + slack
    for share in (0.5, 0.99, 1.01):
        assert best <= objective(share * p) + slack
        assert best <= objective(p + (1 - share) * (v - p)) + slack


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4).flatmap(
        lambda shape: st.tuples(st.just(shape), st.integers(-len(shape), len(shape) - 1))
    )
)
def test_groups_along_any_dim_of_any_shape(case):
    shape, dim = case
    v = torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(0)) * 3
    n = shape[dim]
    for penalty in (GroupLasso(0.5, dim=dim), GrOWL(oscar_weights(n, 0.2, 0.1), dim=dim)):
        slices = v.movedim(dim, 0).reshape(n, -1)
        flat = type(penalty)(getattr(penalty, "lam", getattr(penalty, "w", None)), dim=0)
        expected = flat.prox(slices, 1.0).view(v.movedim(dim, 0).shape).movedim(0, dim)
        torch.testing.assert_close(penalty.prox(v, 1.0), expected)
        torch.testing.assert_close(penalty.value(v), flat.value(slices))
