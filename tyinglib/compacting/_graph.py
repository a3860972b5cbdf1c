"""A model's graph, read with torch.fx: which module is called with what, and what each step gives on the example."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from typing import Any

from torch import fx, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrize import ParametrizationList

from tyinglib import _private_apis
from tyinglib.compacting._inputs import Inputs


class _Tracer(fx.Tracer):
    """Layers stay whole, also subclasses and parametrized (tied) ones; and so does what carries a hook."""

    def __init__(self, leaves: tuple[type[nn.Module], ...], inputs: Inputs) -> None:
        super().__init__()
        self.leaves, self.inputs = leaves, inputs

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, ParametrizationList):  # a weight that is read without a call of its layer
            return True
        return isinstance(m, self.leaves) or bool(hooks(m)) or super().is_leaf_module(m, module_qualified_name)

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        """One placeholder a tensor of the example; whatever else is in it stays as it is."""
        numbers = itertools.count()
        inputs = self.inputs.mapped(lambda _: self.create_proxy("placeholder", f"input_{next(numbers)}", (), {}))
        root: nn.Module = self.root
        return lambda: root.forward(*inputs.args, **inputs.kwargs), []


class _Recorder(fx.Interpreter):
    def run_node(self, n: fx.Node) -> Any:
        n.meta["value"] = super().run_node(n)
        return n.meta["value"]


def trace(model: nn.Module, inputs: Inputs, leaves: tuple[type[nn.Module], ...]) -> fx.Graph:
    """The model's graph, with the value that each node has on the example. The model may keep marks of it."""
    try:
        graph = _Tracer(leaves, inputs).trace(model)
        _Recorder(model, graph=graph).run(*inputs.cloned().tensors())
    except Exception as error:
        raise ValueError(
            f"torch.fx cannot trace {type(model).__name__} ({error}); compact the parts that it is made of"
        ) from error
    return graph


def calls(graph: fx.Graph, name: str) -> list[fx.Node]:
    """The calls of a module, in order."""
    return [node for node in graph.nodes if node.op == "call_module" and node.target == name]


def is_read(graph: fx.Graph, name: str) -> bool:
    """Whether a parameter or a part of the module is used outside the module's own calls."""
    return any(
        node.op in ("get_attr", "call_module") and str(node.target).startswith(f"{name}.") for node in graph.nodes
    )


def hooks(module: nn.Module) -> list[str]:
    """The names of the hooks that see the module's calls, forward and backward."""
    return [getattr(hook, "__name__", type(hook).__name__) for hook in _private_apis.hooks(module)]


def foreign(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> str:
    """Why a call of the module may be something else than torch's own; "" if it is none of that.

    A parametrized module has a class of its own too, but torch's methods.
    """
    kind = next(kind for kind in kinds if isinstance(module, kind))
    for method in _private_apis.CALLED:
        static = inspect.getattr_static(kind, method, None)
        if inspect.getattr_static(module, method, None) is not static:  # of the class, or of the instance
            return f"its {method} is not that of torch's {kind.__name__}"
    if hooks(module):
        return f"it carries a hook ({', '.join(hooks(module))}); remove it first"
    return ""


def kind(module: nn.Module) -> str:
    """The name of a module's class, without what a parametrization puts before it."""
    cls = type(module).__bases__[0] if parametrize.is_parametrized(module) else type(module)
    return cls.__name__
