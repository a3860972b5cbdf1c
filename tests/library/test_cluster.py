"""Bootstraps on a Dask cluster, through joblib: two workers, and the same numbers as one process gives."""

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Lasso
from sklearn.model_selection import GridSearchCV

from tyinglib import OWLRegressor, bootstrap_selection

distributed = pytest.importorskip("distributed")
# tornado and dask close what they opened when they are collected, some of it late
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_bootstraps_are_those_of_one_process(client):
    x, y = load_diabetes(return_X_y=True)
    alone = bootstrap_selection(Lasso(alpha=0.5), x, y, n_bootstraps=12, seed=3)
    with joblib.parallel_config(backend="dask"):
        together = bootstrap_selection(Lasso(alpha=0.5), x, y, n_bootstraps=12, seed=3, n_jobs=-1)
    assert np.array_equal(alone, together)
    assert len(client.scheduler_info()["workers"]) == 2


def test_a_sweep_of_strengths(client):
    x, y = load_diabetes(return_X_y=True)
    sweep = GridSearchCV(OWLRegressor(), {"alpha": [0.01, 0.1]}, cv=2, scoring="r2")
    alone = sweep.fit(x, y).cv_results_["mean_test_score"]
    with joblib.parallel_config(backend="dask"):
        together = sweep.set_params(n_jobs=-1).fit(x, y).cv_results_["mean_test_score"]
    assert np.array_equal(alone, together)
