"""What the tests of several processes run in each of them; results come back as files, one a process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.nn.parallel import DistributedDataParallel

from tyinglib import (
    L1,
    L2,
    OWL,
    ElasticNet,
    GroupLasso,
    GrOWL,
    ProxSGD,
    TieSpec,
    check_sharing,
    compact,
    count_parameters,
    find_ties,
    load_tied,
    oscar_weights,
    pld_weights,
    save_tied,
    share,
    tie,
    unshare,
    untie,
)

STEPS, BATCH = 50, 8  # a batch for 1, 2 and 4 processes
WHOLE = StateDictOptions(full_state_dict=True)


def start(size: int, folder: Path) -> list[dict[str, Any]]:
    """Run `everything` in `size` processes; what each of them found."""
    method = "spawn" if sys.platform == "win32" else "forkserver"
    context = torch.multiprocessing.get_context(method)
    if method == "forkserver":  # torch is loaded once, not once a process
        context.set_forkserver_preload([__name__])
    torch.multiprocessing.start_processes(_enter, (size, str(folder)), nprocs=size, start_method=method)
    return [torch.load(folder / f"found{rank}.pt", weights_only=True) for rank in range(size)]


def _enter(rank: int, size: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    dist.init_process_group("gloo", store=dist.FileStore(f"{folder}/store", size), rank=rank, world_size=size)
    try:
        torch.save(everything(rank, size, Path(folder)), f"{folder}/found{rank}.pt")
    finally:
        dist.destroy_process_group()


def everything(rank: int, size: int, folder: Path) -> dict[str, Any]:
    return {
        "ddp": train(build(), rank, size, wrap=DistributedDataParallel),
        "fsdp": train(build(), rank, size, wrap=fully_shard),
        "uneven": train(build(hidden=7), rank, size, wrap=fully_shard),
        "prox": prox_of_parts(size),
        "resumed": resumed(rank, size, folder),
        "refused": refused(folder / f"refused{rank}"),
        "looked at": looked_at(),
        "counted": vars(count_parameters(fully_shard(build()))),
    }


# One model, one stream of batches: the same for every number of processes.


def build(hidden: int = 6) -> nn.Module:
    """Inputs under GrOWL, the second layer tied, one parameter at two places."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(10, hidden), nn.Tanh(), nn.Linear(hidden, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 2)
    )
    share(model[4], model[2], ["bias"])
    tie(model[2], "weight", TieSpec(torch.arange(hidden) // 2, dim=1))
    tie(model[5], "weight", TieSpec([[0, 1, 2, 0, 1, 2], [3, 4, 5, 3, 4, -1]], dim=None))
    return model


def optimizer_of(model: nn.Module) -> ProxSGD:
    named = dict(model.named_parameters())
    first = named.pop(next(name for name in named if name.endswith("0.weight")))
    tied = named.pop(next(name for name in named if name.endswith("2.parametrizations.weight.original")))
    groups = [
        {"params": [first], "penalty": GrOWL(pld_weights(10, 0.02, 0.01), dim=1)},
        {"params": [tied], "penalty": L1(0.01), "nesterov": True},
        {"params": list(named.values()), "weight_decay": 0.01},
    ]
    return ProxSGD(groups, lr=0.05, momentum=0.9, prox_every=2)


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(BATCH, 10, generator=generator)
    return x, torch.stack([x[:, 0] + x[:, 1], x[:, 2]], dim=1)


def steps(model: nn.Module, optimizer: ProxSGD, numbers: range, rank: int = 0, size: int = 1) -> None:
    for step in numbers:
        x, y = (part[rank * BATCH // size : (rank + 1) * BATCH // size] for part in batch(step))
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()


def train(model: nn.Module, rank: int = 0, size: int = 1, wrap: Callable = lambda model: model) -> dict[str, Any]:
    wrapped = wrap(model)
    optimizer = optimizer_of(wrapped)
    steps(wrapped, optimizer, range(STEPS), rank, size)
    optimizer.apply_owed()
    value = optimizer.penalty_value()
    state = get_model_state_dict(wrapped, options=WHOLE) if size > 1 else model.state_dict()
    return {"state": {key: tensor.detach().clone() for key, tensor in state.items()}, "penalty": value}


# The prox on parts.


def prox_of_parts(size: int) -> list[dict[str, Any]]:
    """Each penalty on each placement: how far from the prox of the whole, and what was sent for it."""
    torch.manual_seed(1)
    whole = torch.randn(7, 5)
    line = init_device_mesh("cpu", (size,))
    places = [(line, [Shard(0)]), (line, [Shard(1)]), (line, [Replicate()])]
    if size == 4:
        square = init_device_mesh("cpu", (2, 2))
        places += [(square, [Shard(0), Shard(1)]), (square, [Replicate(), Shard(0)])]
    penalties = [
        L1(0.3),
        L2(0.3),
        ElasticNet(0.2, 0.1),
        GroupLasso(0.4, dim=0),
        GroupLasso(0.4, dim=1),
        GrOWL(oscar_weights(7, 0.1, 0.1), dim=0),
        GrOWL(pld_weights(5, 0.2, 0.1, p=3), dim=1),
        OWL(oscar_weights(35, 0.02, 0.01)),
    ]
    found = []
    for penalty in penalties:
        for mesh, placements in places:
            part = distribute_tensor(whole, mesh, placements)
            with CommDebugMode() as talk:
                result = penalty.prox(part, 0.7)
            broken = whole.clone()
            broken[-1, -1] = float("nan")  # with shards, one process has it and the others do not
            broken = distribute_tensor(broken, mesh, placements)
            moving = part.clone().requires_grad_()
            (slope,) = torch.autograd.grad(
                penalty.value(moving) + penalty.prox(moving, 0.7).full_tensor().sum(), moving
            )
            still = whole.clone().requires_grad_()
            (expected,) = torch.autograd.grad(penalty.value(still) + penalty.prox(still, 0.7).sum(), still)
            found.append(
                {
                    "name": f"{type(penalty).__name__} {getattr(penalty, 'dim', '')} {placements}",
                    "stays": tuple(result.placements) == tuple(placements),
                    "error": (result.full_tensor() - penalty.prox(whole, 0.7)).abs().max().item(),
                    "zeros": torch.equal(result.full_tensor() == 0, penalty.prox(whole, 0.7) == 0),
                    "value": float(penalty.value(part)) - float(penalty.value(whole)),
                    "factor_to_zero": penalty.factor_to_zero(part) == penalty.factor_to_zero(whole)
                    or abs(penalty.factor_to_zero(part) / penalty.factor_to_zero(whole) - 1) < 1e-14,
                    "slope": (slope.full_tensor() - expected).abs().max().item(),
                    "sent": sum(talk.get_comm_counts().values()),
                    "NaN": message(lambda p=penalty, b=broken: p.prox(b, 0.7)),
                }
            )
    return found


# A checkpoint, written by all processes, read by as many or by others.


def resumed(rank: int, size: int, folder: Path) -> dict[str, Any]:
    model = fully_shard(build())
    optimizer = optimizer_of(model)
    steps(model, optimizer, range(STEPS // 2), rank, size)
    weights, state = get_state_dict(model, optimizer)
    dcp.save({"model": weights, "optimizer": state}, checkpoint_id=folder / "checkpoint")
    return continued(folder / "checkpoint", rank, size)


def continued(checkpoint: Path, rank: int, size: int) -> dict[str, Any]:
    torch.manual_seed(5)
    model = fully_shard(build()) if size > 1 else build()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    optimizer = optimizer_of(model)
    weights, state = get_state_dict(model, optimizer)
    dcp.load({"model": weights, "optimizer": state}, checkpoint_id=checkpoint, no_dist=size == 1)
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=state)
    steps(model, optimizer, range(STEPS // 2, STEPS), rank, size)
    optimizer.apply_owed()
    whole = get_model_state_dict(model, options=WHOLE)
    return {key: tensor.detach().clone() for key, tensor in whole.items()}


# What cannot go right, and must say so on every process.


def message(call: Callable[[], object]) -> str:
    try:
        call()
    except ValueError as error:
        return str(error)
    return "nothing was said"


def refused(path: Path) -> dict[str, str]:
    model, plain = fully_shard(build()), build()
    save_tied(plain, path)
    return {
        "tie": message(lambda: tie(model[0], "weight", TieSpec(torch.arange(10) // 2, dim=1))),
        "untie": message(lambda: untie(model[2], "weight")),
        "share": message(lambda: share(plain, model, ["0.weight"])),
        "share into": message(lambda: share(model, plain, ["0.weight"])),
        "unshare": message(lambda: unshare(model, ["0.weight"])),
        "find": message(lambda: find_ties(model[0].weight, dim=1)),
        "compact": message(lambda: compact(model, torch.zeros(1, 10))),
        "save": message(lambda: save_tied(model, path)),
        "load": message(lambda: load_tied(model, path)),
    }


def looked_at() -> dict[str, list[str]]:
    model = build()
    early = optimizer_of(model)
    model = fully_shard(model)
    wrapped = DistributedDataParallel(untied := nn.Linear(4, 4))
    tie(untied, "weight", TieSpec([0, 0, 1, 1], dim=1))
    twins = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    twins[1].load_state_dict(twins[0].state_dict())
    return {
        "in order": [diagnosis.kind for diagnosis in check_sharing(model, optimizers=optimizer_of(model))],
        "optimizer before fully_shard": [diagnosis.kind for diagnosis in check_sharing(model, optimizers=early)],
        "tied after DDP": [diagnosis.kind for diagnosis in check_sharing(wrapped)],
        "equal twins": [diagnosis.kind for diagnosis in check_sharing(fully_shard(twins))],
    }
