"""Side by side: every repeat times each function once, so that a slow moment of the machine slows them all."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version


def side_by_side(
    functions: dict[str, Callable[[], object]], *, repeats: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Seconds of each function in each repeat."""
    for _ in range(warm_up):
        for function in functions.values():
            function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def medians(seconds: dict[str, list[float]], reference: str) -> dict[str, dict[str, float]]:
    """For each function its median time; the median and quartiles of its ratio to the reference, repeat by repeat."""
    summary = {}
    for name, times in seconds.items():
        ratios = sorted(a / b for a, b in zip(times, seconds[reference], strict=True))
        summary[name] = {"seconds": statistics.median(times), "ratio": statistics.median(ratios)}
        if len(ratios) > 3:
            quartiles = statistics.quantiles(ratios, n=4)
            summary[name] |= {"ratio_low": quartiles[0], "ratio_high": quartiles[2]}
    return summary


def machine() -> dict[str, str]:
    """What was measured on, and with."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass  # not Linux, or a processor without a name
    packages = ("torch", "numpy", "scipy", "scikit-learn", "skglm", "growl-reg", "sortedl1")
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {"processor": name, "system": platform.system(), "python": platform.python_version(), **versions}
