r"""The prox of OWL on numpy arrays, and its derivative.

Sort, subtract, pool, clip. np.argsort and scipy's pooling are several times faster than torch's sort and a loop;
from another device only the values travel. The Jacobian is a signed projection onto a tie::

    D S (S^T S)^-1 S^T D      D the signs of v, S the blocks of equal results
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from tyinglib import selection
from tyinglib._checks import Array
from tyinglib._tensors import wide


class ProxOWL(torch.autograd.Function):
    """prox_owl row by row, and the labels of its blocks: the Jacobian is a signed projection onto a tie."""

    @staticmethod
    def forward(rows: Tensor, w: Array, step_size: float, with_labels: bool) -> tuple[Tensor, Tensor]:
        labels = torch.empty(rows.shape if with_labels else (len(rows), 0), dtype=torch.int64)
        return prox_rows(rows, w, step_size, labels.numpy() if with_labels else None), labels.to(rows.device)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Any, float, bool], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        if inputs[3]:
            ctx.save_for_backward(inputs[0].sign(), output[1])
            ctx.save_for_forward(inputs[0].sign(), output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return _average_over_blocks(grads[0], *ctx.saved_tensors), None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> tuple[Tensor, None]:
        return _average_over_blocks(tangents[0], *ctx.saved_tensors), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], rows: Tensor, *settings: Any) -> Any:
        stacked = rows.movedim(in_dims[0], 0)
        result, labels = ProxOWL.apply(stacked.reshape(-1, stacked.shape[-1]), *settings)  # type: ignore[no-untyped-call]
        return (result.view(stacked.shape), labels.view(*stacked.shape[:-1], -1)), (0, 0)


def _average_over_blocks(grad: Tensor, signs: Tensor, labels: Tensor) -> Tensor:
    """D S (S^T S)^-1 S^T D grad, row by row; pruned entries share a last group, which is then set to zero."""
    n = labels.shape[-1]
    index = torch.where(labels < 0, n, labels)
    signed = grad * signs
    groups = signed.new_zeros(*signed.shape[:-1], n + 1)
    sums = groups.scatter_add(-1, index, signed)
    sizes = groups.scatter_add(-1, index, torch.ones_like(signed)).clamp(min=1)
    means = (sums / sizes).gather(-1, index).masked_fill(labels < 0, 0)
    return means * signs


def prox_rows(rows: Tensor, w: Array, step_size: float, labels: Array | None = None) -> Tensor:
    """The prox of each row; `labels`, if given, is filled with those of its blocks of equal results."""
    if step_size != 1:
        w = w * step_size
    array = wide(rows.detach()).cpu().numpy()
    result = np.empty(array.shape, dtype=array.dtype)
    for i, (row, x) in enumerate(zip(array, result, strict=True)):
        entries, shrunk, starts = prox_sizes(row, w)
        if len(entries) < len(row):
            x[:] = 0
        x[entries] = shrunk
        np.copysign(x, row, out=x)
        x += 0.0  # -0 becomes 0
        if labels is not None:
            blocks = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(shrunk)))
            labels[i] = selection.PRUNED
            labels[i, entries] = np.where(shrunk > 0, blocks, selection.PRUNED)
    return torch.from_numpy(result).to(rows)


def prox_sizes(v: Array, w: Array) -> tuple[Array, Array, Array]:
    """The prox of one vector: entries by rising size, their |result|, and where a block of equal results starts.

    All other entries are zero.
    """
    size = np.abs(v)
    if len(v) and not math.isfinite(top := float(size.max())):
        raise ValueError(f"weight holds NaN or infinite values (largest size {top}), which have no proximal point")
    entries, rising = _sort_what_may_live(size, w)
    falling = w[: len(rising)][::-1]
    # in float64, and in place where it can be: at ten million entries, fresh memory costs as much as sorting
    difference = np.subtract(rising, falling, out=rising) if rising.dtype == w.dtype else rising - falling
    if (difference[1:] < difference[:-1]).any():
        pooled = isotonic_regression(difference)
        difference, starts = pooled.x, pooled.blocks[:-1]
    else:  # rising already: every entry is a block
        starts = np.arange(len(difference))
    return entries, np.maximum(difference, 0, out=difference), starts


SMALL = 4096  # below this, sorting everything is cheaper than looking for what need not be sorted


def _sort_what_may_live(size: Array, w: Array) -> tuple[Array, Array]:
    """The entries whose result may be nonzero, by rising size, and their sizes.

    The prox is zero from the rank on where the running sum of (falling sizes - w) is largest. A sample guesses the
    rank; a bound proves the guess, or it is doubled.
    """
    n = len(size)
    if n >= SMALL:
        sample = np.sort(size[:: n // 1024])
        share = 1.5 * _best_rank(sample, w[:: n // 1024][: len(sample)]) / len(sample) + 0.02
        while share < 0.7:
            threshold = sample[len(sample) - 1 - int(share * len(sample))]
            entries = np.flatnonzero(size > threshold)
            order, rising = _argsort(size[entries])
            live = _live_count(rising, float(size.sum(dtype=np.float64)), float(threshold), w)
            if live is not None:
                first = len(rising) - live
                return entries[order[first:]], rising[first:]
            share *= 2
    return _argsort(size)


def _best_rank(rising: Array, w: Array) -> int:
    """How many of the largest it takes until the running sum of sizes - w is largest."""
    return int(np.argmax(np.cumsum(rising[::-1] - w))) + 1


def _live_count(rising: Array, total: float, threshold: float, w: Array) -> int | None:
    """How many of the sorted entries are not zero for certain; None if an entry beyond them might not be zero.

    All entries beyond are at most `threshold`, and sum up to what is left of the total. Their j largest add at most
    min(j * threshold, all that is left) to the running sum, and take a sum of w away. The first is linear up to where
    it meets the second, and the sum of w is concave: the running sum is highest at j = 0 or where they meet.
    """
    head = len(rising)
    if head == 0:
        return None
    running = np.cumsum(rising[::-1] - w[:head])
    left = total - float(rising.sum(dtype=np.float64))
    meet = head + int(left / threshold) if threshold > 0 else head
    gain = left - float(w[head:meet].sum())
    slack = 1e-9 * (total + float(w[:meet].sum()))  # rounding of the sums
    highest = float(running.max())
    if float(running[-1]) + max(gain, 0.0) + slack >= highest:
        return None
    return int(np.flatnonzero(running >= highest - slack)[-1]) + 1


def _argsort(size: Array) -> tuple[Array, Array]:
    """The order that sorts sizes, rising, and the sorted sizes."""
    n = len(size)
    if size.dtype == np.float32 and SMALL <= n < 2**32 and sys.byteorder == "little":
        # the bits of a float32 >= 0 rise with its value: sorting (bits, index) as one integer beats argsort
        key = np.empty(n, dtype=np.uint64)
        halves = key.view(np.uint32).reshape(n, 2)
        halves[:, 0] = np.arange(n, dtype=np.uint32)
        halves[:, 1] = size.view(np.uint32)
        key.sort()
        return halves[:, 0].astype(np.intp), halves[:, 1].copy().view(np.float32)
    order = np.argsort(size)
    return order, size[order]
