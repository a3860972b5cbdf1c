"""Chapter 11's headlines, with seeds that it does not show."""

import pytest
import torch

from tyinglib.book.cells import load
from tyinglib.book.chapter import accuracy as measured_accuracy
from tyinglib.book.datasets import Split

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_a_tied_table_is_worse_early_and_better_late_on_little_text():
    chapter = load(11, ["ids", "SMALL", "curve"])
    untied, tied = (
        torch.tensor([chapter["curve"](is_tied, seed) for seed in range(100, 105)]).mean(0) for is_tied in (False, True)
    )
    print(untied.tolist(), tied.tolist())
    assert (tied[:2] > untied[:2]).all()
    assert tied[-1] < untied[-1]


def test_tied_turns_read_turned_digits_and_cost_a_little_upright():
    chapter = load(11, ["turned_labels", "Turns", "train_turns"])
    test, turn = chapter["test"], chapter["quarter_turns"]

    def accuracy(is_tied, turn_images):
        models = [chapter["train_turns"](is_tied, turn_images, seed) for seed in range(100, 105)]
        images = [Split(turn(test.x, turns), test.y) for turns in range(4)]
        return torch.tensor([[measured_accuracy(model, each) for each in images] for model in models]).mean(0)

    plain, trained, tied = accuracy(0, 0), accuracy(0, 1), accuracy(1, 0)
    print(plain.tolist(), trained.tolist(), tied.tolist())
    assert tied.max() - tied.min() < 1e-9
    assert tied[0] < plain[0]
    assert plain[1] < 25 < 80 < tied[1]
    assert trained.mean() < tied.mean()
