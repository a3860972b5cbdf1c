"""Epochs of shuffled batches; what they are drawn from; and the loss of a network with a teacher."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.growl_mnist.plan import Plan
from tyinglib.book.datasets import Split


class Data(NamedTuple):
    """What a phase fits on, and what it is scored on."""

    x: Tensor
    y: Tensor
    held: Split

    def shifted(self) -> Tensor:
        """(9, features): which pixel comes where when an image moves by up to one pixel; the fifth moves nothing."""
        side = round(self.x.shape[1] ** 0.5)
        places = torch.arange(side * side).view(side, side)
        moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        return torch.stack([places.roll(move, (0, 1)).flatten() for move in moves])


def descend(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Tensor, torch.Generator], Tensor],
    n: int,
    epochs: int,
    plan: Plan,
    seed: int,
    after_step: Callable[[], None] = lambda: None,
    after_epoch: Callable[[], None] = lambda: None,
) -> None:
    """Epochs of shuffled batches; the learning rate rises for a tenth of the steps, then falls to zero."""
    generator = torch.Generator().manual_seed(seed)
    per_epoch = max(n // plan.batch, 1)
    steps = per_epoch * epochs
    warm = max(steps // 10, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (steps - step) / max(steps - warm, 1))
    )
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(n, generator=generator)[: per_epoch * plan.batch].view(per_epoch, -1):
            optimizer.zero_grad()
            loss(rows, generator).backward()
            optimizer.step()
            after_step()
            schedule.step()
        after_epoch()
    model.eval()


def distillation(output: Tensor, told: Tensor, y: Tensor, temperature: float) -> Tensor:
    """A tenth of the labels' loss; nine tenths of the distance to the teacher's softened answers."""
    softly = functional.log_softmax(output / temperature, 1)
    target = functional.log_softmax(told / temperature, 1)
    distance = functional.kl_div(softly, target, log_target=True, reduction="batchmean")
    return 0.1 * functional.cross_entropy(output, y) + 0.9 * temperature**2 * distance
