"""One parameter that is read in different ways: what one place adds, another does not have."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from tyinglib._private_apis import MASK, NORMED, PRUNED
from tyinglib.diagnosis._words import Named, quoted
from tyinglib.diagnosis.diagnosis import Diagnosis
from tyinglib.tying import Tie


def check(model: nn.Module, named: Named) -> Iterator[Diagnosis]:
    """All of them."""
    modules = dict(model.named_modules(remove_duplicate=False))
    yield from _no_parameters(named)
    yield from _in_several_forms(modules, named)
    yield from _adapters(modules, named)


def _no_parameters(named: Named) -> Iterator[Diagnosis]:
    """Tensors in the place of parameters."""
    names = tuple(names[0] for value, names in named.values() if not isinstance(value, nn.Parameter))
    if names:
        yield Diagnosis(
            "tensor",
            names,
            f"{quoted(names)} hold plain tensors where parameters were, and nothing trains them: after "
            "torch.func.functional_call of a model in which one module has two names, torch leaves its arguments "
            "behind; build the model again and load its state, and give functional_call a model whose modules have "
            "one name each",
        )


def _in_several_forms(modules: dict[str, nn.Module], named: Named) -> Iterator[Diagnosis]:
    """A mask or a norm over one of the names only."""
    for _, names in named.values():
        forms = {name: _form(modules, name) for name in names} if len(names) > 1 else {}
        if len(set(forms.values())) > 1:
            words = ", ".join(f"{name!r} {form}" for name, form in forms.items())
            yield Diagnosis(
                "form",
                tuple(names),
                f"{quoted(names)} are one parameter and read in different ways ({words}): the weights in use differ; "
                "do the same in every place, or undo it, or give each its own parameter: unshare(...)",
            )


def _form(modules: dict[str, nn.Module], name: str) -> str:
    prefix, _, last = name.rpartition(".")
    owner = modules[prefix]
    if isinstance(owner, ParametrizationList):
        kinds = [type(step).__name__ for step in owner if not isinstance(step, Tie)]
        return f"goes through {' and '.join(kinds)}" if kinds else "is read as it is"  # each tie may have its own S
    for ending in (PRUNED, NORMED):
        weight = last.removesuffix(ending)
        if last.endswith(ending) and hasattr(owner, weight):
            mask = getattr(owner, f"{weight}{MASK}", None)
            return "goes through a norm" if mask is None else f"has a mask with {int((mask == 0).sum())} zeros"
    return "is read as it is"


def _adapters(modules: dict[str, nn.Module], named: Named) -> Iterator[Diagnosis]:
    """LoRA and its like (peft): a layer with another one inside, whose weights it is merged into."""
    for prefix, module in modules.items():
        base = getattr(module, "base_layer", None)
        if not isinstance(base, nn.Module) or not callable(getattr(module, "merge", None)):
            continue
        inside = f"{prefix}.base_layer."
        tied = [name for name in (f"{inside}weight", f"{inside}bias") if _is_tied(base, name.rpartition(".")[2])]
        if tied:
            yield Diagnosis(
                "adapter",
                tuple(f"{inside}parametrizations.{name.rpartition('.')[2]}.original" for name in tied),
                f"{quoted(tied)} is tied, and {prefix!r} adapts it: training works, but merge() writes into a weight "
                "that is made anew whenever it is read, and what was learned is lost; untie it before merging",
            )
        for _, names in named.values():
            others = [name for name in names if not name.startswith(inside)]
            if others and len(others) < len(names):
                yield Diagnosis(
                    "adapter",
                    tuple(names),
                    f"{quoted(names)} are one parameter, and {prefix!r} adapts only one of its places: there the "
                    "weight in use is another, and merge() would change all of them; adapt every place, or "
                    "unshare(...) first",
                )


def _is_tied(module: nn.Module, name: str) -> bool:
    chain = getattr(module, "parametrizations", {})
    return name in chain and any(isinstance(step, Tie) for step in chain[name])
