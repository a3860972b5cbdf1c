"""One file from the network, by pooch: checked before it has its name, so that none but the wanted one ever has it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

TIMEOUT = 30.0  # seconds of silence
SLOWEST = 1000.0  # bytes a second, once that many seconds have passed: one byte before every time limit lasts forever
CHUNK = 1 << 16


def fetch(urls: Sequence[str], target: Path, *, check: Callable[[Path], object], limit: int) -> None:
    """Bring a file to `target` from the first address that has it; OSError, with a line an address, if none does.

    `check` raises ValueError for any file but the one wanted, and no more than `limit` bytes are taken to look. A
    second process waits for the first and finds its file.
    """
    import pooch  # here: they are needed once on a machine
    from urllib3.exceptions import HTTPError

    def checked(url: str, file: str, manager: Any) -> None:
        _receive(url, Path(file), limit)
        check(Path(file))

    pooch.get_logger().setLevel("WARNING")
    target.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    with FileLock(f"{target}.lock"):
        for url in urls:
            try:
                pooch.retrieve(url, None, target.name, target.parent, downloader=checked)
                return
            except (OSError, ValueError, HTTPError) as error:
                reasons.append(f"{url}: {error}")
    raise OSError("\n".join(reasons))


def _receive(url: str, file: Path, limit: int) -> None:
    """pooch's own downloader would wait for a server that drips, and take whatever comes."""
    import requests
    from tqdm import tqdm

    start, came = time.monotonic(), 0
    headers = {"Accept-Encoding": "identity"}
    with requests.get(url, stream=True, timeout=TIMEOUT, headers=headers) as answer, open(file, "wb") as out:
        answer.raise_for_status()
        announced = answer.headers.get("Content-Length", "")
        end = int(announced) if announced.isdigit() else None
        with tqdm(total=end, unit="B", unit_scale=True, desc=file.name, leave=False) as bar:
            while chunk := answer.raw.read1(CHUNK):
                came += out.write(chunk)
                bar.update(len(chunk))
                seconds = time.monotonic() - start
                if came > limit:
                    raise ValueError(f"expected at most {limit} bytes, more came")
                if seconds > TIMEOUT and came < SLOWEST * seconds:
                    raise TimeoutError(f"{came} bytes came in {seconds:.0f} seconds, less than {SLOWEST:g} a second")
        if end is not None and came < end:
            raise ConnectionError(f"the connection ended after {came} of {end} bytes")
