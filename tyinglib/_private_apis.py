"""What torch and scikit-learn keep private and nothing public replaces: used through this file alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from sklearn.utils.validation import _check_sample_weight as check_sample_weight
from torch import nn
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.nn.utils import parametrize

__all__ = [
    "CALLED",
    "COMPILED",
    "FLAT_WEIGHTS",
    "MASK",
    "NORMED",
    "PRUNED",
    "averaged",
    "check_sample_weight",
    "fill_flat_weights",
    "hooks",
    "is_mapped",
    "make_parametrized",
    "outside_transforms",
    "under_functorch",
]
COMPILED = "_orig_mod"  # the part of a name that torch.compile puts in
FLAT_WEIGHTS = "_flat_weights"  # where a recurrent layer keeps its weights once more
PRUNED, MASK = "_orig", "_mask"  # torch.nn.utils.prune keeps a weight and its mask under its name and these,
NORMED = "_v"  # torch.nn.utils.weight_norm the direction
CALLED = ("__call__", "forward", "_conv_forward")  # what runs when a layer is called


def under_functorch() -> bool:
    """Whether a transform of torch.func runs: then no value can be looked at."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def outside_transforms() -> contextlib.AbstractContextManager[Any]:
    """Inside the `with`, what no transform of torch.func has wrapped can be looked at."""
    return temporarily_clear_interpreter_stack() if under_functorch() else contextlib.nullcontext()


def is_mapped(tensor: torch.Tensor) -> bool:
    """Whether torch.func.vmap runs over a dimension of it: it has no one value."""
    return torch._C._functorch.is_batchedtensor(tensor)


def hooks(module: nn.Module) -> Iterator[Any]:
    """The hooks that see a module's calls, forward and backward."""
    for kind in ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks"):
        yield from getattr(module, kind).values()


def averaged(wrapper: nn.Module) -> list[nn.Parameter] | None:
    """What DistributedDataParallel averages the gradients of: the parameters that its module had at the wrapping."""
    return getattr(wrapper, "_module_parameters", None)


def make_parametrized(module: nn.Module, names: Iterable[str]) -> None:
    """Give a module the class in which these weights are properties; its parametrizations are yet to come."""
    parametrize._inject_new_class(module)
    for name in names:
        parametrize._inject_property(module, name)


def fill_flat_weights(module: nn.Module) -> None:
    """Let a recurrent layer look up its weights anew; any other stays."""
    if isinstance(module, nn.RNNBase):
        with torch.no_grad():
            module._init_flat_weights()
