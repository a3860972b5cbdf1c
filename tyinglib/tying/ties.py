r"""Tie weights of a model: weight = expand(codebook, labels), that is theta = S phi.

A layer keeps its class and its forward. What it stores is the codebook (the only Parameter), the labels and, where they
are not all 1, the factors (buffers); the weight is expanded whenever it is read, so the codebook's gradient is S^T g by
autograd. The mechanism is `torch.nn.utils.parametrize`. Several weights may have one codebook, each its own S: the
codebook then is one Parameter under several names, as a shared weight always is. It is a Parameter of its own: another
module that holds an old one goes on reading what it read.

Tie first, then build the optimizer; wrap in DistributedDataParallel last.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrize import ParametrizationList

from tyinglib import _maps, _sharded, selection
from tyinglib._tensors import along, wide
from tyinglib._undo import ModulesAsTheyWere
from tyinglib.tying._making import tie_places, touched
from tyinglib.tying._own_class import give_own_class
from tyinglib.tying._places import Place, find, parameter_at, parameters_of, sharers, tie_of, ties_in
from tyinglib.tying.parametrization import Tie
from tyinglib.tying.spec import TieSpec

Net = TypeVar("Net", bound=nn.Module)  # a layer stays what it is

ORIGIN = "_origins_before_ties"  # on Parameters: what those have in common that were one before a tie


@dataclass(frozen=True)
class _Wanted:
    """A weight to be tied, at one place."""

    place: Place
    weight: nn.Parameter
    spec: TieSpec


def tie(module: Net, name: str | Sequence[str], spec: TieSpec | Sequence[TieSpec]) -> Net:
    """Tie the parameter `name` of `module`: store one slice a group, start at the group means.

    The layer's weight is made anew whenever it is read. So what changes it in place, as ``nn.init`` or the layer's
    ``reset_parameters``, changes nothing: assign a tensor instead, of which the nearest tied one is stored, or do it
    inside ``with untied(module):``.

    Parameters
    ----------
    module
        Any module.
    name
        The parameter's name in it: ``"weight"`` of a layer, ``"0.weight"`` of a model, as in `tie_specs`. Several
        names: these weights get one codebook. A weight that has other names in the module is tied under all of them.
    spec
        The groups; for several names one spec for all, or one for each. Those say for which weights a codebook can be
        one: the same number of groups (`TieSpec.n_groups`), and slices of one shape, be they columns here and rows
        there.

    Returns
    -------
    Module
        The same module. Its ``state_dict`` now holds ``parametrizations.<name>.original`` (the codebook),
        ``parametrizations.<name>.0.labels`` and, if not all are 1, ``.0.factors``. The codebook is a new Parameter
        without a gradient, laid out as the first weight, and comes after the module's other parameters. It starts at
        the values nearest to all its weights together. Build the optimizer afterwards. A module outside that shared an
        old Parameter keeps it, unchanged, and no longer shares; `check_sharing` of a model with both says so.

    Raises
    ------
    ValueError
        If a name is no floating-point parameter of the module, shares memory with another of its parameters, is tied
        or parametrized already, is part of another parametrization under another name, is sharded over processes, has
        no shape yet, holds NaN or infinite values, or does not fit its spec; or if several weights do not fit one
        codebook. The module is left as it was.

    Examples
    --------
    >>> layer = nn.Linear(4, 3, bias=False)
    >>> _ = tie(layer, "weight", TieSpec([0, 0, 1, -1], dim=1))
    >>> layer.weight.shape, [p.shape for p in layer.parameters()]
    (torch.Size([3, 4]), [torch.Size([3, 2])])

    An autoencoder whose decoder is the encoder's transpose: the codebook's columns are columns here, rows there.

    >>> net = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 4, bias=False))
    >>> _ = tie(net, ["0.weight", "1.weight"], [TieSpec(range(4), dim=1), TieSpec(range(4), dim=0)])
    >>> torch.equal(net[1].weight, net[0].weight.T), len(list(net.parameters()))
    (True, 1)

    Chapter: One idea. Method: Zhang et al. (ICLR 2018), section 3.3, for groups found by GrOWL.
    """
    wanted = _wanted(module, name, spec)
    _check_one_codebook(wanted)
    for one in wanted:
        if not one.weight.is_meta and not torch.isfinite(one.weight).all():
            raise ValueError(
                f"{one.place} holds NaN or infinite values, whose group means mean nothing; "
                "find where training diverged before tying"
            )
    nearest = _nearest_codebook(wanted)
    if not nearest.is_meta and not torch.isfinite(nearest).all():
        raise ValueError(
            f"the group means of {wanted[0].place} are beyond the numbers of {nearest.dtype}; scale the weight or the "
            "factors"
        )
    codebook = nn.Parameter(nearest, requires_grad=wanted[0].weight.requires_grad)
    tie_places([(one.place, one.spec) for one in wanted], codebook)
    same_origin(codebook, *(one.weight for one in wanted))
    return module


def untie(module: Net, name: str) -> Net:
    """Undo `tie`: every slice gets its own copy of its group's value and is free again.

    Parameters
    ----------
    module, name
        As given to `tie`. If several weights of the module have this codebook, all of them are untied; of those that
        have the same S too, and so are equal, one Parameter is made for all (`unshare` parts them).

    Returns
    -------
    Module
        The same module, computing the same outputs. The weight is a new Parameter without a gradient; a module outside
        that shared the codebook keeps it. Build the optimizer afterwards.

    Raises
    ------
    ValueError
        If the parameter is not tied, its codebook is used for something else in the module, or is sharded over
        processes. The module is left as it was.

    Examples
    --------
    >>> layer = tie(nn.Linear(4, 3), "weight", TieSpec([0, 0, 1, 1], dim=1))
    >>> untie(layer, "weight").weight.shape, type(layer).__name__
    (torch.Size([3, 4]), 'Linear')

    Chapter: One idea.
    """
    place = find(module, name)
    if tie_of(place.owner, place.own) is None:
        raise ValueError(f"{name!r} of {type(module).__name__} is not tied; tie_specs(model) lists what is")
    codebook = place.owner.get_parameter(f"parametrizations.{place.own}.original")
    _sharded.refuse_sharded(codebook, f"the codebook of {name!r}", "untie the model before fully_shard")
    tied = [(at, chain, found) for at, chain, found in ties_in(module) if chain.original is codebook]
    lists = {id(chain) for _, chain, _ in tied}
    others = [str(at) for at, value in parameters_of(module) if value is codebook and id(at.owner) not in lists]
    if others:
        raise ValueError(
            f"{name!r} of {type(module).__name__} can't be untied: its codebook is one parameter with "
            f"{', '.join(others)}, which would no longer share it; if that is meant, give it a Parameter of its own: "
            "owner.name = nn.Parameter(owner.name.detach().clone())"
        )
    weights: dict[tuple[TieSpec, int | None], nn.Parameter] = {}
    with ModulesAsTheyWere([*touched(at for at, _, _ in tied), *(chain for _, chain, _ in tied)]):
        for at, chain, found in tied:
            give_own_class(at.owner)
            # removing changes what the list holds in place: it must be nobody else's
            chain.original = nn.Parameter(codebook.detach(), requires_grad=codebook.requires_grad)
            parametrize.remove_parametrizations(at.owner, at.own, leave_parametrized=True)
            weight = weights.setdefault((found.spec(), found.dim), at.owner.get_parameter(at.own))
            setattr(at.owner, at.own, weight)
    if len(weights) == 1:  # or those that are several now were never one
        same_origin(*weights.values(), codebook)
    return module


def _wanted(module: nn.Module, name: str | Sequence[str], spec: TieSpec | Sequence[TieSpec]) -> list[_Wanted]:
    """What is to be tied: each place once, those first that were named, then where else these weights stand."""
    names = [name] if isinstance(name, str) else list(name)
    specs = [spec] * len(names) if isinstance(spec, TieSpec) else list(spec)
    if not names or len(names) != len(specs) or not all(isinstance(one, TieSpec) for one in specs):
        raise ValueError(
            f"{len(names)} names need one TieSpec for all, or one for each, got {spec!r}"
            if names
            else "there is no name of a weight to tie, got none"
        )
    found: dict[tuple[int, str], _Wanted] = {}
    for dotted, one in zip(names, specs, strict=True):
        place = find(module, dotted)
        weight = parameter_at(place)
        selection.check_fit(weight, one.labels, one.dim, sliced=True, n_groups=one.n_groups)
        _add(found, _Wanted(place, weight, one))
    for first in list(found.values()):
        for place in sharers(module, first.place, first.weight):
            parameter_at(place)
            if isinstance(place.owner, ParametrizationList):
                raise ValueError(
                    f"{first.place} is one weight with {place}, a part of another parametrization, which would no "
                    "longer share it; remove that first with torch.nn.utils.parametrize.remove_parametrizations"
                )
            _add(found, _Wanted(place, first.weight, first.spec))
    return list(found.values())


def _add(found: dict[tuple[int, str], _Wanted], new: _Wanted) -> None:
    known = found.setdefault((id(new.place.owner), new.place.own), new)
    if known.spec != new.spec:
        raise ValueError(
            f"{known.place} and {new.place} are one weight, and can't be tied in two ways: {known.spec} and {new.spec}"
        )


def _check_one_codebook(wanted: Sequence[_Wanted]) -> None:
    """ValueError if one codebook can't feed all of these weights, or has groups that none of them uses."""
    first = wanted[0]
    for one in wanted[1:]:
        for what, mine, theirs in (
            ("n_groups", one.spec.n_groups, first.spec.n_groups),
            ("the shape of its slices", _slice_shape(one), _slice_shape(first)),
            ("its dtype", one.weight.dtype, first.weight.dtype),
            ("its device", one.weight.device, first.weight.device),
            ("requires_grad", one.weight.requires_grad, first.weight.requires_grad),
        ):
            if mine != theirs:
                raise ValueError(
                    f"{first.place} and {one.place} can't have one codebook: {what} is {theirs} of the first and "
                    f"{mine} of the second"
                )
    used = torch.stack([_squares(one.spec) for one in wanted]).sum(0)
    if not used.all():
        group = int((used == 0).nonzero()[0])
        raise ValueError(
            f"group {group} of {first.spec.n_groups} is used by none of the weights; number the groups without gaps"
        )


def _slice_shape(one: _Wanted) -> tuple[int, ...]:
    if one.spec.dim is None:
        return ()
    shape = list(one.weight.shape)
    del shape[one.spec.dim]
    return tuple(shape)


def _squares(spec: TieSpec) -> Tensor:
    return _maps.squares(spec.labels, spec.n_groups, spec.factors).cpu().double()


@torch.no_grad()
def _nearest_codebook(wanted: Sequence[_Wanted]) -> Tensor:
    """argmin over phi of the sum of ||S phi - theta||^2 over the weights, each counted once."""
    first, weight = wanted[0].spec, wanted[0].weight
    if weight.is_meta:
        shape = list(weight.shape) if first.dim is not None else [0]
        shape[first.dim or 0] = first.n_groups
        return weight.new_empty(shape)
    once = {id(one.weight): one for one in wanted}.values()
    if len(once) == 1:
        return _maps.group_means(weight, first.labels.to(weight.device), first.dim, first.n_groups, _on(weight, first))
    sums: Any = 0
    sizes: Any = 0
    for one in once:
        labels, factors = one.spec.labels.to(weight.device), _on(weight, one.spec)
        part = _maps.pull_back(wide(one.weight), labels, one.spec.dim, one.spec.n_groups, factors)
        sums = sums + Tie(one.spec, codebook_dim=first.dim).to_codebook(part)
        sizes = sizes + _maps.squares(labels, one.spec.n_groups, factors).to(part.dtype)
    means: Tensor = sums / (sizes if first.dim is None else along(sizes, first.dim, sums.ndim))
    return means.to(weight.dtype)


def _on(weight: Tensor, spec: TieSpec) -> Tensor | None:
    return None if spec.factors is None else spec.factors.to(weight.device)


def same_origin(new: nn.Parameter, *others: nn.Parameter) -> None:
    """Leave word for `check_sharing` that `new` took the place of others: a model that has both has lost a sharing.

    Parameters
    ----------
    new, *others
        The Parameters, of any shapes. `new` gets a mark of each, which neither a deepcopy nor a state dict has.

    Examples
    --------
    >>> old, new = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2))
    >>> same_origin(new, old)
    >>> getattr(new, ORIGIN) == getattr(old, ORIGIN)
    True

    Chapter: Two models, one set of weights.
    """
    for old in others:
        marks: frozenset[str] = getattr(old, ORIGIN, None) or frozenset({uuid.uuid4().hex})
        setattr(old, ORIGIN, marks)
        setattr(new, ORIGIN, marks | getattr(new, ORIGIN, frozenset()))


def tie_specs(model: nn.Module) -> dict[str, TieSpec]:
    """Every tie in a model, by the dotted name of the weight.

    Parameters
    ----------
    model
        Any module.

    Returns
    -------
    dict[str, TieSpec]
        A dict such as ``{"0.weight": TieSpec(...)}``, empty for an untied model. Weights that have one codebook are
        those whose ``parametrizations.<name>.original`` `shared_parameters` gives together.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    >>> _ = tie(model[0], "weight", TieSpec([0, 0, 1, 1], dim=1))
    >>> tie_specs(model)
    {'0.weight': TieSpec(n=4, n_groups=2, pruned=0, dim=1)}

    Chapter: One idea.
    """
    return {place.dotted: found.spec() for place, _, found in ties_in(model)}


@contextmanager
def mean_gradients(model: nn.Module) -> Iterator[None]:
    """Inside the `with`, a group's gradient is the mean over its slices: every group steps as one slice would.

    By itself it is the sum (S^T g), so at one learning rate a group of a hundred slices takes a step a hundred times
    as long as a single slice, and may diverge. With plain SGD, the mean is what averaging the slices after the step
    of an untied weight gives. Under Adam it makes no difference, for Adam ignores the scale of a gradient.

    Parameters
    ----------
    model
        With ties in it, `tie_specs(model)`. They must not be undone before the end of the `with`.

    Yields
    ------
    None
        The gradients are scaled while the block runs, in every backward pass.

    Raises
    ------
    ValueError
        If nothing in the model is tied.

    Examples
    --------
    >>> layer = tie(nn.Linear(4, 1, bias=False), "weight", TieSpec([0, 0, 0, 1], dim=1))
    >>> with mean_gradients(layer):
    ...     layer(torch.tensor([1.0, 2.0, 3.0, 4.0])).backward()
    >>> layer.parametrizations.weight.original.grad
    tensor([[2., 4.]])

    Method: the rows of a group are averaged after each step in Zhang et al. (ICLR 2018), section 3.2. Chapter: GrOWL
    in a network.
    """
    specs: dict[int, set[TieSpec]] = {}
    codebooks: dict[int, tuple[nn.Parameter, int | None]] = {}
    for _, chain, found in ties_in(model):
        codebook = chain.get_parameter("original")
        codebooks[id(codebook)] = codebook, found.codebook_dim
        specs.setdefault(id(codebook), set()).add(found.spec())  # weights that are equal are one weight
    if not codebooks:
        raise ValueError("no weight of the model is tied; tie one first: tie(layer, 'weight', spec)")
    handles = []
    for key, (codebook, dim) in codebooks.items():
        sizes = torch.stack([_squares(spec) for spec in specs[key]]).sum(0)
        sizes[sizes == 0] = 1  # a group that is used outside the model alone
        share = (1 / (sizes if dim is None else along(sizes, dim, codebook.ndim))).to(wide(codebook.detach()))
        handles.append(codebook.register_hook(lambda grad, share=share: (wide(grad) * share).to(grad.dtype)))  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
