"""What zeros buy in time: a layer of 1024 x 1024 at several densities, on one thread: `make benchmark-zeros`."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"  # before torch is loaded

import scipy.sparse
import torch
from resumable import keep
from timing import machine, medians, side_by_side

RESULTS = Path(__file__).parent / "results" / "zeros.json"
SIZE = 1024
DENSITIES = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01)
BATCHES = {1: 300, 128: 41}  # inputs at once: repeats


def measure(density: float, batch: int, repeats: int) -> dict[str, Any]:
    """The product of one weight with `batch` inputs: full, with zeros in it, in two sparse formats, and cut."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(SIZE, SIZE, generator=generator)
    x = torch.randn(SIZE, batch, generator=generator)
    scattered = weight * (torch.rand(SIZE, SIZE, generator=generator) < density)
    compressed = scattered.to_sparse_csr()
    by_scipy, x_numpy = scipy.sparse.csr_array(scattered.numpy()), x.numpy()
    kept = torch.randperm(SIZE, generator=generator)[: round(density * SIZE)].sort().values
    cut = weight[:, kept].contiguous()
    functions = {
        "no zeros": lambda: weight @ x,
        "zeros, dense": lambda: scattered @ x,
        "torch CSR": lambda: compressed @ x,
        "scipy CSR": lambda: by_scipy @ x_numpy,
        "neurons removed": lambda: cut @ x.index_select(0, kept),
    }
    times = medians(side_by_side(functions, repeats=repeats, warm_up=3), "no zeros")
    return {"density": density, "batch": batch, "nonzero": int(compressed.values().numel()), "times": times}


def main() -> None:
    """Measure all of it and keep the results."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
    here = {name: value for name, value in machine().items() if name not in ("skglm", "growl-reg", "sortedl1")}
    entries = []
    for batch, repeats in BATCHES.items():
        for density in DENSITIES:
            entries.append(measure(density, batch, repeats))
            times = {name: round(time["ratio"], 2) for name, time in entries[-1]["times"].items()}
            print(f"{batch} inputs, {density:.0%} of the weights left: time / time without zeros {times}")
    keep(RESULTS, {"machine": here, "size": SIZE, "entries": entries})


if __name__ == "__main__":
    main()
