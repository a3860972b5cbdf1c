"""OWL and GrOWL: the exact certificate, brute force, the textbook's algorithm, reductions, derivatives, refusals."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tyinglib.penalties import (
    L1,
    OWL,
    GroupLasso,
    GrOWL,
    _prox_owl,
    growl_norm,
    oscar_weights,
    owl_dual_norm,
    owl_norm,
    pld_weights,
    prox_growl,
    prox_l2,
    prox_owl,
    slices,
    slope_bh_weights,
    soft_threshold,
)

F64 = torch.float64


def excess(v, x, w):
    """Zero, to rounding, just where x = prox_owl(v, w): the dual point v - x is feasible, and touches x."""
    u = v - x
    largest = u.abs().sort(descending=True).values.cumsum(0)
    infeasible = (largest - w.cumsum(0)).max().clamp(min=0)
    return infeasible + (owl_norm(x, w) - (u * x).sum()).abs()


def textbook_prox(v, w):
    """The stack form of pool-adjacent-violators, as the chapter has it."""
    order = sorted(range(len(v)), key=lambda i: -abs(v[i]))
    blocks = []  # (sum, size)
    for rank, i in enumerate(order):
        total, size = abs(v[i]) - w[rank], 1
        while blocks and blocks[-1][0] / blocks[-1][1] <= total / size:
            last = blocks.pop()
            total, size = total + last[0], size + last[1]
        blocks.append((total, size))
    sizes = [max(total / size, 0) for total, size in blocks for _ in range(size)]
    x = [0.0] * len(v)
    for rank, i in enumerate(order):
        x[i] = sizes[rank] if v[i] > 0 else -sizes[rank]
    return x


WEIGHTS = {
    "OSCAR": lambda n: oscar_weights(n, 0.0, 2.0 / n),
    "OSCAR, steep": lambda n: oscar_weights(n, 0.5, 20.0 / n),
    "linear decay": lambda n: pld_weights(n, 0.5, 1.0 / n, n // 2),
    "Benjamini-Hochberg": lambda n: slope_bh_weights(n, 0.1),
    "weak": lambda n: slope_bh_weights(n, 0.1) * 0.01,
    "constant": lambda n: torch.full((n,), 0.8, dtype=F64),
    "zero": lambda n: torch.zeros(n, dtype=F64),
    "only the largest": lambda n: torch.eye(1, n, dtype=F64)[0] * 3,
}


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("n", [1, 2, 3, 17, 1000, 4095, 4096, 4097, 20_000])
@pytest.mark.parametrize("values", ["normal", "heavy tail", "rounded", "equal"])
def test_exact_certificate(weights, n, values):
    generator = torch.Generator().manual_seed(n)
    v = torch.randn(n, dtype=F64, generator=generator)
    if values == "heavy tail":
        v = v.pow(7)
    elif values == "rounded":
        v = v.round(decimals=1)
    elif values == "equal":
        v = v.sign()
    w = weights(n)
    # n additions; v - x is rounded at the size of v, and multiplied by x
    tolerance = n * torch.finfo(F64).eps * (v.abs().sum() + w.sum()) * (1 + v.abs().max())
    assert excess(v, prox_owl(v, w), w) <= tolerance
    narrow = prox_owl(v.float(), w)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), prox_owl(v.float().double(), w), rtol=1e-7, atol=1e-7)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.data())
def test_certificate_for_any_values(data):
    n = data.draw(st.integers(0, 12))
    numbers = st.floats(-1e6, 1e6, allow_subnormal=False) | st.sampled_from([0.0, 1.0, -1.0, 1e-300])
    v = torch.tensor(data.draw(st.lists(numbers, min_size=n, max_size=n)), dtype=F64)
    steps = data.draw(st.lists(st.floats(0, 1e5), min_size=n, max_size=n))
    w = torch.tensor(steps, dtype=F64).cumsum(0).flip(0)
    x = prox_owl(v, w)
    if n:
        assert excess(v, x, w) <= 1e-13 * (1 + v.abs().sum() + w.sum()) * (1 + x.abs().max())
        assert np.allclose(x.numpy(), textbook_prox(v.tolist(), w.tolist()), rtol=1e-12, atol=1e-12 * (1 + float(w[0])))


def test_brute_force_over_signs_orders_and_blocks():
    """All ways to order three entries and pool neighbours; the best candidate is the prox."""
    torch.manual_seed(0)
    for _ in range(20):
        v, w = torch.randn(3, dtype=F64) * 2, torch.rand(3, dtype=F64).sort(descending=True).values
        candidates = [torch.zeros(3, dtype=F64)]
        for order in itertools.permutations(range(3)):
            d = v.abs()[list(order)] - w
            for cuts in itertools.product([True, False], repeat=2):
                starts = [0, *[i + 1 for i in range(2) if cuts[i]], 3]
                x = torch.zeros(3, dtype=F64)
                for a, b in itertools.pairwise(starts):
                    x[list(order[a:b])] = d[a:b].mean().clamp(min=0)
                candidates.append(x * v.sign())
        values = [float((x - v).square().sum() / 2 + owl_norm(x, w)) for x in candidates]
        torch.testing.assert_close(prox_owl(v, w), candidates[int(np.argmin(values))])


def test_known_case():
    """Three values close together and one large weight: all become their mean, less the mean weight."""
    x = prox_owl(torch.tensor([5, -4.9, 4.8], dtype=F64), torch.tensor([3, 1, 1], dtype=F64))
    torch.testing.assert_close(x, torch.tensor([9.7, -9.7, 9.7], dtype=F64) / 3)
    assert x[0] == -x[1] == x[2]  # bit for bit


def test_reductions():
    torch.manual_seed(0)
    v = 3 * torch.randn(6, 7, dtype=F64)
    constant = torch.full((42,), 0.5, dtype=F64)
    torch.testing.assert_close(OWL(constant).prox(v, 1.3), L1(0.5).prox(v, 1.3))
    torch.testing.assert_close(OWL(constant).value(v), L1(0.5).value(v))
    for dim in (0, 1):
        growl, lasso = GrOWL(constant[: v.shape[dim]], dim=dim), GroupLasso(0.5, dim=dim)
        torch.testing.assert_close(growl.prox(v, 1.3), lasso.prox(v, 1.3))
        torch.testing.assert_close(growl.value(v), lasso.value(v))
    w = oscar_weights(42, 0.1, 0.01)
    # slices of one entry: GrOWL is OWL
    torch.testing.assert_close(prox_growl(v.view(1, 42), w, dim=1).view(6, 7), prox_owl(v, w))
    torch.testing.assert_close(prox_growl(v.flatten(), w, dim=0), prox_owl(v.flatten(), w))
    assert torch.equal(prox_owl(v, torch.zeros(42)), v)
    # the l_infinity norm's prox is v minus the projection onto the l1 ball (Moreau)
    largest = torch.eye(42, dtype=F64)[0] * 2
    torch.testing.assert_close((v - prox_owl(v, largest)).abs().sum(), torch.tensor(2.0, dtype=F64))


def test_norms_by_hand():
    x = torch.tensor([[3.0, 0.0], [-4.0, 1.0]], dtype=F64)
    assert owl_norm(x, torch.tensor([4.0, 3, 2, 1])) == 4 * 4 + 3 * 3 + 2 * 1
    assert growl_norm(x, torch.tensor([2.0, 1.0]), dim=1) == 2 * 5 + 1
    torch.testing.assert_close(
        growl_norm(x, torch.tensor([2.0, 1.0]), dim=0), 2 * torch.tensor(17, dtype=F64).sqrt() + 3
    )


def test_dual_norm_is_dual():
    torch.manual_seed(0)
    w = oscar_weights(6, 0.1, 0.3)
    y = torch.randn(6, dtype=F64)
    dual = owl_dual_norm(y, w)
    assert all((x * y).sum() <= dual * owl_norm(x, w) * (1 + 1e-12) for x in torch.randn(200, 6, dtype=F64))
    # reached at the signs of the k largest
    order = y.abs().argsort(descending=True)
    reached = []
    for k in range(1, 7):
        x = torch.zeros(6, dtype=F64)
        x[order[:k]] = y[order[:k]].sign()
        reached.append((x * y).sum() / owl_norm(x, w))
    torch.testing.assert_close(torch.stack(reached).max(), dual)


def test_small_gaps_are_clustered():
    """Entries closer than the smallest step of the weights become equal: OWL's clustering."""
    torch.manual_seed(0)
    w = oscar_weights(5, 0.0, 0.5)
    for _ in range(50):
        v = 10 + torch.randn(5, dtype=F64)
        x = prox_owl(v, w)
        for i, j in itertools.combinations(range(5), 2):
            if (v[i] - v[j]).abs() < 0.5:
                assert x[i] == x[j]


def test_slices_are_scaled_not_turned():
    torch.manual_seed(0)
    v = torch.randn(3, 4, 2, 2, dtype=F64)
    x = prox_growl(v, oscar_weights(4, 0.0, 0.6), dim=1)
    assert 0 < len({round(float(n), 9) for n in slices.slice_norms(x, 1)}) < 4
    cosine = torch.nn.functional.cosine_similarity(v.movedim(1, 0).flatten(1), x.movedim(1, 0).flatten(1))
    alive = slices.slice_norms(x, 1) > 0
    torch.testing.assert_close(cosine[alive], torch.ones_like(cosine[alive]))


def test_float32_keys_sort_as_argsort_does(monkeypatch):
    """The packed keys give the sizes in numpy's order, also with zeros, subnormals and equal values."""
    rng = np.random.default_rng(0)
    size = np.abs(rng.standard_normal(10_000)).astype(np.float32)
    size[:100] = 0
    size[100:200] = np.float32(1e-42)
    size[200:300] = size[300]
    order, rising = _prox_owl._argsort(size)
    assert np.array_equal(rising, np.sort(size))
    assert np.array_equal(size[order], rising)
    assert np.array_equal(np.sort(order), np.arange(10_000))
    monkeypatch.setattr(_prox_owl.sys, "byteorder", "big")  # the fallback
    again, rising_again = _prox_owl._argsort(size)
    assert np.array_equal(rising_again, rising)
    assert again.dtype == np.intp


@pytest.mark.parametrize("share", [0.001, 0.05, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_leaving_out_what_must_be_zero_changes_nothing(share, dtype, monkeypatch):
    """Also when the sample that guesses is misleading: sorted, alternating, spiked."""
    n = 30_000
    torch.manual_seed(0)
    normal = torch.randn(n, dtype=dtype)
    level = normal.abs().quantile(1 - share).item()
    misleading = torch.zeros(n, dtype=dtype)
    misleading[7 :: n // 1024] = 5.0  # between the sampled entries
    for v in (normal, normal.sort().values, misleading, normal * (torch.arange(n) % 2)):
        for w in (oscar_weights(n, level, 0.1 / n), oscar_weights(n, 0.0, 2 * level / n), oscar_weights(n, 0.0, 1e-9)):
            fast = prox_owl(v, w)
            with monkeypatch.context() as patch:
                patch.setattr(_prox_owl, "SMALL", n + 1)
                full = prox_owl(v, w)
            assert torch.equal(fast, full)


def test_less_is_sorted_when_most_is_zero(monkeypatch):
    sorted_sizes = []
    original = _prox_owl._argsort
    monkeypatch.setattr(_prox_owl, "_argsort", lambda size: sorted_sizes.append(len(size)) or original(size))
    torch.manual_seed(0)
    prox_owl(torch.randn(100_000), oscar_weights(100_000, 1.5, 1e-6))
    assert len(sorted_sizes) == 1
    assert sorted_sizes[0] < 30_000


def test_derivatives():
    torch.manual_seed(0)
    w = oscar_weights(6, 0.2, 0.3)
    vectors = 2 * torch.randn(5, 6, dtype=F64)
    for v in vectors:
        v = v.clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda v: prox_owl(v, w), (v,), check_forward_ad=True)
        assert torch.autograd.gradgradcheck(lambda v: prox_owl(v, w), (v,))
    assert any((prox_owl(v, w) == 0).any() for v in vectors)
    assert any(len(prox_owl(v, w).abs().unique()) < 6 for v in vectors)
    rows = vectors.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: prox_owl(v, w, batched=True), (rows,))
    assert torch.autograd.gradcheck(lambda v: prox_growl(v, w, dim=1), (rows,))
    half = vectors[0].half().requires_grad_()
    prox_owl(half, w).sum().backward()
    assert half.grad.dtype == torch.float16


def test_jacobian_is_a_signed_projection_onto_a_tie():
    v = torch.tensor([3.0, -2.9, 0.1, 1.0], dtype=F64)
    jacobian = torch.autograd.functional.jacobian(lambda v: prox_owl(v, oscar_weights(4, 0.2, 0.2)), v)
    expected = torch.tensor([[0.5, -0.5, 0, 0], [-0.5, 0.5, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]], dtype=F64)
    torch.testing.assert_close(jacobian, expected)
    torch.testing.assert_close(jacobian @ jacobian, jacobian)


def test_batches_and_vmap():
    torch.manual_seed(0)
    w = oscar_weights(6, 0.2, 0.3)
    rows = 2 * torch.randn(5, 6, dtype=F64)
    one_by_one = torch.stack([prox_owl(v, w) for v in rows])
    assert torch.equal(prox_owl(rows, w, batched=True), one_by_one)
    assert torch.equal(torch.func.vmap(lambda v: prox_owl(v, w))(rows), one_by_one)
    assert torch.equal(torch.func.vmap(lambda v: prox_owl(v, w), in_dims=1)(rows.T), one_by_one)
    assert torch.equal(prox_owl(rows.view(5, 2, 3), w, batched=True), one_by_one.view(5, 2, 3))
    jacobians = torch.stack([torch.autograd.functional.jacobian(lambda v: prox_owl(v, w), v) for v in rows])
    for transform in (torch.func.jacrev, torch.func.jacfwd):
        assert torch.equal(torch.func.vmap(transform(lambda v: prox_owl(v, w)))(rows), jacobians)
    with pytest.raises(ValueError, match="all problems share one w"):
        torch.func.vmap(prox_owl)(rows, w.expand(5, 6))
    with pytest.raises(ValueError, match="first dimension that numbers the problems"):
        prox_owl(torch.tensor(1.0), torch.ones(1), batched=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, F64])
def test_empty_and_zero(dtype):
    nothing = torch.zeros(0, dtype=dtype)
    assert torch.equal(prox_owl(nothing, torch.zeros(0)), nothing)
    assert owl_norm(nothing, torch.zeros(0)) == 0
    assert prox_owl(torch.zeros(0, 3, dtype=dtype), torch.ones(3), batched=True).shape == (0, 3)
    assert prox_growl(torch.zeros(3, 0, dtype=dtype), torch.zeros(0), dim=1).shape == (3, 0)
    assert prox_growl(torch.zeros(0, 3, dtype=dtype), torch.ones(3), dim=1).shape == (0, 3)
    zeros = torch.zeros(2, 3, dtype=dtype)
    for weights in (torch.zeros(6), torch.ones(6)):
        assert torch.equal(prox_owl(zeros, weights), zeros)
    result = prox_owl(torch.tensor([-0.5, -3.0], dtype=dtype), torch.ones(2))
    assert not result[0].signbit()  # 0, not -0


def test_input_that_cannot_be_written_to():
    v = torch.from_numpy(np.arange(3.0)[::-1].copy()).expand(2, 3)
    assert prox_owl(v, oscar_weights(6, 0.1, 0.1)).shape == (2, 3)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 2.0, 3.0], r"w must fall, but w\[0\] = 1 < w\[1\] = 2; sort it"),
        ([3.0, 3.0, -1.0], "w must not be negative, got -1 at the end"),
        ([float("inf"), 1.0, 0.0], "w must be finite"),
        ([3.0, float("nan"), 1.0], "w must be finite"),
        ([3.0, 2.0, float("nan")], "w must be finite"),
        ([1.0, 1.0], r"shape \(3,\), got shape \(2,\)"),
        ([[1.0, 1.0, 1.0]], r"shape \(3,\), got shape \(1, 3\)"),
        ([True, True, False], "tensor of numbers, got torch.bool"),
    ],
)
def test_bad_weights_are_named(weights, message):
    weights = torch.tensor(weights)
    v = torch.ones(3)
    for call in (owl_norm, prox_owl, owl_dual_norm, prox_growl, growl_norm):
        with pytest.raises(ValueError, match=message):
            call(v.view(1, 3), weights, dim=1) if "growl" in call.__name__ else call(v, weights)


def test_other_bad_input_is_named():
    with pytest.raises(ValueError, match="w must be a tensor of numbers, got list"):
        prox_owl(torch.ones(2), [1.0, 1.0])
    with pytest.raises(ValueError, match="w must begin above zero"):
        owl_dual_norm(torch.ones(2), torch.zeros(2))
    with pytest.raises(ValueError, match=r"dim must be an integer in -2\.\.1 for a weight of shape \(2, 2\), got 2"):
        prox_growl(torch.ones(2, 2), torch.ones(2), dim=2)
    with pytest.raises(ValueError, match="dim must be an integer, got True"):
        GroupLasso(1.0, dim=True).value(torch.ones(2, 2))
    with pytest.raises(ValueError, match="weight must be a floating-point tensor, got list"):
        prox_owl([1.0], torch.ones(1))
    for sequence in (
        lambda n: oscar_weights(n, 1, 1),
        lambda n: pld_weights(n, 1, 1),
        lambda n: slope_bh_weights(n, 0.1),
    ):
        for n in (0, -1, 2.0, True):
            with pytest.raises(ValueError, match="n must be a whole number >= 1"):
                sequence(n)
    for value in (-1.0, float("nan"), float("inf"), "a"):
        with pytest.raises(ValueError, match="l2 must be a finite number >= 0"):
            oscar_weights(3, 1.0, value)
        with pytest.raises(ValueError, match="l1 must be a finite number >= 0"):
            pld_weights(3, value, 1.0)
    for q in (0, 1, -0.1, "a", float("nan")):
        with pytest.raises(ValueError, match="q must be a rate strictly between 0 and 1"):
            slope_bh_weights(3, q)
    for p in (-1, 4, 1.5, True):
        with pytest.raises(ValueError, match=r"p must be an integer 0\.\.n = 3"):
            pld_weights(3, 1, 1, p)
    for call in (soft_threshold, prox_l2):
        with pytest.raises(ValueError, match="must be a finite number >= 0, got -1"):
            call(torch.ones(2), -1)


def test_weight_sequences_by_hand():
    assert oscar_weights(4, 1, 2).tolist() == [7, 5, 3, 1]
    assert pld_weights(4, 1, 2).tolist() == [9, 7, 5, 3]
    assert pld_weights(4, 1, 2, p=2).tolist() == [5, 3, 1, 1]
    assert pld_weights(4, 1, 2, p=0).tolist() == [1, 1, 1, 1]
    normal = torch.distributions.Normal(0.0, 1.0)
    q = 0.1
    expected = normal.icdf(1 - q * torch.arange(1, 5, dtype=F64) / 8)
    torch.testing.assert_close(slope_bh_weights(4, q), expected)
    for weights in (oscar_weights(9, 0, 0.1), pld_weights(9, 0, 1, 3), slope_bh_weights(10**6, 0.01)):
        assert weights.dtype == F64
        assert (weights.diff() <= 0).all()
        assert weights[-1] >= 0
    assert torch.isfinite(slope_bh_weights(10**6, 1e-9)).all()


def test_penalties_own_their_weights():
    w = torch.tensor([2.0, 1.0], dtype=F64)
    for penalty in (OWL(w), GrOWL(w, dim=1)):
        w[0] = 0
        assert penalty.w.tolist() == [2, 1]
        penalty.w[0] = 7  # of a copy
        assert penalty.w.tolist() == [2, 1]
        with pytest.raises(AttributeError, match="does not change"):
            penalty.w = w
        w[0] = 2
    with pytest.raises(ValueError, match="w must fall"):
        OWL(torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="must have one number"):
        OWL(torch.tensor(1.0))
    with pytest.raises(ValueError, match="got list"):
        GrOWL([1.0], dim=1)


def test_zero_rows_have_no_gradient_and_no_nan():
    weight = torch.zeros(3, 2, dtype=F64)
    weight[:, 0] = 1
    weight.requires_grad_()
    (
        growl_norm(weight, torch.tensor([2.0, 1.0]), dim=1) + prox_growl(weight, torch.tensor([0.2, 0.1]), dim=1).sum()
    ).backward()
    assert torch.isfinite(weight.grad).all()
    assert not weight.grad[:, 1].any()


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=12),
    st.lists(st.floats(0, 1), min_size=0, max_size=12),
    st.floats(0, 3),
    st.floats(0, 6),
    st.floats(0.3, 3),
)
def test_what_is_called_zero_is_zero(head, rest, threshold, top, bend):
    """Whatever lies beyond the sorted entries: if a count is given, the prox of all is zero from there on."""
    largest = np.sort(threshold + np.array(head))
    beyond = threshold * np.array(rest)
    n = len(largest) + len(beyond)
    w = top * (1 - np.arange(n) / n) ** bend
    everything = np.concatenate([largest, beyond])
    live = _prox_owl._live_count(largest, float(everything.sum()), threshold, w)
    x = np.array(textbook_prox(everything.tolist(), w.tolist()))
    if live is not None:
        assert 0 < live <= len(largest)
        assert (np.sort(x)[: n - live] <= 1e-7).all()


def test_how_much_is_called_zero():
    """The bound is not idle: by hand, with what is left at the threshold in full, and with less."""
    rising, w = np.array([1.0, 1.0, 5.0]), np.array([3.0, 2.0, 2.0, 2.0, 2.0])
    # running sums of (5, 1, 1) - w: 2, 1, 0; two more entries of 1 against weights of 2 only lower them
    assert _prox_owl._live_count(rising, 9.0, 1.0, w) == 1
    # the running sum ends at its highest: the next entry may live
    assert _prox_owl._live_count(np.array([4.0, 5.0]), 11.0, 1.0, np.array([3.0, 2.0, 2.0, 2.0])) is None
    # low weights beyond: 0, then 6 entries of 1 gain 0.5 each, and pass the 2 of the start
    low = np.concatenate([w[:3], np.full(6, 0.5)])
    assert _prox_owl._live_count(rising, 13.0, 1.0, low) is None
    # the same six entries, but smaller: they sum up to 0.6, and cannot
    assert _prox_owl._live_count(rising, 7.6, 1.0, low) == 1
    assert _prox_owl._live_count(np.array([]), 0.0, 1.0, w) is None
    assert _prox_owl._live_count(np.array([0.5, 5.0]), 5.5, 0.0, w) == 1


def test_derivative_where_most_is_left_out_of_the_sort(monkeypatch):
    """Then the first block that is numbered is one that lives."""
    n = 6000
    torch.manual_seed(0)
    v, slope, w = torch.randn(n, dtype=F64), torch.randn(n, dtype=F64), oscar_weights(n, 1.5, 0.5 / n)
    grads = []
    for small in (_prox_owl.SMALL, n + 1):
        monkeypatch.setattr(_prox_owl, "SMALL", small)
        x = v.clone().requires_grad_()
        (prox_owl(x, w) * slope).sum().backward()
        grads.append(x.grad)
    torch.testing.assert_close(grads[0], grads[1])
    assert 0 < int((grads[0] != 0).sum()) < n / 2


def test_best_rank_by_hand():
    assert _prox_owl._best_rank(np.array([1.0, 1.0, 5.0]), np.array([3.0, 2.0, 2.0])) == 1
    assert _prox_owl._best_rank(np.array([1.0, 4.0, 5.0]), np.array([3.0, 2.0, 2.0])) == 2
