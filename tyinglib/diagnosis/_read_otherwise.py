"""One parameter that is read in different ways: what one place adds, another does not have."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from tyinglib._private_apis import MASK, NORMED, PRUNED
from tyinglib.diagnosis._words import Named, quoted
from tyinglib.diagnosis.diagnosis import Diagnosis
from tyinglib.tying import Tie
from tyinglib.tying._places import own_parametrizations, ties_in


def check(model: nn.Module, named: Named) -> Iterator[Diagnosis]:
    """All of them."""
    modules = dict(model.named_modules(remove_duplicate=False))
    yield from _no_parameters(named)
    yield from _in_several_forms(modules, named)
    yield from _adapters_on_ties(modules)
    yield from _adapted_apart(modules, named)
    yield from _of_another_size(model)


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


def _adapters_on_ties(modules: dict[str, nn.Module]) -> Iterator[Diagnosis]:
    """LoRA and its like (peft) over a weight that is made anew."""
    for prefix, module in modules.items():
        inner = _adapted(module)
        base = getattr(module, inner) if inner == "base_layer" else None
        tied = [name for name in ("weight", "bias") if base is not None and _is_tied(base, name)]
        if tied:
            yield Diagnosis(
                "adapter",
                tuple(f"{prefix}.{inner}.parametrizations.{name}.original" for name in tied),
                f"{quoted([f'{prefix}.{inner}.{name}' for name in tied])} is tied, and {prefix!r} adapts it: training "
                "works, but merge(), and a start that takes a part out of the weight (PiSSA, OLoRA), write into a "
                "weight that is made anew whenever it is read, and that is lost; untie it before merging, or before "
                "such a start",
            )


def _adapted_apart(modules: dict[str, nn.Module], named: Named) -> Iterator[Diagnosis]:
    """A shared parameter with an adapter over one of its places, or another one over each."""
    over = {prefix: inner for prefix, module in modules.items() if (inner := _adapted(module))}
    for _, names in named.values():
        around = {
            name: [prefix for prefix in over if name.startswith(f"{prefix}.{over[prefix]}.")]
            for name in (names if len(names) > 1 else ())
        }
        used = {frozenset().union(*(_own_memory(modules[at], over[at]) for at in found)) for found in around.values()}
        if len(used) > 1:
            adapters = list(dict.fromkeys(prefix for found in around.values() for prefix in found))
            yield Diagnosis(
                "adapter",
                tuple(names),
                f"{quoted(names)} are one parameter, and {quoted(adapters)} "
                f"{'adapts' if len(adapters) == 1 else 'adapt'} it in one place otherwise than in another: the weights "
                "in use differ, and merge() would change all of them; let one adapter serve every place (of peft's "
                "settings, ensure_weight_tying=True), or unshare(...) first",
            )


def _adapted(module: nn.Module) -> str:
    """Where an adapter of peft keeps the layer that it is over; empty if the module is none."""
    if isinstance(getattr(module, "base_layer", None), nn.Module) and callable(getattr(module, "merge", None)):
        return "base_layer"
    trained = getattr(module, "modules_to_save", None)  # copies, which are used in its place
    whole = isinstance(getattr(module, "original_module", None), nn.Module)
    return "original_module" if whole and isinstance(trained, nn.ModuleDict) else ""


def _own_memory(adapter: nn.Module, inner: str) -> frozenset[int]:
    """Where the adapter's own parameters lie: those of a layer and its transpose may be one piece of memory."""
    own = (value for name, value in adapter.named_parameters() if not name.startswith(f"{inner}."))
    return frozenset(value.untyped_storage().data_ptr() for value in own)


def _is_tied(module: nn.Module, name: str) -> bool:
    chain = own_parametrizations(module)
    return name in chain and any(isinstance(step, Tie) for step in chain[name])


def _of_another_size(model: nn.Module) -> Iterator[Diagnosis]:
    """A tied layer whose size was set, and whose weight was not."""
    for place, chain, found in ties_in(model):
        layer = place.owner
        said: tuple[int, ...] = ()
        if isinstance(layer, nn.Embedding):
            said = layer.num_embeddings, layer.embedding_dim
        elif isinstance(layer, nn.Linear):
            said = layer.out_features, layer.in_features
        if place.own == "weight" and said and said != (shape := _shape(chain, found)):
            yield Diagnosis(
                "size",
                (".".join([*place.dotted.split(".")[:-1], "parametrizations.weight.original"]),),
                f"{place} is tied and of shape {shape}, but its layer says {said}: what resized it wrote into a weight "
                "that is made anew whenever it is read; set the size back, and resize inside `with untied(model):`",
            )


def _shape(chain: ParametrizationList, tie: Tie) -> tuple[int, ...]:
    """That of the weight, without making it: a codebook may be spread over processes."""
    if tie.dim is None:
        return tuple(tie.labels.shape)
    shape = list(chain.original.shape)  # maybe no Parameter, after torch.func
    del shape[tie.dim if tie.codebook_dim is None else tie.codebook_dim]
    shape.insert(tie.dim % (len(shape) + 1), len(tie.labels))
    return tuple(shape)
