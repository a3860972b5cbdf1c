"""A model without its ties for a while: what other libraries do to weights, they do to Parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tyinglib.tying._places import ties_in
from tyinglib.tying.spec import TieSpec
from tyinglib.tying.ties import Net, tie, untie


@contextmanager
def untied(model: Net) -> Iterator[Net]:
    """Inside the `with`, no weight of the model is tied; at its end the same weights are tied again in the same way.

    For what works on plain Parameters alone: ``tie_weights()`` and ``resize_token_embeddings`` of Hugging Face's
    transformers, `torch.nn.utils.prune`, merging an adapter. Weights that had one codebook get one again.

    Parameters
    ----------
    model
        With ties in it, or without.

    Yields
    ------
    Module
        The same model, untied. The Parameters in the block, and those after it, are new: build the optimizer after it.

    Raises
    ------
    ValueError
        As `untie` and `tie`. If a weight no longer fits its spec at the end, as when its number of slices changed, it
        stays untied, and the error names it.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from tyinglib import TieSpec, tie, tie_specs
    >>> layer = tie(nn.Linear(4, 3), "weight", TieSpec([0, 0, 1, 1], dim=1))
    >>> with untied(layer):
    ...     layer.weight.data[:, 0] += 1  # half of it reaches the group
    ...     print(tie_specs(layer))
    {}
    >>> torch.equal(layer.weight[:, 0], layer.weight[:, 1])
    True

    Chapter: Sharing today.
    """
    ties: dict[int, tuple[list[str], list[TieSpec]]] = {}
    for place, chain, found in ties_in(model):
        names, specs = ties.setdefault(id(chain.original), ([], []))
        names.append(place.dotted)
        specs.append(found.spec())
    free: list[tuple[list[str], list[TieSpec]]] = []
    try:
        for names, specs in ties.values():
            untie(model, names[0])
            free.append((names, specs))
        yield model
    finally:
        failed = []
        for names, specs in free:
            try:
                tie(model, names, specs)
            except ValueError as error:  # the others are tied all the same
                failed.append(f"{' and '.join(names)} can't be tied again as before: {error}")
        if failed:
            raise ValueError("; ".join(failed))
