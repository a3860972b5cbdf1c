r"""A small language model in which everything that large models share can be shared, or not.

    words -> embedding E -> layers of attention and feed-forward -> logits = h U^T

Three ties: E and U are one table (``tied``); parts of all layers are one (``shared``); several query heads
read one key and value head (``kv_heads``). The model is pre-norm, causal, with learned positions, and short enough to
be read.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tyinglib.nn.attention import Attention
from tyinglib.sharing import share

UNKNOWN = "<unknown>"
Cache = list[tuple[Tensor, Tensor]]  # of each layer: keys and values, (N, kv_heads, T, width of a head)


def vocabulary(words: Sequence[str], size: int) -> dict[str, int]:
    """The most frequent words, numbered from 1; number 0 stands for every other word.

    Parameters
    ----------
    words
        A text, such as `datasets.words` gives it.
    size
        How many numbers there are, 0 included.

    Returns
    -------
    dict[str, int]
        Word -> number, frequent words first; equally frequent ones in order of appearance.

    Raises
    ------
    ValueError
        If `size` is below 2.

    Examples
    --------
    >>> vocabulary(["to", "be", "or", "not", "to", "be"], 3)
    {'<unknown>': 0, 'to': 1, 'be': 2}

    Chapter: Sharing today.
    """
    if size < 2:
        raise ValueError(f"size must be at least 2, one word and the unknown, got {size}")
    frequent = Counter(words).most_common(size - 1)
    return {UNKNOWN: 0} | {word: number for number, (word, _) in enumerate(frequent, 1)}


def encode(words: Sequence[str], numbers: dict[str, int]) -> Tensor:
    """A text as numbers of words.

    Parameters
    ----------
    words
        A text.
    numbers
        What `vocabulary` gives.

    Returns
    -------
    Tensor
        (n,) of dtype int64, one number a word; 0 where a word has none.

    Examples
    --------
    >>> encode(["to", "err"], {"<unknown>": 0, "to": 1})
    tensor([1, 0])

    Chapter: Sharing today.
    """
    return torch.tensor([numbers.get(word, 0) for word in words])


class Block(nn.Module):
    """One layer: attention, then a feed-forward net, each on normalised input and added to what came in.

    Parameters
    ----------
    width, heads, kv_heads
        As for `Attention`.
    hidden
        Units of the feed-forward net.

    Raises
    ------
    ValueError
        As `Attention`.

    Examples
    --------
    >>> [name for name, _ in Block(8, 2, 2, 16).named_children()]
    ['norm1', 'attention', 'norm2', 'feed_forward']

    Reference: Vaswani et al. (2017), with the norms first. Chapter: Sharing today.
    """

    def __init__(self, width: int, heads: int, kv_heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads, kv_heads)
        self.norm2 = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Apply both parts. As `Attention.forward`."""
        attended, present = self.attention(self.norm1(x), past)
        x = x + attended
        return x + self.feed_forward(self.norm2(x)), present


class LanguageModel(nn.Module):
    """From the words so far to logits for the next one.

    Parameters
    ----------
    words
        Size of the vocabulary.
    width, heads, layers
        Sizes: `width` channels, `layers` blocks, `heads` query heads in each; `heads` divides `width`.
    hidden
        Units of each feed-forward net; default 4 * width.
    length
        The longest text.
    tied
        Read and write with one table: ``output.weight`` is ``embedding.weight``.
    kv_heads
        Key and value heads; default `heads`.
    shared
        Parts of a `Block` that all layers have in common, such as ``["attention"]``, ``["feed_forward"]`` or
        ``["norm1", "attention", "norm2", "feed_forward"]``.

    Raises
    ------
    ValueError
        If heads do not divide, or a block has no such part; in forward, if the text is too long.

    Examples
    --------
    >>> model = LanguageModel(10, width=8, heads=2, layers=1, length=5, tied=True)
    >>> model(torch.tensor([[1, 2, 3]])).shape, model.output.weight is model.embedding.weight
    (torch.Size([1, 3, 10]), True)

    Reference: Press and Wolf (EACL 2017) for the tied table; Lan et al. (ICLR 2020) for shared layers. Chapter: Sharing
    today.
    """

    def __init__(
        self,
        words: int,
        *,
        width: int = 64,
        heads: int = 4,
        layers: int = 2,
        hidden: int | None = None,
        length: int = 64,
        tied: bool = False,
        kv_heads: int | None = None,
        shared: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.length = length
        self.embedding, self.position = nn.Embedding(words, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads, kv_heads or heads, hidden or 4 * width) for _ in range(layers))
        self.norm, self.output = nn.LayerNorm(width), nn.Linear(width, words, bias=False)
        for table in (self.embedding, self.position, self.output):
            nn.init.normal_(table.weight, std=width**-0.5)
        if tied:
            self.output.weight = self.embedding.weight
        for block in list(self.blocks)[1:]:
            share(block, self.blocks[0], shared)

    def forward(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits for the word after each position.

        Parameters
        ----------
        ids
            (N, T) numbers of words.
        cache
            A list, empty at first, in which keys and values of the text so far are kept: `ids` continues that text.
            Changed in place.

        Returns
        -------
        Tensor
            (N, T, words).

        Raises
        ------
        ValueError
            If the text becomes longer than `length`.
        """
        start = cache[0][0].shape[2] if cache else 0
        end = start + ids.shape[1]
        if end > self.length:
            raise ValueError(f"the text may have {self.length} words, got {end}; cut it, or build with a larger length")
        x = self.embedding(ids) + self.position.weight[start:end]
        for number, block in enumerate(self.blocks):
            x, present = block(x, cache[number] if start and cache else None)
            if cache is not None:
                cache[number : number + 1] = [present]
        logits: Tensor = self.output(self.norm(x))
        return logits


def fit(
    model: LanguageModel,
    ids: Tensor,
    *,
    steps: int,
    lr: float = 0.006,
    batch: int = 16,
    seed: int = 0,
    watch: Callable[[int], None] | None = None,
    watch_at: Sequence[int] = (),
) -> None:
    """Train on random pieces of a text with Adam, in place; the rate rises for 20 steps and then stays.

    Parameters
    ----------
    model
        Changed in place.
    ids
        (n,), the text in numbers.
    steps, lr, batch
        `steps` steps at the learning rate `lr`, each on `batch` pieces of `model.length` words.
    seed
        Of the pieces: equal seeds give equal pieces, whatever the model.
    watch, watch_at
        `watch(step)` is called after each of these steps.

    Raises
    ------
    ValueError
        If the text is not longer than a piece.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> model = LanguageModel(3, width=8, heads=2, layers=1, length=4)
    >>> text = torch.arange(60) % 3
    >>> fit(model, text, steps=60, batch=4)
    >>> perplexity(model, text) < 1.5
    True

    Chapter: Sharing today.
    """
    _check_length(ids, model.length)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    offsets = torch.arange(model.length + 1)
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1, step / 20)
        starts = torch.randint(len(ids) - model.length, (batch, 1), generator=generator)
        pieces = ids[starts + offsets]
        loss = F.cross_entropy(model(pieces[:, :-1]).flatten(0, 1), pieces[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if watch is not None and step in watch_at:
            watch(step)


def perplexity(model: LanguageModel, ids: Tensor, *, batch: int = 64) -> float:
    """exp of the mean cross-entropy of the next word, over a text cut into pieces of `model.length` words.

    Parameters
    ----------
    model
        Maps (N, T) words to logits.
    ids
        (n,), the text in numbers. An incomplete last piece is left out.
    batch
        Pieces at a time; changes nothing but memory and time.

    Returns
    -------
    float
        1: every word was certain; the size of the vocabulary: a guess in the dark.

    Raises
    ------
    ValueError
        If the text is not longer than a piece.

    Examples
    --------
    >>> model = LanguageModel(10, width=8, heads=2, layers=1, length=4)
    >>> _ = nn.init.zeros_(model.output.weight)
    >>> round(perplexity(model, torch.arange(10)), 3)
    10.0

    Chapter: Sharing today.
    """
    _check_length(ids, model.length)
    pieces = (len(ids) - 1) // model.length
    x = ids[: pieces * model.length].view(pieces, -1)
    y = ids[1 : pieces * model.length + 1].view(pieces, -1)
    total = 0.0
    with torch.no_grad():
        for a, b in zip(torch.split(x, batch), torch.split(y, batch), strict=True):
            total += float(F.cross_entropy(model(a).flatten(0, 1), b.flatten(), reduction="sum"))
    return math.exp(total / y.numel())


def _check_length(ids: Tensor, piece: int) -> None:
    if len(ids) <= piece:
        raise ValueError(f"the text must be longer than a piece of {piece} words, got {len(ids)} words")
