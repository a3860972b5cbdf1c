"""Parameters that were one, should be one, or say that they are, and are several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from torch import nn

from tyinglib.diagnosis._words import Named, quoted
from tyinglib.diagnosis.diagnosis import Diagnosis
from tyinglib.tying import ORIGIN


def not_as_expected(named: Named, expected: Iterable[Sequence[str]]) -> Iterator[Diagnosis]:
    by_name = {name: parameter for parameter, names in named.values() for name in names}
    for group in expected:
        if isinstance(group, str):
            raise ValueError(f"expected must be groups of names, got the string {group!r}; write [{(group, '...')!r}]")
        now = [_name_now(by_name, name) for name in group]
        unknown = [name for name, found in zip(group, now, strict=True) if found is None]
        if unknown:
            raise ValueError(f"expected names {quoted(unknown)}, but the modules have {quoted(list(by_name))}")
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
            "expected", names, f"{quoted(group)} should be one parameter and {are}: {cause}build the optimizer"
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


def not_as_declared(model: nn.Module, named: Named) -> Iterator[Diagnosis]:
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
                f"{quoted(names)} are two parameters, and the model declares that they are one "
                "(all_tied_weights_keys): a tie, an assignment or load_state_dict(assign=True) came between, and they "
                "drift apart; undo that, then call the model's tie_weights()",
            )


def left_behind(named: Named) -> Iterator[Diagnosis]:
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
                f"{quoted(firsts)} were one parameter until a tie was made or undone, and are {len(firsts)}: they "
                "drift apart; tie all of them in the same way and share(...) the codebooks, or undo the tie and "
                "share(...) the weights, or unshare(...) one of them if that is meant",
            )
