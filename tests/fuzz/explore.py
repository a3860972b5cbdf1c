"""load_tied on inputs that a coverage-guided fuzzer (atheris) makes: python tests/fuzz/explore.py RUNS RESULTS.json

Any exception but a ValueError, a changed model, or a pickle that is loaded ends the run with the input.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import atheris

READERS = ("saving", "_tied_file", "_labels", "_state", "_undo", "tying", "selection")
with atheris.instrument_imports(include=[f"tyinglib.{name}" for name in READERS]):
    import strangers_file
    import strangers_seeds

RUNS, RESULTS = int(sys.argv[1]), Path(sys.argv[2])
found: Counter[str] = Counter()


def one(data: bytes) -> None:
    found[strangers_file.try_input(data)] += 1
    if found.total() == RUNS:
        RESULTS.write_text(
            json.dumps({"inputs": RUNS, **{key: found[key] for key in ("refused", "loaded")}}) + "\n", encoding="utf-8"
        )
        print(RESULTS.read_text(encoding="utf-8"))


with tempfile.TemporaryDirectory() as corpus:
    for number, seed in enumerate(strangers_seeds.SEEDS):
        (Path(corpus) / str(number)).write_bytes(seed)
    quiet = (f"-artifact_prefix={tempfile.gettempdir()}/", "-timeout=600", "-report_slow_units=600")
    atheris.Setup([sys.argv[0], f"-runs={RUNS + 1000}", "-max_len=4096", "-seed=1", *quiet, corpus], one)
    atheris.Fuzz()
