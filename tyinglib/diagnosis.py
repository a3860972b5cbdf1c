r"""Is what should be one weight still one weight? Sharing is S = (I; I), and PyTorch does not know of S.

Two models share by holding the very same `nn.Parameter`. Nothing in PyTorch writes that down, so a copy, an assignment,
an optimizer or a wrapper can undo it without a word. `check_sharing` looks for the traces.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import AveragedModel

from tyinglib import _private_apis, _sharded
from tyinglib.tying import ORIGIN

SAMPLES = 64  # entries of a parameter that are looked at before all are
Named = dict[int, tuple[nn.Parameter, list[str]]]  # by identity: a parameter and all its names


@dataclass(frozen=True)
class Diagnosis:
    """One thing that is wrong, as a sentence.

    Parameters
    ----------
    kind
        ``"equal"``, ``"expected"``, ``"declared"``, ``"replaced"``, ``"memory"``, ``"twice"``, ``"stale"``,
        ``"untrained"``, ``"state"``, ``"ddp"``, ``"device"``, ``"checkpoint"`` or (of a file) ``"stored"``.
    names
        The parameters that it is about; empty for parameters that the modules do not have.
    message
        What was found, why it hurts, and what to do.

    Examples
    --------
    >>> print(Diagnosis("stale", (), "the optimizer holds 1 parameter that no module has"))
    the optimizer holds 1 parameter that no module has

    Chapter: Two models, one set of weights.
    """

    kind: str
    names: tuple[str, ...]
    message: str

    def __str__(self) -> str:
        return self.message


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
    a mark on the Parameters, and models of Hugging Face's transformers declare what they share. Values that are all
    alike, as the zeros of a fresh bias, are equal by accident and not reported; neither are frozen copies, an
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
    missing = [*_not_as_expected(named, expected), *_not_as_declared(model, named)]
    told = {name for diagnosis in missing for name in diagnosis.names}
    missing += [diagnosis for diagnosis in _left_behind(named) if not told.issuperset(diagnosis.names)]
    told.update(name for diagnosis in missing for name in diagnosis.names)
    both = [*_in_one_memory(named), *_equal(model, named)]
    found = [
        *missing,
        *(diagnosis for diagnosis in both if not told.issuperset(diagnosis.names)),
        *_stepped(named, list(optimizers)),
        *_wrapped_too_early(model, named),
        *_apart(modules, named),
        *_checkpoint_differs(named, checkpoint or {}),
    ]
    ignored = _all_in(named, ignore)
    return [diagnosis for diagnosis in found if not diagnosis.names or not ignored.issuperset(diagnosis.names)]


def check_file(path: str | os.PathLike[str]) -> list[Diagnosis]:
    """Report weights that a checkpoint holds several times, as copies: loading it makes parameters that drift apart.

    One tensor under several names, as `torch.save` keeps it, and the aliases that `save_tied` writes are no copies.
    Tensors whose entries are all alike, as fresh biases, are equal by accident and not reported.

    Parameters
    ----------
    path
        A safetensors file, or what `torch.save` wrote: a state dict, or dicts of them. No code in it is run, and of a
        weight that no other one looks like, only a few entries are read.

    Returns
    -------
    list[Diagnosis]
        One of kind ``"stored"`` for each weight that is there more than once.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no such file.

    Examples
    --------
    >>> import tempfile
    >>> weight = torch.arange(6.0).view(2, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save({"embed": weight, "head": weight.clone(), "bias": torch.zeros(3)}, f"{folder}/x.pt")
    ...     [(one.kind, one.names) for one in check_file(f"{folder}/x.pt")]
    [('stored', ('embed', 'head'))]

    Chapter: Two models, one set of weights.
    """
    alike: dict[tuple[object, ...], list[tuple[Tensor, str, object]]] = {}
    for name, tensor in _stored(Path(path)):
        if tensor.numel() and tensor.layout is torch.strided and not tensor.is_quantized:
            like = (tensor.dtype, tuple(tensor.shape), _fingerprint(tensor))
            alike.setdefault(like, []).append((tensor, name, None))
    found = []
    for members in alike.values():
        for copies in _classes(members):
            names = tuple(name for _, name, _ in copies)
            size = copies[0][0].numel() * copies[0][0].element_size() * (len(names) - 1)
            found.append(
                Diagnosis(
                    "stored",
                    names,
                    f"{_quoted(names)} hold equal values and are stored {len(names)} times, {size} bytes more than "
                    "once. A model in which they are one parameter loads them as one; in any other they will drift "
                    "apart: share(...) after loading",
                )
            )
    return found


def _stored(path: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a file by their dotted names, not read before they are looked at."""
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                yield from ((name, file.get_tensor(name)) for name in file.keys())  # noqa: SIM118 (it is no dict)
        except SafetensorError as error:
            raise ValueError(f"{path} is no safetensors file: {error}") from error
        return
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except OSError:
        raise
    except Exception as error:  # torch raises what its parts raise: RuntimeError, UnpicklingError, EOFError, ...
        raise ValueError(f"{path} is no file of torch.save that can be read without running code: {error}") from error
    yield from _tensors_in("", loaded)


def _tensors_in(prefix: str, value: object) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield prefix, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _tensors_in(f"{prefix}.{key}".lstrip("."), inner)


def _all_in(named: Named, ignore: Iterable[str]) -> set[str]:
    """The names that `ignore` stands for."""
    if isinstance(ignore, str):
        raise ValueError(f"ignore must be a list of names, got the string {ignore!r}; write [{ignore!r}]")
    known = [name for _, names in named.values() for name in names]
    found: set[str] = set()
    for name in ignore:
        inside = [key for key in known if key == name or key.startswith(f"{name}.")]
        if not inside:
            raise ValueError(f"ignore names {name!r}, but the modules have {_quoted(known)}")
        found.update(inside)
    return found


def _not_as_expected(named: Named, expected: Iterable[Sequence[str]]) -> Iterator[Diagnosis]:
    by_name = {name: parameter for parameter, names in named.values() for name in names}
    for group in expected:
        if isinstance(group, str):
            raise ValueError(f"expected must be groups of names, got the string {group!r}; write [{(group, '...')!r}]")
        now = [_name_now(by_name, name) for name in group]
        unknown = [name for name, found in zip(group, now, strict=True) if found is None]
        if unknown:
            raise ValueError(f"expected names {_quoted(unknown)}, but the modules have {_quoted(list(by_name))}")
        found = [pair for pair in now if pair is not None]
        names = tuple(name for name, _ in found)
        apart = len({id(by_name[name]) for name in names})
        if apart == 1 and len({form for _, form in found}) == 1:
            continue
        changed = [f"{old!r} is {new!r} now" for old, new in zip(group, names, strict=True) if old != new]
        if not changed:
            cause = "a copy, an assignment or load_state_dict(assign=True) came between; call share(...) again, then "
        else:
            cause = f"{', '.join(changed)}; undo that, or do it in every place and call share(...) again, then "
        are = f"are {apart}" if apart > 1 else "are read in different ways"
        yield Diagnosis(
            "expected", names, f"{_quoted(group)} should be one parameter and {are}: {cause}build the optimizer"
        )


FORMS = (
    "{0}{1}",
    "{0}parametrizations.{1}.original",  # tied, or parametrized otherwise
    "{0}parametrizations.{1}.original1",  # torch.nn.utils.parametrizations.weight_norm
    "{0}{1}_orig",  # torch.nn.utils.prune
    "{0}{1}_v",  # torch.nn.utils.weight_norm
)


def _name_now(known: Mapping[str, object], name: str) -> tuple[str, int] | None:
    """The name that a parameter has now, and in which form it is kept; None if it is in none of them."""
    outer, inner, rest = name.rpartition("parametrizations.")
    plain = outer + rest.partition(".")[0] if inner else name
    prefix, dot, last = plain.rpartition(".")
    for form, pattern in enumerate(FORMS):
        candidate = pattern.format(prefix + dot, last)
        if candidate in known:
            return candidate, form
    return None


def _not_as_declared(model: nn.Module, named: Named) -> Iterator[Diagnosis]:
    """What a model of Hugging Face's transformers (5 or newer) says that it shares, and does not."""
    by_name = {name: parameter for parameter, names in named.values() for name in names}
    told = set()
    for prefix, inner in model.named_modules():
        declared = getattr(inner, "all_tied_weights_keys", None)  # name -> name, where the model's settings ask for it
        for pair in declared.items() if isinstance(declared, dict) else ():
            found = [_name_now(by_name, f"{prefix}.{name}".lstrip(".")) for name in pair]
            names = tuple(one[0] for one in found if one is not None)
            if len(names) < 2 or names in told or by_name[names[0]] is by_name[names[1]]:
                continue
            told.add(names)
            yield Diagnosis(
                "declared",
                names,
                f"{_quoted(names)} are two parameters, and the model declares that they are one "
                "(all_tied_weights_keys): a tie, an assignment or load_state_dict(assign=True) came between, and they "
                "drift apart; undo that, then call the model's tie_weights()",
            )


def _left_behind(named: Named) -> Iterator[Diagnosis]:
    """Parameters that were one before one of them was tied or untied."""
    once_one: dict[str, list[str]] = {}
    for parameter, names in named.values():
        for mark in getattr(parameter, ORIGIN, ()):
            once_one.setdefault(mark, []).append(names[0])
    for firsts in dict.fromkeys(map(tuple, once_one.values())):
        if len(firsts) > 1:
            yield Diagnosis(
                "replaced",
                firsts,
                f"{_quoted(firsts)} were one parameter until a tie was made or undone, and are {len(firsts)}: they "
                "drift apart; tie all of them in the same way and share(...) the codebooks, or undo the tie and "
                "share(...) the weights, or unshare(...) one of them if that is meant",
            )


def _in_one_memory(named: Named) -> Iterator[Diagnosis]:
    """Two parameters in the same piece of memory."""
    places: dict[tuple[object, ...], list[tuple[Tensor, str]]] = {}
    for _, held, name in _held(named):
        places.setdefault((held.device, held.untyped_storage().data_ptr()), []).append((held, name))
    for members in places.values():
        for (x, first), (y, second) in combinations(members, 2):
            if _overlap(x, y):
                yield Diagnosis(
                    "memory",
                    (first, second),
                    f"{_quoted((first, second))} are two parameters in one piece of memory: each has a gradient of its "
                    "own, and an optimizer steps the memory twice (load_state_dict(assign=True) and views do this); "
                    "call share(...) again, then build the optimizer",
                )


def _equal(model: nn.Module, named: Named) -> Iterator[Diagnosis]:
    """Parameters with the same values, which are all trained; any number of copies is one diagnosis."""
    apart = _meant_apart(model)
    alike: dict[tuple[object, ...], list[tuple[Tensor, str, object]]] = {}
    for parameter, held, name in _held(named):
        copy_of = apart.get(id(parameter), id(parameter))
        if parameter.requires_grad and copy_of is not None:
            like = (held.device, held.dtype, tuple(parameter.shape), tuple(held.shape), _fingerprint(held))
            alike.setdefault(like, []).append((held, name, copy_of))
    for members in alike.values():
        for copies in _classes(members):
            if len({copy_of for _, _, copy_of in copies}) < 2:
                continue
            names = tuple(name for _, name, _ in copies)
            count = "two" if len(names) == 2 else str(len(names))
            yield Diagnosis(
                "equal",
                names,
                f"{_quoted(names)} hold equal values but are {count} parameters: they will drift apart with "
                "the next step (a deep copy of one model, or a loaded checkpoint, does this); call share(...) "
                "again, or leave it if they should only start equal",
            )


def _held(named: Named) -> Iterator[tuple[nn.Parameter, Tensor, str]]:
    """Every parameter that has values, its values as they lie here, and its first name."""
    for parameter, names in named.values():
        if not is_lazy(parameter) and parameter.numel() and not parameter.is_meta:
            held = _sharded.local(parameter.detach())  # of a sharded parameter, what this process has
            if held.numel():
                yield parameter, held, names[0]


def _meant_apart(model: nn.Module) -> dict[int, object]:
    """By id: None for the members of an average, and one thing for the copies that torch itself starts a stack with."""
    found: dict[int, object] = {}
    for inner in model.modules():
        if isinstance(inner, AveragedModel):
            found.update((id(parameter), None) for parameter in inner.parameters())
        elif isinstance(inner, (nn.TransformerEncoder, nn.TransformerDecoder)):
            for layer in inner.layers:
                found.update((id(x), (id(inner), name)) for name, x in layer.named_parameters())
    return found


def _fingerprint(x: Tensor) -> bytes:
    """Equal for equal tensors, and of no more than a few entries: a large model is not read."""
    flat = x.reshape(-1)
    places = (
        torch.arange(SAMPLES, device=x.device) * (len(flat) - 1) // (SAMPLES - 1)
    )  # whole: floats round beyond 2^24
    return flat[places].cpu().view(torch.uint8).numpy().tobytes()


def _classes(members: Sequence[tuple[Tensor, str, object]]) -> Iterator[list[tuple[Tensor, str, object]]]:
    """Members that are equal entry for entry, each in memory of its own; constants are equal by accident."""
    classes: list[list[tuple[Tensor, str, object]]] = []
    for member in members if len(members) > 1 else ():
        for one in classes:
            if torch.equal(member[0], one[0][0]):
                if not any(_overlap(member[0], other) for other, _, _ in one):
                    one.append(member)
                break
        else:
            classes.append([member])
    for one in classes:
        flat = one[0][0].reshape(-1)
        if len(one) > 1 and bool((flat != flat[0]).any()):
            yield one


def _overlap(x: Tensor, y: Tensor) -> bool:
    """Whether the bytes from the first to the last entry of each meet."""
    if x.untyped_storage().data_ptr() != y.untyped_storage().data_ptr():
        return False
    (start, end), (other_start, other_end) = _span(x), _span(y)
    return start < other_end and other_start < end


def _span(x: Tensor) -> tuple[int, int]:
    last = sum((int(size) - 1) * int(stride) for size, stride in zip(x.shape, x.stride(), strict=True))
    start = int(x.storage_offset()) * x.element_size()
    return start, start + (last + 1) * x.element_size()


def _stepped(named: Named, optimizers: Sequence[torch.optim.Optimizer]) -> Iterator[Diagnosis]:
    holders: dict[int, list[int]] = {}
    for number, optimizer in enumerate(optimizers):
        held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for parameter in held:
            holders.setdefault(id(parameter), []).append(number)
        stale = {id(parameter): tuple(parameter.shape) for parameter in held if id(parameter) not in named}
        if stale:
            yield Diagnosis(
                "stale",
                (),
                f"optimizer {number} steps {len(stale)} parameter(s) that the modules do not have, of shape "
                f"{_listed(str(shape) for shape in stale.values())}: they were replaced after it was built (or belong "
                "to a module that was not given); build the optimizer after sharing, tying and fully_shard",
            )
    for key, (parameter, names) in named.items():
        numbers = holders.get(key, [])
        if len(numbers) > 1:
            where = f"optimizers {_listed(str(n) for n in numbers)}" if len(set(numbers)) > 1 else "one optimizer"
            yield Diagnosis(
                "twice",
                tuple(names),
                f"{_one(names)} is {len(numbers)} times in {where}: every step moves it that often, and weight "
                "decay shrinks it that often; give one optimizer the parameters() of one container of all models",
            )
        for number in dict.fromkeys(numbers):
            for what, state in optimizers[number].state.get(parameter, {}).items():
                if isinstance(state, Tensor) and state.ndim and state.shape != parameter.shape:
                    yield Diagnosis(
                        "state",
                        tuple(names),
                        f"{_one(names)} has shape {tuple(parameter.shape)}, but optimizer {number} keeps a {what!r} "
                        f"of shape {tuple(state.shape)} for it: it changed its shape after the first step; build "
                        "the optimizer after that",
                    )
                    break
    unheld = [names[0] for key, (p, names) in named.items() if p.requires_grad and key not in holders]
    if optimizers and unheld:
        yield Diagnosis(
            "untrained",
            tuple(unheld),
            f"{_quoted(unheld)} can be trained, but no optimizer holds it: it was made after the optimizer was built; "
            "build the optimizer after sharing and tying (or set requires_grad=False, if it should stay)",
        )


def _wrapped_too_early(model: nn.Module, named: Named) -> Iterator[Diagnosis]:
    for module in model.modules():
        averaged = _private_apis.averaged(module)
        if not isinstance(module, DistributedDataParallel) or averaged is None:
            continue
        known = {id(parameter) for parameter in averaged}
        inside = {id(p) for p in module.parameters() if p.requires_grad} - known
        names = [named[key][1][0] for key in named if key in inside]
        if names:
            yield Diagnosis(
                "ddp",
                tuple(names),
                f"{_quoted(names)} came into the model, or was tied, after DistributedDataParallel wrapped it: its "
                "gradient is not averaged, and the processes drift apart; share and tie first, wrap last",
            )


def _apart(modules: Sequence[nn.Module], named: Named) -> Iterator[Diagnosis]:
    """A model with a shared parameter, and parameters on several devices."""
    models = modules
    if len(modules) == 1 and isinstance(modules[0], (nn.ModuleDict, nn.ModuleList)):
        models = list(modules[0].children())
    for one in models:
        mine = {id(parameter) for parameter in one.parameters()}
        devices = sorted({str(named[key][0].device) for key in mine})
        shared = [named[key][1] for key in named if key in mine and len(named[key][1]) > 1]
        if len(devices) > 1 and shared:
            yield Diagnosis(
                "device",
                tuple(shared[0]),
                f"a model that shares {_quoted(shared[0])} is spread over {_listed(devices)}: moving one of two models "
                "moves what they share; move one container of both",
            )


def _checkpoint_differs(named: Named, checkpoint: Mapping[str, Tensor]) -> Iterator[Diagnosis]:
    for _, names in named.values():
        stored = [name for name in names if name in checkpoint]
        if any(not torch.equal(checkpoint[name], checkpoint[stored[0]]) for name in stored[1:]):
            yield Diagnosis(
                "checkpoint",
                tuple(stored),
                f"{_quoted(stored)} are one parameter here and differ in the checkpoint: loading keeps the last and "
                "loses the others; load into models that do not share, choose or average, then share and train on",
            )


def _one(names: Sequence[str]) -> str:
    return _quoted(names) if len(names) == 1 else f"one parameter ({_quoted(names)})"


def _quoted(names: Sequence[str]) -> str:
    return _listed(repr(name) for name in names)


def _listed(words: Iterable[str]) -> str:
    known = list(words)
    shown, rest = known[:4], len(known) - 4
    if rest > 0:
        return ", ".join(shown) + f" and {rest} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))
