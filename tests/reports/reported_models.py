"""The models that most reports are about: a language model whose head is its embedding, and two that share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TiedLM(nn.Module):
    """Tokens -> scores of tokens; ``head.weight`` is ``emb.weight``."""

    def __init__(self, tokens: int = 6, width: int = 4, *, tied: bool = True) -> None:
        super().__init__()
        self.emb = nn.Embedding(tokens, width)
        self.head = nn.Linear(width, tokens, bias=False)
        if tied:
            self.head.weight = self.emb.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.emb(x))

    @property
    def is_tied(self) -> bool:
        return self.head.weight is self.emb.weight


class Twice(nn.Module):
    """One layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = self.first

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


TOKENS = torch.tensor([1, 2, 5])
TIE = ("emb.weight", "head.weight")


def kinds(diagnoses: list) -> set[str]:
    """What was found."""
    return {diagnosis.kind for diagnosis in diagnoses}


def descend(model: nn.Module, loss: Tensor, lr: float = 0.1) -> None:
    """One step of plain descent on each parameter, once."""
    model.zero_grad()
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= lr * parameter.grad
