"""Measure what the results do not hold yet; `python -m benchmarks.growl --help`."""

from __future__ import annotations

import argparse
import os
from collections import defaultdict

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before torch is loaded

import torch
from tqdm import tqdm

from benchmarks.growl import results
from benchmarks.growl.measure import images, measure
from benchmarks.growl.plan import Run, runs


def chunks(todo: list[Run], size: int) -> list[list[Run]]:
    """Runs that train together, at most `size`, in the order of the plan."""
    kinds: dict[object, list[Run]] = defaultdict(list)
    for run in todo:
        kinds[(run.settings.batched_with, run.stages)].append(run)
    cut = [kind[start : start + size] for kind in kinds.values() for start in range(0, len(kind), size)]
    return sorted(cut, key=lambda chunk: todo.index(chunk[0]))


def main() -> None:
    """Run what is missing, and keep every entry as soon as it is there."""
    parser = argparse.ArgumentParser(description="The published GrOWL table, measured again at its full length.")
    parser.add_argument("--data", help="folder of MNIST's four files; without it as tyinglib.book.datasets.mnist")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda: all runs of one kind at once")
    parser.add_argument("--together", type=int, help="networks of an ensemble at most (cpu: 1, cuda: 128)")
    parser.add_argument("--parts", default="table,why,strengths,stability", help="of the plan, in this order")
    parser.add_argument("--limit", type=int, help="stop after so many ensembles")
    parser.add_argument("--worker", default="0/1", help="i/n: this one of n processes, one a core")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # the velocity of a unit that never fires falls below what a processor does fast
    stored = results.load()
    todo = [run for run in runs(tuple(options.parts.split(","))) if run.key not in stored]
    size = options.together or (128 if options.device == "cuda" else 1)
    number, workers = map(int, options.worker.split("/"))
    data = images(options.data, options.device)
    mine = chunks(todo, size)[number::workers][: options.limit]
    for chunk in tqdm(mine, unit="ensemble"):
        label = chunk[0].key + (f" and {len(chunk) - 1} more" if len(chunk) > 1 else "")
        with tqdm(total=chunk[0].settings.epochs, unit="epoch", desc=label, leave=False) as bar:
            entries = measure(chunk, data, lambda epoch: bar.update() and None)
        for run, entry in zip(chunk, entries, strict=True):
            results.add(run.key, entry)


if __name__ == "__main__":
    main()
