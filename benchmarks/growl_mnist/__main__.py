"""Measure what the results do not hold yet; `python -m benchmarks.growl_mnist --help`."""

from __future__ import annotations

import argparse
import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before torch is loaded

import torch

from benchmarks.growl_mnist.measure import measure
from benchmarks.growl_mnist.plan import SIZES, Plan
from benchmarks.growl_mnist.report import summary
from benchmarks.growl_mnist.results import RESULTS
from tyinglib.book.datasets import mnist


def main() -> None:
    """Measure, print what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", help="folder of MNIST's four files; without it as tyinglib.book.datasets.mnist")
    parser.add_argument("--fresh", action="store_true", help="measure all again")
    parser.add_argument("--jobs", type=int, help="stop after so many")
    parser.add_argument("--size", choices=SIZES, default="whole", help="of the plan: an hour, or a day, on one core")
    parser.add_argument("--worker", default="0/1", help="i/n: this one of n that run at the same time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    splits = mnist(options.data, dtype=torch.float32)
    if options.fresh:
        RESULTS.unlink(missing_ok=True)
    number, workers = map(int, options.worker.split("/"))
    found = summary(measure(splits, Plan(), SIZES[options.size], RESULTS, limit=options.jobs, worker=(number, workers)))
    for name, point in found["points"].items():
        (mean, spread), compression = point["accuracy"], point["compression"][0]
        print(f"{name}: {compression:.1f}x at {mean:.2f} +- {spread or 0:.2f} % ({point['seeds']} seeds)")
    for name, values in found["stability"].items():
        print(f"{name}: {values}")
