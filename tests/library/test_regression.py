"""OWL and GrOWL regression: what scikit-learn asks of an estimator, known reductions, and a proof of every optimum."""

import functools
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, MultiTaskLasso
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from tyinglib import oscar_weights, slope_bh_weights
from tyinglib.penalties import prox_growl, prox_owl
from tyinglib.regression import GrOWLRegressor, OWLRegressor, RegularizationPath, _solver


@parametrize_with_checks([OWLRegressor(), GrOWLRegressor()])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning", "ignore::ResourceWarning")
def test_what_scikit_learn_asks_of_an_estimator(estimator, check):
    check(estimator)


def correlated(n=60, d=24, responses=1, seed=0):
    """Features in blocks of four that move together; a few count."""
    rng = np.random.default_rng(seed)
    x = np.repeat(rng.normal(size=(n, d // 4)), 4, axis=1) + 0.3 * rng.normal(size=(n, d))
    truth = np.zeros((d, responses))
    truth[:6] = rng.normal(size=(6, responses))
    y = x @ truth + 0.5 * rng.normal(size=(n, responses)) + 3
    return x, y[:, 0] if responses == 1 else y


def loss_gradient(model, x, y):
    """The gradient of 1/(2n) ||y - X b||^2 with respect to b, one row a feature."""
    residual = (y - model.predict(x)).reshape(len(y), -1)
    return -(x - x.mean(0)).T @ residual / len(y)


def coefficients(model):
    return model.coef_.reshape(-1, model.n_features_in_).T


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
@pytest.mark.parametrize("responses", [1, 3])
def test_every_fit_is_a_fixed_point_of_the_proximal_step(decay, share, responses):
    """b = prox(b - grad) is true of the optimum, and of nothing else."""
    x, y = correlated(responses=responses)
    kind = OWLRegressor if responses == 1 else GrOWLRegressor
    model = kind(decay=decay)
    model.set_params(alpha=share * model.alpha_max(x, y)).fit(x, y)
    b = torch.from_numpy(coefficients(model))
    step = b - torch.from_numpy(loss_gradient(model, x, y))
    w = model.alpha * torch.from_numpy(model.w_)
    fixed = prox_owl(step, w) if responses == 1 else prox_growl(step, w, dim=0)
    assert torch.allclose(fixed, b, atol=1e-7)
    assert np.count_nonzero(model.coef_) > 0
    assert model.intercept_ == pytest.approx((y - x @ model.coef_.T).mean(0), abs=1e-10)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_constant_weights_are_the_lasso(share):
    x, y = correlated()
    alpha = share * OWLRegressor(decay=0).alpha_max(x, y)
    ours = OWLRegressor(alpha, decay=0).fit(x, y)
    theirs = Lasso(alpha, tol=1e-12, max_iter=100_000).fit(x, y)
    assert np.allclose(ours.coef_, theirs.coef_, atol=1e-6)
    assert ours.intercept_ == pytest.approx(theirs.intercept_, abs=1e-6)
    assert ((ours.coef_ == 0) == (theirs.coef_ == 0)).all()


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_constant_weights_and_several_responses_are_the_multi_task_lasso(share):
    x, y = correlated(responses=3)
    alpha = share * GrOWLRegressor(decay=0).alpha_max(x, y)
    ours = GrOWLRegressor(alpha, decay=0).fit(x, y)
    theirs = MultiTaskLasso(alpha, tol=1e-10, max_iter=100_000).fit(x, y)
    assert np.allclose(ours.coef_, theirs.coef_, atol=1e-5)
    assert ours.coef_.shape == theirs.coef_.shape == (3, 24)


def test_one_response_is_owl_whether_it_is_a_column_or_not():
    x, y = correlated()
    owl = OWLRegressor(0.05).fit(x, y)
    flat, column = GrOWLRegressor(0.05).fit(x, y), GrOWLRegressor(0.05).fit(x, y[:, None])
    assert np.array_equal(flat.coef_, owl.coef_)
    assert np.array_equal(column.coef_, owl.coef_[None])
    assert flat.predict(x).shape == (60,)
    assert column.predict(x).shape == (60, 1)


def test_two_columns_that_are_copies_get_one_coefficient():
    x, y = correlated()
    x = np.column_stack([x[:, 0], x[:, 0], x[:, 5]])
    model = OWLRegressor(0.05).fit(x, y)
    assert model.coef_[0] == model.coef_[1] != 0
    assert model.labels_[0] == model.labels_[1] >= 0


def test_a_mirrored_copy_gets_the_same_size_and_the_other_sign():
    x, y = correlated()
    model = OWLRegressor(0.05).fit(np.column_stack([x[:, 0], -x[:, 0], x[:, 5]]), y)
    assert model.coef_[0] == -model.coef_[1] != 0
    assert model.labels_[0] == model.labels_[1]


def test_labels_number_the_sizes_and_mark_zeros():
    x, y = correlated()
    model = OWLRegressor(0.05).fit(x, y)
    size = np.abs(model.coef_)
    assert set(model.labels_[size == 0]) == {-1}
    for label in range(model.labels_.max() + 1):
        assert len(set(size[model.labels_ == label])) == 1  # equal to the last bit
    means = [size[model.labels_ == label].mean() for label in range(model.labels_.max() + 1)]
    assert means == sorted(means, reverse=True)
    assert len(set(means)) < np.count_nonzero(size), "nothing is tied"


def test_growl_ties_norms_not_rows():
    x, y = correlated(responses=3)
    model = GrOWLRegressor(0.1).fit(x, y)
    norms = np.linalg.norm(model.coef_, axis=0)
    tied = [np.flatnonzero(model.labels_ == label) for label in range(model.labels_.max() + 1)]
    tied = [members for members in tied if len(members) > 1]
    assert tied
    for members in tied:
        assert np.ptp(norms[members]) < 1e-9 * norms.max()
        assert np.ptp(model.coef_[:, members], axis=1).max() > 1e-4


def test_alpha_max_is_where_the_first_coefficient_appears():
    x, y = correlated(responses=3)
    top = GrOWLRegressor().alpha_max(x, y)
    assert not GrOWLRegressor(top * 1.0001).fit(x, y).coef_.any()
    assert GrOWLRegressor(top * 0.999).fit(x, y).coef_.any()


def test_a_weight_of_two_is_a_sample_twice_and_zero_is_none():
    x, y = correlated()
    share = np.random.default_rng(1).integers(0, 4, len(y))
    weighted = OWLRegressor(0.05).fit(x, y, sample_weight=share)
    repeated = OWLRegressor(0.05).fit(np.repeat(x, share, axis=0), np.repeat(y, share))
    assert np.allclose(weighted.coef_, repeated.coef_, atol=1e-9)
    assert weighted.intercept_ == pytest.approx(repeated.intercept_)
    scaled = OWLRegressor(0.05).fit(x, y, sample_weight=1000.0 * share)
    assert np.allclose(weighted.coef_, scaled.coef_, atol=1e-9)


def test_without_intercept():
    x, y = correlated()
    model = OWLRegressor(0.05, fit_intercept=False).fit(x, y)
    assert model.intercept_ == 0
    assert np.allclose(
        model.coef_, OWLRegressor(0.05).fit(np.vstack([x, -x]), np.concatenate([y, -y])).coef_, atol=1e-9
    )


@pytest.mark.parametrize(
    "weights",
    [
        slope_bh_weights(24, 0.1),
        slope_bh_weights(24, 0.1).tolist(),
        functools.partial(slope_bh_weights, q=0.1),
        slope_bh_weights(24, 0.1).numpy(),
    ],
)
def test_weights_may_be_given_in_any_form(weights):
    x, y = correlated()
    model = OWLRegressor(0.02, w=weights).fit(x, y)
    assert np.array_equal(model.w_, slope_bh_weights(24, 0.1).numpy())
    assert np.array_equal(clone(model).fit(x, y).coef_, model.coef_)


def test_the_default_weights_are_oscars():
    x, y = correlated()
    model = OWLRegressor(0.02, decay=0.25).fit(x, y)
    assert np.allclose(model.w_, oscar_weights(24, 0.75, 0.25 / 23).numpy())
    assert OWLRegressor(0.02).fit(x[:, :1], y).w_.tolist() == [1.0]


def test_a_warm_start_needs_few_steps():
    x, y = correlated(d=200, n=100)
    model = OWLRegressor(0.02, warm_start=True)
    cold = model.fit(x, y).n_iter_
    first = model.coef_.copy()
    assert model.fit(x, y).n_iter_ < cold / 5
    assert np.allclose(model.coef_, first, atol=1e-9)
    assert model.fit(x[:, :50], y).coef_.shape == (50,)  # other data: a cold start


@pytest.mark.parametrize("responses", [1, 3])
def test_a_path_is_what_single_fits_give(responses):
    x, y = correlated(responses=responses)
    kind = OWLRegressor if responses == 1 else GrOWLRegressor
    path = kind().path(x, y, n_alphas=6, eps=0.01)
    assert isinstance(path, RegularizationPath)
    assert path.alphas[0] == pytest.approx(kind().alpha_max(x, y))
    assert path.alphas[-1] == pytest.approx(0.01 * path.alphas[0])
    assert not path.coefs[0].any()
    assert (path.gaps <= 1e-8).all()
    for alpha, coef, intercept in zip(path.alphas, path.coefs, path.intercepts, strict=True):
        model = kind(alpha).fit(x, y)
        assert np.allclose(coef, model.coef_, atol=1e-6)  # both within the gap; they came there by other steps
        assert intercept == pytest.approx(model.intercept_, abs=1e-6)


def test_a_path_takes_strengths_and_leaves_the_estimator_alone():
    x, y = correlated()
    model = OWLRegressor(7.0)
    path = model.path(x, y, alphas=[0.01, 0.1])
    assert path.alphas.tolist() == [0.1, 0.01]
    assert model.alpha == 7.0
    assert not hasattr(model, "coef_")


def test_in_a_pipeline_and_a_search():
    x, y = load_diabetes(return_X_y=True)
    search = GridSearchCV(make_pipeline(StandardScaler(), OWLRegressor()), {"owlregressor__alpha": [0.1, 1.0, 10.0]})
    assert search.fit(x, y).best_score_ > 0.45


def test_many_features_ill_conditioned():
    """Neighbours correlated above 0.99, as in spectra: the working set must grow, and the gap must close."""
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.normal(size=(80, 1000)), axis=1) / 10
    y = x[:, 300] - x[:, 700] + 0.1 * rng.normal(size=80)
    model = OWLRegressor(w=functools.partial(slope_bh_weights, q=0.2))
    model.set_params(alpha=0.01 * model.alpha_max(x, y))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.fit(x, y)
    assert model.dual_gap_ <= 1e-8 * np.sum((y - y.mean()) ** 2) / len(y) / 2
    w = torch.from_numpy(model.alpha * model.w_)
    step = torch.from_numpy(model.coef_ - 1e-3 * loss_gradient(model, x, y)[:, 0])
    assert torch.allclose(prox_owl(step, w, step_size=1e-3), torch.from_numpy(model.coef_), atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("responses", [1, 3])
def test_spectra_whose_channels_are_nearly_one(decay, responses):
    """Every pair of channels correlated above .96: plain FISTA would need tens of thousands of steps."""
    datasets = pytest.importorskip("tyinglib.book.datasets", reason="the book's data are not with the library")
    train = datasets.tecator(dtype=torch.float64).train
    x = ((train.x - train.x.mean(0)) / train.x.std(0)).numpy()
    y = train.y.numpy()[:, 1] if responses == 1 else train.y.numpy()
    kind = OWLRegressor if responses == 1 else GrOWLRegressor
    model = kind(decay=decay, max_iter=2000)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.set_params(alpha=0.005 * model.alpha_max(x, y)).fit(x, y)
    square = np.sum((y - y.mean(0)) ** 2) / len(y) / 2
    assert model.dual_gap_ <= 1e-8 * square
    assert 0 < np.count_nonzero(model.labels_ >= 0) < 100 or decay == 1


def test_the_working_set_grows_until_nothing_outside_pushes():
    """Flat truth: far more features are alive than are looked at first."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 600))
    y = x @ np.ones(600)
    model = OWLRegressor(0.01, decay=0.1).fit(x, y)
    assert np.count_nonzero(model.coef_) > 2 * _solver.SMALLEST_SET
    assert model.dual_gap_ <= 1e-8 * np.sum((y - y.mean()) ** 2) / len(y) / 2


def test_fista_alone_gets_there_too(monkeypatch):
    """Where a Newton step would be too large a system."""
    x, y = correlated(responses=3)
    exact = GrOWLRegressor(0.05).fit(x, y)
    monkeypatch.setattr(_solver, "LARGEST_SYSTEM", 0)
    plain = GrOWLRegressor(0.05).fit(x, y)
    assert plain.n_iter_ > 2 * exact.n_iter_
    assert np.allclose(plain.coef_, exact.coef_, atol=1e-3)


def test_too_few_steps_are_said_with_what_to_do():
    x, y = correlated(d=200)
    with pytest.warns(ConvergenceWarning, match=r"max_iter=3 steps with a duality gap of .* above tol=1e-08.*raise"):
        model = OWLRegressor(0.001, max_iter=3).fit(x, y)
    assert model.n_iter_ == 3
    assert model.dual_gap_ > 0


@pytest.mark.parametrize("y", [np.ones(60), np.zeros(60)])
def test_a_constant_response_gives_zeros(y):
    model = OWLRegressor(0.1).fit(correlated()[0], y)
    assert not model.coef_.any()
    assert model.intercept_ == pytest.approx(y[0])
    assert set(model.labels_) == {-1}


def test_features_that_are_constant():
    x, y = correlated()
    assert not OWLRegressor(0.1).fit(np.ones_like(x), y).coef_.any()
    x[:, 3] = 2.0
    assert OWLRegressor(0.1).fit(x, y).coef_[3] == 0


def test_integers_and_single_precision_are_computed_in_double():
    x, y = make_regression(40, 5, random_state=0)
    model = OWLRegressor(0.1).fit(x.astype(np.float32), y.astype(np.float32))
    assert model.coef_.dtype == np.float64
    assert OWLRegressor(0.1).fit((10 * x).astype(int), y).coef_.dtype == np.float64


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 0.0}, r"alpha must be a finite number > 0, got 0.0"),
        ({"alpha": np.nan}, r"alpha must be a finite number > 0, got nan"),
        ({"alpha": True}, r"alpha must be a finite number > 0, got True"),
        ({"tol": -1.0}, r"tol must be a finite number > 0, got -1.0"),
        ({"max_iter": 0}, r"max_iter must be a whole number >= 1, got 0"),
        ({"decay": 1.5}, r"decay must be a number in 0..1, got 1.5"),
        ({"w": [1.0, 2.0]}, r"w must have one number for each of 24 entries"),
        ({"w": np.arange(24)}, r"w must fall, but w\[0\] = 0 < w\[1\]"),
        ({"w": np.zeros(24)}, "w must begin above zero, got only zeros"),
        ({"w": lambda d: [np.nan] * d}, r"w must be finite"),
    ],
)
def test_settings_out_of_range(settings, message):
    x, y = correlated()
    with pytest.raises(ValueError, match=message):
        OWLRegressor(**settings).fit(x, y)


def test_data_that_does_not_fit():
    x, y = correlated()
    with pytest.raises(ValueError, match="NaN"):
        OWLRegressor().fit(np.where(x == x[3, 4], np.nan, x), y)
    with pytest.raises(ValueError, match="should be a 1d array"):
        OWLRegressor().fit(x, correlated(responses=3)[1])
    with pytest.raises(ValueError, match=r"positive sum|non-zero"):
        OWLRegressor().fit(x, y, sample_weight=np.zeros(60))
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        OWLRegressor().fit(x, y, sample_weight=-np.ones(60))
    with pytest.raises(ValueError, match="must be of a size between"), np.errstate(all="ignore"):
        OWLRegressor().fit(1e200 * x, 1e200 * y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alphas": [0.1, -1.0]}, "alphas must be a list of finite numbers > 0"),
        ({"alphas": []}, "alphas must be a list of finite numbers > 0"),
        ({"eps": 1.0}, "eps must be a number strictly between 0 and 1"),
        ({"n_alphas": 0}, "n_alphas must be a whole number >= 1"),
    ],
)
def test_paths_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        OWLRegressor().path(*correlated(), **settings)


def test_a_path_needs_a_feature_that_moves_with_the_response():
    with pytest.raises(ValueError, match="give alphas"):
        OWLRegressor().path(correlated()[0], np.ones(60))
