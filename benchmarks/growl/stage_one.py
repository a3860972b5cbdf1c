"""784-300-10, ReLU and then batch norm, trained as the released code does: many networks at once, by hand.

The networks of an ensemble differ in seed, strength and whatever else is one number a network; they see their own
batches. Everything is batched matrix products over the first axis, so the same lines serve one network on a CPU and
hundreds on a GPU::

    z = x W + b,  a = max(z, 0),  h = gamma (a - mean) / sqrt(var + eps) + beta,  logits = h V + c

Rows that are zero for good are left out of the products.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.growl.settings import Settings

GONE = torch.finfo(torch.float32).eps  # a row this short counts as zero
LEFT = 3  # with no more rows than these a run has ended
STATE = ("W", "b", "V", "c", "gamma", "beta")


@dataclass(frozen=True)
class Images:
    """What the networks fit, and what they are scored on; values 0 to 1, one image a row."""

    x: Tensor
    y: Tensor
    held: dict[str, tuple[Tensor, Tensor]]  # "validation", "test"

    def to(self, device: str) -> Images:
        """On another device."""
        held = {name: (x.to(device), y.to(device)) for name, (x, y) in self.held.items()}
        return Images(self.x.to(device), self.y.to(device), held)

    def centred(self) -> Images:
        """Each pixel less its mean over the images to fit."""
        mean = self.x.mean(0)
        return Images(self.x - mean, self.y, {name: (x - mean, y) for name, (x, y) in self.held.items()})


class Ensemble:
    """Networks under training. Every tensor has the network as its first axis."""

    def __init__(self, members: Sequence[Settings], seeds: Sequence[int], images: Images) -> None:
        settings = members[0]
        if any(m.batched_with != settings.batched_with for m in members):
            raise ValueError("networks of one ensemble must agree in Settings.batched_with")
        self.members, self.settings = list(members), settings
        self.images = images.centred() if settings.centred else images
        device = images.x.device
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        n, hidden, classes = images.x.shape[1], settings.hidden, int(images.y.max()) + 1

        def normal(rows: int, units: int) -> Tensor:
            draws = [torch.randn(rows, units, generator=g) for g in self.generators]
            scale = [m.init_scale * math.sqrt(2 / units) for m in members]
            return torch.stack([draw * s for draw, s in zip(draws, scale, strict=True)]).to(device)

        def full(units: int, value: float) -> Tensor:
            return torch.full((len(members), 1, units), value, device=device)

        self.W, self.b = normal(n, hidden), full(hidden, 0.1)
        self.V, self.c = normal(hidden, classes), full(classes, 0.1)
        self.gamma, self.beta = full(hidden, 1.0), full(hidden, 0.0)
        self.mean, self.var = full(hidden, 0.0), full(hidden, 1.0)
        self.columns = torch.arange(n, device=device)  # the rows of W that some network still has
        self.alive = torch.ones(len(members), n, dtype=torch.bool, device=device)  # of all n rows
        self.read = self.images.x
        self.ended: list[str | None] = [None] * len(members)
        self.forget_momentum()

        def numbers(name: str) -> Tensor:
            return torch.tensor([float(getattr(m, name)) for m in members], device=device).view(-1, 1, 1)

        self.decay, self.eps = numbers("decay"), numbers("bn_eps")
        self.keep, self.momentum = numbers("bn_momentum"), settings.momentum

    def forget_momentum(self) -> None:
        """As at the start of training."""
        self.velocity = {name: torch.zeros_like(getattr(self, name)) for name in STATE}

    # --- one step

    def step(self, rows: Tensor, lr: Tensor) -> Tensor:
        """SGD with momentum on a batch a network, `rows` (networks, batch). Returns the losses."""
        x, y = self.read[rows], self.images.y[rows]
        batch = rows.shape[1]
        a = torch.baddbmm(self.b, x, self.W).relu_()
        if self.settings.batch_norm:
            mean = a.mean(1, keepdim=True)
            centred = a - mean
            var = centred.square().mean(1, keepdim=True)
            inverse = (var + self.eps).rsqrt()
            normal = centred * inverse
            h = torch.addcmul(self.beta, normal, self.gamma)
            self.mean.mul_(self.keep).add_(mean * (1 - self.keep))
            self.var.mul_(self.keep).add_(var * (1 - self.keep))
        else:
            h = a
        logs = torch.log_softmax(torch.baddbmm(self.c, h, self.V), 2)
        losses = -logs.gather(2, y[:, :, None]).mean((1, 2))
        out = (logs.exp_() - functional.one_hot(y, logs.shape[2])) / batch
        back = out @ self.V.mT
        self._pull("V", h.mT, out)
        self._pull("c", None, out)
        if self.settings.batch_norm:
            self._pull("gamma", None, back * normal)
            self._pull("beta", None, back)
            back = back * self.gamma
            back = inverse * (back - back.mean(1, keepdim=True) - normal * (back * normal).mean(1, keepdim=True))
        back = back * (a > 0)
        self._pull("W", x.mT, back)
        self._pull("b", None, back)
        for name in ("W", "b", "V", "c"):
            if self.decays:
                self.velocity[name].addcmul_(getattr(self, name), self.decay)
        for name in STATE if self.settings.batch_norm else STATE[:4]:
            getattr(self, name).addcmul_(self.velocity[name], lr, value=-1)
        return losses

    def _pull(self, name: str, left: Tensor | None, right: Tensor) -> None:
        """velocity = momentum * velocity + gradient."""
        velocity = self.velocity[name]
        if left is None:
            velocity.mul_(self.momentum).add_(right.sum(1, keepdim=True))
        else:
            torch.baddbmm(velocity, left, right, beta=self.momentum, out=velocity)

    @property
    def decays(self) -> bool:
        """Whether any network has a weight decay."""
        return any(m.decay for m in self.members)

    # --- the penalty

    def shrink(self, share: float, lr: Sequence[float]) -> None:
        """The proximal step of every network's penalty, with `share` of an epoch's step size."""
        for i, (settings, rate) in enumerate(zip(self.members, lr, strict=True)):
            penalty = settings.proximal(self.alive.shape[1])
            if penalty is None or self.ended[i]:
                continue
            step = rate * share / (1 - settings.momentum if settings.exact else 1)
            whole = self._whole(self.W[i])
            if not torch.isfinite(whole).all():
                self.ended[i] = "not finite"
                continue
            self.W[i] = penalty.prox(whole, step)[self.columns]

    def _whole(self, weight: Tensor) -> Tensor:
        whole = weight.new_zeros(self.alive.shape[1], weight.shape[1])
        whole[self.columns] = weight
        return whole

    def mask(self) -> None:
        """Rows at zero: for good where the run has masks; left out of the products where no network needs them."""
        masked = torch.tensor([m.masks for m in self.members], device=self.W.device)
        here = self.W.norm(dim=2) > GONE
        now = torch.zeros_like(self.alive)
        now[:, self.columns] = here
        self.alive = torch.where(masked[:, None], self.alive & now, now)
        keep = torch.where(masked[:, None], self.alive[:, self.columns], True)
        self.W.mul_(keep[:, :, None])
        self.velocity["W"].mul_(keep[:, :, None])
        needed = keep.any(0)
        if int(needed.sum()) < 0.95 * len(needed):
            self.columns = self.columns[needed]
            self.W, self.velocity["W"] = self.W[:, needed].contiguous(), self.velocity["W"][:, needed].contiguous()
            self.read = self.images.x[:, self.columns].contiguous()

    # --- looking

    def layer_one(self) -> Tensor:
        """(networks, pixels, units), zeros included."""
        whole = self.W.new_zeros(len(self.W), self.alive.shape[1], self.W.shape[2])
        whole[:, self.columns] = self.W
        return whole

    def set_layer_one(self, whole: Tensor) -> None:
        """The opposite."""
        self.W = whole[:, self.columns].contiguous()

    def accuracy(self, part: str, at_once: int = 2500) -> list[float]:
        """Percent of a held-out part, with the running mean and variance."""
        x, y = self.images.held[part]
        right = torch.zeros(len(self.W), device=self.W.device)
        for start in range(0, len(x), at_once):
            batch = x[start : start + at_once, self.columns].expand(len(self.W), -1, -1)
            h = torch.baddbmm(self.b, batch, self.W).relu_()
            if self.settings.batch_norm:
                h = (h - self.mean) * ((self.var + self.eps).rsqrt() * self.gamma) + self.beta
            guess = torch.baddbmm(self.c, h, self.V).argmax(2)
            right += (guess == y[start : start + at_once]).sum(1)
        return [float(r) / len(x) * 100 for r in right]


def batches(ensemble: Ensemble) -> Tensor:
    """(steps, networks, batch) places of images: each network's own shuffle; what is left over is not seen."""
    examples, batch = len(ensemble.images.x), ensemble.settings.batch
    steps = examples // batch
    orders = [torch.randperm(examples, generator=g)[: steps * batch] for g in ensemble.generators]
    return torch.stack(orders, 1).view(steps, batch, -1).transpose(1, 2).to(ensemble.W.device)


def watched(epoch: int, epochs: int) -> bool:
    """Which epochs a trajectory keeps."""
    return epoch < 60 or (epoch + 1) % 10 == 0 or epoch == epochs - 1


def learn(ensemble: Ensemble, log: Callable[[int], None] = lambda epoch: None) -> list[list[dict[str, Any]]]:
    """Stage one. Returns each network's trajectory; `ensemble.ended` says which runs broke off, and why."""
    settings = ensemble.settings
    examples = len(ensemble.images.x)
    steps = examples // settings.batch
    trajectories: list[list[dict[str, Any]]] = [[] for _ in ensemble.members]
    for epoch in range(settings.epochs):
        rates = [m.rate(epoch, steps, examples) for m in ensemble.members]
        lr = torch.tensor(rates, device=ensemble.W.device).view(-1, 1, 1)
        losses = torch.zeros(len(rates), device=ensemble.W.device)
        for number, rows in enumerate(batches(ensemble)):
            losses += ensemble.step(rows, lr)
            if settings.prox_every and (number + 1) % settings.prox_every == 0:
                # the owed steps of exact runs are counted in steps, those of the others as a share of the epoch
                share = settings.prox_every if ensemble.members[0].exact else settings.prox_every / steps
                ensemble.shrink(share, rates)
        if not settings.prox_every and epoch % settings.prox_epochs == 0:
            ensemble.shrink(steps if settings.exact else 1.0, rates)
        ensemble.mask()
        _look(ensemble, epoch, losses / steps, trajectories)
        log(epoch)
        if all(ensemble.ended):
            break
    return trajectories


def _look(ensemble: Ensemble, epoch: int, losses: Tensor, trajectories: list[list[dict[str, Any]]]) -> None:
    lengths = ensemble.layer_one().norm(dim=2)
    first = epoch == 0
    for i, settings in enumerate(ensemble.members):
        if ensemble.ended[i]:
            continue
        left, loss = int(ensemble.alive[i].sum()), float(losses[i])
        if settings.penalty != "none" and left <= LEFT:
            ensemble.ended[i] = f"{left} rows left after epoch {epoch + 1}"
        elif not math.isfinite(loss) or (not first and loss > 2 * math.log(10)):
            ensemble.ended[i] = f"diverged: loss {loss:.3g} in epoch {epoch + 1}"
        elif settings.exact and float(lengths[i].max()) > 8:
            ensemble.ended[i] = f"diverged: a row of length {float(lengths[i].max()):.3g} after epoch {epoch + 1}"
    if watched(epoch, ensemble.settings.epochs):
        scores = {part: ensemble.accuracy(part) for part in ensemble.images.held}
        for i, trajectory in enumerate(trajectories):
            if ensemble.ended[i] and trajectory and trajectory[-1].get("ended"):
                continue
            own = lengths[i][ensemble.alive[i]]
            point = {
                "epoch": epoch + 1,
                "alive": len(own),
                "length": _quantiles(own),
                "loss": round(float(losses[i]), 5),
                **{part: round(values[i], 2) for part, values in scores.items()},
            }
            trajectory.append(point | ({"ended": True} if ensemble.ended[i] else {}))


def _quantiles(lengths: Tensor) -> list[float]:
    """Smallest, median and largest row length, of the rows that are left."""
    if not len(lengths):
        return [0.0, 0.0, 0.0]
    return [float(f"{value:.4g}") for value in (lengths.min(), lengths.median(), lengths.max())]
