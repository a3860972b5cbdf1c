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
from torch.nn.utils.parametrize import ParametrizationList

from tyinglib._undo import AsItWas, bits_of
from tyinglib.saving import _packed_labels, _tied_file
from tyinglib.saving._state import (
    State,
    check_plain,
    codebook_dim,
    codebook_key,
    dotted,
    factors_key,
    groups_of,
    labels_key,
    names_in,
    plain,
    quote,
    sound_specs,
    state_of,
    ties_of,
    used_groups,
    used_shape,
)
from tyinglib.saving._tied_file import Contents, damaged
from tyinglib.tying import Net, Tie, TieSpec, same_origin
from tyinglib.tying._making import tie_places
from tyinglib.tying._places import Place, own_parametrizations


def load_tied(model: Net, path: str | os.PathLike[str]) -> Net:
    """Load what `save_tied` wrote: tie the model as the file says, then load its values strictly.

    What `safetensors.torch.save_model`, ``save_file`` or transformers' ``save_pretrained`` wrote is read too, as
    strictly: shared parameters by one of their names, be it said in the file or not. Such a file ties nothing anew.

    Parameters
    ----------
    model
        The same architecture, untied, or tied in the same way. Parameters that the saved model used at
        several places must be shared here too. Its values do not matter, NaN or not; nor does it whether one of the
        two is compiled.
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
        If the file is cut short, altered, no safetensors file, or does not fit the model in
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
    stored = known.named(stored)
    if not stored.ours:
        stored = known.translated(stored)
    ties = [known.tie(name, described, stored) for name, described in stored.ties.items()]
    new = known.codebooks([tied for tied in ties if tied.new])
    values = known.values(ties, stored)
    replaced = [(tied, tied.place.owner.get_parameter(tied.place.own)) for group in new for tied in group]
    gone = {id(weight) for _, weight in replaced}
    owners = [tied.place.owner for tied, _ in replaced]
    changed = [module for owner in owners for module in (owner, *_parametrizations(owner))]
    with AsItWas(model, [value for value in state.values() if id(value) not in gone], changed):
        for group in new:
            _tie_anew(group)
        _load_values(model, ties, values, path)
    for tied, weight in replaced:
        same_origin(tied.place.owner.get_parameter(f"parametrizations.{tied.place.own}.original"), weight)
    return model


# What is decided before the first change.


@dataclass(frozen=True)
class _Tied:
    """A weight that the file ties, and how."""

    place: Place
    spec: TieSpec
    codebook: tuple[int, ...]  # its shape
    codebook_dim: int | None
    kept_as: str  # the codebook's name in the file: weights with one name have one codebook
    new: bool  # the model has yet to tie it


class _Known:
    """A model as it is before: its state, its parameters under all their names, its ties."""

    def __init__(self, model: nn.Module, state: State, path: Path) -> None:
        self.model, self.state, self.path = model, state, path
        self.modules = dict(model.named_modules(remove_duplicate=False))
        self.ties = ties_of(model, every_name=True)
        self.sound = sound_specs(self.ties)
        self.parameters: dict[str, tuple[nn.Module, str, Tensor]] = {
            dotted(prefix, name): (module, name, value)
            for prefix, module in self.modules.items()
            for name, value in module.named_parameters(recurse=False, remove_duplicate=False)
        }

    def named(self, stored: Contents) -> Contents:
        """The same by the names of this model, which torch.compile may have wrapped; or the file's model was."""
        now = names_in(self.model, map(plain, [*stored.tensors, *stored.ties, *stored.aliases]))
        now = {key: now[plain(key)] for key in (*stored.tensors, *stored.ties, *stored.aliases)}
        return Contents(
            {now[key]: value for key, value in stored.tensors.items()},
            {now[name]: what for name, what in stored.ties.items()},
            {now[alias]: now.get(kept, kept) for alias, kept in stored.aliases.items()},
            stored.ours,
        )

    def translated(self, stored: Contents) -> Contents:
        """What another library wrote, as `save_tied` would have: packed labels, a shared tensor under one name."""
        tensors, aliases = dict(stored.tensors), dict(stored.aliases)
        ties: dict[str, dict[str, Any]] = {}
        for group in _together({key: id(value) for key, value in self.state.items()}):
            # a file of transformers leaves the others out, one of torch's may have copies
            there = sorted(name for name in group if name in tensors)
            alike = there and all(torch.equal(bits_of(tensors[name]), bits_of(tensors[there[0]])) for name in there)
            for name in group - set(there[:1]) if alike else ():
                tensors.pop(name, None)
                aliases[name] = there[0]
        for name, present in self.ties.items():
            codebook = tensors.get(aliases.get(codebook_key(name), codebook_key(name)))
            key = aliases.get(labels_key(name), labels_key(name))
            labels = stored.tensors.get(key)
            if codebook is None or labels is None:
                continue
            slices = codebook_dim(present.tie)
            groups = codebook.shape[slices] if -codebook.ndim <= slices < codebook.ndim else 0
            if labels.dtype != torch.int64 or not labels.numel() or labels.min() < -1 or labels.max() >= groups:
                raise damaged(self.path, f"the labels of {quote(name)} are no groups of its codebook")
            shift = _packed_labels.shift_of(labels)
            bits = _packed_labels.bits_of(groups, shift)
            tensors[key] = _packed_labels.pack(labels, bits, shift)
            ties[name] = {"shape": list(labels.shape), "dim": present.tie.dim, "bits": bits, "shift": shift}
            if present.tie.dim is not None:
                ties[name]["codebook_dim"] = slices
            if factors_key(name) in tensors or factors_key(name) in aliases:
                ties[name]["factors"] = "values"
        return Contents(tensors, ties, aliases)

    def tie(self, name: str, described: dict[str, Any], stored: Contents) -> _Tied:
        """What the file says of this weight, if it fits."""
        key, labels = (stored.aliases.get(one, one) for one in (codebook_key(name), labels_key(name)))
        packed, codebook = stored.tensors.get(labels), stored.tensors.get(key)
        shape, dim, bits, shift = (described.get(what) for what in ("shape", "dim", "bits", "shift"))
        slices = described.get("codebook_dim", dim)
        if packed is None or codebook is None:
            raise damaged(self.path, f"it ties {quote(name)} without labels or without a codebook")
        for what, value in (("dim", dim), ("codebook_dim", slices)):
            if value is not None and type(value) is not int:
                raise damaged(self.path, f"the {what} of {quote(name)} must be an integer or None, not {quote(value)}")
        present = self.ties.get(name)
        if present is not None and present.tie.dim != dim:
            raise self._tied_otherwise(name)
        used = used_shape(present) if present is not None else list(self._weight(name).shape)
        groups = groups_of(used, codebook.shape, dim, 0 if slices is None else slices)
        if groups is None or shape != (used if dim is None else [used[dim]]):
            raise ValueError(
                f"{self.path} ties {quote(name)} by labels of shape {quote(shape)} along dim {quote(dim)} and a "
                f"codebook of shape {tuple(codebook.shape)}, which does not fit its shape {tuple(used)}"
            )
        factors = self._factors(name, described.get("factors"), stored, math.prod(shape))
        spec = self._unpack(name, packed, shape, dim, bits, shift, groups, factors)
        if present is not None and (
            self.sound[name] not in (None, spec) or (dim is not None and codebook_dim(present.tie) != slices)
        ):  # unsound ones are overwritten
            raise self._tied_otherwise(name)
        if present is not None and (present.tie.factors is None) != (spec.factors is None):
            raise self._tied_otherwise(name)
        prefix, _, last = name.rpartition(".")
        place = Place(self.modules[prefix], last, name)
        return _Tied(place, spec, tuple(codebook.shape), slices, key, present is None)

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
        return weight

    def _factors(self, name: str, form: Any, stored: Contents, count: int) -> Tensor | None:
        """The factors of a weight's slices (count,), if the file has any."""
        if form is None:
            return None
        key = stored.aliases.get(factors_key(name), factors_key(name))
        held = stored.tensors.get(key)
        if held is not None and form == "signs" and held.dtype == torch.uint8 and held.shape == (-(-count // 8),):
            return _packed_labels.unpack_signs(held, count)
        if held is None or form != "values" or not held.is_floating_point() or held.numel() != count:
            raise damaged(self.path, f"the factors of {quote(name)} are missing, or are not {count}: {quote(form)}")
        return held.flatten()

    def _unpack(
        self,
        name: str,
        packed: Tensor,
        shape: Sequence[int],
        dim: int | None,
        bits: Any,
        shift: Any,
        groups: int,
        factors: Tensor | None,
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
        labels = _packed_labels.unpack(packed, count, bits, shift).reshape(*shape)
        if factors is not None:
            factors = factors.reshape(*shape)
        try:
            return TieSpec(labels, dim, factors=factors, n_groups=groups)
        except ValueError as error:
            raise damaged(self.path, f"the labels of {quote(name)} are no groups ({error})") from error

    def _tied_otherwise(self, name: str) -> ValueError:
        return ValueError(f"{quote(name)} is tied otherwise in the model than in {self.path}; untie it first")

    def values(self, ties: Sequence[_Tied], stored: Contents) -> State:
        """The file's tensors by all the names that the model's state will have, but for labels; if all of it fits."""
        made: dict[tuple[int, str], _Tied] = {}
        for tied in ties:
            if made.setdefault((id(tied.place.owner), tied.place.own), tied).spec != tied.spec:
                raise damaged(self.path, f"it ties one {tied.place.own!r} in two ways, under two names of its layer")
        for name in self.ties:
            prefix, _, last = name.rpartition(".")
            if (id(self.modules[prefix]), last) not in made:
                raise ValueError(f"{quote(name)} is tied in the model, but not in {self.path}; untie it first")
        self._check_all_used(ties)
        beside = {key for name in stored.ties for key in (labels_key(name), factors_key(name))}
        tensors = {key: value for key, value in stored.tensors.items() if key not in beside}
        aliases = {alias: kept for alias, kept in stored.aliases.items() if alias not in beside}
        for alias, kept in aliases.items():
            if kept not in tensors or alias in tensors:
                raise damaged(self.path, f"it says that {quote(alias)} is another name of {quote(kept)}, and is not")
        found = tensors | {alias: tensors[kept] for alias, kept in aliases.items()}
        self._check_alike(self._expected(made), found, aliases)
        return found

    def _check_all_used(self, ties: Sequence[_Tied]) -> None:
        used: dict[str, Tensor] = {}
        for tied in ties:
            used[tied.kept_as] = used_groups(tied.spec) | used.get(tied.kept_as, torch.tensor(False))
        for tied in ties:
            if not used[tied.kept_as].all():
                named = int(used[tied.kept_as].sum())
                raise damaged(
                    self.path, f"the labels of {quote(tied.place.dotted)} name {named} groups, its codebook has more"
                )

    def codebooks(self, new: Sequence[_Tied]) -> list[list[_Tied]]:
        """Weights to be tied, those together that get one codebook; if one weight is not to become two."""
        places: dict[tuple[int, str], _Tied] = {(id(tied.place.owner), tied.place.own): tied for tied in new}
        by_weight: dict[int, set[tuple[int, str]]] = {}
        names: dict[int, list[str]] = {}
        for key, (module, own, value) in self.parameters.items():
            by_weight.setdefault(id(value), set()).add((id(module), own))
            names.setdefault(id(value), []).append(key)
        for tied in new:
            weight = id(self.parameters[tied.place.dotted][2])
            alike = [places.get(place) for place in by_weight[weight]]
            if any(other is None or (other.kept_as, other.spec) != (tied.kept_as, tied.spec) for other in alike):
                raise ValueError(
                    f"{self.path} ties {quote(tied.place.dotted)} alone, but in the model "
                    f"{quote(sorted(names[weight]))} are one parameter; build the model as it was saved"
                )
        groups: dict[str, list[_Tied]] = {}
        for tied in places.values():
            groups.setdefault(tied.kept_as, []).append(tied)
        for group in groups.values():
            kinds = {(weight.device, weight.requires_grad) for weight in map(self._weight_of, group)}
            if len(kinds) > 1:
                raise ValueError(
                    f"{self.path} gives {quote([tied.place.dotted for tied in group])} one codebook, but in the model "
                    "they are on different devices, or some are trained and some are not"
                )
        return list(groups.values())

    def _weight_of(self, tied: _Tied) -> Tensor:
        return self.parameters[tied.place.dotted][2]

    def _expected(self, made: dict[tuple[int, str], _Tied]) -> dict[str, tuple[Hashable, tuple[int, ...], torch.dtype]]:
        """What the state will hold, but for labels: which tensor it is, its shape and dtype."""
        beside = {id(one) for present in self.ties.values() for one in (present.tie.labels, present.tie.factors)}
        expected: dict[str, tuple[Hashable, tuple[int, ...], torch.dtype]] = {}
        for key, value in self.state.items():
            module, last, _ = self.parameters.get(key, (None, "", None))
            tied = made.get((id(module), last))
            if tied is not None:
                expected[codebook_key(key)] = (tied.kept_as, tied.codebook, value.dtype)
            elif id(value) not in beside:
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
    return [owner.get_submodule("parametrizations")] if own_parametrizations(owner) else []


def _tie_anew(group: Sequence[_Tied]) -> None:
    """Tie to a codebook of zeros in the weights' place: they are not looked at, and not touched."""
    first = group[0].place
    weight = first.owner.get_parameter(first.own)
    codebook = nn.Parameter(weight.new_zeros(group[0].codebook), requires_grad=weight.requires_grad)
    tie_places([(tied.place, tied.spec) for tied in group], codebook, group[0].codebook_dim)


def _load_values(model: nn.Module, ties: Sequence[_Tied], values: State, path: Path) -> None:
    made = ties_of(model, every_name=True)
    beside: dict[int, Tensor | None] = {}
    for tied in ties:
        present = made[tied.place.dotted].tie
        beside |= {id(present.labels): tied.spec.labels, id(present.factors): tied.spec.factors}
    state = {}
    for key, value in state_of(model).items():
        kept = beside.get(id(value), values.get(key))
        if kept is not None:
            state[key] = kept.to(value.dtype) if id(value) in beside else kept
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(f"torch cannot load {path} into this model: {str(error)[:500]}") from error
    for key, value in state_of(model).items():
        if not torch.equal(bits_of(value), bits_of(state[key])):
            raise ValueError(f"{quote(key)} does not keep what {path} says: it shares memory, or a hook changes it")
