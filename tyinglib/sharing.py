r"""Two models: one set of weights, or two that are kept close.

Sharing is a tie between models: (w_A; w_B) = (I; I) phi. Both use the very same `nn.Parameter`, so its gradient is the
sum over both, and it is stored once. The soft form is a penalty on the difference::

    "l2"     lam/2 ||w_A - w_B||^2               close, never equal
    "l1"     lam sum |w_A - w_B|                some pairs exactly equal
    "group"  lam sum_j ||slice_j of w_A - w_B||  whole slices exactly equal (an input neuron or channel)

Keep both models in one `nn.ModuleDict` under one optimizer: then ``.to()``, ``copy.deepcopy`` and saving see both.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from tyinglib._checks import check_step_size, check_strength
from tyinglib.owl import slice_norms
from tyinglib.penalties import group_soft_threshold, soft_threshold

NORMS = ("l2", "l1", "group")


def share(target: nn.Module, source: nn.Module, names: Iterable[str]) -> list[nn.Parameter]:
    """Make parameters of `target` the very same objects as those of `source`.

    Parameters
    ----------
    target, source
        Two models. Buffers, such as batch norm's running statistics, stay each model's own.
    names
        Dotted names of parameters, as ``"encoder.0.weight"``, or of modules, as ``"encoder"`` for all in it.

    Returns
    -------
    list[Parameter]
        The shared parameters, now in both models. Build the optimizer afterwards, from both models at once.

    Raises
    ------
    ValueError
        If a name is missing in either model, or shapes, dtypes or devices differ. Both models are left as they were.

    Examples
    --------
    >>> a, b = nn.Linear(3, 2), nn.Linear(3, 2)
    >>> _ = share(b, a, ["weight"])
    >>> b.weight is a.weight, b.bias is a.bias
    (True, False)

    Chapter: Two models, one set of weights.
    """
    expanded = _expand_names(target, names)
    pairs = [(name, _find(target, name, "target"), _find(source, name, "source")) for name in expanded]
    for name, mine, theirs in pairs:
        for what in ("shape", "dtype", "device"):
            if getattr(mine, what) != getattr(theirs, what):
                raise ValueError(
                    f"{name!r} cannot be shared: its {what} is {_plain(getattr(mine, what))} in the target and "
                    f"{_plain(getattr(theirs, what))} in the source"
                )
    for _, mine, theirs in pairs:
        _replace(target, mine, theirs)
    return [theirs for _, _, theirs in pairs]


def unshare(target: nn.Module, names: Iterable[str]) -> list[nn.Parameter]:
    """Give `target` its own copies of parameters again.

    Parameters
    ----------
    target
        The model that gets copies. Other models keep the old parameters. Inside `target`, a parameter that has
        several names keeps them all.
    names
        As for `share`.

    Returns
    -------
    list[Parameter]
        The copies, without gradient. Build the optimizer afterwards.

    Raises
    ------
    ValueError
        If a name is missing. The model is left as it was.

    Examples
    --------
    >>> a, b = nn.Linear(3, 2), nn.Linear(3, 2)
    >>> _ = share(b, a, ["weight"])
    >>> _ = unshare(b, ["weight"])
    >>> b.weight is a.weight, torch.equal(b.weight, a.weight)
    (False, True)

    Chapter: Two models, one set of weights.
    """
    found = [_find(target, name, "target") for name in _expand_names(target, names)]
    copies = {id(p): nn.Parameter(p.detach().clone(), requires_grad=p.requires_grad) for p in found}
    for parameter in found:
        _replace(target, parameter, copies[id(parameter)])
    return [copies[id(parameter)] for parameter in found]


def shared_parameters(*modules: nn.Module) -> list[tuple[str, ...]]:
    """Which parameters have more than one name.

    Parameters
    ----------
    modules
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
    return [tuple(names) for names in _names(model).values() if len(names) > 1]


def tying_penalty(
    a: nn.Module, b: nn.Module, names: Iterable[str], *, lam: float, norm: str = "l2", dim: int = 1
) -> Tensor:
    """lam times a norm of w_A - w_B: what to add to the loss to keep two models close.

    Parameters
    ----------
    a, b
        Two models with parameters of these names and shapes.
    names
        As for `share`.
    lam
        A finite number >= 0.
    norm
        ``"l2"`` (the square, halved), ``"l1"`` or ``"group"``. The last two have corners: add them to the loss and
        pairs come close; use `prox_tying` and pairs become equal.
    dim
        For ``"group"``: slices along this dimension; a parameter with one dimension is one group.

    Returns
    -------
    Tensor
        (), differentiable; the gradient at a zero difference is zero.

    Raises
    ------
    ValueError
        If a name is missing, shapes differ, lam is negative, or the norm is unknown.

    Examples
    --------
    >>> a, b = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    >>> _ = nn.init.constant_(a.weight, 3.0), nn.init.constant_(b.weight, 1.0)
    >>> tying_penalty(a, b, ["weight"], lam=0.5).item(), tying_penalty(a, b, ["weight"], lam=0.5, norm="l1").item()
    (2.0, 2.0)

    Reference: Lasserre, Bishop and Minka (CVPR 2006) for the square. Chapter: Two models, tied softly.
    """
    check_strength("lam", lam)
    _check_norm(norm)
    total = torch.zeros(())
    for x, y in _pairs(a, b, names):
        difference = x - y
        if norm == "l2":
            term = difference.square().sum() / 2
        elif norm == "l1":
            term = difference.abs().sum()
        else:
            term = _group_norms(difference, dim).sum()
        total = total.to(term) + lam * term
    return total


@torch.no_grad()
def prox_tying(
    a: nn.Module,
    b: nn.Module,
    names: Iterable[str],
    *,
    lam: float,
    step_size: float,
    norm: str = "l1",
    dim: int = 1,
) -> int:
    """The proximal step of `tying_penalty`, in place, after a gradient step of size `step_size` on both models.

    The mean of a pair stays; the difference goes through the prox of 2 * step_size * lam times its norm (two weights
    move towards each other). Where it becomes zero, both weights become exactly the mean.

    Parameters
    ----------
    a, b, names, lam, norm, dim
        As for `tying_penalty`. A parameter that both models share already is skipped.
    step_size
        The learning rate of both models; divide by 1 - mu under momentum, as `optim.ProxSGD` does.

    Returns
    -------
    int
        How many pairs of weights are exactly equal now.

    Raises
    ------
    ValueError
        As `tying_penalty`; or if step_size is negative, or a weight is NaN or infinite. Both models are then left as
        they were.

    Examples
    --------
    >>> a, b = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    >>> _ = a.weight.data.copy_(torch.tensor([[3.0, 1.0]])), b.weight.data.copy_(torch.tensor([[1.0, 0.9]]))
    >>> prox_tying(a, b, ["weight"], lam=1.0, step_size=0.25)
    1
    >>> a.weight.tolist(), b.weight.tolist()
    ([[2.75, 0.949999988079071]], [[1.25, 0.949999988079071]])

    Derived from the definition of the prox in the coordinates mean and difference. Chapter: Two models, tied softly.
    """
    strength = 2 * check_step_size(step_size) * check_strength("lam", lam)
    _check_norm(norm)
    results = []
    for x, y in _pairs(a, b, names):
        if x is y:
            continue
        difference = x - y
        if norm == "l2":
            moved = difference / (1 + strength)
        elif norm == "l1":
            moved = soft_threshold(difference, strength)
        elif difference.ndim < 2:
            moved = group_soft_threshold(difference.reshape(1, -1), strength, dim=0).view_as(difference)
        else:
            moved = group_soft_threshold(difference, strength, dim=dim)
        if not torch.isfinite(moved).all():
            raise ValueError("a weight is NaN or infinite; training diverged: lower the learning rate")
        mean = y + difference / 2
        results.append((x, y, mean + moved / 2, mean - moved / 2))  # where nothing is left, both are the mean
    equal = 0
    for x, y, new_x, new_y in results:
        x.copy_(new_x)
        y.copy_(new_y)
        equal += int((x == y).sum())
    return equal


def _names(model: nn.Module) -> dict[int, list[str]]:
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return names


def _expand_names(model: nn.Module, names: Iterable[str]) -> list[str]:
    """Names of parameters, in order and once each; a module's name stands for all parameters in it."""
    if isinstance(names, str):
        raise ValueError(f"names must be a list of names, got the string {names!r}; write [{names!r}]")
    known = dict(model.named_parameters(remove_duplicate=False))
    found: dict[str, None] = {}
    for name in names:
        inside = [key for key in known if key == name or key.startswith(f"{name}.")]
        if not inside:
            raise ValueError(f"{name!r} is no parameter or module with parameters; there are {_some(known)}")
        found.update(dict.fromkeys(inside))
    return list(found)


def _find(model: nn.Module, name: str, which: str) -> nn.Parameter:
    known = dict(model.named_parameters(remove_duplicate=False))
    if name not in known:
        raise ValueError(f"the {which} has no parameter {name!r}; it has {_some(known)}")
    return known[name]


def _pairs(a: nn.Module, b: nn.Module, names: Iterable[str]) -> list[tuple[nn.Parameter, nn.Parameter]]:
    pairs = []
    for name in _expand_names(a, names):
        x, y = _find(a, name, "first model"), _find(b, name, "second model")
        if x.shape != y.shape:
            raise ValueError(f"{name!r} has shape {tuple(x.shape)} in the first model, {tuple(y.shape)} in the second")
        pairs.append((x, y))
    return pairs


def _replace(model: nn.Module, old: nn.Parameter, new: nn.Parameter) -> None:
    """Put a parameter in another's place, under every name that the other has in the model."""
    for module in model.modules():
        for key, parameter in list(module._parameters.items()):
            if parameter is old:
                module._parameters[key] = new


def _group_norms(difference: Tensor, dim: int) -> Tensor:
    return slice_norms(difference, dim) if difference.ndim > 1 else slice_norms(difference[None], 0)


def _check_norm(norm: str) -> None:
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:8]) + (", ..." if len(listed) > 8 else "")


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, torch.Size) else value
