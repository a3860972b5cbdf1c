"""Layers that the sharing of a known layer is undone in, and attention whose heads may share."""

from tyinglib.nn.attention import WAYS, Attention, align_heads, head_spec, pool_heads
from tyinglib.nn.locally_connected import LocallyConnected1d, LocallyConnected2d
from tyinglib.nn.unrolled import UnrolledRNN

__all__ = [
    "WAYS",
    "Attention",
    "LocallyConnected1d",
    "LocallyConnected2d",
    "UnrolledRNN",
    "align_heads",
    "head_spec",
    "pool_heads",
]
