"""What compact leaves alone though it could be smaller, and why: the words of its warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from tyinglib.compacting import _graph
from tyinglib.compacting._channels import Trail
from tyinglib.compacting._drafts import LAYERS, Draft, equal_neurons, equal_rows, is_plain


def reason(model: nn.Module, graph: fx.Graph, name: str) -> str:
    """Why the layer of this name must stay as it is; "" if it may be rewritten."""
    layer: Any = model.get_submodule(name)
    calls = _graph.calls(graph, name)
    read = _graph.is_read(graph, name)
    owners = Counter(id(p) for module in model.modules() for _, p in module.named_parameters(recurse=False))
    if foreign := _graph.foreign(layer, LAYERS):
        return foreign
    if not calls:
        return "its weight is used without a call of it" if read else _why_unseen(model, graph, name)
    if len(calls) > 1:
        return "it is called more than once"
    if len(calls[0].args) != 1 or calls[0].kwargs:
        return "it is called with a keyword"
    if read:
        return "its parameters are used outside it too"
    if any(owners[id(p)] > 1 for p in layer.parameters()):
        return "it shares a parameter with another layer"
    if not isinstance(layer, nn.Linear) and layer.groups > 1:
        return "it is a convolution in groups"
    if not isinstance(layer, nn.Linear) and layer.padding_mode != "zeros":
        return f"its padding is {layer.padding_mode!r}"
    if not all(p.isfinite().all() for p in layer.parameters()):
        return "it holds NaN or infinite values"
    return ""


def _why_unseen(model: nn.Module, graph: fx.Graph, name: str) -> str:
    parts = name.split(".")
    for outer in (".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1)):
        if _graph.calls(graph, outer):
            module = model.get_submodule(outer)
            hook = ", which carries a hook" if _graph.hooks(module) else ""
            return f"it is inside {outer!r} ({_graph.kind(module)}{hook})"
    return "the model does not call it"


def named(model: nn.Module, drafts: dict[str, Draft], trails: list[Trail]) -> Iterator[tuple[str, str]]:
    """The name of each module that could be smaller, and what of it was left and why."""
    for name, draft in drafts.items():
        own = [trail for trail in trails if trail.producer == name]
        spare = _spare_outputs(model, name, own, drafts)
        if draft.reason and (draft.gains() or spare):
            yield name, f"alone: {draft.reason}"
        elif not draft.reason and spare and own[0].obstacle:
            yield name, f"with all its outputs: {own[0].obstacle}"
    for name, module in model.named_modules():
        if not isinstance(module, LAYERS) and any(_has_spare_slices(module, weight) for weight in _weights(module)):
            yield name, f"alone: only Linear, Conv1d and Conv2d are rewritten, not {_graph.kind(module)}"


def _spare_outputs(model: nn.Module, name: str, own: list[Trail], drafts: dict[str, Draft]) -> bool:
    """Whether some outputs are constant, equal or unread, and none is the model's own."""
    if any(not trail.obstacle and not trail.consumer for trail in own):
        return False
    draft = drafts[name]
    zero = ~draft.weight.flatten(1).any(1)
    norms = own[0].norms if own else ()
    # equal kernels of a convolution in groups see other inputs
    comparable = getattr(model.get_submodule(name), "groups", 1) == 1
    comparable &= all(model.get_submodule(norm).num_features == len(zero) for norm in norms)
    equal = comparable and int(equal_neurons(model, draft, norms).max()) + 1 < len(zero)
    unread = bool(own) and all(_unread(draft, trail, drafts) for trail in own)
    return bool(zero.any()) or equal or unread


def _unread(draft: Draft, trail: Trail, drafts: dict[str, Draft]) -> bool:
    """Whether no reader has weight for some of the outputs; where they are renumbered, for some of its inputs."""
    if not trail.readers:
        return False
    n = len(draft.weight)
    dead = [drafts[name].dead_inputs() for name in trail.readers]
    if trail.renumbered or any(len(inputs) % n for inputs in dead):
        return any(bool(inputs.any()) for inputs in dead)
    # flattened, the features of a convolution's channel are neighbours; those of a Linear's output are n apart
    each = [inputs.reshape(-1, n).all(0) if draft.weight.ndim == 2 else inputs.reshape(n, -1).all(1) for inputs in dead]
    return bool(torch.stack(each).all(0).any())


def _weights(module: nn.Module) -> Iterator[Tensor]:
    own = [name for name, _ in module.named_parameters(recurse=False)]
    for name in [*own, *getattr(module, "parametrizations", {})]:
        weight = getattr(module, name)
        if "weight" in name and weight is not None and weight.ndim > 1 and is_plain(weight):
            yield weight.detach()


def _has_spare_slices(module: nn.Module, weight: Tensor) -> bool:
    """Whether inputs or outputs have no weight, or equal ones. A constant weight is a start, not a result."""
    if bool((weight == weight.flatten()[0]).all()):
        return False
    if isinstance(module, nn.Embedding):  # its row for padding is zero
        return _has_equal_rows(weight)
    slices = [weight.movedim(dim, 0).flatten(1) for dim in (0, 1)]
    return any(not rows.any(1).all() or _has_equal_rows(rows) for rows in slices)


def _has_equal_rows(matrix: Tensor) -> bool:
    return int(equal_rows(matrix).max()) + 1 < len(matrix)
