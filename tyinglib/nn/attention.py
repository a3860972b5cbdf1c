r"""Attention in which several query heads share one key and one value head, and the way there from ordinary attention.

    theta = S phi    theta: the key (value) weight of ordinary attention, one block of rows a head; phi: fewer blocks

S is `head_spec`. A layer with fewer key and value heads computes what ordinary attention computes under this tie, and
keeps less of the text: its keys and values are phi's.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tyinglib import selection
from tyinglib.tying import TieSpec

Way = Literal["mean", "first", "random", "aligned"]
WAYS = get_args(Way)


class Attention(nn.Module):
    """Causal attention in which a group of query heads may share one key head and one value head.

    Parameters
    ----------
    width
        Of the vectors that come in and go out.
    heads
        Query heads; divides `width`.
    kv_heads
        Key and value heads; divides `heads`. `heads` of them: ordinary attention; one: multi-query attention.

    Raises
    ------
    ValueError
        If a number does not divide the one it must divide.

    Examples
    --------
    >>> Attention(8, heads=4, kv_heads=2).key.weight.shape
    torch.Size([4, 8])

    Reference: Ainslie et al. (EMNLP 2023); one head, Shazeer (2019). Chapter: Sharing today.
    """

    def __init__(self, width: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        _check_heads(width, heads, kv_heads)
        self.heads, self.kv_heads = heads, kv_heads
        kv_width = width // heads * kv_heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, kv_width, bias=False)
        self.value = nn.Linear(width, kv_width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Let each position look at itself and at what came before it.

        Parameters
        ----------
        x
            (N, T, width).
        past
            Keys and values of earlier positions, each of shape (N, kv_heads, earlier, size): size is width / heads.

        Returns
        -------
        tuple[Tensor, tuple[Tensor, Tensor]]
            (N, T, width), and the keys and values of all positions so far: shapes as `past`.
        """
        q, k, v = (
            layer(x).unflatten(-1, (count, -1)).transpose(1, 2)
            for layer, count in ((self.query, self.heads), (self.key, self.kv_heads), (self.value, self.kv_heads))
        )
        mask = None
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
            now, all_ = q.shape[2], k.shape[2]
            mask = torch.ones(now, all_, dtype=torch.bool, device=x.device).tril(all_ - now)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=True)
        result: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return result, (k, v)


def head_spec(width: int, heads: int, kv_heads: int) -> TieSpec:
    """The tie of grouped heads: neighbouring heads use one block of rows of the key (the value) weight.

    Parameters
    ----------
    width
        Rows of the weight of ordinary attention: heads times the width of a head.
    heads, kv_heads
        Heads before, heads after.

    Returns
    -------
    TieSpec
        Along dim 0, `width` rows in width * kv_heads / heads groups.

    Raises
    ------
    ValueError
        If a number does not divide the one it must divide.

    Examples
    --------
    >>> head_spec(8, heads=4, kv_heads=2).labels.tolist()
    [0, 1, 0, 1, 2, 3, 2, 3]

    Reference: Ainslie et al. (EMNLP 2023). Chapter: Sharing today.
    """
    _check_heads(width, heads, kv_heads)
    size = width // heads
    head, row = torch.arange(heads)[:, None], torch.arange(size)
    return TieSpec((head // (heads // kv_heads) * size + row).flatten(), dim=0)


@torch.no_grad()
def pool_heads(attention: Attention, kv_heads: int, how: Way = "mean") -> Attention:
    """Fewer key and value heads, made from the ones that are there.

    Parameters
    ----------
    attention
        With as many key and value heads as query heads. Left as it is.
    kv_heads
        How many to keep; divides the number of heads.
    how
        ``"mean"``: the group means, which is the orthogonal projection onto the tie of `head_spec`. ``"first"``: the
        first head of each group. ``"random"``: new heads. ``"aligned"``: the group means, after each head was turned
        (without changing what the layer computes) as close as possible to the first of its group.

    Returns
    -------
    Attention
        With weights of its own.

    Raises
    ------
    ValueError
        If heads are shared already, the number does not divide, or the way is unknown.

    Examples
    --------
    >>> pool_heads(Attention(8, heads=4, kv_heads=4), 1).value.weight.shape
    torch.Size([2, 8])

    Reference: Ainslie et al. (EMNLP 2023), section 2.1, for mean, first and random. Chapter: Sharing today.
    """
    width, heads = _unshared(attention)
    if how not in WAYS:
        raise ValueError(f"how must be one of {', '.join(WAYS)}, got {how!r}")
    spec = head_spec(width, heads, kv_heads)
    pooled = Attention(width, heads, kv_heads).to(attention.query.weight)
    source = align_heads(attention, kv_heads) if how == "aligned" else attention
    pooled.query.weight.copy_(source.query.weight)
    pooled.output.weight.copy_(source.output.weight)
    for new, old in ((pooled.key, source.key), (pooled.value, source.value)):
        if how == "first":
            new.weight.copy_(old.weight.view(kv_heads, -1, width // heads, width)[:, 0].flatten(0, 1))
        elif how != "random":
            new.weight.copy_(selection.group_means(old.weight, spec.labels, dim=0))
    return pooled


@torch.no_grad()
def align_heads(attention: Attention, kv_heads: int) -> Attention:
    """The same layer in other coordinates: each head turned towards the first head of its group.

    A head's queries and keys may be turned together, q <- R q and k <- R k, and so may its values and its columns of
    the output: R is orthogonal, and no output changes. R minimises ||R k - k_first||, which is Procrustes' problem.

    Parameters
    ----------
    attention
        With as many key and value heads as query heads. Left as it is.
    kv_heads
        How many groups; divides the number of heads.

    Returns
    -------
    Attention
        With weights of its own.

    Raises
    ------
    ValueError
        If heads are shared already, or the number does not divide.

    Examples
    --------
    >>> attention, x = Attention(8, heads=4, kv_heads=4), torch.randn(1, 5, 8)
    >>> torch.allclose(attention(x)[0], align_heads(attention, 2)(x)[0], atol=1e-5)
    True

    Reference: Schönemann (1966) for the rotation. Chapter: Sharing today.
    """
    width, heads = _unshared(attention)
    _check_heads(width, heads, kv_heads)
    turned = Attention(width, heads, heads).to(attention.query.weight)
    q, k, v = (layer.weight.view(heads, -1, width) for layer in (attention.query, attention.key, attention.value))
    out = attention.output.weight.view(width, heads, -1).transpose(0, 1)  # (heads, width, size)
    first = torch.arange(heads) // (heads // kv_heads) * (heads // kv_heads)
    by_key, by_value = _rotation(k, k[first]), _rotation(v, v[first])
    turned.query.weight.copy_((by_key @ q).flatten(0, 1))
    turned.key.weight.copy_((by_key @ k).flatten(0, 1))
    turned.value.weight.copy_((by_value @ v).flatten(0, 1))
    turned.output.weight.copy_((out @ by_value.mT).transpose(0, 1).flatten(1))
    return turned


def _unshared(attention: Attention) -> tuple[int, int]:
    """Width and heads of a layer in which every query head has a key head of its own."""
    if attention.kv_heads != attention.heads:
        raise ValueError(f"expected as many key heads as query heads, {attention.heads}, got {attention.kv_heads}")
    return attention.query.in_features, attention.heads


def _rotation(moving: Tensor, target: Tensor) -> Tensor:
    """argmin over orthogonal R of ||R moving - target||, for each head."""
    u, _, vh = torch.linalg.svd(target @ moving.mT)
    rotation: Tensor = u @ vh
    return rotation


def _check_heads(width: int, heads: int, kv_heads: int) -> None:
    if min(width, heads, kv_heads) < 1 or width % heads or heads % kv_heads:
        raise ValueError(
            f"heads must divide the width, and kv_heads the heads, got width {width}, heads {heads} and "
            f"kv_heads {kv_heads}"
        )
