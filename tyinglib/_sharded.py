r"""Weights that several processes hold in parts, as `torch.distributed.fsdp.fully_shard` leaves them (`DTensor`).

A prox of norms needs no weight in one place: each process squares and sums what it holds, DTensor adds or joins those
sums (n numbers travel, not the weight), every process shrinks the same n norms, and scales its own part.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor


def is_sharded(tensor: object) -> bool:
    """Whether it is a DTensor. None can be, as long as nobody has loaded that part of torch (which takes a second)."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def whole(tensor: Tensor) -> Tensor:
    """All of it, on every process; a plain tensor as it is. All processes must call this."""
    if is_sharded(tensor):
        full: Tensor = tensor.full_tensor()  # type: ignore[attr-defined]
        return full
    return tensor


def local(tensor: Tensor) -> Tensor:
    """The part that this process holds; a plain tensor as it is."""
    if is_sharded(tensor):
        part: Tensor = tensor.to_local()  # type: ignore[attr-defined]
        return part
    return tensor


def spread(tensor: Tensor, like: Any) -> Tensor:
    """A tensor that every process has, as a DTensor beside `like`; no byte travels. A plain `like`: as it is."""
    if not is_sharded(like):
        return tensor
    from torch.distributed.tensor import DTensor, Replicate

    everywhere = [Replicate()] * like.device_mesh.ndim
    return DTensor.from_local(tensor, like.device_mesh, everywhere, run_check=False)


def part_of(tensor: Tensor, like: Any) -> Tensor:
    """Of a tensor that every process has, the part that belongs where `like` is; no byte travels."""
    if not is_sharded(like):
        return tensor
    placed: Tensor = spread(tensor, like).redistribute(placements=like.placements)  # type: ignore[attr-defined]
    return placed


def all_finite(tensor: Tensor) -> bool:
    """Whether no process holds a NaN or an infinite value: the same answer on all of them."""
    if is_sharded(tensor):
        return int(whole((~torch.isfinite(tensor)).sum())) == 0
    return bool(torch.isfinite(tensor).all())


def refuse_sharded(tensor: object, name: str, remedy: str) -> None:
    """ValueError by name for a DTensor: what cannot work on parts says what to do instead."""
    if is_sharded(tensor):
        raise ValueError(f"{name} is sharded over processes already (a DTensor, as fully_shard makes); {remedy}")
