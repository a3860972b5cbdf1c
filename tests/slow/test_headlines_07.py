"""Chapter 7 again, with other bootstraps, folds and made data: the verdicts must stand."""

import numpy as np
import pytest
import torch

from tyinglib import selection_stability
from tyinglib.book.cells import load

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chapter():
    before = torch.get_default_dtype()
    names = ["X", "fit", "tied_pairs", "centred", "elastic_net", "strengths", "cv_error", "summary", "runs"]
    names += ["widened", "times_tied"]
    yield load(7, names)
    torch.set_default_dtype(before)


@pytest.mark.parametrize("seed", [100, 101])
def test_the_gentle_slope_is_more_stable_than_the_lasso_its_groups_are_not_and_widening_does_as_well(chapter, seed):
    runs = {name: chapter["bootstraps"](name, seed=seed)[:, -1] for name in ("Lasso", "OWL to 1/2")}
    errors = {name: chapter["cv_error"](name, seed=seed)[-1] for name in runs}
    assert abs(errors["Lasso"] - errors["OWL to 1/2"]) < 0.2
    lasso, owl = (chapter["summary"](coefs) for coefs in runs.values())
    assert abs(lasso["free"] - owl["free"]) < 1
    assert owl["set"].phi > lasso["set"].phi + 0.1
    assert owl["ties"].phi < lasso["set"].phi
    widened = selection_stability(chapter["widened"](runs["Lasso"] != 0))
    assert widened.phi > owl["set"].phi - 0.1


@pytest.mark.parametrize("seed", [100, 101])
def test_an_elastic_net_of_the_same_error_is_more_stable_than_owl_and_has_more_values(chapter, seed):
    share = chapter["shares"][[-1]]
    owl = chapter["summary"](chapter["bootstraps"]("OWL to 1/2", seed=seed)[:, -1])
    target = chapter["cv_error"]("OWL to 1/2", seed=seed)[-1]
    for name, factor in {"elastic net 0.9": 0.5, "elastic net 0.95": 0.7}.items():
        assert abs(chapter["cv_error"](name, seed=seed, shares=factor * share)[0] - target) < 0.2
        net = chapter["summary"](chapter["bootstraps"](name, seed=seed, shares=factor * share)[:, 0])
        assert net["set"].phi > owl["set"].phi
        assert net["free"] > 3 * owl["free"]


def test_ties_depend_on_effects_on_correlation_and_on_strength(chapter):
    seeds = range(100, 120)
    tied = chapter["times_tied"]
    assert tied(0.5, 0.0, (1.0, 1.0), seeds) > 0
    assert tied(0.5, 0.0, (2.0, 0.0), seeds) == 0
    assert tied(0.5, 0.99, (2.0, 0.0), seeds) > 15
    assert tied(0.1, 0.99, (2.0, 0.0), seeds) > 5
    assert tied(0.02, 0.99, (2.0, 0.0), seeds) <= 5
    assert np.isclose(tied(0.5, 0.99, (1.0, 1.0), seeds), 20, atol=1)
