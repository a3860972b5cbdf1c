"""Proximal maps on values that nobody would choose; the oracle is the exact certificate, not a second implementation.

x = prox(v) of OWL with weights w, just if u = v - x is in the dual ball (no sum of the k largest |u| exceeds
w_1 + ... + w_k) and touches x there (<u, x> = Omega_w(x)). FUZZ=100000 in the environment asks for as many inputs.
"""

import os

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tyinglib.penalties import group_soft_threshold, prox_growl, prox_l2, prox_owl, soft_threshold

RUNS = int(os.environ.get("FUZZ", "200"))
EPS = np.finfo(float).eps
TINY = 1e-90  # 1e-150 on the smallest scale: a square below 1e-300 is lost, and with it the norm of such a slice
fuzz = settings(
    max_examples=RUNS, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
entries = st.floats(-1e3, 1e3, allow_subnormal=False) | st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-9, 1.0 + 2**-50])


@st.composite
def short(draw):
    """A few drawn numbers, and weights that fall from drawn steps, all on a scale of 1e-120 to 1e120."""
    n = draw(st.integers(0, 24))
    v = np.array(draw(st.lists(entries, min_size=n, max_size=n)), dtype=float)
    falls = draw(st.lists(st.floats(0, 100, allow_subnormal=False) | st.just(0.0), min_size=n, max_size=n))
    return v, np.cumsum(np.array(falls, dtype=float))[::-1], draw(st.sampled_from([1.0, 1e-120, 1e-6, 1e6, 1e120]))


@st.composite
def long(draw):
    """Thousands of numbers, where most are not sorted: heavy tails, steps, blocks of equal ones."""
    n, seed = draw(st.integers(4090, 9000)), draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    v = rng.standard_normal(n) ** draw(st.sampled_from([1, 3, 9])) * draw(st.sampled_from([1e-3, 1.0, 100.0]))
    v[: int(n * draw(st.floats(0, 1)))] = draw(st.sampled_from([0.0, 1.0, -5.0]))
    v = np.round(rng.permutation(v), draw(st.integers(0, 12)))
    w = np.sort(np.abs(rng.standard_normal(n)))[::-1] ** draw(st.sampled_from([0, 1, 4]))
    return v, w * draw(st.sampled_from([0.0, 1e-3, 1.0, 1e3])), 1.0


def check(v, x, w):
    """The certificate. n sums of numbers up to |v| and w round by n eps of them; what squares to nothing is nothing."""
    u, n = v - x, len(v)
    slack = 8 * (n + 8) * EPS * (np.abs(v).max(initial=0) + w.max(initial=0)) + TINY
    falling = np.sort(np.abs(u))[::-1]
    assert (np.cumsum(falling) <= np.cumsum(w) + n * slack).all()
    omega = float(np.sort(np.abs(x))[::-1] @ w)
    assert abs(omega - float(u @ x)) <= slack * (1 + n) * np.abs(x).max(initial=0)
    assert (np.abs(x) <= np.abs(v) + slack).all()
    assert ((x == 0) | (np.sign(x) == np.sign(v))).all()


def inputs():
    # one in sixteen is long: they cost as much as the others together
    return st.integers(0, 15).flatmap(lambda i: long() if i == 15 else short())


@fuzz
@given(inputs())
def test_owl(case):
    v, w, scale = case
    x = prox_owl(torch.from_numpy(v * scale), torch.from_numpy(w * scale)).numpy() / scale
    check(v, x, w)
    backwards = prox_owl(torch.from_numpy(v[::-1].copy()), torch.from_numpy(w.copy())).numpy()[::-1]
    slack = 8 * (len(v) + 8) * EPS * (np.abs(v).max(initial=0) + w.max(initial=0)) + TINY
    assert np.abs(backwards - x).max(initial=0) <= slack


@fuzz
@given(inputs(), st.integers(1, 3))
def test_growl_and_group_lasso(case, width):
    norms, w, scale = case
    scale = np.sqrt(scale)  # norms are squared on their way
    rng = np.random.default_rng(len(norms))
    directions = rng.standard_normal((width, len(norms)))
    directions /= np.linalg.norm(directions, axis=0)
    v = torch.from_numpy(directions * np.abs(norms) * scale)
    found = prox_growl(v, torch.from_numpy(w * scale), dim=1).numpy() / scale
    check(np.abs(norms), np.linalg.norm(found, axis=0), w)
    turned = np.abs(found - directions * np.linalg.norm(found, axis=0)).max(initial=0)
    assert turned <= 64 * EPS * np.abs(norms).max(initial=0) + TINY
    strength = float(w.max(initial=0))
    flat = group_soft_threshold(v, strength * scale, dim=1).numpy() / scale
    check(np.abs(norms), np.linalg.norm(flat, axis=0), np.full(len(norms), strength))


@fuzz
@given(inputs())
def test_l1_and_l2(case):
    v, w, scale = case
    strength = float(w.max(initial=0))
    check(v, soft_threshold(torch.from_numpy(v * scale), strength * scale).numpy() / scale, np.full(len(v), strength))
    half = prox_l2(torch.from_numpy(v), strength).numpy()
    assert np.abs(half * (1 + strength) - v).max(initial=0) <= 4 * EPS * np.abs(v).max(initial=0) + TINY


def test_the_oracle_sees_a_wrong_answer():
    v, w = np.array([5.0, 4.8, 1.0]), np.array([3.0, 1.0, 1.0])
    check(v, np.array([2.9, 2.9, 0.0]), w)
    for wrong in ([2.0, 3.8, 0.0], [2.9, 2.9, 0.1], [2.9, 2.8, 0.0], [-2.9, 2.9, 0.0], [5.0, 4.8, 1.0]):
        with pytest.raises(AssertionError):
            check(v, np.array(wrong), w)
