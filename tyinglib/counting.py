r"""What is counted, and what is stored: compression = total / unique = sharing rate / (1 - sparsity).

- total: weights the network uses, a shared one counted at every place;
- nonzero: those of them that are not zero;
- unique: free values that are stored and not zero: phi, not theta.

A tied weight of n slices in k groups is stored as its codebook and n labels of ceil(log2 k) bits.
Equal values that are not tied are stored, and counted, one by one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from tyinglib import _sharded
from tyinglib._private_apis import MASK, PRUNED
from tyinglib.saving import _state
from tyinglib.saving._packed_labels import are_signs, bits_of, shift_of
from tyinglib.tying import Tie


@dataclass(frozen=True)
class ParameterCount:
    """Three counts of a model's parameters, and the rates made of them (Zhang et al. 2018, section 4).

    Parameters
    ----------
    total, nonzero, unique
        `total` weights in use, `nonzero` of them not zero, `unique` free values that are stored and not zero.

    Examples
    --------
    >>> count = ParameterCount(total=100, nonzero=50, unique=10)
    >>> count.sparsity, count.sharing_rate, count.compression_rate
    (0.5, 5.0, 10.0)

    Chapter: One idea.
    """

    total: int
    nonzero: int
    unique: int

    @property
    def sparsity(self) -> float:
        """The share of weights that are zero."""
        return 1 - self.nonzero / self.total if self.total else 0.0

    @property
    def sharing_rate(self) -> float:
        """Non-zero weights to one free value."""
        return self.nonzero / self.unique if self.unique else math.nan

    @property
    def compression_rate(self) -> float:
        """All weights to one free value."""
        return self.total / self.unique if self.unique else math.nan


def count_parameters(model: nn.Module) -> ParameterCount:
    """Count a model's parameters: all that it uses, those that are not zero, those that are free.

    Parameters
    ----------
    model
        Any module. Ties (`tyinglib.tie`), one Parameter under several names, two in one piece of memory and
        `torch.nn.utils.prune`'s masks are seen; equal values are not: they are free to differ at the next step. A layer
        that the forward calls several times counts once. Of other parametrizations (weight norm) the Parameters that
        they store are counted. Of a model that is sharded over processes all of it is counted, and all processes must
        call.

    Returns
    -------
    ParameterCount
        Buffers are not parameters and are not counted.

    Raises
    ------
    ValueError
        If a tie stands in one list with another parametrization: what the layer uses is then no longer S phi.

    Examples
    --------
    >>> from tyinglib import TieSpec, tie
    >>> layer = nn.Linear(4, 3, bias=False)
    >>> count_parameters(layer)
    ParameterCount(total=12, nonzero=12, unique=12)
    >>> _ = tie(layer, "weight", TieSpec([0, 0, 1, -1], dim=1))
    >>> count_parameters(layer)
    ParameterCount(total=12, nonzero=9, unique=6)

    Chapter: One idea.
    """
    total = nonzero = unique = 0
    seen: set[object] = set()
    tied = {_state.codebook_key(name): one.tie for name, one in _state.ties_of(model, every_name=True).items()}
    masks = _masks(model)
    for key, parameter in model.named_parameters(remove_duplicate=False):
        used = _sharded.whole(parameter.detach())
        if key in masks:
            used = used * _sharded.whole(masks[key])
        free = int(torch.count_nonzero(used))
        if key in tied:
            used = tied[key](used)
        total += used.numel()
        nonzero += int(torch.count_nonzero(used))
        if _place(parameter) not in seen:
            unique += free
            seen.add(_place(parameter))
    return ParameterCount(total, nonzero, unique)


def _place(parameter: nn.Parameter) -> object:
    """What is the same for two Parameters in one piece of memory; where there is none to look at, the object."""
    plain = not parameter.is_meta and not _sharded.is_sharded(parameter) and parameter.numel() > 0
    return (parameter.data_ptr(), parameter.numel()) if plain else id(parameter)


def _masks(model: nn.Module) -> dict[str, Tensor]:
    """torch.nn.utils.prune's masks, by the names of the Parameters that they are on; ValueError for stacked ties."""
    found = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        parameters = {name for name, _ in module.named_parameters(recurse=False, remove_duplicate=False)}
        for name, mask in module.named_buffers(recurse=False, remove_duplicate=False):
            masked = name.removesuffix(MASK) + PRUNED
            if name.endswith(MASK) and masked in parameters:
                found[_state.dotted(prefix, masked)] = mask
        if isinstance(module, ParametrizationList) and len(module) > 1 and any(isinstance(one, Tie) for one in module):
            kinds = ", ".join(type(one).__name__ for one in module)
            raise ValueError(
                f"{prefix!r} is a tie in one list with other parametrizations ({kinds}), and the weight that the layer "
                "uses is not the tied one: it can't be counted; untie it, or remove the others"
            )
    return found


def storage_bits(model: nn.Module, *, value_bits: int = 32) -> int:
    """Bits that a model's state needs: every distinct value once, and the packed labels of its ties.

    Parameters
    ----------
    model
        Any module.
    value_bits
        Bits for one value, of a parameter or a buffer.

    Returns
    -------
    int
        ``free values * value_bits + sum over ties of n * ceil(log2 k)`` (k + 1 where slices are pruned). A factor is a
        bit where all are 1 or -1, and a value where they are not.
        `save_tied` writes every value in its own dtype: of a model in float32 without buffers of integers (as batch
        norm's counter) it writes this, padded to bytes, and a header.

    Raises
    ------
    ValueError
        If `value_bits` is not a positive integer.

    Examples
    --------
    >>> from tyinglib import TieSpec, tie
    >>> layer = tie(nn.Linear(4, 3, bias=False), "weight", TieSpec([0, 0, 1, 1], dim=1))
    >>> storage_bits(layer)  # 6 values of 32 bits, 4 labels of 1 bit
    196

    Chapter: One idea. Compare equation (1) of Han et al. (2016).
    """
    if isinstance(value_bits, bool) or not isinstance(value_bits, int) or value_bits < 1:
        raise ValueError(f"value_bits must be a positive integer, got {value_bits!r}")
    ties = _state.ties_of(model).values()
    values, _ = _state.distinct(_state.state_of(model), ties)
    bits = sum(value.numel() for value in values.values()) * value_bits
    for _, spec in {(id(tied.codebook), tied.tie.spec()) for tied in ties}:
        n, factors = spec.labels.numel(), spec.factors
        bits += n * bits_of(spec.n_groups, shift_of(spec.labels))
        if factors is not None:
            bits += n * (1 if are_signs(factors) else value_bits)
    return bits
