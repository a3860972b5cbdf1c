"""Saving: a tie as its codebook and its labels, a shared Parameter once."""

from __future__ import annotations

import os
from pathlib import Path

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from tyinglib.saving import _packed_labels, _tied_file
from tyinglib.saving._state import (
    check_plain,
    distinct,
    factors_key,
    labels_key,
    plain,
    quote,
    sound_specs,
    state_of,
    ties_of,
)
from tyinglib.saving._tied_file import Contents
from tyinglib.tying import TieSpec

GATHERED = "get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))"


def save_tied(model: nn.Module, path: str | os.PathLike[str]) -> int:
    """Save a model so that shared values are stored once, in a safetensors file.

    Parameters
    ----------
    model
        Any module; its ``state_dict`` must hold tensors only. Of a model that torch.compile wrapped, the names are
        those of the model inside.
    path
        Where to write. The file appears whole or not at all: it is written beside the target,
        flushed to disk, then renamed. A file that stood there leaves its mode, and its owner where that is allowed;
        a symbolic link stays, and what it names is replaced. What a killed writer left there is removed by the first
        save an hour later.

    Returns
    -------
    int
        The file's size in bytes.

    Raises
    ------
    ValueError
        If the state holds something that is not a dense tensor with values, of a dtype that safetensors knows; if a
        tie's labels do not fit its codebook, or it ties a part of another parametrization; or if the model is sharded
        over processes. Nothing is written.
    OSError
        If the file cannot be written. What stood at `path` before still stands there.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> from tyinglib import TieSpec, load_tied, tie
    >>> layer = tie(nn.Linear(4, 3), "weight", TieSpec([0, 0, 1, 1], dim=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     size = save_tied(layer, f"{folder}/layer.safetensors")
    ...     copy = load_tied(nn.Linear(4, 3), f"{folder}/layer.safetensors")
    >>> torch.equal(copy.weight, layer.weight)
    True

    Chapter: One idea.
    """
    ties = ties_of(model)
    tensors, aliases = distinct(state_of(model), ties.values())
    check_plain(
        tensors,
        sharded=f"load {GATHERED} into a plain model that is tied alike, and save that",
        meta="there is nothing to save",
    )
    described: dict[str, dict[str, object]] = {}
    specs = sound_specs(ties)
    packed: dict[tuple[int, TieSpec], str] = {}  # an S that several weights have with one codebook is stored once
    for name, parts in ties.items():
        if isinstance(model.get_submodule(name.rpartition(".")[0]), ParametrizationList):
            raise ValueError(
                f"{quote(name)} is tied inside another parametrization, and could not be loaded; untie it first"
            )
        spec = specs[name]
        if spec is None:
            raise ValueError(
                f"{quote(name)} has labels that do not fit its codebook of shape {tuple(parts.codebook.shape)}; "
                "load it, or untie it and tie it again"
            )
        first = packed.setdefault((id(parts.codebook), spec), name)
        if first != name:
            described[name] = described[first]
            aliases[labels_key(name)] = labels_key(first)
            if spec.factors is not None:
                aliases[factors_key(name)] = factors_key(first)
            continue
        shift = _packed_labels.shift_of(spec.labels)
        bits = _packed_labels.bits_of(spec.n_groups, shift)
        tensors[labels_key(name)] = _packed_labels.pack(spec.labels, bits, shift)
        described[name] = {"shape": list(spec.labels.shape), "dim": spec.dim, "bits": bits, "shift": shift}
        if spec.dim is not None and parts.tie.codebook_dim != spec.dim:
            described[name]["codebook_dim"] = parts.tie.codebook_dim
        if spec.factors is not None:
            signs = _packed_labels.are_signs(spec.factors)
            described[name]["factors"] = "signs" if signs else "values"
            tensors[factors_key(name)] = _packed_labels.pack_signs(spec.factors) if signs else spec.factors
    contents = Contents(
        {plain(key): value for key, value in tensors.items()},
        {plain(name): what for name, what in described.items()},
        {plain(alias): plain(kept) for alias, kept in aliases.items()},
    )
    return _tied_file.write(Path(path), contents)
