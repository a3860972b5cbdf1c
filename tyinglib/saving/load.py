"""Loading is a transaction.

Everything that the file says is compared with the model before the first change, and nothing is read of the values
that will be overwritten: a model whose weights are NaN gets those of the file. What fails afterwards all the same is
undone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrize import ParametrizationList

from tyinglib.saving import _packed_labels, _tied_file
from tyinglib.saving._state import (
    State,
    check_plain,
    codebook_key,
    dotted,
    groups_of,
    labels_key,
    quote,
    sound,
    state_of,
    ties_of,
    used_shape,
)
from tyinglib.saving._tied_file import Contents, damaged
from tyinglib.saving._undo import AsItWas, bits_of
from tyinglib.tying import Net, Tie, TieSpec, same_origin, tie


def load_tied(model: Net, path: str | os.PathLike[str]) -> Net:
    """Load what `save_tied` wrote: tie the model as the file says, then load its values strictly.

    Parameters
    ----------
    model
        The same architecture, untied, or tied in the same way. Parameters that the saved model used at
        several places must be shared here too. Its values do not matter, NaN or not.
    path
        The file. No code in it is run; a file larger than this model can need is not read, and no shape that it
        claims is believed before it was compared with the model's.

    Returns
    -------
    Module
        The same module, tied, with the saved values bit for bit, on the device it was on. A weight that the file ties
        is a new Parameter, and a module outside that shared the old one keeps it, as after `tie`: build the optimizer
        afterwards.

    Raises
    ------
    ValueError
        If the file is cut short, altered, not written by `save_tied`, or does not fit the model in
        names, shapes, dtypes, ties or sharing; if the model is sharded over processes, or has no values (the meta
        device) or shapes; if torch cannot write into it.
    OSError
        If the file cannot be read. After this and any other exception, be it from a hook in the model, the model is as
        it was: its Parameters and buffers, their values, gradients and order, its ties and what it shares.

    Examples
    --------
    >>> import tempfile
    >>> from tyinglib import TieSpec, save_tied, tie, tie_specs
    >>> layer, other = nn.Linear(4, 3), nn.Linear(4, 3)
    >>> _ = tie(layer, "weight", TieSpec([0, 0, 1, 1], dim=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     size = save_tied(layer, f"{folder}/layer.safetensors")
    ...     _ = load_tied(other, f"{folder}/layer.safetensors")
    >>> tie_specs(other), torch.equal(other.weight, layer.weight)
    ({'weight': TieSpec(n=4, n_groups=2, pruned=0, dim=1)}, True)

    Chapter: One idea.
    """
    path = Path(path)
    state = state_of(model)
    check_plain(
        state,
        sharded="load first, then fully_shard",
        meta="give it memory first: model.to_empty(device='cpu')",
    )
    stored = _tied_file.read(path, limit=_tied_file.largest(state))
    known = _Known(model, state, path)
    ties = [known.tie(name, described, stored) for name, described in stored.ties.items()]
    values = known.values(ties, stored)
    new = [tied for tied in ties if tied.new]
    replaced = [tied.owner.get_parameter(tied.name) for tied in new]
    gone = {id(weight) for weight in replaced}
    changed = [module for tied in new for module in (tied.owner, *_parametrizations(tied.owner))]
    with AsItWas(model, [value for value in state.values() if id(value) not in gone], changed):
        for tied in new:
            _tie_anew(tied)
        _load_values(model, ties, values, path)
    for tied, weight in zip(new, replaced, strict=True):
        assert weight is not None  # for mypy, as in `_tie_anew`
        same_origin(tied.owner.get_parameter(f"parametrizations.{tied.name}.original"), weight)  # as `tie` does
    return model


# What is decided before the first change.


@dataclass(frozen=True)
class _Tied:
    """A weight that the file ties, and how."""

    key: str  # its name in the model
    owner: nn.Module
    name: str  # and in the module that owns it
    spec: TieSpec
    codebook: tuple[int, ...]  # its shape
    new: bool  # the model has yet to tie it


class _Known:
    """A model as it is before: its state, its parameters under all their names, its ties."""

    def __init__(self, model: nn.Module, state: State, path: Path) -> None:
        self.state, self.path = state, path
        self.modules = dict(model.named_modules(remove_duplicate=False))
        self.ties = ties_of(model, every_name=True)
        self.parameters: dict[str, tuple[nn.Module, str, Tensor]] = {
            dotted(prefix, name): (module, name, value)
            for prefix, module in self.modules.items()
            for name, value in module.named_parameters(recurse=False, remove_duplicate=False)
        }

    def tie(self, name: str, described: dict[str, Any], stored: Contents) -> _Tied:
        """What the file says of this weight, if it fits."""
        key = codebook_key(name)
        packed, codebook = stored.tensors.get(labels_key(name)), stored.tensors.get(stored.aliases.get(key, key))
        shape, dim, bits, shift = (described.get(what) for what in ("shape", "dim", "bits", "shift"))
        if packed is None or codebook is None:
            raise damaged(self.path, f"it ties {quote(name)} without labels or without a codebook")
        if dim is not None and type(dim) is not int:
            raise damaged(self.path, f"the dim of {quote(name)} must be an integer or None, not {quote(dim)}")
        present = self.ties.get(name)
        if present is not None and present.tie.dim != dim:
            raise self._tied_otherwise(name)
        used = used_shape(present) if present is not None else list(self._weight(name).shape)
        groups = groups_of(used, codebook.shape, dim)
        if groups is None or shape != (used if dim is None else [used[dim]]):
            raise ValueError(
                f"{self.path} ties {quote(name)} by labels of shape {quote(shape)} along dim {quote(dim)} and a "
                f"codebook of shape {tuple(codebook.shape)}, which does not fit its shape {tuple(used)}"
            )
        spec = self._unpack(name, packed, shape, dim, bits, shift, groups)
        if present is not None and sound(present) not in (None, spec):  # unsound ones are overwritten
            raise self._tied_otherwise(name)
        prefix, _, last = name.rpartition(".")
        return _Tied(name, self.modules[prefix], last, spec, tuple(codebook.shape), present is None)

    def _weight(self, name: str) -> Tensor:
        """A weight that can be tied: the model's own words, whatever its values."""
        if name not in self.parameters or self.state.get(name) is not self.parameters[name][2]:
            made_of = codebook_key(name)
            if any(key.startswith(made_of) for key in self.parameters):
                raise ValueError(f"{self.path} ties {quote(name)}, which has another parametrization in the model")
            raise ValueError(f"{self.path} ties {quote(name)}, which the model does not have")
        owner, _, weight = self.parameters[name]
        if isinstance(owner, ParametrizationList):
            raise ValueError(
                f"{self.path} ties {quote(name)}, a part of another parametrization; only weights are tied"
            )
        if not weight.is_floating_point():
            raise ValueError(f"{self.path} ties {quote(name)}, which is {weight.dtype} in the model")
        places = {(id(module), last): key for key, (module, last, value) in self.parameters.items() if value is weight}
        if len(places) > 1:
            raise ValueError(
                f"{self.path} ties {quote(name)} alone, but in the model {quote(sorted(places.values()))} are one "
                "parameter; build the model as it was saved"
            )
        return weight

    def _unpack(
        self, name: str, packed: Tensor, shape: Sequence[int], dim: int | None, bits: Any, shift: Any, groups: int
    ) -> TieSpec:
        count = math.prod(shape)
        if (
            type(shift) is not int
            or shift not in (0, 1)
            or type(bits) is not int
            or bits != _packed_labels.bits_of(groups, shift)  # no more than they need: their memory is theirs
            or packed.dtype != torch.uint8
            or packed.shape != (-(-count * bits // 8),)
        ):
            raise damaged(
                self.path,
                f"the labels of a tie are damaged: {count} labels of {groups} groups for {quote(name)} in "
                f"{packed.numel()} bytes, bits and shift {quote(bits)} and {quote(shift)}",
            )
        try:
            spec = TieSpec(_packed_labels.unpack(packed, count, bits, shift).reshape(*shape), dim)
        except ValueError as error:
            raise damaged(self.path, f"the labels of {quote(name)} are no groups ({error})") from error
        if spec.n_groups != groups:
            raise damaged(self.path, f"the labels of {quote(name)} name {spec.n_groups} groups, its codebook {groups}")
        return spec

    def _tied_otherwise(self, name: str) -> ValueError:
        return ValueError(f"{quote(name)} is tied otherwise in the model than in {self.path}; untie it first")

    def values(self, ties: Sequence[_Tied], stored: Contents) -> State:
        """The file's tensors by all the names that the model's state will have, but for labels; if all of it fits."""
        made: dict[tuple[int, str], _Tied] = {}
        for tied in ties:
            if made.setdefault((id(tied.owner), tied.name), tied).spec != tied.spec:
                raise damaged(self.path, f"it ties one {tied.name!r} in two ways, under two names of its layer")
        for name in self.ties:
            prefix, _, last = name.rpartition(".")
            if (id(self.modules[prefix]), last) not in made:
                raise ValueError(f"{quote(name)} is tied in the model, but not in {self.path}; untie it first")
        packed = {labels_key(name) for name in stored.ties}
        tensors = {key: value for key, value in stored.tensors.items() if key not in packed}
        for alias, kept in stored.aliases.items():
            if kept not in tensors or alias in tensors:
                raise damaged(self.path, f"it says that {quote(alias)} is another name of {quote(kept)}, and is not")
        found = tensors | {alias: tensors[kept] for alias, kept in stored.aliases.items()}
        self._check_alike(self._expected(made), found, stored.aliases)
        return found

    def _expected(self, made: dict[tuple[int, str], _Tied]) -> dict[str, tuple[Hashable, tuple[int, ...], torch.dtype]]:
        """What the state will hold, but for labels: which tensor it is, its shape and dtype."""
        labels = {id(present.tie.labels) for present in self.ties.values()}
        expected: dict[str, tuple[Hashable, tuple[int, ...], torch.dtype]] = {}
        for key, value in self.state.items():
            module, last, _ = self.parameters.get(key, (None, "", None))
            tied = made.get((id(module), last))
            if tied is not None:
                expected[codebook_key(key)] = (id(tied), tied.codebook, value.dtype)
            elif id(value) not in labels:
                expected[key] = (id(value), tuple(value.shape), value.dtype)
        return expected

    def _check_alike(
        self,
        expected: dict[str, tuple[Hashable, tuple[int, ...], torch.dtype]],
        found: State,
        aliases: dict[str, str],
    ) -> None:
        if expected.keys() != found.keys():
            raise ValueError(
                f"{self.path} does not fit the model: it lacks {quote(sorted(expected.keys() - found.keys()))} "
                f"and has {quote(sorted(found.keys() - expected.keys()))} too many"
            )
        mine = _together({key: tensor for key, (tensor, _, _) in expected.items()})
        theirs = _together({key: aliases.get(key, key) for key in found})
        for names in sorted(sorted(group) for group in mine ^ theirs):
            where = "the model" if frozenset(names) in mine else self.path
            raise ValueError(f"{quote(names)} are one parameter in {where} only; share them alike")
        for key, value in sorted(found.items()):  # so that the same fault is named every time
            _, shape, dtype = expected[key]
            if tuple(value.shape) != shape or value.dtype != dtype:
                raise ValueError(
                    f"{quote(key)} is {tuple(value.shape)} {value.dtype} in {self.path}, but {shape} {dtype} in the "
                    "model; build the model as it was saved, or convert it with .to()"
                )
        # the labels of a tie that stands beside another parametrization: nobody checks them at the forward call
        others = {id(module.labels) for module in self.modules.values() if isinstance(module, Tie)}
        for key, value in self.state.items():
            if id(value) in others and key in found and not torch.equal(found[key], value.cpu()):
                raise self._tied_otherwise(key)


def _together(tensors: dict[str, Hashable]) -> set[frozenset[str]]:
    """Names of one tensor, where it has several."""
    names: dict[Hashable, list[str]] = {}
    for key, tensor in tensors.items():
        names.setdefault(tensor, []).append(key)
    return {frozenset(group) for group in names.values() if len(group) > 1}


# The changes.


def _parametrizations(owner: nn.Module) -> list[nn.Module]:
    """What a tie adds to, if the module has a parametrization of another weight already."""
    return [owner.get_submodule("parametrizations")] if parametrize.is_parametrized(owner) else []


def _tie_anew(tied: _Tied) -> None:
    """Tie zeros in the weight's place: the weight itself is not looked at, and not touched."""
    weight = tied.owner.get_parameter(tied.name)
    setattr(tied.owner, tied.name, nn.Parameter(torch.zeros_like(weight), requires_grad=weight.requires_grad))
    tie(tied.owner, tied.name, tied.spec)


def _load_values(model: nn.Module, ties: Sequence[_Tied], values: State, path: Path) -> None:
    made = ties_of(model, every_name=True)
    labels = {id(made[tied.key].tie.labels): tied.spec.labels for tied in ties}
    state = {}
    for key, value in state_of(model).items():
        if id(value) in labels:
            state[key] = labels[id(value)]
        elif key in values:
            state[key] = values[key]
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(f"torch cannot load {path} into this model: {str(error)[:500]}") from error
    for key, value in state_of(model).items():
        if not torch.equal(bits_of(value), bits_of(state[key])):
            raise ValueError(f"{quote(key)} does not keep what {path} says: it shares memory, or a hook changes it")
