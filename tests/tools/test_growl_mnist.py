"""The two stages on a made-up set in seconds: every method, what the entries hold, and going on after a break."""

import json
from dataclasses import replace

import pytest
import torch

from benchmarks.growl.report import changed_indices
from benchmarks.growl_mnist.measure import Bench, measure
from benchmarks.growl_mnist.plan import MAGNITUDE, SHIFTED, Grid, Job, Plan, chosen
from benchmarks.growl_mnist.stage_one import learn, network
from benchmarks.growl_mnist.stage_two import retrain
from benchmarks.growl_mnist.ties import ties_for
from tyinglib import tie
from tyinglib.book.datasets import Split, Splits

PLAN = Plan(
    hidden=12,
    batch=32,
    epochs=3,
    penalised=3,
    retrain=2,
    retrain_shifted=2,
    assign=2,
)
GRID = Grid(
    seeds=2,
    stability_seeds=3,
    groups=(4,),
    learned=(5,),
    kept=(20,),
    strengths=(("group lasso, exact", (0.01, 0.1)), ("GrOWL + l2, published", (0.05,))),
)


def images(n, seed):
    """Ten kinds of 6 x 6 images: bright spots at the kind's places, noise, and a border that is always dark."""
    generator = torch.Generator().manual_seed(seed)
    spots = torch.rand(10, 6, 6, generator=torch.Generator().manual_seed(0)).round()
    y = torch.arange(n) % 10
    x = (0.7 * spots[y] + 0.3 * torch.rand(n, 6, 6, generator=generator)) * torch.nn.functional.pad(
        torch.ones(4, 4), (1, 1, 1, 1)
    )
    return Split(x.flatten(1), y)


@pytest.fixture(scope="module", autouse=True)
def single_precision():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="module")
def splits():
    return Splits(images(200, 1), images(60, 2), images(60, 3))


@pytest.fixture(scope="module")
def whole(splits, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "results" / "growl.json"
    measure(splits, PLAN, GRID, path)
    return path


def test_a_run_that_was_interrupted_gives_the_same_file(splits, whole, tmp_path):
    path = tmp_path / "growl.json"
    for limit in (1, 6, 10):
        measure(splits, PLAN, GRID, path, limit=limit)
    assert len(json.loads(path.read_text(encoding="utf-8"))["results"]) == 17
    measure(splits, PLAN, GRID, path)
    assert path.read_text(encoding="utf-8") == whole.read_text(encoding="utf-8")
    measure(splits, PLAN, GRID, path, limit=1)  # nothing is left to do
    assert path.read_text(encoding="utf-8") == whole.read_text(encoding="utf-8")


def test_another_plan_does_not_mix_with_the_stored_one(splits, whole):
    with pytest.raises(ValueError, match="another plan"):
        measure(splits, replace(PLAN, epochs=4), GRID, whole)


def test_entries_say_what_the_counts_say(whole):
    results = json.loads(whole.read_text(encoding="utf-8"))["results"].values()
    tied = [entry for entry in results if entry.get("n_groups")]
    assert {entry["ties"] for entry in tied} == {"affinity", "kmeans", "learned", "random"}
    assert {entry["teaching"] for entry in tied} == {"labels", "teacher", "shifts"}
    for entry in tied:
        labels = torch.tensor([int(label) for label in entry["labels"].split()])
        assert entry["compression"] == pytest.approx(36 / entry["n_groups"])
        assert entry["sharing"] == pytest.approx(int((labels >= 0).sum()) / entry["n_groups"])
        assert entry["sparsity"] == pytest.approx(100 * float((labels < 0).double().mean()))
        assert 0 <= entry["accuracy"] <= 100
    assert max(entry["accuracy"] for entry in tied) > 50


def test_what_is_reported_was_chosen_on_validation(splits, whole):
    results = json.loads(whole.read_text(encoding="utf-8"))["results"]
    strength = chosen("group lasso, exact", PLAN, GRID, results)
    reported = {e["strength"] for e in results.values() if e["phase"] == "report" and e["method"] == "group lasso"}
    assert reported == {strength}
    without = {key: entry for key, entry in results.items() if entry["phase"] == "report"}
    assert chosen("group lasso, exact", PLAN, GRID, without) is None
    bench = Bench(splits, PLAN)
    assert torch.equal(bench.data["choose"].held.x, splits.validation.x)
    assert torch.equal(bench.data["report"].held.x, splits.test.x)
    assert len(bench.data["choose"].x) == 200
    assert len(bench.data["report"].x) == 260


def test_magnitude_pruning_keeps_the_rows_that_matter_most(whole):
    results = json.loads(whole.read_text(encoding="utf-8"))["results"]
    pruned = [entry for entry in results.values() if entry["method"] == MAGNITUDE]
    assert {entry["ties"] for entry in pruned} == {"affinity", "kmeans"}
    for entry in pruned:
        plain = results[f"report | none | - | 0.0 | - | 0 | labels | {entry['seed']}"]
        best = {int(place) for place in plain["by_contribution"].split()[:20]}
        assert {place for place, mark in enumerate(entry["alive"]) if mark == "1"} == best


def test_the_pixels_are_ranked_by_their_deviation_without_a_network(splits, whole):
    results = json.loads(whole.read_text(encoding="utf-8"))["results"]
    (order,) = (entry["by_deviation"] for entry in results.values() if entry["phase"] == "data")
    deviation = torch.cat([splits.train.x, splits.validation.x]).std(0)[[int(place) for place in order.split()]]
    assert len(deviation) == 36
    assert (deviation.diff() <= 0).all()


def test_learned_groups_have_a_rival_from_the_same_start(whole):
    results = json.loads(whole.read_text(encoding="utf-8"))["results"].values()
    for ties in ("learned", "kmeans"):
        found = [e for e in results if e["method"] == SHIFTED and e["ties"] == ties]
        assert [(e["groups"], e["teaching"], e["seed"]) for e in found] == [(5, "shifts", 0), (5, "shifts", 1)]


def test_retraining_starts_at_the_tied_network(splits):
    plan = replace(PLAN, retrain=0)
    bench = Bench(splits, plan)
    job = Job("choose", "none", "-", 0.0, "kmeans", 5, "labels", 0)
    data = bench.data["choose"]
    model = learn(job, data, plan)
    ties = ties_for(job, model, data, plan)
    tie(model[0], "weight", ties)
    before = model(data.held.x)
    retrain(model, ties, None, job, data, plan)
    assert torch.allclose(model(data.held.x), before, atol=1e-4)


def test_shifts_move_by_one_pixel(splits):
    data = Bench(splits, PLAN).data["choose"]
    moved = data.shifted()
    assert torch.equal(moved[4], torch.arange(36))
    picture = data.x[:1].view(6, 6)
    assert torch.equal(data.x[0, moved[7]].view(6, 6)[1:], picture[:-1])  # one down
    assert torch.equal(data.x[0, moved[5]].view(6, 6)[:, 1:], picture[:, :-1])  # one to the right


@pytest.mark.parametrize("protocol", ["exact", "published"])
@pytest.mark.parametrize("method", ["group lasso", "group lasso + l2", "GrOWL", "GrOWL + l2"])
def test_a_strong_penalty_leaves_no_rows_and_a_weak_one_all(splits, method, protocol):
    data = Bench(splits, PLAN).data["choose"]
    kept = []
    for strength in (0.0, 100.0):
        job = Job("choose", method, protocol, strength, "affinity", 0, "labels", 0)
        kept.append(int(learn(job, data, PLAN)[0].weight.any(0).sum()))
    assert kept == [36, 0]
    entry = Bench(splits, PLAN).run(job)
    assert (entry["n_groups"], entry["accuracy"]) == (0, None)


def test_changed_indices_is_the_published_figure():
    selected = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0]])
    assert changed_indices(selected) == pytest.approx(100 * 1 / 3)  # each a half off, twice; three rows
    assert changed_indices(torch.tensor([[1, 0], [1, 0]])) == 0


def test_batch_norm_hides_the_length_of_the_rows(splits):
    """So a penalty on norms has no minimum here: shorter rows cost nothing until batch norm's eps shows."""
    data = Bench(splits, PLAN).data["choose"]
    model = network(data, PLAN, 0).double().train()
    x = data.x[:50].double()
    with torch.no_grad():
        model[2].eps = 1e-30
        before = model(x)
        model[0].weight.mul_(0.01)
        model[0].bias.mul_(0.01)
        assert torch.allclose(model(x), before)
