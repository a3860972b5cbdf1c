"""One run of the two stages. The defaults are what the released code sets; a run names what it changes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from tyinglib import GroupLasso, GrOWL, Penalty, pld_weights

PUBLISHED = {  # Zhang et al. (2018), table 1 and section 4.1: percent, but for sharing and compression
    "none": {"sparsity": 0.0, "sharing": 1.0, "compression": 1.0, "accuracy": 98.3},
    "weight decay": {"sparsity": 0.0, "sharing": 1.6, "compression": 1.6, "accuracy": 98.4},
    "group lasso": {"sparsity": 87.6, "sharing": 1.9, "compression": 15.8, "accuracy": 98.1, "changed": 11.09},
    "group lasso + l2": {"sparsity": 93.2, "sharing": 1.6, "compression": 23.7, "accuracy": 98.0, "changed": 32.07},
    "GrOWL": {"sparsity": 80.4, "sharing": 3.2, "compression": 16.7, "accuracy": 98.1, "changed": 0.59},
    "GrOWL + l2": {"sparsity": 83.6, "sharing": 3.9, "compression": 24.1, "accuracy": 98.1, "changed": 0.62},
}


@dataclass(frozen=True)
class Settings:
    """What a run does. Rows are the outgoing weights of one pixel; only those of layer 1 are penalised and counted."""

    penalty: str = "none"  # or "group lasso", "GrOWL"
    lambda1: float = 0.0
    lambda2: float = 0.0
    ramp: str = "paper"  # how GrOWL's weights fall: see `weights`
    decay: float = 0.0  # of all weights and biases, decay / 2 ||.||^2
    hidden: int = 300
    batch: int = 128
    epochs: int = 300
    retrain: int = 100
    lr: float = 1e-3
    lr_factor: float = 0.96  # every `lr_every` epochs
    lr_every: int = 10
    momentum: float = 0.9
    init_scale: float = 1.0  # of the weights' standard deviation sqrt(2 / units)
    batch_norm: bool = True  # after the ReLU
    bn_eps: float = 1e-3
    bn_momentum: float = 0.99  # of the running mean and variance
    centred: bool = False  # each pixel less its mean
    prox_every: int = 0  # steps; 0: once an epoch. The step size is that share of an epoch's
    prox_epochs: int = 1  # of how many epochs one has a prox at its end
    exact: bool = False  # the step size that momentum asks for, lr * steps / (1 - momentum): ProxSGD's
    masks: bool = True  # a row that is zero at the end of an epoch stays zero
    preference: float = 0.6
    retrain_lr: str = "last"  # the rate of stage one's last step, as the released code does; or "again"

    @property
    def name(self) -> str:
        """The row of the table, and what differs from the released settings."""
        base = asdict(ROWS[self.row])
        changed = [f"{key} {value}" for key, value in asdict(self).items() if value != base[key]]
        return ", ".join([self.row, *changed])

    @property
    def row(self) -> str:
        """The row of the published table that it belongs to."""
        if self.penalty == "none":
            return "weight decay" if self.decay else "none"
        return f"{self.penalty} + l2" if self.decay else self.penalty

    def weights(self, n: int) -> Tensor:
        """The penalty's weight of the longest row, the next, and so on.

        "paper": lambda1 + lambda2 (p - i + 1) for the first p = n / 2, as printed (and, less one step, as in the first
        upload of the code). "released": the ramp of the last upload, from n - 1 to 0 within those p, twice as steep.
        "oscar": from n - 1 to 0 over all n.
        """
        if self.ramp == "paper":
            return pld_weights(n, self.lambda1, self.lambda2, p=n // 2)
        if self.ramp == "oscar":
            return pld_weights(n, self.lambda1, self.lambda2) - self.lambda2
        if self.ramp == "released":
            steps = n // 2 - 1
            ramp = torch.cat([torch.linspace(n - 1, 0, steps, dtype=torch.float64), torch.zeros(n - steps)])
            return self.lambda1 + self.lambda2 * ramp
        raise ValueError(f'ramp must be "paper", "released" or "oscar", got {self.ramp!r}')

    def proximal(self, n: int) -> Penalty | None:
        """The penalty on layer 1, whose weight is (rows, units)."""
        if self.penalty == "group lasso":
            return GroupLasso(self.lambda1, dim=0)
        if self.penalty == "GrOWL":
            return GrOWL(self.weights(n), dim=0)
        if self.penalty == "none":
            return None
        raise ValueError(f'penalty must be "none", "group lasso" or "GrOWL", got {self.penalty!r}')

    def rate(self, epoch: int, steps_per_epoch: int, examples: int) -> float:
        """The learning rate of an epoch's last step; the released code counts in whole steps."""
        step = (epoch + 1) * steps_per_epoch - 1
        return self.lr * self.lr_factor ** (step // int(examples / self.batch * self.lr_every))

    @property
    def batched_with(self) -> tuple[Any, ...]:
        """Runs of which this is the same can train as one ensemble."""
        names = ("hidden", "batch", "epochs", "retrain", "momentum", "batch_norm", "centred")
        names += ("prox_every", "prox_epochs", "exact")
        return tuple(getattr(self, name) for name in names)


ROWS = {
    "none": Settings(epochs=400, retrain=0),
    "weight decay": Settings(decay=0.01),
    "group lasso": Settings("group lasso", 60.0),
    "group lasso + l2": Settings("group lasso", 80.0, decay=1e-3),
    "GrOWL": Settings("GrOWL", 12.0, 0.215),
    "GrOWL + l2": Settings("GrOWL", 12.0, 0.235, decay=1e-3),
}
