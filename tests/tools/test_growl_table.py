"""The full-length study in miniature: its steps by hand are torch's, its ensembles are its single runs."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks.growl import results, ties
from benchmarks.growl.__main__ import chunks
from benchmarks.growl.measure import measure
from benchmarks.growl.plan import PENALTIES, Run, runs
from benchmarks.growl.settings import ROWS, Settings
from benchmarks.growl.stage_one import Ensemble, Images, batches, learn
from benchmarks.growl.stage_two import average, retrain
from tyinglib import GrOWL, selection

SHORT = {"hidden": 12, "batch": 16, "epochs": 3, "retrain": 2, "lr": 0.05}


@pytest.fixture(scope="module")
def images():
    """Ten kinds of 36 pixels, of which the last six are always dark."""
    generator = torch.Generator().manual_seed(0)
    spots = torch.rand(10, 36, generator=generator).round()
    y = torch.arange(100) % 10
    x = (0.7 * spots[y] + 0.3 * torch.rand(100, 36, generator=generator)).float()
    x[:, 30:] = 0
    return Images(x, y, {"validation": (x[:40], y[:40]), "test": (x[40:], y[40:])})


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_step_is_the_step_of_torch(images, batch_norm):
    settings = Settings(decay=0.01, batch_norm=batch_norm, **SHORT)
    ensemble = Ensemble([replace(settings, decay=0.0), settings], [0, 1], images)
    first, norm, last = nn.Linear(36, 12), nn.BatchNorm1d(12, eps=1e-3, momentum=0.01), nn.Linear(12, 10)
    pairs = [(first.weight, "W"), (first.bias, "b"), (last.weight, "V"), (last.bias, "c")]
    with torch.no_grad():
        for parameter, name in pairs:
            parameter.copy_(getattr(ensemble, name)[1].T.reshape(parameter.shape))
    middle = [nn.ReLU(), norm] if batch_norm else [nn.ReLU()]
    model = nn.Sequential(first, *middle, last)
    groups = [{"params": [p for p, _ in pairs], "weight_decay": 0.01}, {"params": list(norm.parameters())}]
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9)
    for rows in batches(ensemble):
        ensemble.step(rows, torch.full((2, 1, 1), 0.05))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images.x[rows[1]]), images.y[rows[1]]).backward()
        optimizer.step()
    for parameter, name in pairs:
        torch.testing.assert_close(getattr(ensemble, name)[1].T.reshape(parameter.shape), parameter.detach())
    if batch_norm:
        torch.testing.assert_close(ensemble.mean[1, 0], norm.running_mean)
        torch.testing.assert_close(ensemble.gamma[1, 0], norm.weight.detach())


def test_an_ensemble_is_its_single_runs(images):
    members = [
        replace(ROWS[row], **SHORT, lambda1=strength) for row, strength in zip(PENALTIES, (1, 2, 0.5, 1), strict=True)
    ]
    together = Ensemble(members, range(4), images)
    learn(together)
    for i, settings in enumerate(members):
        alone = Ensemble([settings], [i], images)
        learn(alone)
        assert torch.equal(alone.alive[0], together.alive[i])
        torch.testing.assert_close(alone.layer_one()[0], together.layer_one()[i])


def test_once_an_epoch_the_penalty_takes_its_step(images):
    settings = replace(ROWS["GrOWL"], **SHORT)
    ensemble = Ensemble([settings], [0], images)
    before = ensemble.layer_one()[0].clone()
    ensemble.shrink(1.0, [1e-3])
    expected = GrOWL(settings.weights(36), dim=0).prox(before, 1e-3)
    torch.testing.assert_close(ensemble.layer_one()[0], expected)
    ensemble.W[0] = before
    ensemble.members[0] = replace(settings, exact=True)
    ensemble.shrink(2.0, [1e-4])  # two steps owed, ten times as long under momentum 0.9
    torch.testing.assert_close(ensemble.layer_one()[0], GrOWL(settings.weights(36), dim=0).prox(before, 2e-3))


def test_a_row_at_zero_stays_there_and_leaves_the_products(images):
    ensemble = Ensemble([Settings("group lasso", 1.0, **SHORT)], [0], images)
    ensemble.W[0, :10] = 0
    ensemble.mask()
    assert ensemble.W.shape[1] == ensemble.read.shape[1] == 26
    learn(ensemble)
    assert not ensemble.layer_one()[0, :10].any()
    returns = Ensemble([Settings("group lasso", 1e-3, masks=False, **SHORT)], [0], images)
    returns.W[0, :10] = 0
    returns.mask()
    learn(returns)
    assert returns.layer_one()[0, :10].any()


def test_runs_that_break_off_say_why(images):
    dead = Ensemble([Settings("group lasso", 1e3, **SHORT)], [0], images)
    trajectory = learn(dead)[0]
    assert dead.ended == ["0 rows left after epoch 1"]
    assert trajectory[-1]["alive"] == 0
    wild = replace(ROWS["none"], **{**SHORT, "lr": 1e4, "batch_norm": False, "epochs": 3})
    blown = Ensemble([wild], [0], images)
    learn(blown)
    assert blown.ended[0].startswith("diverged: loss ")
    steep = Ensemble([replace(wild, penalty="GrOWL", lambda1=1e-9, exact=True)], [0], images)
    learn(steep)
    assert steep.ended[0].startswith("diverged")


def test_the_three_readings_of_the_weights():
    growl = ROWS["GrOWL + l2"]
    paper, released, oscar = (replace(growl, ramp=ramp).weights(784) for ramp in ("paper", "released", "oscar"))
    assert float(paper[0]) == pytest.approx(12 + 392 * 0.235)
    assert [float(released[0]), float(oscar[0])] == pytest.approx([12 + 783 * 0.235] * 2)
    assert [int((w > 12).sum()) for w in (paper, released, oscar)] == [392, 390, 783]
    with pytest.raises(ValueError, match=r'"paper", "released" or "oscar"'):
        replace(growl, ramp="steep").weights(784)


def test_the_rate_falls_every_ten_epochs_and_stays_there_in_stage_two():
    settings = ROWS["GrOWL"]
    rates = [settings.rate(epoch, 429, 55_000) for epoch in (0, 9, 10, 299)]
    assert rates == pytest.approx([1e-3, 1e-3 * 0.96**0, 1e-3 * 0.96, 1e-3 * 0.96**29])


def test_averaging_is_the_projection_onto_the_tie():
    weight = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, -1, 0, 2, 1, 1])
    torch.testing.assert_close(average(weight, labels), selection.project(weight, labels, dim=0))


def test_stage_two_ends_with_equal_rows(images):
    ensemble = Ensemble([Settings("group lasso", 0.1, **SHORT)], [0], images)
    learn(ensemble)
    labels = torch.arange(36)[None] % 5
    scores = retrain(ensemble, labels)
    whole = ensemble.layer_one()[0]
    assert torch.equal(whole[:5], whole[5:10])
    assert len(scores[0]["test"]) == SHORT["retrain"]


def test_similarity_by_hand():
    rows = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    expected = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(ties.similarity(rows), expected)
    assert float(ties.similarity(rows, "norm_euclidean")[0, 1]) == -1.0  # a distance of 1 by a length of 1
    labels, about = ties.groups(rows, 0.4)
    assert about["groups"] == len(labels.unique()) == 2
    assert labels[0] == labels[1]


def test_entries_are_kept_and_not_made_again(images, tmp_path):
    path = tmp_path / "table.json"
    gentle = replace(ROWS["GrOWL"], lambda1=0.1, lambda2=1e-3, **SHORT)
    chosen = [Run("table", gentle, 0), Run("stability", gentle, 1)]
    for run in chosen:
        results.add(run.key, measure([run], images)[0], path)
    stored = results.load(path)
    assert list(stored) == sorted(run.key for run in chosen)
    entry = stored[chosen[0].key]
    assert entry["groups"] == entry["ties"]["0.6"]["groups"]
    assert len(entry["retrained"]["test"]) == SHORT["retrain"]
    assert entry["rows"] == entry["alive"].count("1") == len(entry["by_norm"].split())
    assert "retrained" not in stored[chosen[1].key]
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2 + len(chosen)
    json.loads(path.read_text(encoding="utf-8"))


def test_the_plan_has_every_row_with_five_seeds_and_each_run_once():
    plan = runs()
    assert len({run.key for run in plan}) == len(plan)
    for row in ROWS:
        assert {run.seed for run in plan if run.settings == ROWS[row]} >= set(range(5))
    for row in PENALTIES:
        assert {run.seed for run in plan if run.settings == ROWS[row]} == set(range(10))
    together = chunks(plan, 128)
    assert sorted(run.key for chunk in together for run in chunk) == sorted(run.key for run in plan)
    assert all(run.settings.batched_with == chunk[0].settings.batched_with for chunk in together for run in chunk)
