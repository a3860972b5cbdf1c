"""Phi against its definition, its interval against simulation, bootstraps against each other."""

import itertools

import joblib
import numpy as np
import pytest
import torch
from joblib.parallel import ThreadingBackend
from sklearn.linear_model import Lasso, MultiTaskLasso, SGDRegressor
from sklearn.pipeline import make_pipeline

from tyinglib.regression import bootstrap_selection, jaccard, selection_stability


def made_selections(m, d=30, seed=0, noise=0.2):
    """Each run selects the first ten features, each feature flipped with a probability that rises with its number."""
    rng = np.random.default_rng(seed)
    return (np.arange(d) < 10) ^ (rng.random((m, d)) < np.linspace(0.02, 2 * noise, d))


def test_definition_by_hand():
    z = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0]])
    s = [3 / 2 * p * (1 - p) for p in (1, 2 / 3, 1 / 3, 0)]
    assert selection_stability(z).phi == pytest.approx(1 - np.mean(s) / (0.5 * 0.5))
    expected = 1 - z.var(axis=0, ddof=1).mean() / (0.5 * 0.5)
    assert selection_stability(z).phi == pytest.approx(expected)


def test_range_and_chance():
    same = np.tile([1, 0, 1, 0, 0], (4, 1))
    assert selection_stability(same) == (1.0, 1.0, 1.0)
    assert selection_stability(np.eye(2)).phi == pytest.approx(-1)  # the lower bound -1 / (M - 1)
    assert selection_stability(np.eye(5)).phi == pytest.approx(-1 / 4)
    rng = np.random.default_rng(0)
    random = [selection_stability(rng.random((20, 50)) < share).phi for share in (0.1, 0.5, 0.9) for _ in range(100)]
    assert abs(np.mean(random)) < 4 * np.std(random) / np.sqrt(300)  # 0 in expectation, four standard errors


def test_jaccard_rises_with_density_and_phi_does_not():
    rng = np.random.default_rng(0)
    sparse, dense = (rng.random((40, 200)) < share for share in (0.1, 0.8))
    assert jaccard(dense) > jaccard(sparse) + 0.5
    assert abs(selection_stability(dense).phi - selection_stability(sparse).phi) < 0.03


def test_jaccard_pair_by_pair():
    z = made_selections(6)
    pairs = [(a & b).sum() / (a | b).sum() for a, b in itertools.combinations(z, 2)]
    assert jaccard(z) == pytest.approx(np.mean(pairs))
    assert jaccard(np.zeros((2, 3))) == 1.0
    assert jaccard([[0, 0], [1, 0]]) == 0.0


def test_interval_is_that_of_the_jackknife():
    """The analytic deviation and the one from leaving runs out agree for many runs."""
    z = made_selections(400)
    stability = selection_stability(z)
    left_out = np.array([selection_stability(np.delete(z, i, axis=0)).phi for i in range(400)])
    jackknife = np.sqrt(399 / 400 * ((left_out - left_out.mean()) ** 2).sum())
    assert (stability.upper - stability.phi) / 1.959964 == pytest.approx(jackknife, rel=0.02)


def test_deviation_by_hand_where_sizes_differ():
    # share 1/3, chance 2/9, p = (1, 2/3, 1/3, 0, 0, 0): Phi = 1 - 3/2 * (4/9 / 6) / (2/9) = 1/2. Influences times
    # chance, 1/d sum z p - k_i/d * 1/3 + 1/4 (2/3 k_i/d - k_i/d - 1/3 + 1), are (8 + 11, 12 + 10, 12 + 9) / 72
    nested = [[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]]
    squares = (25 + 16 + 1) / 9 * (1 / 72 / (2 / 9)) ** 2  # of the distances from their mean
    stability = selection_stability(nested)
    assert stability.phi == pytest.approx(1 / 2)
    assert (stability.upper - stability.phi) / 1.959964 == pytest.approx(2 / 3 * np.sqrt(squares))


def test_interval_covers_as_often_as_it_says():
    truth = selection_stability(made_selections(20_000, seed=99)).phi
    inside = 0
    for seed in range(400):
        _, lower, upper = selection_stability(made_selections(60, seed=seed), level=0.9)
        inside += lower <= truth <= upper
    assert 0.85 < inside / 400 < 0.94  # 90 %, three standard errors of 1.5 points


def test_wider_level_wider_interval():
    z = made_selections(30)
    a, b = selection_stability(z, level=0.5), selection_stability(z, level=0.99)
    assert b.lower < a.lower < a.phi == b.phi < a.upper < b.upper
    assert selection_stability(torch.from_numpy(z), level=0.5) == a


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[1, 0]], "at least 2 runs"),
        ([1, 0], "table"),
        (np.zeros((3, 0)), "table"),
        ([[0, 2], [1, 0]], "0 or 1"),
        ([[0, float("nan")], [1, 0]], "0 or 1"),
        ([[0, 0.5], [1, 0]], "coef != 0"),
        (np.zeros((3, 4)), "selects nothing"),
        (np.ones((3, 4)), "selects everything"),
    ],
)
def test_bad_tables_are_named(table, message):
    with pytest.raises(ValueError, match=message):
        selection_stability(table)


@pytest.mark.parametrize("level", [0, 1, -1, "a", float("nan")])
def test_bad_levels_are_named(level):
    with pytest.raises(ValueError, match="level must be a number strictly between 0 and 1"):
        selection_stability(np.eye(3), level=level)


def regression(n=60, d=8, m=None):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d))
    truth = np.zeros((d, m or 1))
    truth[:3] = 2
    y = x @ truth + 0.5 * rng.standard_normal((n, m or 1))
    return x, y if m else y[:, 0]


def test_bootstraps_do_not_depend_on_jobs_or_backend():
    x, y = regression()
    serial = bootstrap_selection(Lasso(alpha=0.2), x, y, n_bootstraps=6)
    assert serial.shape == (6, 8)
    assert (serial[:, :3] != 0).all()
    assert len({tuple(row) for row in serial}) == 6
    assert np.array_equal(bootstrap_selection(Lasso(alpha=0.2), x, y, n_bootstraps=6, n_jobs=2), serial)
    with joblib.parallel_config(backend="threading", n_jobs=3):
        assert np.array_equal(bootstrap_selection(Lasso(alpha=0.2), x, y, n_bootstraps=6), serial)
    # more bootstraps begin with the same ones; another seed differs
    assert np.array_equal(bootstrap_selection(Lasso(alpha=0.2), x, y, n_bootstraps=7)[:6], serial)
    assert not np.array_equal(bootstrap_selection(Lasso(alpha=0.2), x, y, n_bootstraps=6, seed=1), serial)


class HandsOverAtTheEnd(ThreadingBackend):
    """As multiprocessing's backend and Ray's: results cannot be had one by one."""

    supports_return_generator = False


@pytest.mark.parametrize("progress", [True, False])
def test_backends_that_hand_all_results_over_at_the_end(progress):
    x, y = regression()
    serial = bootstrap_selection(Lasso(alpha=0.2), x, y, n_bootstraps=3)
    joblib.register_parallel_backend("at-the-end", HandsOverAtTheEnd)
    with joblib.parallel_config(backend="at-the-end", n_jobs=2):
        found = bootstrap_selection(Lasso(alpha=0.2), x, y, n_bootstraps=3, progress=progress)
    assert np.array_equal(found, serial)


def test_torch_default_dtype_goes_along_to_other_processes():
    x, y = regression()
    torch.set_default_dtype(torch.float64)  # conftest puts it back
    found = bootstrap_selection(lambda x, y: torch.full((8,), 0.1, requires_grad=True), x, y, n_bootstraps=2, n_jobs=2)
    assert (found == 0.1).all()  # in float32, 0.1 is another number


def test_an_estimator_that_draws_random_numbers_repeats():
    x, y = regression()
    free, fixed = (SGDRegressor(max_iter=3, tol=None, random_state=state) for state in (None, 3))
    first, second = (bootstrap_selection(free, x, y, n_bootstraps=5) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(bootstrap_selection(fixed, x, y, n_bootstraps=5), first)
    assert free.random_state is None


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_failing_fit_is_named_by_its_bootstrap(n_jobs):
    x, y = regression()
    samples = []
    bootstrap_selection(lambda x, y: samples.append(x) or np.ones(8), x, y, n_bootstraps=3)

    def fit(x, y):
        if np.array_equal(x, samples[2]):
            raise KeyError("lost")
        return np.ones(8)

    with pytest.raises(RuntimeError, match="bootstrap 2 failed: KeyError: 'lost'"):
        bootstrap_selection(fit, x, y, n_bootstraps=4, n_jobs=n_jobs)


def test_functions_masks_tensors_and_several_responses():
    x, y = regression()
    masks = bootstrap_selection(lambda x, y: np.abs(x.T @ y) > 20, torch.tensor(x), torch.tensor(y), n_bootstraps=5)
    assert set(np.unique(masks)) == {0.0, 1.0}
    x, y = regression(m=2)
    coefficients = bootstrap_selection(MultiTaskLasso(alpha=0.3), x, y, n_bootstraps=5)
    assert coefficients.shape == (5, 8)
    assert (coefficients >= 0).all()
    estimator = Lasso()
    bootstrap_selection(estimator, x, y[:, 0], n_bootstraps=2)
    assert not hasattr(estimator, "coef_")


def test_progress_bar_goes_to_stderr(capfd):
    x, y = regression()
    bootstrap_selection(Lasso(), x, y, n_bootstraps=3, progress=True)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "bootstraps: 100%" in captured.err


def test_bad_bootstraps_are_named():
    x, y = regression()
    with pytest.raises(ValueError, match=r"x must be \(n, d\) and y have n rows, got shapes \(60, 8\) and \(59,\)"):
        bootstrap_selection(Lasso(), x, y[1:])
    with pytest.raises(ValueError, match="n_bootstraps must be a whole number >= 1, got 0"):
        bootstrap_selection(Lasso(), x, y, n_bootstraps=0)
    with pytest.raises(ValueError, match="select must be an estimator or a function"):
        bootstrap_selection("lasso", x, y)
    with pytest.raises(ValueError, match="select must be an estimator or a function"):
        bootstrap_selection(Lasso, x, y)
    with pytest.raises(ValueError, match="seed must be a whole number >= 0, got -1"):
        bootstrap_selection(Lasso(), x, y, seed=-1)
    with pytest.raises(ValueError, match=r"got shapes \(0, 8\)"):
        bootstrap_selection(Lasso(), x[:0], y[:0])
    with pytest.raises(ValueError, match=r"and \(\)"):
        bootstrap_selection(Lasso(), x, 3.0)
    with pytest.raises(ValueError, match="bootstrap 0: expected finite numbers"):
        bootstrap_selection(lambda x, y: np.full(8, np.nan), x, y)
    with pytest.raises(RuntimeError, match="bootstrap 0 failed: AttributeError: 'Pipeline' object has no"):
        bootstrap_selection(make_pipeline(Lasso()), x, y)
    with pytest.raises(ValueError, match=r"bootstrap 0: expected one number for each of 8 features, got shape \(3,\)"):
        bootstrap_selection(lambda x, y: np.ones(3), x, y)
