"""IDX, the format of MNIST: 0, 0, type, number of sizes, the sizes, the values. Packed by gzip, or not."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

BYTES = 8  # the type of the values: unsigned, one byte each


def read_idx(path: Path, shape: tuple[int, ...], sha256: str) -> npt.NDArray[np.uint8]:
    """The array in a file, (*shape), uint8; ValueError unless its shape and the hash of its unpacked bytes are these.

    The hash is of the unpacked bytes because the same data are packed differently by different publishers.
    No more is unpacked than the shape asks for.
    """
    header = bytes([0, 0, BYTES, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    try:
        with _open(path) as file:
            begin = file.read(len(header))
            if begin != header:
                raise ValueError(f"{path}: expected an IDX file of shape {shape}, got {_described(begin)}; {_REMEDY}")
            size = math.prod(shape)
            values = file.read(size + 1)  # one more: is this the end?
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected a whole gzip file, got a damaged one ({error}); {_REMEDY}") from error
    if len(values) != size:
        got = "more" if len(values) > size else f"{len(values)}"
        raise ValueError(f"{path}: expected {size} bytes after the header, got {got}; {_REMEDY}")
    if (found := hashlib.sha256(begin + values).hexdigest()) != sha256:
        raise ValueError(f"{path}: expected unpacked contents with sha256 {sha256}, got {found}; {_REMEDY}")
    return np.frombuffer(values, dtype=np.uint8).reshape(shape)


_REMEDY = "remove the file and get it again"


def _open(path: Path) -> BinaryIO:
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else open(path, "rb")  # type: ignore[return-value]


def _described(begin: bytes) -> str:
    if begin[:3] != bytes([0, 0, BYTES]) or len(begin) < 4 + 4 * begin[3]:
        return f"{begin[:4]!r} at its beginning"
    sizes = np.frombuffer(begin[4 : 4 + 4 * begin[3]], dtype=">u4")
    return f"shape {tuple(sizes.tolist())}"
