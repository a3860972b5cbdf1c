"""Chapter 5 again, with other seeds, other people and other numbers: the verdicts must stand."""

import numpy as np
import pytest
import torch

from tyinglib.book.cells import load

pytestmark = pytest.mark.slow
SEEDS = range(100, 105)


@pytest.fixture(scope="module")
def chapter():
    names = ["network", "fit", "path", "fresh", "by_lot", "stored", "file_bytes", "minimise"]
    before = torch.get_default_dtype()
    yield load(5, [*names, "lasso", "ridge", "EachL1", "penalties", "STRENGTHS"])
    torch.set_default_dtype(before)


@pytest.fixture(scope="module")
def races(chapter):
    """Pixels left, and accuracy on the path and of fresh networks, for each seed and strength."""
    fresh, order = chapter["fresh"], chapter["train"].x.var(0).argsort(descending=True)
    rows = {"left": [], "path": [], "group lasso": [], "variance": [], "lot": []}
    for seed in SEEDS:
        alive, scores = chapter["path"](seed)
        rows["left"].append([len(pixels) for pixels in alive])
        rows["path"].append(scores)
        rows["group lasso"].append([fresh(pixels, seed) for pixels in alive])
        rows["variance"].append([fresh(order[: len(pixels)], seed) for pixels in alive])
        rows["lot"].append([fresh(chapter["by_lot"](len(pixels), seed), seed) for pixels in alive])
    return {name: np.array(values, dtype=float).mean(0) for name, values in rows.items()}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_penalty_falls_and_single_weights_grow_for_a_random_half_of_the_people(chapter, seed):
    X, y = chapter["people"].data, chapter["people"].target
    half = np.random.RandomState(seed).permutation(len(y))[: len(y) // 2]
    chapter["X"] = (X[half] - X[half].mean(0)) / X[half].std(0)
    chapter["y"] = (y[half] - y[half].mean()) / y[half].std()
    chapter["n"] = len(half)
    lams = np.logspace(-3, 1, 41)
    lasso, ridge = (np.array([chapter[name](lam) for lam in lams]) for name in ("lasso", "ridge"))
    assert (np.diff(np.abs(lasso).sum(1)) <= 1e-8).all()
    assert (np.diff((ridge**2).sum(1)) <= 1e-8).all()
    assert (lasso == 0).sum() > 0.3 * lasso.size
    assert (ridge != 0).all()
    for weights in (lasso, ridge):
        assert (np.diff(np.abs(weights), axis=0) > 1e-4).any()


def test_the_survivors_beat_chance_but_not_a_sort_by_variance(races):
    few = slice(2, None)
    assert (races["group lasso"][few] > races["lot"][few] + 1).all()
    assert (races["group lasso"][3:] > races["lot"][3:] + 3).all()
    assert races["group lasso"].mean() < races["variance"].mean() + 1
    assert races["variance"][-1] > races["group lasso"][-1]


def test_trained_again_the_survivors_are_better_than_on_the_path(races):
    assert (races["group lasso"][3:] > races["path"][3:]).all()
    assert races["left"][-1] < 20 < 40 < races["left"][0]


@pytest.mark.parametrize("seed", SEEDS)
def test_each_penalty_makes_its_kind_of_zeros_and_only_what_is_left_out_saves_bytes(chapter, seed):
    models = {name: chapter["fit"](chapter["network"](seed), p) for name, p in chapter["penalties"].items()}
    alive = {name: model[0].weight.detach() != 0 for name, model in models.items()}
    right = {name: chapter["chapter"].accuracy(model, chapter["validation"]) for name, model in models.items()}
    assert min(right.values()) > right["none"] - 2.5
    assert alive["none"].all()
    assert alive["squared l2"].all()
    assert alive["l1"].sum() < 0.2 * alive["l1"].numel()
    assert alive["group lasso, pixels"].any(0).sum() < 45
    assert alive["group lasso, neurons"].any(1).sum() < 20
    whole, sparse, small = zip(*(chapter["stored"](model) for model in models.values()), strict=True)
    assert len(set(whole)) == 1
    assert sparse[0] > 1.5 * whole[0]
    assert sparse[2] < 0.5 * whole[2]
    assert small[4] < whole[4] / 1.5


@pytest.mark.parametrize("seed", SEEDS)
def test_only_the_filtered_prox_is_exact_on_random_problems(chapter, seed):
    draws = torch.Generator().manual_seed(seed)
    wanted = 3 * torch.randn(20, generator=draws)
    asked = 0.1 + 2 * torch.rand(20, generator=draws)
    start = 2 * torch.randn(20, generator=draws)

    def ends(way):
        def loss(x):
            return 0.5 * (x - wanted).square().sum()

        return chapter["minimise"](way, loss, start, chapter["EachL1"](asked), 0.05)

    def right(lam):
        return wanted - wanted.clamp(-lam, lam)

    assert torch.allclose(ends("ProxSGD"), right(asked), atol=1e-6)
    assert torch.equal(ends("ProxSGD") == 0, right(asked) == 0)
    assert torch.allclose(ends("SGD, then prox"), right(asked), atol=1e-6)
    assert torch.allclose(ends("momentum, then prox"), right(asked / 10), atol=1e-6)
    adam = ends("Adam, then prox")
    assert (adam[asked > 1.5].abs() < 0.1).all()
    assert (adam - right(asked)).abs().max() > 0.3
    assert (ends("penalty in the loss") != 0).all()
