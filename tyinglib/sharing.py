r"""Two models: one set of weights, or two that are kept close.

Sharing is a tie between models: theta = S phi with theta = (w_A; w_B) and S = (I; I). Both use the very same
`nn.Parameter`, so its gradient is S^T g, the sum over both, and it is stored once. The soft form is a penalty on the
difference::

    L2(lam)               lam/2 ||w_A - w_B||^2               close, never equal
    L1(lam)               lam sum |w_A - w_B|                 some pairs exactly equal
    GroupLasso(lam, dim)  lam sum_j ||slice_j of w_A - w_B||  whole slices exactly equal (an input neuron or channel)

Keep both models in one `nn.ModuleDict` under one optimizer: then ``.to()``, ``copy.deepcopy`` and saving see both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList

from tyinglib import _sharded
from tyinglib._checks import check_step_size
from tyinglib.penalties import Penalty, difference_value, prox_difference
from tyinglib.tying import Tie


def share(target: nn.Module, source: nn.Module, names: Iterable[str]) -> list[nn.Parameter]:
    """Make parameters of `target` the very same objects as those of `source`.

    Parameters
    ----------
    target, source
        Two models. Buffers, such as batch norm's running statistics, stay each model's own: with a batch norm inside,
        two shared encoders compute different outputs in evaluation.
    names
        Dotted names of parameters, as ``"encoder.0.weight"``, or of modules, as ``"encoder"`` for all in it. A name
        given twice, or shared already, does no harm.

    Returns
    -------
    list[Parameter]
        The shared parameters, now in both models, with the source's values, gradients and ``requires_grad``. A
        parameter that has several names in the target is replaced under all of them. Build the optimizer afterwards,
        from both models at once.

    Raises
    ------
    ValueError
        If a name is missing in either model; if shapes, dtypes or devices differ, or ties do; if two names are one
        parameter in the target and two in the source; if one is sharded over processes. Both models are left as they
        were.

    Examples
    --------
    >>> a, b = nn.Linear(3, 2), nn.Linear(3, 2)
    >>> _ = share(b, a, ["weight"])
    >>> b.weight is a.weight, b.bias is a.bias
    (True, False)

    Chapter: Two models, one set of weights.
    """
    mine, theirs = _by_name(target), _by_name(source)
    expanded = _expand_names(mine, names)
    replacement: dict[int, tuple[str, nn.Parameter]] = {}
    for name in expanded:
        old, new = mine[name], _find(theirs, name, "source")
        for parameter in (old, new):
            _sharded.refuse_sharded(parameter, repr(name), "share first, then fully_shard, then build the optimizer")
        _check_alike(old, new, name, ("shape", "dtype", "device"), "be shared", ("target", "source"))
        _check_same_tie(target, source, name)
        first, chosen = replacement.setdefault(id(old), (name, new))
        if chosen is not new:
            raise ValueError(
                f"{first!r} and {name!r} are one parameter in the target and two in the source; give one of the names, "
                "or share the two inside the source first"
            )
    _replace(target, {key: new for key, (_, new) in replacement.items()})
    return [theirs[name] for name in expanded]


def unshare(target: nn.Module, names: Iterable[str]) -> list[nn.Parameter]:
    """Give `target` its own copies of parameters again.

    Parameters
    ----------
    target
        The model that gets copies, also of parameters that are not shared. Other models keep the old parameters.
        Inside `target`, a parameter that has several names keeps them all.
    names
        As for `share`.

    Returns
    -------
    list[Parameter]
        The copies, without gradient, ``requires_grad`` as it was. Build the optimizer afterwards.

    Raises
    ------
    ValueError
        If a name is missing, or a parameter is sharded over processes. The model is left as it was.

    Examples
    --------
    >>> a, b = nn.Linear(3, 2), nn.Linear(3, 2)
    >>> _ = share(b, a, ["weight"])
    >>> _ = unshare(b, ["weight"])
    >>> b.weight is a.weight, torch.equal(b.weight, a.weight)
    (False, True)

    Chapter: Two models, one set of weights.
    """
    mine = _by_name(target)
    found = [mine[name] for name in _expand_names(mine, names)]
    for parameter in found:
        _sharded.refuse_sharded(
            parameter, f"a parameter of shape {tuple(parameter.shape)}", "unshare before fully_shard"
        )
    copies = {id(p): nn.Parameter(p.detach().clone(), requires_grad=p.requires_grad) for p in found}
    _replace(target, copies)
    return [copies[id(parameter)] for parameter in found]


def shared_parameters(*modules: nn.Module) -> list[tuple[str, ...]]:
    """Which parameters have more than one name.

    Parameters
    ----------
    *modules
        One model, or several; with several, names begin with the model's number: ``"0.encoder.weight"``.

    Returns
    -------
    list[tuple[str, ...]]
        For each shared parameter all its names.

    Examples
    --------
    >>> a, b = nn.Linear(3, 2), nn.Linear(3, 2)
    >>> _ = share(b, a, ["weight"])
    >>> shared_parameters(a, b)
    [('0.weight', '1.weight')]

    Chapter: Two models, one set of weights.
    """
    model = modules[0] if len(modules) == 1 else nn.ModuleList(modules)
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [tuple(found) for found in names.values() if len(found) > 1]


def tying_penalty(a: nn.Module, b: nn.Module, names: Iterable[str], penalty: Penalty) -> Tensor:
    """The penalty at w_A - w_B: what to add to the loss to keep two models close.

    Parameters
    ----------
    a, b
        Two models with parameters of these names and shapes. Of a tied layer, the codebooks are compared.
    names
        As for `share`. A pair that has several names in both models counts once.
    penalty
        ``L2(lam)``, ``L1(lam)``, ``GroupLasso(lam, dim)``, or any `penalties.Penalty`. All but the first have corners:
        add them to the loss and pairs come close; let `ProxSGD` (with `tying_group`) or `prox_tying` do it, and pairs
        become equal. A parameter with one dimension is one group.

    Returns
    -------
    Tensor
        (), differentiable; the gradient at a zero difference is zero.

    Raises
    ------
    ValueError
        If a name is missing; if shapes, dtypes, devices or ties differ; or if a pair does not fit the penalty.

    Examples
    --------
    >>> from tyinglib.penalties import L1, L2
    >>> a, b = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    >>> _ = nn.init.constant_(a.weight, 3.0), nn.init.constant_(b.weight, 1.0)
    >>> tying_penalty(a, b, ["weight"], L2(0.5)).item(), tying_penalty(a, b, ["weight"], L1(0.5)).item()
    (2.0, 2.0)

    Reference: Lasserre, Bishop and Minka (CVPR 2006) for the square. Chapter: Two models, tied softly.
    """
    total = torch.zeros(())
    for _, x, y in _pairs(a, b, names):
        term = difference_value(x, y, _checked(penalty))
        total = total.to(term) + term
    return total


def tying_group(a: nn.Module, b: nn.Module, names: Iterable[str], penalty: Penalty) -> dict[str, Any]:
    """A parameter group for `ProxSGD` in which each weight of `a` is tied softly to that of `b`.

    Parameters
    ----------
    a, b, names, penalty
        As for `tying_penalty`. The optimizer takes the proximal step itself, at its own learning rate and momentum.

    Returns
    -------
    dict[str, Any]
        ``{"params": [x_1, y_1, x_2, y_2, ...], "penalty": penalty, "pairs": True}``. A parameter that both models
        share already is no pair and is left out: give it to another group. So are two frozen ones; where one is
        frozen, only the other moves.

    Raises
    ------
    ValueError
        As `tying_penalty`; or if one weight is in two different pairs.

    Examples
    --------
    >>> from tyinglib import L1, ProxSGD
    >>> a, b = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> group = tying_group(a, b, ["weight"], L1(0.1))
    >>> ProxSGD([group, {"params": [a.bias, b.bias]}], lr=0.1, momentum=0.9).param_groups[0]["penalty"]
    L1(lam=0.1)

    Chapter: Two models, tied softly.
    """
    pairs = [pair for _, *pair in _moving_pairs(a, b, names)]
    return {"params": [weight for pair in pairs for weight in pair], "penalty": _checked(penalty), "pairs": True}


@torch.no_grad()
def prox_tying(a: nn.Module, b: nn.Module, names: Iterable[str], penalty: Penalty, *, step_size: float) -> int:
    """The proximal step of `tying_penalty`, in place, after a gradient step of size `step_size` on both models.

    For an optimizer of your own: `ProxSGD` with a `tying_group` takes this step by itself, under momentum too. The mean
    of a pair stays, and the difference goes through the prox with 2 * step_size (two weights move towards each
    other). Where it becomes zero, both weights become exactly the mean. A frozen weight (``requires_grad=False``)
    stays, and only the other moves.

    Parameters
    ----------
    a, b, names, penalty
        As for `tying_penalty`. A parameter that both models share already is skipped, and so are two frozen ones.
    step_size
        The step of both models: the learning rate of plain SGD.

    Returns
    -------
    int
        How many pairs of weights are exactly equal now, bit for bit.

    Raises
    ------
    ValueError
        As `tying_penalty`; or if step_size is negative, a weight is NaN or infinite, or one weight is in two different
        pairs. Both models are then left as they were.

    Examples
    --------
    >>> from tyinglib.penalties import L1
    >>> a, b = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    >>> _ = a.weight.data.copy_(torch.tensor([[3.0, 1.0]])), b.weight.data.copy_(torch.tensor([[1.0, 0.9]]))
    >>> prox_tying(a, b, ["weight"], L1(1.0), step_size=0.25)
    1
    >>> a.weight.tolist(), b.weight.tolist()
    ([[2.75, 0.949999988079071]], [[1.25, 0.949999988079071]])

    Derived as `penalties.prox_difference`. Chapter: Two models, tied softly.
    """
    step_size, penalty = check_step_size(step_size), _checked(penalty)
    results = []
    for name, x, y in _moving_pairs(a, b, names):
        if not torch.isfinite(x - y).all():
            raise ValueError(f"{name!r} holds NaN or infinite values; training diverged: lower the learning rate")
        steps = (step_size if weight.requires_grad else 0.0 for weight in (x, y))
        results.append((x, y, *prox_difference(x, y, penalty, *steps)))
    equal = 0
    for x, y, new_x, new_y in results:
        x.copy_(new_x)
        y.copy_(new_y)
        equal += int((x == y).sum())
    return equal


def _checked(penalty: Penalty) -> Penalty:
    if not isinstance(penalty, Penalty) or isinstance(penalty, type):
        raise ValueError(
            f"penalty must be one of tyinglib.penalties, as L1(0.1), or have their methods; got {penalty!r}"
        )
    return penalty


def _by_name(model: nn.Module) -> dict[str, nn.Parameter]:
    return dict(model.named_parameters(remove_duplicate=False))


def _expand_names(known: Mapping[str, nn.Parameter], names: Iterable[str]) -> list[str]:
    """Names of parameters, in order and once each; a module's name stands for all parameters in it."""
    if isinstance(names, str):
        raise ValueError(f"names must be a list of names, got the string {names!r}; write [{names!r}]")
    found: dict[str, None] = {}
    for name in names:
        inside = [key for key in known if key == name or key.startswith(f"{name}.")]
        if not inside:
            raise ValueError(
                f"{name!r} is no parameter or module with parameters; "
                + (_tied_hint(known, name) or f"there are {_some(known)}")
            )
        found.update(dict.fromkeys(inside))
    return list(found)


def _find(known: Mapping[str, nn.Parameter], name: str, which: str) -> nn.Parameter:
    if name not in known:
        raise ValueError(
            f"the {which} has no parameter {name!r}; " + (_tied_hint(known, name) or f"it has {_some(known)}")
        )
    return known[name]


def _tied_hint(known: Mapping[str, nn.Parameter], name: str) -> str:
    """What to say of a weight that is there, but tied, or there, but not tied."""
    prefix, _, last = name.rpartition(".")
    made_of = [key for key in known if key.startswith(f"{prefix}.parametrizations.{last}.".lstrip("."))]
    if made_of:
        return f"it is tied (parametrized) there, and made of {_some(made_of)}: tie both models alike, and name that"
    owner, inner, rest = name.rpartition("parametrizations.")
    plain = owner + rest.partition(".")[0]
    return f"{plain!r} is not tied there: tie both models alike" if inner and plain in known else ""


def _check_alike(
    x: nn.Parameter, y: nn.Parameter, name: str, attributes: Sequence[str], verb: str, models: tuple[str, str]
) -> None:
    for parameter, model in zip((x, y), models, strict=True):
        if is_lazy(parameter):
            raise ValueError(f"{name!r} cannot {verb}: in the {model} it has no shape before the first forward call")
    for what in attributes:
        if getattr(x, what) != getattr(y, what):
            raise ValueError(
                f"{name!r} cannot {verb}: its {what} is {_plain(getattr(x, what))} in the {models[0]} and "
                f"{_plain(getattr(y, what))} in the {models[1]}"
            )


def _check_same_tie(a: nn.Module, b: nn.Module, name: str) -> None:
    """One codebook under two different ties would be one set of numbers for two different weights."""
    owner = name.rpartition(".")[0]
    chains = a.get_submodule(owner), b.get_submodule(owner)
    if not any(isinstance(chain, ParametrizationList) for chain in chains):
        return
    first, second = ([_described(step) for step in chain.children()] for chain in chains)
    if first != second:
        raise ValueError(f"{name!r} cannot be shared or compared: the two models tie (parametrize) it differently")


def _described(step: nn.Module) -> tuple[object, ...]:
    if isinstance(step, Tie):
        return (Tie, step.spec(), step.codebook_dim)
    state = {key: value.tolist() for key, value in step.state_dict().items()}
    return (type(step), state)


def _pairs(a: nn.Module, b: nn.Module, names: Iterable[str]) -> list[tuple[str, nn.Parameter, nn.Parameter]]:
    in_a, in_b = _by_name(a), _by_name(b)
    pairs: dict[frozenset[int], tuple[str, nn.Parameter, nn.Parameter]] = {}
    for name in _expand_names(in_a, names):
        x, y = in_a[name], _find(in_b, name, "second model")
        _check_alike(x, y, name, ("shape", "dtype", "device"), "be compared", ("first model", "second model"))
        _check_same_tie(a, b, name)
        pairs.setdefault(frozenset((id(x), id(y))), (name, x, y))
    return list(pairs.values())


def _moving_pairs(a: nn.Module, b: nn.Module, names: Iterable[str]) -> list[tuple[str, nn.Parameter, nn.Parameter]]:
    """Pairs of two weights, at least one of which is trained; ValueError if one weight is in two of them."""
    pairs = [(name, x, y) for name, x, y in _pairs(a, b, names) if x is not y and (x.requires_grad or y.requires_grad)]
    paired: dict[int, str] = {}
    for name, *pair in pairs:
        for parameter in pair:
            first = paired.setdefault(id(parameter), name)
            if first != name:
                raise ValueError(
                    f"{name!r} and {first!r} are one parameter in one of the models and two in the other; the proximal "
                    "step of such a triple is not made of pairs: give one of the names"
                )
    return pairs


def _replace(model: nn.Module, new: Mapping[int, nn.Parameter]) -> None:
    """Put parameters in the place of others, all at once, under every name that those have in the model."""
    places = [
        (module, key, new[id(parameter)])
        for module in model.modules()
        for key, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
        if id(parameter) in new
    ]
    for module, key, parameter in places:
        setattr(module, key, parameter)  # not _parameters[key]: recurrent layers keep a list of their own


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:8]) + (", ..." if len(listed) > 8 else "")


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, torch.Size) else value
