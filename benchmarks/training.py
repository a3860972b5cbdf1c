"""A step of ProxSGD with GrOWL beside a step of torch.optim.SGD; and the compact model beside the dense one."""

from __future__ import annotations

import time

import torch
from timing import medians, side_by_side
from torch import nn

from tyinglib import AffinityPropagation, GrOWL, Leaders, ProxSGD, TieSpec, compact, find_ties, pld_weights, tie


def network() -> nn.Sequential:
    """784-300-10, as in Zhang et al. (2018)."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.BatchNorm1d(300), nn.Linear(300, 10))


def optimizer_steps(rounds: int = 60, steps: int = 20) -> dict[str, dict[str, float]]:
    """Forward, backward and step, batch 128; one repeat is 20 steps."""
    x, y = torch.randn(128, 784), torch.randint(10, (128,))

    def training(build):
        net = network()
        optimizer = build(net)

        def run():
            for _ in range(steps):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x), y).backward()
                optimizer.step()

        return run

    def proximal(every):
        def build(net):
            penalty = GrOWL(pld_weights(784, 1e-3, 1e-5, 392), dim=1)
            first, *others = net.parameters()
            groups = [{"params": [first], "penalty": penalty}, {"params": others}]
            return ProxSGD(groups, lr=1e-3, momentum=0.9, prox_every=every)

        return build

    functions = {
        "SGD": training(lambda net: torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)),
        "ProxSGD, every step": training(proximal(1)),
        "ProxSGD, prox_every=20": training(proximal(20)),
    }
    return medians(side_by_side(functions, repeats=rounds), "SGD")


def compact_model(rounds: int = 300) -> dict[str, object]:
    """At 16 x compression of the first layer: 80 % of the pixels pruned, the rest in 49 groups. Batch 256."""
    net = network().eval()
    labels = torch.full((784,), -1)
    alive = torch.randperm(784, generator=torch.Generator().manual_seed(0))[:157]
    labels[alive] = torch.cat([torch.arange(49), torch.randint(49, (108,), generator=torch.Generator().manual_seed(1))])
    tie(net[0], "weight", TieSpec(labels, dim=1))
    dense = network().eval()
    with torch.no_grad():
        dense[0].weight.copy_(net[0].weight)
    small = compact(net, torch.zeros(1, 784))
    x = torch.randn(256, 784)
    with torch.inference_mode():
        difference = float((small(x) - dense(x)).abs().max())
        times = medians(side_by_side({"dense": lambda: dense(x), "compact": lambda: small(x)}, repeats=rounds), "dense")
    return {"times": times, "largest_difference": difference, "compression": 784 / 49}


def finding() -> dict[str, float]:
    """Seconds of find_ties on rows that are noisy copies, and in the worst case: no two alike."""
    torch.manual_seed(0)
    copies = torch.randn(100, 300)[torch.randint(100, (784,))] + 0.2 * torch.randn(784, 300)
    large = torch.randn(2000, 300)[torch.randint(2000, (50_000,))] + 0.1 * torch.randn(50_000, 300)
    settings = {
        "affinity, 784 rows": (copies, AffinityPropagation()),
        "affinity, 784 rows, no two alike": (torch.randn(784, 300), AffinityPropagation()),
        "threshold, 50,000 rows": (large, Leaders()),
        "threshold, 50,000 rows, no two alike": (torch.randn(50_000, 300), Leaders()),
    }
    find_ties(copies[:10], dim=0)  # the first call loads scikit-learn's clustering
    seconds = {}
    for name, (rows, by) in settings.items():
        start = time.perf_counter()
        find_ties(rows, dim=0, by=by)
        seconds[name] = time.perf_counter() - start
    return seconds


def measure() -> dict[str, object]:
    """All three."""
    result = {"optimizer": optimizer_steps(), "compact": compact_model(), "find_ties": finding()}
    for name, entry in result["optimizer"].items():
        print(f"step  {name:24} {1e3 * entry['seconds'] / 20:.3f} ms  ratio {entry['ratio']:.3f}", flush=True)
    print("compact", result["compact"], flush=True)
    print("find_ties", result["find_ties"], flush=True)
    return result
