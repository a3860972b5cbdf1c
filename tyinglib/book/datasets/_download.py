"""One file from the network, by pooch: checked before it has its name, so that none but the wanted one ever has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

TIMEOUT = 30.0  # seconds of silence


def fetch(urls: Sequence[str], target: Path, *, check: Callable[[Path], object]) -> None:
    """Bring a file to `target` from the first address that has it; OSError, with a line an address, if none does.

    `check` raises ValueError for any file but the one wanted. A second process waits for the first and finds its file.
    """
    import pooch  # here: it is needed once on a machine

    def checked(url: str, file: str, manager: Any) -> None:
        ask = pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT, headers={"Accept-Encoding": "identity"})
        ask(url, file, manager)
        check(Path(file))

    pooch.get_logger().setLevel("WARNING")
    target.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    with FileLock(f"{target}.lock"):
        for url in urls:
            try:
                pooch.retrieve(url, None, target.name, target.parent, downloader=checked)
                return
            except (OSError, ValueError) as error:
                reasons.append(f"{url}: {error}")
    raise OSError("\n".join(reasons))
