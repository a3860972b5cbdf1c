"""The file: a safetensors file whose metadata says the ties, the other names of shared tensors, and a hash of it all.

Written by hand, tensor by tensor, because a serializer wants everything in memory at once. The format: 8 bytes for
the length of the header, the header (JSON: dtype, shape and place of each tensor), the tensors.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from tyinglib.saving._replacing import replacing
from tyinglib.saving._state import State, quote

FORMAT = "tyinglib-tied"
VERSION = "2"
READABLE = ("1", "2")  # 1 had neither factors nor codebooks of several weights
METADATA = "__metadata__"
HEADER = 1 << 20  # bytes that a header may have for a small model
NAMED = 1 << 12  # and more for every name in its state
PIECE = 1 << 20  # bytes at a time
LETTER = 64  # and for every letter of it: four times in the header, escaped twice

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class Contents:
    """What a file says: tensors (packed labels among them), how ties are packed, which names are others' names."""

    tensors: State
    ties: dict[str, dict[str, Any]]
    aliases: dict[str, str]
    ours: bool = True  # or what another library wrote: tensors as they are


def damaged(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} is damaged: {why}; save the model again")


# Writing.


def write(path: Path, contents: Contents) -> int:
    """The file's size. It stands at `path` whole, or what stood there stands there still."""
    for key, value in contents.tensors.items():
        if value.dtype not in DTYPES or key == METADATA:
            raise ValueError(f"{quote(key)} of {value.dtype} has no place in a safetensors file; rename or convert it")
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "ties": json.dumps(contents.ties, sort_keys=True),
        "aliases": json.dumps(contents.aliases, sort_keys=True),
    }
    digest = _Digest(metadata)
    places = _places(contents.tensors)
    length = len(_header(contents.tensors, places, metadata | {"sha256": digest.hexdigest()}))
    with replacing(path) as file:
        for key in sorted(contents.tensors):
            value = contents.tensors[key].detach().resolve_conj().resolve_neg().cpu().contiguous()
            file.seek(length + places[key][0])
            for piece in digest.pieces(key, value):
                file.write(piece)
        file.seek(0)
        file.write(_header(contents.tensors, places, metadata | {"sha256": digest.hexdigest()}))
    return length + max((end for _, end in places.values()), default=0)


def _places(tensors: State) -> dict[str, tuple[int, int]]:
    """Where each begins and ends; wide numbers first, so that all are aligned."""
    places, end = {}, 0
    for key in sorted(tensors, key=lambda key: (-tensors[key].element_size(), key)):
        start, end = end, end + tensors[key].numel() * tensors[key].element_size()
        places[key] = (start, end)
    return places


def _header(tensors: State, places: dict[str, tuple[int, int]], metadata: dict[str, str]) -> bytes:
    entries: dict[str, Any] = {METADATA: metadata}
    for key, (start, end) in places.items():
        value = tensors[key]
        entries[key] = {"dtype": DTYPES[value.dtype], "shape": list(value.shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


class _Digest:
    """A hash of everything that is loaded: safetensors itself notices a short file, not a flipped bit."""

    def __init__(self, metadata: dict[str, str]) -> None:
        self._hash = hashlib.sha256()
        for key in ("format", "version", "ties", "aliases"):
            self._hash.update(f"{key}={metadata[key]}\n".encode())

    def pieces(self, key: str, value: Tensor) -> Iterator[bytes]:
        """The bytes of a tensor, in the order of names: copies, for a weight may change between hash and use."""
        self._hash.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        data = value.contiguous().flatten().view(torch.uint8).numpy().data
        for start in range(0, len(data), PIECE):
            piece = bytes(data[start : start + PIECE])
            self._hash.update(piece)
            yield piece

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def digest(tensors: State, metadata: dict[str, str]) -> str:
    """The hash that belongs to them."""
    found = _Digest(metadata)
    for key in sorted(tensors):
        for _ in found.pieces(key, tensors[key]):
            pass
    return found.hexdigest()


# Reading.


def largest(state: State) -> int:
    """More bytes than any file of this state has: every value, every label as a number of its own, and the names."""
    return HEADER + sum(
        NAMED + LETTER * len(key) + value.numel() * (value.element_size() + 8) for key, value in state.items()
    )


def read(path: Path, limit: int) -> Contents:
    """What the file says, if it is whole; no word of it is believed yet."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise ValueError(f"{path} has {size} bytes, more than this model can need ({limit}): it is another model's")
        data = file.read(limit + 1)
    if len(data) > limit:  # it grew, or is no plain file
        raise ValueError(f"{path} has more bytes than this model can need ({limit}): it is another model's")
    tensors, metadata = _parse(data, path)
    if metadata.get("format") != FORMAT and not {"ties", "aliases", "sha256"} & metadata.keys():
        # safetensors.torch.save_model says in the metadata which name of a shared tensor it left out
        others = {key: kept for key, kept in metadata.items() if kept in tensors and key not in tensors}
        return Contents(tensors, {}, others, ours=False)
    if metadata.get("format") != FORMAT:
        raise damaged(path, f"its format is {quote(metadata.get('format'))}")
    if metadata.get("version") not in READABLE:
        raise ValueError(
            f"{path} has version {quote(metadata.get('version'))}, this tyinglib reads up to {VERSION!r}; "
            "install the tyinglib that wrote it"
        )
    missing = {"ties", "aliases", "sha256"} - metadata.keys()
    if missing or metadata["sha256"] != digest(tensors, metadata):
        raise ValueError(f"{path} was altered or damaged after it was written; save the model again")
    ties = _json_object(metadata["ties"], dict, f"{path} is damaged: its ties cannot be read")
    aliases = _json_object(metadata["aliases"], str, f"{path} is damaged: its names of shared tensors cannot be read")
    return Contents(tensors, ties, aliases)


def _parse(data: bytes, path: Path) -> tuple[State, dict[str, str]]:
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return tensors, dict(header.get(METADATA) or {})
    except MemoryError:
        raise
    except Exception as error:  # the parser has no list of what it raises: assertions, RuntimeErrors, KeyErrors
        raise ValueError(
            f"{path} is no safetensors file, or was cut short ({quote(str(error))}); save the model again"
        ) from error


def _json_object(text: str, of: type, fault: str) -> dict[str, Any]:
    """A JSON object whose values are all of one type."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{fault} ({quote(str(error))}); save the model again") from error
    if not isinstance(found, dict) or not all(type(value) is of for value in found.values()):
        raise ValueError(f"{fault} ({quote(found)} is not names and what belongs to them); save the model again")
    return found
