"""Where MNIST and Fashion-MNIST are: a folder, a system's package, the cache, or the network."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tyinglib.book.datasets._download import fetch
from tyinglib.book.datasets._idx import read_idx


@dataclass(frozen=True)
class File:
    """An IDX file: its name without .gz, its shape, and the hash of its unpacked bytes."""

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def limit(self) -> int:
        """No gzip file of it has more bytes: what cannot be packed grows by a thousandth at most."""
        return math.prod(self.shape) * 1001 // 1000 + 1000

    def read(self, path: Path) -> npt.NDArray[np.uint8]:
        return read_idx(path, self.shape, self.sha256)


@dataclass(frozen=True)
class Source:
    """A published set: training images and labels, test images and labels, and where to find them."""

    title: str
    key: str
    files: tuple[File, ...]
    mirrors: tuple[str, ...]
    installed: Path | None = None  # where a system's package puts it
    package: str = ""

    def read(self, folder: str | os.PathLike[str] | None) -> list[npt.NDArray[np.uint8]]:
        """The four arrays, from `folder` alone if it is given."""
        if folder is None:
            places = [place for place in (self.installed, cache_folder() / self.key) if place is not None]
            found = next((place for place in places if not self.missing(place)), None) or self.download()
        else:
            found = Path(folder).expanduser()
            if missing := self.missing(found):
                raise FileNotFoundError(
                    f"{self.title}: {found} lacks {', '.join(missing)} (packed as .gz or not); "
                    "put the files there, or leave folder out"
                )
        return [file.read(self.path(found, file)) for file in self.files]

    def missing(self, place: Path) -> list[str]:
        return [file.name for file in self.files if not self.path(place, file).is_file()]

    def path(self, place: Path, file: File) -> Path:
        packed = place / f"{file.name}.gz"
        return packed if packed.is_file() or not (place / file.name).is_file() else place / file.name

    def download(self) -> Path:
        place = cache_folder() / self.key
        try:
            for file in self.files:
                if not self.path(place, file).is_file():
                    urls = [f"{mirror}/{file.name}.gz" for mirror in self.mirrors]
                    fetch(urls, place / f"{file.name}.gz", check=file.read, limit=file.limit)
        except OSError as error:
            files = "\n".join(f"  {file.name}.gz" for file in self.files)
            package = f"\nOr, on Debian and Ubuntu: apt install {self.package}" if self.package else ""
            raise FileNotFoundError(
                f"{self.title} is not on this machine and could not be fetched:\n{error}\n"
                f"With a network, call again: files that are whole are kept. Without one, bring these files\n{files}\n"
                f"from {self.mirrors[0]}/ to {place}, or to any folder and give that as folder=.{package}\n"
                "No network needed: digits(), fashion_small(), mnist1d(), plays(), tecator()"
            ) from error
        return place


def cache_folder() -> Path:
    """TYINGLIB_DATA, or a folder `tyinglib` where the system keeps what can be fetched again."""
    if chosen := os.environ.get("TYINGLIB_DATA"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base, otherwise = os.environ.get("LOCALAPPDATA"), "AppData/Local"
    elif sys.platform == "darwin":
        base, otherwise = None, "Library/Caches"
    else:
        base, otherwise = os.environ.get("XDG_CACHE_HOME"), ".cache"
    return (Path(base) if base else Path.home() / otherwise) / "tyinglib"


def _as_mnist(*hashes: str) -> tuple[File, ...]:
    """The four files of a set published in MNIST's form."""
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    shapes = ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,))
    return tuple(File(*parts) for parts in zip(names, shapes, hashes, strict=True))


MNIST = Source(
    title="MNIST",
    key="mnist",
    files=_as_mnist(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    ),
)
FASHION = Source(
    title="Fashion-MNIST",
    key="fashion-mnist",
    files=_as_mnist(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    mirrors=(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    ),
    installed=Path("/usr/share/datasets/fashion-mnist"),
    package="dataset-fashion-mnist",
)
