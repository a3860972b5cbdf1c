r"""Tie a weight of a module: weight = expand(codebook, labels), that is theta = S phi.

The layer keeps its class and its forward. What it stores is the codebook (the only Parameter) and the
labels (a buffer); the weight is expanded whenever it is read, so the codebook's gradient is S^T g by
autograd. The mechanism is `torch.nn.utils.parametrize`. The codebook is a Parameter of its own: another module that
holds the old one goes on reading what it read.

Tie first, then build the optimizer; wrap in DistributedDataParallel last.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from tyinglib import _maps, _sharded, selection
from tyinglib._checks import check_integer
from tyinglib._tensors import along
from tyinglib.selection import Labels

Net = TypeVar("Net", bound=nn.Module)  # a layer stays what it is

ORIGIN = "_origin_before_ties"  # on Parameters: the same text on those that were one before a tie was made or undone


@dataclass(frozen=True, eq=False)
class TieSpec:
    """Which slices of a weight share one value: the labels of a selection matrix, and their dimension.

    Parameters
    ----------
    labels
        (n,) integers 0..k-1, each used; -1 for a pruned slice. With ``dim=None``, of the weight's shape.
    dim
        The dimension of the weight along which a slice is taken: 1 for the inputs of a
        `torch.nn.Linear` or a convolution, 0 for their outputs (of a transposed convolution the other way round), None
        for single entries.

    Raises
    ------
    ValueError
        If the labels do not describe a selection matrix (`selection.check_labels`), or do not fit `dim`.

    Examples
    --------
    >>> spec = TieSpec([0, 0, 1, -1], dim=1)
    >>> spec
    TieSpec(n=4, n_groups=2, pruned=1, dim=1)
    >>> spec == TieSpec([0, 0, 1, -1], dim=1)
    True

    Chapter: One idea.
    """

    _labels: Tensor
    dim: int | None

    def __init__(self, labels: Labels, dim: int | None) -> None:
        if dim is not None:
            check_integer("dim", dim, "or None")
        checked = selection.check_labels(labels)
        if dim is not None and checked.ndim != 1:
            raise ValueError(
                f"labels along dim {dim} must be one-dimensional, one a slice, got shape "
                f"{tuple(checked.shape)}; to tie single entries use dim=None"
            )
        object.__setattr__(self, "_labels", checked)
        object.__setattr__(self, "dim", dim)

    @property
    def labels(self) -> Tensor:
        """The labels, (n,) or of the weight's shape, int64; a copy, for a spec does not change."""
        return self._labels.clone()

    @property
    def n_groups(self) -> int:
        """k, the number of free slices."""
        return _maps.count(self._labels)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TieSpec):
            return NotImplemented
        return self.dim == other.dim and torch.equal(self.labels.cpu(), other.labels.cpu())

    def __hash__(self) -> int:
        labels = self.labels.cpu()
        return hash((self.dim, labels.shape, labels.numpy().tobytes()))

    def __repr__(self) -> str:
        pruned = int((self.labels < 0).sum())
        return f"TieSpec(n={self.labels.numel()}, n_groups={self.n_groups}, pruned={pruned}, dim={self.dim})"


class Tie(nn.Module):
    """The parametrization that `tie` registers: codebook -> weight.

    Its `right_inverse` is the group mean, so assigning any weight to a tied layer stores the nearest
    tied one.

    Parameters
    ----------
    spec
        The groups. Their labels become a buffer.

    Examples
    --------
    >>> Tie(TieSpec([0, 0, 1], dim=0))(torch.tensor([5.0, 7.0]))
    tensor([5., 5., 7.])

    Chapter: One idea.
    """

    labels: Tensor

    def __init__(self, spec: TieSpec) -> None:
        super().__init__()
        self.dim = spec.dim
        self.register_buffer("labels", spec.labels)

    def forward(self, codebook: Tensor) -> Tensor:
        """S phi: the weight that the layer uses.

        Parameters
        ----------
        codebook
            phi, with k slices along the dimension of the spec; for ``dim=None`` of shape (k,).

        Returns
        -------
        Tensor
            theta, with n slices; for ``dim=None`` of the labels' shape.
        """
        return _maps.expand(codebook, self.labels, self.dim)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The codebook nearest to a weight: `selection.group_means`.

        Parameters
        ----------
        weight
            theta, with n slices along the dimension of the spec; for ``dim=None`` of the labels' shape.

        Returns
        -------
        Tensor
            phi, with k slices; for ``dim=None`` of shape (k,).

        Raises
        ------
        ValueError
            If the weight does not fit the labels.
        """
        return selection.group_means(weight, self.labels, dim=self.dim)

    def extra_repr(self) -> str:
        """The groups, for print(model). As `torch.nn.Module.extra_repr`."""
        return repr(TieSpec(self.labels, self.dim))


def tie(module: Net, name: str, spec: TieSpec) -> Net:
    """Tie the parameter `name` of `module`: store one slice a group, start at the group means.

    Parameters
    ----------
    module
        Any module.
    name
        The parameter's name in it: ``"weight"`` of a layer, ``"0.weight"`` of a model, as in `tie_specs`.
    spec
        The groups.

    Returns
    -------
    Module
        The same module. Its ``state_dict`` now holds ``parametrizations.<name>.original`` (the codebook)
        and ``parametrizations.<name>.0.labels``. The codebook is a new Parameter without a gradient, and comes after
        the module's other parameters. Build the optimizer afterwards. A module outside that shared the old Parameter
        keeps it, unchanged, and no longer shares; `check_sharing` of a model with both says so.

    Raises
    ------
    ValueError
        If `name` is no floating-point parameter of the module, has another name in it or shares memory with another of
        its parameters, is tied or parametrized already, is sharded over processes, has no values yet (the meta
        device), holds NaN or infinite values, or does not fit the spec. The module is left as it was.

    Examples
    --------
    >>> layer = nn.Linear(4, 3, bias=False)
    >>> _ = tie(layer, "weight", TieSpec([0, 0, 1, -1], dim=1))
    >>> layer.weight.shape, [p.shape for p in layer.parameters()]
    (torch.Size([3, 4]), [torch.Size([3, 2])])

    Chapter: One idea. Method: Zhang et al. (ICLR 2018), section 3.3, for groups found by GrOWL.
    """
    owner, own = _place(module, name)
    weight = own_parameter(owner, own, name)
    selection.check_fit(weight, spec.labels, spec.dim, sliced=True)
    if not torch.isfinite(weight).all():
        raise ValueError(
            f"{name!r} holds NaN or infinite values, whose group means mean nothing; "
            "find where training diverged before tying"
        )
    _refuse_sharers(module, (owner, own), weight, f"{name!r} of {type(module).__name__} can't be tied")
    _own_class(owner)
    # the parametrization gives the Parameter that it finds another shape: it must find one that nobody else holds
    codebook = nn.Parameter(weight.detach(), requires_grad=weight.requires_grad)
    setattr(owner, own, codebook)
    try:
        parametrize.register_parametrization(owner, own, Tie(spec).to(weight.device))
    except Exception:
        setattr(owner, own, weight)
        raise
    same_origin(codebook, weight)
    return module


def untie(module: Net, name: str) -> Net:
    """Undo `tie`: every slice gets its own copy of its group's value and is free again.

    Parameters
    ----------
    module, name
        As given to `tie`.

    Returns
    -------
    Module
        The same module, computing the same outputs. The weight is a new Parameter without a gradient; a module outside
        that shared the codebook keeps it. Build the optimizer afterwards.

    Raises
    ------
    ValueError
        If the parameter is not tied, its codebook has another name in the module, or is sharded over processes. The
        module is left as it was.

    Examples
    --------
    >>> layer = tie(nn.Linear(4, 3), "weight", TieSpec([0, 0, 1, 1], dim=1))
    >>> untie(layer, "weight").weight.shape, type(layer).__name__
    (torch.Size([3, 4]), 'Linear')

    Chapter: One idea.
    """
    owner, own = _place(module, name)
    if _tie_of(owner, own) is None:
        raise ValueError(f"{name!r} of {type(module).__name__} is not tied; tie_specs(model) lists what is")
    chain: Any = owner.parametrizations[own]  # type: ignore[index]
    codebook = chain.original
    _sharded.refuse_sharded(codebook, f"the codebook of {name!r}", "untie the model before fully_shard")
    _refuse_sharers(module, (chain, "original"), codebook, f"{name!r} of {type(module).__name__} can't be untied")
    _own_class(owner)
    weight = nn.Parameter(codebook.detach(), requires_grad=codebook.requires_grad)  # as in `tie`
    chain.original = weight
    try:
        parametrize.remove_parametrizations(owner, own, leave_parametrized=True)
    except Exception:
        chain.original = codebook
        raise
    same_origin(weight, codebook)
    return module


def same_origin(new: nn.Parameter, old: nn.Parameter) -> None:
    """Leave word for `check_sharing` that `new` took the place of `old`: a model that has both has lost a sharing.

    Parameters
    ----------
    new, old
        The Parameters, of any shapes. Both get one mark, which neither a deepcopy nor a state dict has.

    Examples
    --------
    >>> old, new = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2))
    >>> same_origin(new, old)
    >>> getattr(new, ORIGIN) == getattr(old, ORIGIN)
    True

    Chapter: Two models, one set of weights.
    """
    mark = getattr(old, ORIGIN, None) or uuid.uuid4().hex
    setattr(old, ORIGIN, mark)
    setattr(new, ORIGIN, mark)


def tie_specs(model: nn.Module) -> dict[str, TieSpec]:
    """Every tie in a model, by the dotted name of the weight.

    Parameters
    ----------
    model
        Any module.

    Returns
    -------
    dict[str, TieSpec]
        A dict such as ``{"0.weight": TieSpec(...)}``, empty for an untied model.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    >>> _ = tie(model[0], "weight", TieSpec([0, 0, 1, 1], dim=1))
    >>> tie_specs(model)
    {'0.weight': TieSpec(n=4, n_groups=2, pruned=0, dim=1)}

    Chapter: One idea.
    """
    specs = {}
    for prefix, module in model.named_modules():
        for name in getattr(module, "parametrizations", {}):
            found = _tie_of(module, name)
            if found is not None:
                dotted = f"{prefix}.{name}" if prefix else name
                specs[dotted] = TieSpec(found.labels, found.dim)
    return specs


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
    ties = [
        (module.get_parameter(f"parametrizations.{name}.original"), tied)
        for module in model.modules()
        for name in getattr(module, "parametrizations", {})
        if (tied := _tie_of(module, name)) is not None
    ]
    if not ties:
        raise ValueError("no weight of the model is tied; tie one first: tie(layer, 'weight', spec)")
    handles = []
    for codebook, tied in ties:
        sizes = selection.group_sizes(tied.labels).to(codebook)
        share = 1 / (sizes if tied.dim is None else along(sizes, tied.dim, codebook.ndim))
        handles.append(codebook.register_hook(lambda grad, share=share: grad * share))  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _own_class(module: nn.Module) -> None:
    """Give a parametrized module its own class: a deepcopy shares its original's, and with it the properties.

    Without this, tying or untying the copy takes the weight of the original away, and the other way round.
    """
    if parametrize.is_parametrized(module):
        kind = type(module)
        module.__class__ = type(kind.__name__, kind.__bases__, dict(kind.__dict__))


def _tie_of(module: nn.Module, name: str) -> Tie | None:
    if not parametrize.is_parametrized(module, name):
        return None
    chain = module.parametrizations[name]  # type: ignore[index]
    return chain[0] if len(chain) == 1 and isinstance(chain[0], Tie) else None


def _place(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that owns a parameter of this dotted name, and the name there."""
    prefix, _, own = name.rpartition(".")
    try:
        return module.get_submodule(prefix), own
    except AttributeError:
        raise ValueError(_no_parameter(module, name)) from None


def _no_parameter(module: nn.Module, name: str) -> str:
    known = [key for key, _ in module.named_parameters(remove_duplicate=False)]
    there = ", ".join(map(repr, known[:8])) + (", ..." if len(known) > 8 else "")
    return f"{type(module).__name__} has no parameter {name!r}; " + (f"there are {there}" if known else "it has none")


def _refuse_sharers(module: nn.Module, place: tuple[nn.Module, str], parameter: nn.Parameter, refusal: str) -> None:
    """ValueError if the module reads this Parameter, or its memory, in another place as well.

    A layer with several names is one place.
    """
    storage = parameter.untyped_storage().data_ptr()
    sharers = [
        f"{prefix}.{key}".lstrip(".")
        for prefix, inner in module.named_modules(remove_duplicate=False)
        for key, value in inner.named_parameters(recurse=False, remove_duplicate=False)
        if not (inner is place[0] and key == place[1])
        and (value is parameter or (storage and _storage_of(value) == storage))
    ]
    if sharers:
        raise ValueError(
            f"{refusal}: it is one weight with {', '.join(map(repr, sharers))}, which would no longer share it; if "
            "that is meant, give it a Parameter of its own: owner.name = nn.Parameter(owner.name.detach().clone())"
        )


def _storage_of(parameter: nn.Parameter) -> int:
    plain = not is_lazy(parameter) and not _sharded.is_sharded(parameter)
    return parameter.untyped_storage().data_ptr() if plain else 0


def own_parameter(module: nn.Module, own: str, dotted: str = "") -> nn.Parameter:
    """The parameter to be tied, which the caller may know by a longer name.

    Parameters
    ----------
    module
        The module that owns it.
    own
        Its name there.
    dotted
        Its name in the caller's model, for the error.

    Returns
    -------
    Parameter
        Of the module; neither tied nor parametrized.

    Raises
    ------
    ValueError
        If it is tied or parametrized, sharded, or not floating point; if it has no values; or if there is none.

    Examples
    --------
    >>> own_parameter(nn.Linear(3, 2), "bias").shape
    torch.Size([2])

    Chapter: One idea.
    """
    name = dotted or own
    if _tie_of(module, own) is not None:
        raise ValueError(f"{name!r} of {type(module).__name__} is tied already; untie it first")
    if parametrize.is_parametrized(module, own):
        raise ValueError(
            f"{name!r} of {type(module).__name__} has another parametrization; remove it first with "
            "torch.nn.utils.parametrize.remove_parametrizations"
        )
    parameter = dict(module.named_parameters(recurse=False, remove_duplicate=False)).get(own)
    if parameter is None:
        raise ValueError(_no_parameter(module, own))
    _sharded.refuse_sharded(parameter, repr(name), "tie first, then fully_shard, then build the optimizer")
    if is_lazy(parameter) or parameter.is_meta:
        where = "has no shape before the first forward call" if is_lazy(parameter) else "is on the meta device"
        raise ValueError(f"{name!r} {where}, so there are no values to take the group means of; tie after it has some")
    if not parameter.is_floating_point():
        raise ValueError(f"{name!r} must be a floating-point parameter, got {parameter.dtype}")
    return parameter
