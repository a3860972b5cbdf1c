"""What a model is called with: positional and keyword arguments, and the tensors in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Inputs:
    """The arguments of a call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @staticmethod
    def of(example: Any) -> Inputs:
        """A tensor is the only argument, a tuple holds the positional ones, a dict those with keywords."""
        if isinstance(example, Tensor):
            return Inputs((example,), {})
        if isinstance(example, tuple):
            return Inputs(example, {})
        if isinstance(example, Mapping):
            return Inputs((), dict(example))
        raise ValueError(
            "example_input must be a tensor, a tuple of the model's arguments or a dict of its keyword arguments, "
            f"got {type(example).__name__}"
        )

    def mapped(self, change: Callable[[Tensor], Any]) -> Inputs:
        """The same arguments with each tensor changed, in order."""
        return Inputs(_mapped(self.args, change), _mapped(self.kwargs, change))

    def tensors(self) -> list[Tensor]:
        """The tensors, in order."""
        found: list[Tensor] = []
        self.mapped(found.append)
        return found

    def cloned(self) -> Inputs:
        """A copy, for a model that writes into its inputs."""
        return self.mapped(lambda x: x.detach().clone())

    def random(self, seed: int) -> Inputs:
        """Random values of the same shapes, dtypes and ranges; see `_random`."""
        generator = torch.Generator().manual_seed(seed)
        return self.mapped(lambda x: _random(x.detach(), generator))


def _mapped(value: Any, change: Callable[[Tensor], Any]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_mapped(part, change) for part in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_mapped(part, change) for part in value)
    if type(value) is dict:
        return {key: _mapped(part, change) for key, part in value.items()}
    return value


def _random(x: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform between the smallest and the largest value; around the value, if there is only one and it may vary.

    Integers and booleans stay within the range, which may be the rows of an embedding.
    """
    if not x.numel() or x.layout is not torch.strided or x.is_quantized:
        return x.clone()
    if x.is_complex():
        scale = float(x.abs().max()) or 1.0
        return (torch.randn(x.shape, generator=generator, dtype=torch.complex128) * scale).to(x.device, x.dtype)
    if not x.is_floating_point():
        low, high = int(x.min()), int(x.max())
        return torch.randint(low, high + 1, x.shape, generator=generator).to(x.device, x.dtype)
    finite = x[x.isfinite()].double()
    low_, high_ = (float(finite.min()), float(finite.max())) if finite.numel() else (0.0, 0.0)
    if low_ < high_:
        values = low_ + (high_ - low_) * torch.rand(x.shape, generator=generator, dtype=torch.float64)
    else:
        values = low_ + max(1.0, abs(low_)) * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    return values.to(x.device, x.dtype)
