"""A job from its first weights to its entry, and the jobs that the results do not hold yet."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.growl_mnist.plan import MAGNITUDE, SHIFTED, Grid, Job, Plan, jobs
from benchmarks.growl_mnist.results import load, save
from benchmarks.growl_mnist.stage_one import learn, prune
from benchmarks.growl_mnist.stage_two import retrain
from benchmarks.growl_mnist.ties import ties_for
from benchmarks.growl_mnist.training import Data
from tyinglib import compact, count_parameters, save_tied, tie
from tyinglib.book.chapter import accuracy
from tyinglib.book.datasets import Splits


class Bench:
    """Runs jobs. Networks that several jobs start from are trained once, and again after an interruption."""

    def __init__(self, splits: Splits, plan: Plan) -> None:
        both = [torch.cat(parts) for parts in zip(splits.train, splits.validation, strict=True)]
        self.data = {
            "choose": Data(*splits.train, held=splits.validation),
            "report": Data(both[0], both[1], held=splits.test),
        }
        self.plan = plan
        self.kept: dict[tuple[Any, ...], nn.Sequential] = {}

    def run(self, job: Job) -> dict[str, Any]:
        """The five steps. Of phase "data": the pixels in the order of their deviation, which needs no network."""
        if job.phase == "data":
            deviation = self.data["report"].x.std(0)
            return job._asdict() | {"by_deviation": _text(deviation.argsort(descending=True, stable=True))}
        data, plan = self.data[job.phase], self.plan
        model = copy.deepcopy(self._stage_one(job))
        if job.method == MAGNITUDE:
            prune(model[0], data.x, int(job.strength))
        entry: dict[str, Any] = job._asdict() | {"dense_accuracy": accuracy(model, data.held)}
        entry["alive"] = "".join(map(str, model[0].weight.any(0).int().tolist()))
        norms = model[0].weight.detach().norm(dim=0)
        entry["longest_row"] = float(norms.max())
        if job.ties == "-":  # what pruning would keep, first to last; rows at zero stand last
            for name, size in (("by_norm", norms), ("by_contribution", norms * data.x.std(0))):
                entry[name] = _text(size.argsort(descending=True, stable=True))
            return entry
        spec = ties_for(job, model, data, plan)
        if spec.n_groups == 0:
            return entry | {"n_groups": 0, "accuracy": None}
        tie(model[0], "weight", spec)
        entry["tied_accuracy"] = accuracy(model, data.held)
        retrain(model, spec, self._teacher(job), job, data, plan)
        small = compact(model, data.held.x[:16])
        first = copy.deepcopy(model[0])
        first.bias = None  # the published rates count the weight alone
        count = count_parameters(first)
        with tempfile.TemporaryDirectory() as folder:
            size = save_tied(model, Path(folder) / "model.safetensors")
        return entry | {
            "n_groups": spec.n_groups,
            "sparsity": count.sparsity * 100,
            "sharing": count.sharing_rate,
            "compression": count.compression_rate,
            "accuracy": accuracy(small, data.held),
            "bytes": size,
            "labels": _text(spec.labels),
        }

    def _teacher(self, job: Job) -> nn.Module | None:
        if job.teaching == "labels":
            return None
        return self._stage_one(job._replace(method=SHIFTED if job.teaching == "shifts" else "none"))

    def _stage_one(self, job: Job) -> nn.Sequential:
        if job.method in ("none", MAGNITUDE, SHIFTED):
            method = SHIFTED if job.method == SHIFTED else "none"
            job = job._replace(method=method, protocol="-", strength=0.0)
        return self._once((*job[:4], job.seed), lambda: learn(job, self.data[job.phase], self.plan))

    def _once(self, key: tuple[Any, ...], make: Callable[[], nn.Sequential]) -> nn.Sequential:
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]


def _text(numbers: Tensor) -> str:
    return " ".join(map(str, numbers.tolist()))


def measure(
    splits: Splits, plan: Plan, grid: Grid, path: Path, *, limit: int | None = None, worker: tuple[int, int] = (0, 1)
) -> dict[str, Any]:
    """Run what the results do not hold yet, `limit` jobs at most; as worker i of n, every n-th seed's."""
    results = load(path, plan)
    bench = Bench(splits, plan)
    number, workers = worker
    with tqdm(unit="job") as bar:
        while limit is None or bar.n < limit:
            todo = [job for job in dict.fromkeys(jobs(plan, grid, results)) if job.key not in results]
            mine = [job for job in todo if (job.seed + (job.phase == "report")) % workers == number]
            if not mine:
                break
            bar.total = bar.n + len(mine)
            bar.set_postfix_str(mine[0].key)
            results = save(path, plan, mine[0].key, bench.run(mine[0]))
            bar.update()
    return results
