"""A change of a model that happens whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn


def bits_of(tensor: Tensor) -> Tensor:
    """The bytes (n,) of a tensor, in memory that the CPU sees: of them, a NaN is equal to itself."""
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    return plain.flatten().view(torch.uint8)


class ModulesAsTheyWere:
    """Inside the `with`, an exception gives modules back their parameters, submodules and class.

    Parameters
    ----------
    modules
        Those that may change: they get the same objects back, in the same order.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._modules = [_Module(module) for module in {id(module): module for module in modules}.values()]

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            for module in self._modules:
                module.restore()


class AsItWas(ModulesAsTheyWere):
    """The same, and values too.

    Parameters
    ----------
    model
        Its modules' extra state is kept.
    values
        Tensors whose values may change: they are copied now, so this takes their memory once more.
    modules
        As for `ModulesAsTheyWere`.
    """

    def __init__(self, model: nn.Module, values: Iterable[Tensor], modules: Iterable[nn.Module]) -> None:
        super().__init__(modules)
        self._values = [(value, value.detach().clone()) for value in {id(value): value for value in values}.values()]
        own = nn.Module.get_extra_state
        self._extras = [
            (module, module.get_extra_state().clone())
            for module in model.modules()
            if type(module).get_extra_state is not own
        ]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        super().__exit__(kind, error, at)
        if kind is None:
            return
        with torch.no_grad():
            for value, before in self._values:
                if not torch.equal(bits_of(value), bits_of(before)):  # what torch could not write is as it was
                    value.copy_(before)
        for owner, extra in self._extras:
            owner.set_extra_state(extra)


class _Module:
    """One module's own attributes, and what its dictionaries and lists hold (a recurrent layer has a list)."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.kind, self.attributes = module, module.__class__, dict(module.__dict__)
        self.contents: list[tuple[Any, Any]] = [
            (held, held.copy()) for held in self.attributes.values() if isinstance(held, (dict, list, set))
        ]

    def restore(self) -> None:
        self.module.__class__ = self.kind
        self.module.__dict__.clear()
        self.module.__dict__.update(self.attributes)
        for held, before in self.contents:
            held.clear()
            held.extend(before) if isinstance(held, list) else held.update(before)
