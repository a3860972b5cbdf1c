"""Where a model keeps a weight: the module that owns it, and all the names under which it is one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList

from tyinglib import _sharded
from tyinglib.tying.parametrization import Tie


class Place(NamedTuple):
    """A weight, where it stands in a model."""

    owner: nn.Module
    own: str  # its name there
    dotted: str  # and in the model

    def __str__(self) -> str:
        return repr(self.dotted)

    def is_that_of(self, other: Place) -> bool:
        """Whether both are one place: a layer may have several names."""
        return self.owner is other.owner and self.own == other.own


def find(module: nn.Module, name: str) -> Place:
    """The place of a dotted name; what stands there is not looked at. ValueError if there is no such module."""
    prefix, _, own = name.rpartition(".")
    try:
        return Place(module.get_submodule(prefix), own, name)
    except AttributeError:
        raise ValueError(no_parameter(module, name)) from None


def no_parameter(module: nn.Module, name: str) -> str:
    """What to say of a name that the module has no parameter of."""
    known = [key for key, _ in module.named_parameters(remove_duplicate=False)]
    there = ", ".join(map(repr, known[:8])) + (", ..." if len(known) > 8 else "")
    return f"{type(module).__name__} has no parameter {name!r}; " + (f"there are {there}" if known else "it has none")


def parameters_of(module: nn.Module) -> Iterator[tuple[Place, nn.Parameter]]:
    """Every place of a parameter, once: of a layer with several names under the first."""
    for prefix, inner in module.named_modules():
        for own, parameter in inner.named_parameters(recurse=False, remove_duplicate=False):
            yield Place(inner, own, f"{prefix}.{own}".lstrip(".")), parameter


def ties_in(module: nn.Module) -> Iterator[tuple[Place, ParametrizationList, Tie]]:
    """Every tied weight, once: its place, the list that keeps its codebook, and its tie."""
    for prefix, inner in module.named_modules():
        for own in own_parametrizations(inner):
            found = tie_of(inner, own)
            if found is not None:
                chain = inner.get_submodule(f"parametrizations.{own}")
                assert isinstance(chain, ParametrizationList)  # for mypy
                yield Place(inner, own, f"{prefix}.{own}".lstrip(".")), chain, found


def tie_of(module: nn.Module, own: str) -> Tie | None:
    """The tie of a weight, if that is all that makes it."""
    chain = own_parametrizations(module).get(own)
    return chain[0] if chain is not None and len(chain) == 1 and isinstance(chain[0], Tie) else None


def own_parametrizations(module: nn.Module) -> dict[str, Any]:
    """What makes its weights, by their names; nothing for a wrapper, which hands on those of the layer inside."""
    held = dict(module.named_children()).get("parametrizations")
    chains = dict(held.named_children()) if isinstance(held, nn.ModuleDict) else {}
    return {own: chain for own, chain in chains.items() if isinstance(chain, ParametrizationList)}


def parameter_at(place: Place) -> nn.Parameter:
    """The parameter to be tied; ValueError if it can't be."""
    module, name = place.owner, place.dotted
    if tie_of(module, place.own) is not None:
        raise ValueError(f"{name!r} of {type(module).__name__} is tied already; untie it first")
    if place.own in own_parametrizations(module):
        raise ValueError(
            f"{name!r} of {type(module).__name__} has another parametrization; remove it first with "
            "torch.nn.utils.parametrize.remove_parametrizations"
        )
    parameter = dict(module.named_parameters(recurse=False, remove_duplicate=False)).get(place.own)
    if parameter is None:
        raise ValueError(no_parameter(module, place.own))
    _sharded.refuse_sharded(parameter, repr(name), "tie first, then fully_shard, then build the optimizer")
    if is_lazy(parameter):
        raise ValueError(f"{name!r} has no shape before the first forward call; tie after it")
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.sparse:
        raise ValueError(f"{name!r} has sparse gradients, and a tied weight has dense ones; build it with sparse=False")
    if not parameter.is_floating_point():
        raise ValueError(f"{name!r} must be a floating-point parameter, got {parameter.dtype}")
    return parameter


def sharers(module: nn.Module, place: Place, parameter: nn.Parameter) -> list[Place]:
    """Where else in the module the very same Parameter stands. ValueError if it shares memory with another one."""
    storage, found = _storage_of(parameter), []
    for other, value in parameters_of(module):
        if other.is_that_of(place):
            continue
        if value is parameter:
            found.append(other)
        elif storage and _storage_of(value) == storage:
            raise ValueError(
                f"{place} and {other} are two parameters in one piece of memory, which they would no longer share; "
                "make them one Parameter (share), or give one memory of its own: "
                "owner.name = nn.Parameter(owner.name.detach().clone())"
            )
    return found


def _storage_of(parameter: nn.Parameter) -> int:
    plain = not is_lazy(parameter) and not parameter.is_meta and not _sharded.is_sharded(parameter)
    return parameter.untyped_storage().data_ptr() if plain else 0
