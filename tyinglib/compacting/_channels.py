"""Where a layer's outputs go, channel by channel: to one layer that alone reads them, or to an obstacle."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from tyinglib.compacting import _graph

# What handles every channel by itself, and in the same way.
ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid,
    nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Softsign, nn.LogSigmoid, nn.Tanhshrink, nn.Softshrink,
    nn.Hardshrink, nn.Threshold, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout,
)  # fmt: skip
POOLING = (
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
ELEMENTWISE_CALLS = {
    F.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.gelu, F.silu, F.mish, F.tanh, F.sigmoid, F.softplus, F.hardtanh,
    F.hardswish, F.hardsigmoid, torch.relu, torch.tanh, torch.sigmoid, "relu", "relu_", "tanh", "sigmoid",
}  # fmt: skip
MEAN_POOLING_CALLS = {F.avg_pool1d, F.avg_pool2d}
POOLING_CALLS = {F.max_pool1d, F.max_pool2d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, *MEAN_POOLING_CALLS}
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
CHANNELWISE = (*ELEMENTWISE, *POOLING, *NORMS, nn.PReLU, nn.Flatten)
# What compact does not rewrite, but where a channel can still be followed: by its number, or to another number.
SAME_NUMBER = {
    operator.add, operator.iadd, operator.sub, operator.isub, operator.mul, operator.imul, operator.truediv,
    torch.add, torch.sub, torch.mul, "add", "add_", "sub", "mul", "mul_",
}  # fmt: skip
OTHER_NUMBER = {
    torch.cat, torch.chunk, torch.split, torch.reshape, torch.transpose, torch.flatten, F.glu, operator.getitem,
    getattr, "chunk", "split", "view", "reshape", "transpose", "permute", "flatten", "contiguous", "squeeze",
    "unsqueeze", "size",
}  # fmt: skip


@dataclass(frozen=True)
class Trail:
    """What follows one call of a layer, its producer.

    `consumer` is the layer that alone reads its outputs, `norms` are the batch norms passed, `fed` is what the consumer
    was fed on the example, `borders` says that a constant may reach it as something else beside a border. Without a
    consumer `obstacle` says why; it is empty where the outputs are the model's own, or nobody's. `readers` are all the
    layers that read the outputs, None if something else reads them too; `renumbered` says that a channel may be
    another one there.
    """

    producer: str
    consumer: str | None = None
    norms: tuple[str, ...] = ()
    fed: Tensor | None = None
    borders: bool = False
    obstacle: str = ""
    readers: frozenset[str] | None = None
    renumbered: bool = False


def trails(model: nn.Module, graph: fx.Graph, reasons: dict[str, str]) -> list[Trail]:
    """The trails of the layers, the last first. `reasons` has every layer, and why it must be left alone, or ""."""
    calls = [node for node in reversed(list(graph.nodes)) if node.op == "call_module" and node.target in reasons]
    return [_trail(model, node, reasons) for node in calls]


def _trail(model: nn.Module, producer: fx.Node, reasons: dict[str, str]) -> Trail:
    norms: list[str] = []
    steps: set[str] = set()
    node = producer
    while True:
        users = list(node.users)
        if [user.op for user in users] in ([], ["output"]):
            return Trail(str(producer.target))
        if len(users) > 1:
            return _blocked(model, producer, node, reasons, norms, f"its outputs are read in {len(users)} places")
        step = users[0]
        if step.op == "call_module" and step.target in reasons:
            break
        kind = _kind(model, step)
        if not kind:
            return _blocked(model, producer, node, reasons, norms, f"its outputs go into {_name(model, step)}")
        if kind == "norm":
            norms.append(str(step.target))
        steps.add(kind)
        node = step
    if reasons[str(step.target)]:
        obstacle = f"{str(step.target)!r} reads its outputs, and is left alone"
    elif not _fits(model, producer, step, steps, norms):
        obstacle = f"its outputs cannot be followed by number to {str(step.target)!r}"
    else:
        fed = step.args[0].meta["value"]  # type: ignore[union-attr]
        found = frozenset([str(step.target)])
        return Trail(str(producer.target), str(step.target), tuple(norms), fed, "borders" in steps, readers=found)
    return _blocked(model, producer, node, reasons, norms, obstacle)


def _kind(model: nn.Module, step: fx.Node) -> str:
    """What a step between two layers is; "" if it may mix channels, or is not torch's own."""
    if len(step.all_input_nodes) != 1:
        return ""
    if step.op == "call_module":
        return _kind_of_module(model.get_submodule(str(step.target)), step)
    if step.target in ELEMENTWISE_CALLS:
        return "elementwise"
    if step.target in POOLING_CALLS:
        return "borders" if step.target in MEAN_POOLING_CALLS else "pooling"
    arguments = step.args[1:], dict(step.kwargs)
    known = arguments in [((1,), {}), ((1, -1), {}), ((), {"start_dim": 1})]
    return "flat" if step.target in (torch.flatten, "flatten") and known else ""


def _kind_of_module(module: nn.Module, step: fx.Node) -> str:
    if not isinstance(module, CHANNELWISE) or _graph.foreign(module, CHANNELWISE):
        return ""
    if isinstance(module, ELEMENTWISE) or (isinstance(module, nn.PReLU) and module.num_parameters == 1):
        return "elementwise"
    if isinstance(module, POOLING):
        # beside the border the mean is taken with zeros, of which there are more or fewer at another size
        mixed = isinstance(module, (nn.AvgPool1d, nn.AvgPool2d)) and (module.padding not in (0, (0,), (0, 0)))
        return "borders" if mixed or getattr(module, "ceil_mode", False) else "pooling"
    if isinstance(module, nn.Flatten):
        return "flat" if (module.start_dim, module.end_dim) == (1, -1) else ""
    graph, name = step.graph, str(step.target)
    whole = isinstance(module, NORMS) and module.running_mean is not None
    return "norm" if whole and len(_graph.calls(graph, name)) == 1 and not _graph.is_read(graph, name) else ""


def _fits(model: nn.Module, producer: fx.Node, consumer: fx.Node, steps: set[str], norms: Iterable[str]) -> bool:
    """Whether the producer's channels are the consumer's inputs, one by one or (flattened) in runs."""
    first: Any = model.get_submodule(str(producer.target))
    last = model.get_submodule(str(consumer.target))
    dims = producer.meta["value"].ndim
    flat = "flat" in steps
    if isinstance(first, nn.Linear):
        # on (batch, features) only: pooling, flattening and batch norm would mix up further dimensions
        plain = not steps & {"pooling", "borders"} and (dims == 2 or steps <= {"elementwise"})
        fits = isinstance(last, nn.Linear) and plain
    else:
        fits = dims == first.weight.ndim and flat == isinstance(last, nn.Linear)
    return fits and all(model.get_submodule(name).num_features == len(first.weight) for name in norms)


def _blocked(
    model: nn.Module, producer: fx.Node, node: fx.Node, reasons: dict[str, str], norms: Iterable[str], obstacle: str
) -> Trail:
    readers, renumbered = _readers(model, node, reasons)
    return Trail(str(producer.target), norms=tuple(norms), obstacle=obstacle, readers=readers, renumbered=renumbered)


def _readers(model: nn.Module, node: fx.Node, reasons: dict[str, str]) -> tuple[frozenset[str] | None, bool]:
    """The layers that read a node's channels, None if something else does too; and whether numbers may change."""
    found: set[str] = set()
    renumbered = False
    seen, todo = {node}, [node]
    while todo:
        for user in todo.pop().users:
            layer = user.op == "call_module" and user.target in reasons
            if layer and not _depthwise(model.get_submodule(str(user.target))):
                found.add(str(user.target))
                continue
            renumbered |= user.target in OTHER_NUMBER
            if not (layer or _keeps_apart(model, user)):
                return None, renumbered
            if user not in seen:
                seen.add(user)
                todo.append(user)
    return frozenset(found), renumbered


def _keeps_apart(model: nn.Module, step: fx.Node) -> bool:
    """Whether a step would not mix channels, if nothing were changed in it (a hook)."""
    if step.op == "call_module":
        return isinstance(model.get_submodule(str(step.target)), CHANNELWISE)
    return step.target in SAME_NUMBER or step.target in OTHER_NUMBER or bool(_kind(model, step))


def _depthwise(module: nn.Module) -> bool:
    return isinstance(module, (nn.Conv1d, nn.Conv2d)) and module.groups == module.in_channels > 1


def _name(model: nn.Module, step: fx.Node) -> str:
    """A step in words, for a message."""
    if step.op == "call_module":
        return f"{str(step.target)!r} ({_graph.kind(model.get_submodule(str(step.target)))})"
    return f"'{getattr(step.target, '__name__', step.target)}'"
