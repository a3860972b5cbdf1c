"""What two processes tell each other in one step of training: bytes, by DistributedDataParallel and by fully_shard.

    python benchmarks/fully_sharded.py      a minute; results/distributed.json, which the page Beyond one machine prints

The network of the page How fast: 784 inputs, 300 hidden neurons, 10 classes, float32. Bytes are counted where torch
hands them over; nothing is timed. A ring of p processes makes each send 2 (p - 1) / p times the bytes of a sum over
all (all-reduce), and half of that for a gathering or a scattered sum.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from resumable import keep
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from tyinglib import L1, OWL, GroupLasso, GrOWL, ProxSGD, TieSpec, pld_weights, tie

RESULTS = Path(__file__).parent / "results/distributed.json"
PROCESSES, INPUTS, HIDDEN, CLASSES, BATCH = 2, 784, 300, 10, 128
PENALTIES: dict[str, Any] = {
    "no penalty": None,
    "L1": L1(1e-4),
    "group lasso": GroupLasso(1e-3, dim=1),
    "GrOWL": GrOWL(pld_weights(INPUTS, 1e-3, 1e-6), dim=1),
    "OWL": OWL(pld_weights(INPUTS * HIDDEN, 1e-4, 1e-10)),
}


class Counting(TorchDispatchMode):
    """Bytes that collective operations carry, by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        """Count, and do it; a DTensor takes itself apart first."""
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented
        name = func._schema.name.partition("::")
        if name[0] in ("c10d", "_c10d_functional"):
            self._count(name[2].strip("_"), args)
        return func(*args, **(kwargs or {}))

    def _count(self, name: str, args: Sequence[Any]) -> None:
        first = args[0] if isinstance(args[0], torch.Tensor) else None
        if name in ("allgather_base", "reduce_scatter_base"):  # (output, input): the whole is the larger
            kind = "gathered" if name == "allgather_base" else "scattered sum"
            self.bytes[kind] += max(args[0].nbytes, args[1].nbytes)
        elif name == "all_gather_into_tensor" and first is not None:
            self.bytes["gathered"] += first.nbytes * args[1]
        elif name == "all_reduce" and first is not None:
            self.bytes["sum"] += first.nbytes
        elif name == "allreduce":
            self.bytes["sum"] += sum(tensor.nbytes for tensor in args[0])
        elif name not in ("wait_tensor", "wrap_tensor_autograd"):
            raise RuntimeError(f"a collective that is not counted: {name}")


def build(tied: bool) -> nn.Module:
    """The network, free or with its first layer tied."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))
    return tie_eighths(model) if tied else model


def tie_eighths(model: nn.Sequential) -> nn.Module:
    """Eight neighbouring inputs, one weight."""
    tie(model[0], "weight", TieSpec(torch.arange(INPUTS) // 8, dim=1))
    return model


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """One step on made-up data."""
    optimizer.zero_grad()
    x, y = torch.randn(BATCH, INPUTS), torch.randint(CLASSES, (BATCH,))
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()


def with_ddp(tied: bool) -> dict[str, int]:
    """Buckets, as the reducer hands them to its hook."""
    sent: Counter[str] = Counter()

    def hook(_, bucket):  # torch looks at annotations itself, and wants none as text
        sent["sum"] += bucket.buffer().nbytes
        return dist.all_reduce(bucket.buffer().div_(PROCESSES), async_op=True).get_future().then(lambda f: f.value()[0])

    model = DistributedDataParallel(build(tied))
    model.register_comm_hook(None, hook)
    optimizer = ProxSGD(model.parameters(), lr=0.01)
    step(model, optimizer)
    sent.clear()
    step(model, optimizer)
    return dict(sent)


def with_fsdp(tied: bool, penalty: Any) -> dict[str, int]:
    """All that is carried in the second step."""
    model = fully_shard(build(tied))
    first, *others = model.parameters()
    optimizer = ProxSGD([{"params": [first], "penalty": penalty}, {"params": others}], lr=0.01)
    step(model, optimizer)
    with Counting() as counted:
        step(model, optimizer)
    return dict(counted.bytes)


def work(rank: int, folder: str) -> None:
    """One of the processes."""
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", PROCESSES)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=PROCESSES)
    found = {
        "ddp": {"free": with_ddp(False), "tied": with_ddp(True)},
        "fsdp": {"free": with_fsdp(False, None), "tied": with_fsdp(True, None)},
        "fsdp, penalty": {name: with_fsdp(False, penalty) for name, penalty in PENALTIES.items()},
    }
    if rank == 0:
        about = {
            "processes": PROCESSES,
            "inputs": INPUTS,
            "hidden": HIDDEN,
            "classes": CLASSES,
            "torch": torch.__version__,
        }
        free = sum(p.numel() for p in build(False).parameters())
        tied = sum(p.numel() for p in build(True).parameters())
        about["parameters"] = {"free": free, "tied": tied}
        keep(RESULTS, {"about": about, **found})
    dist.destroy_process_group()


def main() -> None:
    """Start them, and show what the first has written."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(work, (folder,), nprocs=PROCESSES)
    print(RESULTS.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
