"""The two stages on several layers, on a made-up set in seconds: what an entry holds, and how a strength is chosen."""

import growl_deeper
import pytest
import torch

from tyinglib.book.datasets import Split, Splits

NETWORKS = tuple(growl_deeper.NETWORKS)
PLAN = growl_deeper.Plan(
    batch=20,
    epochs=tuple((name, 2, 1) for name in NETWORKS),
    seeds=2,
    strengths=tuple((n, (1e-3, 1e3)) for n in NETWORKS),
)


def images(n, seed):
    """Ten kinds of noisy 28 x 28 images."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.rand(10, 784, generator=torch.Generator().manual_seed(0)).round()
    y = torch.arange(n) % 10
    return Split(0.7 * kinds[y] + 0.3 * torch.rand(n, 784, generator=generator), y)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    splits = Splits(images(60, 1), images(40, 2), images(40, 3))
    path = tmp_path_factory.mktemp("deeper") / "results.json"
    yield growl_deeper.run({name: splits for name in NETWORKS}, PLAN, path)
    torch.set_default_dtype(before)


def test_every_network_and_method_is_chosen_and_reported(results):
    assert sum(name.startswith("choose") for name in results) == 2 * 5
    assert sum(name.startswith("report") for name in results) == 2 * 3 * 2


def test_a_strength_that_leaves_nothing_is_said_and_never_reported(results):
    dead = [entry for name, entry in results.items() if "| 1000.0" in name]
    assert dead
    assert all(entry["accuracy"] is None and entry["layers"][-1]["groups"] == 0 for entry in dead)
    assert not any(name.startswith("report") and "| 1000.0" in name for name in results)


def test_entries_count_what_is_left(results):
    for entry in results.values():
        if entry["accuracy"] is not None:
            assert entry["compact"] <= entry["free"] <= entry["parameters"]
            for layer in entry["layers"]:
                assert 0 < layer["groups"] <= layer["alive"] <= layer["rows"]


def test_the_smallest_of_the_good_enough_is_chosen():
    plan = growl_deeper.Plan(strengths=(("net", (1.0, 2.0, 3.0)),))
    runs = {1.0: (95.0, 30), 2.0: (94.6, 20), 3.0: (90.0, 10)}
    results = {f"choose | net | GrOWL | {s}": {"accuracy": a, "free": free} for s, (a, free) in runs.items()}
    results["choose | net | none | 0.0"] = {"accuracy": 95.0}
    assert growl_deeper.chosen(results, "net", "GrOWL", plan) == 2.0
    results["choose | net | none | 0.0"] = {"accuracy": 99.0}
    assert growl_deeper.chosen(results, "net", "GrOWL", plan) == 1.0
