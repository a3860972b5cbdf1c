"""A tied layer's class is its own, and the layer can be copied and pickled.

torch makes a class for a parametrized module, in which its weights are properties. A deepcopy has the same class, so
tying or untying the copy takes the original's weight away; and such a module refuses to be pickled, because the class
stands in no module. Here each has a class of its own, and a pickle says how to make it again.
"""

from __future__ import annotations

import pickle
from typing import Any

from torch import Tensor, nn

from tyinglib import _private_apis
from tyinglib.tying._places import own_parametrizations

TORCHS = "_deepcopy_of_parametrize"  # None: the layer's class has its own


def give_own_class(module: nn.Module) -> None:
    """Of a module that is parametrized; any other stays."""
    if own_parametrizations(module):
        _derive_class(module)


def _derive_class(module: nn.Module) -> None:
    kind = type(module)
    content = dict(kind.__dict__)
    if content.setdefault(TORCHS, content.get("__deepcopy__")) is not None:
        content["__deepcopy__"] = _deepcopy
    content |= {"__reduce_ex__": _reduce, "__setstate__": _setstate, "register_parameter": _register_parameter}
    module.__class__ = type(kind.__name__, kind.__bases__, content)


def _deepcopy(self: Any, memo: dict[int, Any]) -> Any:
    flat = self.__dict__.get(_private_apis.FLAT_WEIGHTS)
    if flat is not None:  # what a recurrent layer computed: no leaves of autograd, which torch can't copy
        memo[id(flat)] = []
    made = getattr(type(self), TORCHS)(self, memo)
    give_own_class(made)
    _private_apis.fill_flat_weights(made)
    return made


def _reduce(self: Any, protocol: Any) -> tuple[Any, ...]:
    kind = type(self)
    if kind.__dict__.get("__reduce_ex__") is not _reduce:
        raise pickle.PicklingError(
            f"a {kind.__name__} can't be pickled: something gave this tied layer yet another class; save its "
            "state_dict, or pickle the model before it is wrapped"
        )
    base: Any = kind.__bases__[0]
    state = dict(base.__getstate__(self))
    if _private_apis.FLAT_WEIGHTS in state:
        state[_private_apis.FLAT_WEIGHTS] = []
    names = tuple(name for name, _ in self.parametrizations.named_children())
    return _bare, (base, names), state


def _register_parameter(self: Any, name: str, parameter: Any) -> None:
    weight, base = name.removesuffix(_private_apis.PRUNED), type(self).__bases__[0]
    if name in own_parametrizations(self):
        raise ValueError(
            f"{name!r} is tied (parametrized), and no Parameter can take its place: assign a plain tensor, of which "
            "the nearest tied one is stored, or untie it first"
        )
    if isinstance(parameter, Tensor) and not isinstance(parameter, nn.Parameter) and hasattr(self, weight):
        raise ValueError(  # what torch.nn.utils.prune does first
            f"{weight!r} is tied (parametrized) and can't be pruned by a mask: untie it first; or prune inside the "
            "tie, by the label -1 for a slice"
        )
    base.register_parameter(self, name, parameter)  # type: ignore[attr-defined]


def _setstate(self: Any, state: dict[str, Any]) -> None:
    base: Any = type(self).__bases__[0]
    base.__setstate__(self, state)
    _private_apis.fill_flat_weights(self)


def _bare(base: Any, names: tuple[str, ...]) -> Any:
    """A layer of that class with these weights parametrized, but for its state: where unpickling begins."""
    module = base.__new__(base)
    _private_apis.make_parametrized(module, names)
    _derive_class(module)
    return module
