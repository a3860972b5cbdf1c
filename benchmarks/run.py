"""Measure everything once, on one thread, and keep the results: `make benchmark`. An interrupted run goes on."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"  # before torch is loaded

import prox
import regression
import torch
import training
from resumable import keep
from timing import machine

RESULTS = Path(__file__).parent / "results" / "library.json"
PARTS = {"training": training.measure, "regression": regression.measure, "prox": prox.measure}


def main() -> int:
    """Measure what the results do not hold yet for this machine and these versions; --fresh measures all."""
    torch.set_num_threads(1)
    here = machine()
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    if "--fresh" in sys.argv or results.get("machine") != here:
        results = {"machine": here}
    for name, measure in PARTS.items():
        if name in results:
            print(f"{name}: measured before; make benchmark FRESH=1 measures again")
            continue
        results[name] = measure()
        RESULTS.parent.mkdir(exist_ok=True)
        keep(RESULTS, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
