"""Which layer feeds which, channel by channel: read off a model with torch.fx."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

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
POOLING_CALLS = {F.max_pool1d, F.max_pool2d, F.avg_pool1d, F.avg_pool2d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d}
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class Pair:
    """A layer that alone reads another's output; the batch norms between them; what it was fed on the example."""

    consumer: str
    producer: str
    norms: tuple[str, ...]
    fed: Tensor


class _Tracer(fx.Tracer):
    """A layer is a leaf also when it is parametrized (tied), which gives it a class of its own."""

    def __init__(self, leaves: tuple[type[nn.Module], ...]) -> None:
        super().__init__()
        self.leaves = leaves

    def is_leaf_module(self, module: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(module, self.leaves) or super().is_leaf_module(module, module_qualified_name)


class _Recorder(fx.Interpreter):
    def run_node(self, n: fx.Node) -> Any:
        n.meta["value"] = super().run_node(n)
        return n.meta["value"]


def trace(model: nn.Module, example_input: Tensor, leaves: tuple[type[nn.Module], ...]) -> fx.Graph:
    """The model's graph, with the value that each node has on the example."""
    try:
        graph = _Tracer(leaves).trace(model)
    except Exception as error:
        raise ValueError(
            f"torch.fx cannot trace {type(model).__name__} ({error}); compact the parts that it is made of"
        ) from error
    _Recorder(fx.GraphModule(model, graph)).run(example_input)
    return graph


def calls(graph: fx.Graph) -> list[str]:
    """The names of the modules called, in order."""
    return [str(node.target) for node in graph.nodes if node.op == "call_module"]


def pairs(model: nn.Module, graph: fx.Graph, layers: list[str]) -> list[Pair]:
    """Producers and consumers among `layers` with only channelwise steps between them, last first."""
    found = []
    for node in reversed(list(graph.nodes)):
        if node.op == "call_module" and node.target in layers:
            pair = _follow_back(model, node, layers)
            if pair:
                found.append(pair)
    return found


def _follow_back(model: nn.Module, consumer: fx.Node, layers: list[str]) -> Pair | None:
    norms: list[str] = []
    pooled = flat = False
    node = consumer.args[0]
    while (
        isinstance(node, fx.Node) and len(node.users) == 1 and not (node.op == "call_module" and node.target in layers)
    ):
        module = model.get_submodule(str(node.target)) if node.op == "call_module" else None
        if (
            isinstance(module, NORMS)
            and module.running_mean is not None
            and calls(node.graph).count(str(node.target)) == 1
        ):
            norms.append(str(node.target))
        elif isinstance(module, POOLING) or node.target in POOLING_CALLS:
            pooled = True
        elif _flattens(module, node):
            flat = True
        elif not (
            isinstance(module, ELEMENTWISE)
            or (isinstance(module, nn.PReLU) and module.num_parameters == 1)
            or (node.op in ("call_function", "call_method") and node.target in ELEMENTWISE_CALLS)
        ):
            return None
        node = node.args[0]
    if not isinstance(node, fx.Node) or len(node.users) != 1 or node.op != "call_module":
        return None
    last, first = model.get_submodule(str(consumer.target)), model.get_submodule(str(node.target))
    shape = node.meta["value"].shape
    if isinstance(first, nn.Linear):
        # on (batch, features) only: pooling, flattening and batch norm would mix up further dimensions
        fits = isinstance(last, nn.Linear) and not pooled and (len(shape) == 2 or not (flat or norms))
    else:
        batched = len(shape) == first.weight.ndim
        fits = batched and (flat if isinstance(last, nn.Linear) else not flat)
    channels = first.weight.shape[0]  # type: ignore[index]
    if not fits or any(model.get_submodule(name).num_features != channels for name in norms):
        return None
    argument = consumer.args[0]
    assert isinstance(argument, fx.Node)
    return Pair(str(consumer.target), str(node.target), tuple(norms), argument.meta["value"])


def _flattens(module: nn.Module | None, node: fx.Node) -> bool:
    """Whether this is a flattening of everything but the batch."""
    if isinstance(module, nn.Flatten):
        return module.start_dim == 1 and module.end_dim == -1
    arguments = node.args[1:], dict(node.kwargs)
    known = arguments in [((1,), {}), ((1, -1), {}), ((), {"start_dim": 1})]
    return node.target in (torch.flatten, "flatten") and known
