r"""The labels of a tie as bits: n labels of k groups are n ceil(log2 k) bits. Factors of 1 and -1 are one bit each.

With pruned slices, -1 becomes 0 and the groups count from 1 (the shift). Piece by piece: a label is 8 bytes as a
number, and its bits, one a byte, would be many times that for all labels at once.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

PIECE = 1 << 14  # labels at a time; a multiple of 8, so that every piece begins at a byte


def shift_of(labels: Tensor) -> int:
    """1 if some slices are pruned, 0 if not."""
    return int(labels.min() < 0)


def bits_of(groups: int, shift: int) -> int:
    """Bits that a label needs."""
    return (groups - 1 + shift).bit_length()


def pack(labels: Tensor, bits: int, shift: int) -> Tensor:
    """Bytes, of dtype uint8; the last is filled up with zeros."""
    flat = labels.cpu().flatten().numpy()
    places = np.arange(bits)
    pieces = [
        np.packbits(((flat[start : start + PIECE, None] + shift) >> places & 1).astype(np.uint8))
        for start in range(0, len(flat), PIECE)
    ]
    return torch.from_numpy(np.concatenate(pieces))


def unpack(packed: Tensor, count: int, bits: int, shift: int) -> Tensor:
    """The labels (count,) of dtype int64, from ``ceil(count * bits / 8)`` bytes."""
    data, values = packed.numpy(), 1 << np.arange(bits, dtype=np.int64)
    labels = np.empty(count, dtype=np.int64)
    for start in range(0, count, PIECE):
        part = labels[start : start + PIECE]
        from_here = data[start * bits // 8 :]
        part[:] = np.unpackbits(from_here, count=len(part) * bits).reshape(len(part), bits) @ values - shift
    return torch.from_numpy(labels)


def are_signs(factors: Tensor) -> bool:
    """Whether all are 1 or -1, or 0, as those of pruned slices are."""
    return bool((factors.abs() == (factors != 0)).all())


def pack_signs(factors: Tensor) -> Tensor:
    """Bytes, of dtype uint8: a bit is set where a factor is negative."""
    return torch.from_numpy(np.packbits((factors < 0).cpu().flatten().numpy()))


def unpack_signs(packed: Tensor, count: int) -> Tensor:
    """Factors (count,) of 1 and -1, in torch's default dtype."""
    negative = torch.from_numpy(np.unpackbits(packed.numpy(), count=count)).to(torch.get_default_dtype())
    return 1 - 2 * negative
