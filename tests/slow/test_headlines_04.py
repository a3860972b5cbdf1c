"""Chapter 4's headlines, with seeds that it does not show."""

import pytest
import torch

from tyinglib.book.cells import load

pytestmark = pytest.mark.slow
SEEDS = range(100, 110)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_equality_helps_when_tasks_agree_and_hurts_when_they_do_not():
    chapter = load(4, ["scores", "VIEWS", "SIZES", "Runs", "fit", "WAYS", "compare", "evidence"])
    table = {
        name: {size: chapter["compare"](view, size, SEEDS)[0] for size in chapter["SIZES"]}
        for name, view in chapter["VIEWS"].items()
    }
    for name, rows in table.items():
        for size, row in rows.items():
            print(name, size, {way: [round(float(r), 1) for r in runs.mean(1)] for way, runs in row.items()})
    assert chapter["evidence"](table)


def test_a_pull_without_end_is_hard_sharing_at_half_the_rate():
    chapter = load(4, ["scores", "loss_of", "LR", "hard_pair", "difference"])
    subset, rate = chapter["subset"], chapter["LR"]
    for seed in SEEDS:
        data = tuple(subset(chapter[part], 200, seed=seed) for part in ("first", "second"))
        pulled = chapter["pulled_pair"](1e9, data, seed)
        assert chapter["difference"](pulled, chapter["hard_pair"](data, seed, rate / 2)) < 1e-5
        assert chapter["difference"](pulled, chapter["hard_pair"](data, seed, rate)) > 0.1
