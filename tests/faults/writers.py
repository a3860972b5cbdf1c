"""Processes that write one file and are killed, or write it at once; what stands there is whole, every time.

    python tests/faults/writers.py [TRIES]      prints what was found as JSON

Run as a process of its own: it forks, and kills what it forked. POSIX only.
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from tyinglib import TieSpec, load_tied, save_tied, tie

NOBODY = 65534


def model(value: float) -> nn.Module:
    """Half a megabyte, all weights alike: a file that mixes two of them shows."""
    layer = nn.Linear(256, 512)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(value)
    return tie(layer, "weight", TieSpec(torch.arange(256) // 2, dim=1))


def value_of(path: Path) -> float:
    """Which model the file holds; ValueError if it is not one of them, whole."""
    loaded = load_tied(nn.Linear(256, 512), path)
    values = torch.cat([parameter.detach().flatten() for parameter in loaded.parameters()]).unique()
    if len(values) != 1:
        raise ValueError(f"{path} mixes {len(values)} values")
    return float(values)


def forked(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except OSError as error:
        os._exit(error.errno or 1)
    except BaseException:
        os._exit(255)


def write_forever(path: Path, models: list[nn.Module]) -> None:
    while True:
        for one in models:
            save_tied(one, path)


def killed(folder: Path, tries: int, seed: int = 0) -> dict[str, int]:
    """kill -9 at random moments, half of them before the writer's end: the span follows how fast it is here."""
    path, rng, found = folder / "killed", random.Random(seed), Counter({"old": 0, "new": 0, "broken": 0})
    models = {value: model(value) for value in (1.0, 2.0)}
    save_tied(models[1.0], path)
    start = time.monotonic()
    save_tied(models[1.0], path)
    span = 2 * (time.monotonic() - start)
    for _ in range(tries):
        before = value_of(path)
        other = 3.0 - before
        child = forked(lambda other=other: save_tied(models[other], path))
        time.sleep(rng.uniform(0, span))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        found["killed before its end"] += os.WIFSIGNALED(status)
        span *= 1.2 if os.WIFSIGNALED(status) else 1 / 1.2
        try:
            now = value_of(path)
            found["new" if now == other else "old"] += 1
        except ValueError:
            found["broken"] += 1
    found["unfinished files left beside it"] = len(list(folder.glob(".killed.*.tmp")))
    return dict(found)


def two_writers(folder: Path, looks: int) -> dict[str, int]:
    """Two processes write, a third looks."""
    path, found = folder / "two", Counter({"first": 0, "second": 0, "broken": 0})
    models = [model(1.0), model(2.0)]
    save_tied(models[0], path)
    children = [forked(lambda one=one: write_forever(path, [one])) for one in models]
    try:
        for _ in range(looks):
            try:
                found["first" if value_of(path) == 1.0 else "second"] += 1
            except ValueError:
                found["broken"] += 1
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return dict(found)


def refused_write(path: Path, work: Callable[[], None]) -> dict[str, object]:
    """The error with which a writer ends, and whether the old file stands, alone."""
    if not path.exists():
        save_tied(model(1.0), path)
    _, status = os.waitpid(forked(work), 0)
    beside = sorted(each.name for each in path.parent.iterdir() if each.name != path.name)
    code = os.waitstatus_to_exitcode(status)
    return {"error": errno.errorcode.get(code, code), "old file": value_of(path) == 1.0, "left beside it": len(beside)}


def too_large(folder: Path) -> dict[str, object]:
    """As on a full disk: the system takes a part, and then no more."""
    import resource  # Windows, which has none, loads this file all the same when it looks for tests

    other = model(2.0)
    (folder / "limited").mkdir()

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        save_tied(other, folder / "limited" / "file")

    return refused_write(folder / "limited" / "file", work)


def full_disk(folder: Path) -> dict[str, object] | str:
    """A disk of one megabyte, filled up; needs the right to mount."""
    disk, other = folder / "disk", model(2.0)
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        return "not tried: no right to mount"
    try:
        save_tied(model(1.0), disk / "file")
        (disk / "filler").write_bytes(bytes((1 << 20) - (disk / "file").stat().st_size - 100_000))
        found = refused_write(disk / "file", lambda: save_tied(other, disk / "file"))
        found["left beside it"] = int(found["left beside it"]) - 1  # the filler
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        _, status = os.waitpid(forked(lambda: save_tied(other, disk / "file")), 0)
        found["read-only disk"] = errno.errorcode.get(os.waitstatus_to_exitcode(status))
        found["old file"] = found["old file"] and value_of(disk / "file") == 1.0
        return found
    finally:
        subprocess.run(["umount", disk], check=True)


def as_nobody(work: Callable[[], None]) -> Callable[[], None]:
    """For folders that are closed: root may do anything everywhere."""

    def lowered() -> None:
        if os.geteuid() == 0:
            os.setuid(NOBODY)
        work()

    return lowered


def read_only(folder: Path) -> dict[str, object]:
    """A folder that may be read and not written."""
    closed, other = folder / "closed", model(2.0)
    closed.mkdir()
    save_tied(model(1.0), closed / "file")
    closed.chmod(0o555)
    try:
        return refused_write(closed / "file", as_nobody(lambda: save_tied(other, closed / "file")))
    finally:
        closed.chmod(0o755)


def unlisted(folder: Path) -> dict[str, object]:
    """A folder that may be written and not read: what stands in it cannot be listed, nor its entries flushed."""
    hidden, other = folder / "hidden", model(2.0)
    hidden.mkdir()
    if os.geteuid() == 0:
        os.chown(hidden, NOBODY, NOBODY)
    save_tied(model(1.0), hidden / "file")
    hidden.chmod(0o333)
    try:
        _, status = os.waitpid(forked(as_nobody(lambda: save_tied(other, hidden / "file"))), 0)
    finally:
        hidden.chmod(0o755)
    code = os.waitstatus_to_exitcode(status)
    return {
        "error": errno.errorcode.get(code, code),
        "new file": value_of(hidden / "file") == 2.0,
        "left beside it": len(list(hidden.iterdir())) - 1,
    }


def main() -> None:
    tries = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # for the writers that are nobody
        found = {
            "killed": killed(folder, tries),
            "two writers": two_writers(folder, tries),
            "too large": too_large(folder),
            "full disk": full_disk(folder),
            "read only": read_only(folder),
            "unlisted": unlisted(folder),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
