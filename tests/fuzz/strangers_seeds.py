"""Inputs from which the fuzzers begin: files that load, and one of each kind that must be refused."""

from __future__ import annotations

import json

import torch
from strangers_file import GOOD, KINDS, METADATA, TENSORS, TEXTS, hashed, header_of


def seed(model: int, kind: int, rest: bytes | str) -> bytes:
    return bytes([model * KINDS + kind]) + (rest.encode() if isinstance(rest, str) else rest)


def ties_and_names(model: int, *, ties: dict[str, object] | None = None, aliases: object = None) -> bytes:
    """The text that a good file has, with other words in the tie of a.weight, or other names."""
    text = TEXTS[model]
    changed = json.loads(text["ties"])
    changed["a.weight"].update(ties or {})
    return seed(model, 1, json.dumps(changed) + "\n" + (text["aliases"] if aliases is None else json.dumps(aliases)))


def header(model: int, metadata: object) -> bytes:
    return seed(model, 2, json.dumps(json.loads(header_of(GOOD[model])) | {METADATA: metadata}))


def tied_too(model: int, name: str, codebook: torch.Tensor, labels: list[int], gone: str, **aliases: str) -> bytes:
    """A whole file that also ties `name`, by labels of one bit along dim 0; the state has lost `gone`."""
    prefix, _, last = name.rpartition(".")
    packed = torch.tensor([int("".join(map(str, labels)).ljust(8, "0"), 2)], dtype=torch.uint8)
    key = f"{prefix}.parametrizations.{last}"
    tensors = TENSORS[model] | {f"{key}.original": codebook, f"{key}.0.labels": packed}
    del tensors[gone]
    ties = json.loads(TEXTS[model]["ties"]) | {name: {"bits": 1, "dim": 0, "shape": [len(labels)], "shift": 0}}
    names = json.loads(TEXTS[model]["aliases"]) | {alias.replace("_", "."): kept for alias, kept in aliases.items()}
    text = TEXTS[model] | {"ties": json.dumps(ties), "aliases": json.dumps(names)}
    file = hashed(tensors, text)
    assert file is not None
    return seed(model, 0, file)


INNER = "b.parametrizations.weight.original1"
LOADED = [seed(number, 0, data) for number, data in enumerate(GOOD[:-1])]
LOADED += [ties_and_names(number) for number in range(len(GOOD) - 1)]
LOADED += [seed(number, 2, header_of(GOOD[number])) for number in (0, 1, 4)]
REFUSED = [
    seed(0, 3, bytes([0, 20, 7, 1, 44, 65])),
    seed(0, 1, '{"c.weight": {"bits": 0, "dim": null, "shape": [9999999999], "shift": 0}}\n{}'),
    seed(0, 1, "[" * 300 + "\n{}"),
    # a tie on what another name points to, on a part of another parametrization, on an integer, on a tie's codebook
    *(
        tied_too(number, "a.bias", torch.zeros(2), [0, 1, 1], "a.bias", b_bias=kept)
        for number in (0, 1, 2, 4)
        for kept in ("a.bias", "a.parametrizations.bias.original")
    ),
    tied_too(4, INNER, torch.zeros(2, 4), [0, 1, 1], INNER),
    tied_too(0, "norm.num_batches_tracked", torch.zeros(1, dtype=torch.int64), [0, 0], "norm.num_batches_tracked"),
    tied_too(
        2, "a.parametrizations.weight.original", torch.zeros(2, 2), [0, 1, 1], "a.parametrizations.weight.original"
    ),
    # other names: of nothing, of themselves, of labels, in a ring, not names at all
    *(
        ties_and_names(0, aliases=names)
        for names in (
            {"b.bias": "x"},
            {"b.bias": "b.bias"},
            {"b.bias": "a.parametrizations.weight.0.labels"},
            {"b.bias": "a.bias", "a.bias": "b.bias"},
            {"b.bias": None},
            ["b.bias"],
            7,
        )
    ),
    # numbers of the wrong kind, and more bits than the labels need
    *(
        ties_and_names(0, ties=words)
        for words in ({"bits": 62}, {"bits": True}, {"shape": None}, {"dim": "1"}, {"dim": 10**30}, {"shift": [1]})
    ),
    # metadata that is none
    *(header(0, metadata) for metadata in (None, {}, [], "x", {"format": None}, {"format": "tyinglib-tied"})),
    *(seed(len(GOOD) - 1, kind, rest) for kind, rest in ((0, GOOD[-1]), (2, header_of(GOOD[-1])))),  # meta
]
SEEDS = LOADED + REFUSED
