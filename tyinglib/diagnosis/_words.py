"""How a sentence names parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

Named = dict[int, tuple[nn.Parameter, list[str]]]  # by identity: a parameter and all its names


def one_parameter(names: Sequence[str]) -> str:
    return quoted(names) if len(names) == 1 else f"one parameter ({quoted(names)})"


def quoted(names: Sequence[str]) -> str:
    return listed(repr(name) for name in names)


def listed(words: Iterable[str]) -> str:
    known = list(words)
    shown, rest = known[:4], len(known) - 4
    if rest > 0:
        return ", ".join(shown) + f" and {rest} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))
