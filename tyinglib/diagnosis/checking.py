"""All checks of a model, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from tyinglib.diagnosis import _copies, _lost, _read_otherwise, _training
from tyinglib.diagnosis._words import Named, quoted
from tyinglib.diagnosis.diagnosis import Diagnosis


def check_sharing(
    *modules: nn.Module,
    optimizers: torch.optim.Optimizer | Iterable[torch.optim.Optimizer] = (),
    expected: Iterable[Sequence[str]] = (),
    checkpoint: Mapping[str, Tensor] | None = None,
    ignore: Iterable[str] = (),
) -> list[Diagnosis]:
    """Report sharing that was lost, weights that are stepped twice or never, and the like.

    Looks and changes nothing. Copies are recognised by equal values, so look soon after copying or loading: one
    training step makes the values differ, and then only `expected` tells, or the model itself: `tie` and `untie` leave
    a mark on the Parameters, and models of Hugging Face's transformers declare what they share. Equal by accident, and
    not reported, are values that are all alike, as the zeros of a fresh bias, or but two, as an identity's, or in
    order, as a ramp that every layer starts with; neither are frozen copies, an
    `torch.optim.swa_utils.AveragedModel`, and the layers of a fresh `torch.nn.TransformerEncoder`, which start equal.

    Parameters
    ----------
    *modules
        One model (a container of both, say), or several; names are those that `shared_parameters` gives.
    optimizers
        All that step these modules, or one. If there are any: every trainable parameter should be in one of them, once.
    expected
        Groups of names that must be one parameter: what ``shared_parameters(*modules)`` returned when all was well. A
        weight that was tied, untied or pruned since is known by its old name.
    checkpoint
        A state dict that is about to be loaded: names that are one parameter here must hold one value there. Its names
        are those of the module's ``state_dict``; with several modules, as for `shared_parameters`.
    ignore
        Names of parameters, or of modules for all in them: what is found about these alone is not reported.

    Returns
    -------
    list[Diagnosis]
        Empty if nothing was found. Each prints as a sentence that names parameters, cause and remedy.

    Raises
    ------
    ValueError
        If no module is given; if `expected` or `ignore` has a name that the modules do not, or is a string.

    Examples
    --------
    >>> import copy
    >>> from tyinglib import share, shared_parameters
    >>> pair = nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.Linear(3, 2)})
    >>> _ = share(pair["b"], pair["a"], ["weight"])
    >>> check_sharing(pair)
    []
    >>> pair["b"] = copy.deepcopy(pair["b"])
    >>> [(diagnosis.kind, diagnosis.names) for diagnosis in check_sharing(pair)]
    [('equal', ('a.weight', 'b.weight'))]

    Chapter: Two models, one set of weights.
    """
    if not modules:
        raise ValueError("check_sharing needs at least one module, got none")
    if isinstance(optimizers, torch.optim.Optimizer):
        optimizers = [optimizers]
    model = modules[0] if len(modules) == 1 else nn.ModuleList(modules)
    named: Named = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        named.setdefault(id(parameter), (parameter, []))[1].append(name)
    missing = [*_lost.not_as_expected(named, expected), *_lost.not_as_declared(model, named)]
    told = {name for diagnosis in missing for name in diagnosis.names}
    missing += [diagnosis for diagnosis in _lost.left_behind(named) if not told.issuperset(diagnosis.names)]
    told.update(name for diagnosis in missing for name in diagnosis.names)
    both = [
        *_copies.in_one_memory(named),
        *_copies.equal(model, named),
        *_copies.rounded(named),
        *_read_otherwise.check(model, named),
    ]
    found = [
        *missing,
        *(diagnosis for diagnosis in both if not told.issuperset(diagnosis.names)),
        *_training.stepped(named, list(optimizers)),
        *_training.wrapped_too_early(model, named),
        *_training.apart(modules, named),
        *_training.checkpoint_differs(named, checkpoint or {}),
    ]
    ignored = _all_in(named, ignore)
    return [diagnosis for diagnosis in found if not diagnosis.names or not ignored.issuperset(diagnosis.names)]


def _all_in(named: Named, ignore: Iterable[str]) -> set[str]:
    """The names that `ignore` stands for."""
    if isinstance(ignore, str):
        raise ValueError(f"ignore must be a list of names, got the string {ignore!r}; write [{ignore!r}]")
    known = [name for _, names in named.values() for name in names]
    found: set[str] = set()
    for name in ignore:
        inside = [key for key in known if key == name or key.startswith(f"{name}.")]
        if not inside:
            raise ValueError(f"ignore names {name!r}, but the modules have {quoted(known)}")
        found.update(inside)
    return found
