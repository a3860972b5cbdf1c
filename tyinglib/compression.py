r"""What is counted, and what is stored: compression = total / unique = sharing rate / (1 - sparsity).

- total: weights the network uses, a shared one counted at every place;
- nonzero: those of them that are not zero;
- unique: free values that are stored and not zero: phi, not theta.

A tied weight of n slices in k groups is stored as its codebook and n labels of ceil(log2 k) bits.
Equal values that are not tied are stored, and counted, one by one.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import math
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from tyinglib import _sharded, selection
from tyinglib.tying import TieSpec, tie, tie_specs

FORMAT = "tyinglib-tied"
VERSION = "1"
GATHERED = "get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))"


@dataclass(frozen=True)
class ParameterCount:
    """Three counts of a model's parameters, and the rates made of them (Zhang et al. 2018, section 4).

    Parameters
    ----------
    total, nonzero, unique
        `total` weights in use, `nonzero` of them not zero, `unique` free values that are stored and not zero.

    Examples
    --------
    >>> count = ParameterCount(total=100, nonzero=50, unique=10)
    >>> count.sparsity, count.sharing_rate, count.compression_rate
    (0.5, 5.0, 10.0)

    Chapter: One idea.
    """

    total: int
    nonzero: int
    unique: int

    @property
    def sparsity(self) -> float:
        """The share of weights that are zero."""
        return 1 - self.nonzero / self.total if self.total else 0.0

    @property
    def sharing_rate(self) -> float:
        """Non-zero weights to one free value."""
        return self.nonzero / self.unique if self.unique else math.nan

    @property
    def compression_rate(self) -> float:
        """All weights to one free value."""
        return self.total / self.unique if self.unique else math.nan


def count_parameters(model: nn.Module) -> ParameterCount:
    """Count a model's parameters: all that it uses, those that are not zero, those that are free.

    Parameters
    ----------
    model
        Any module. Ties (`tyinglib.tie`) and one Parameter used at several places are seen;
        equal values are not: they are free to differ at the next step. Of a model that is sharded over processes
        all of it is counted, and all processes must call.

    Returns
    -------
    ParameterCount
        Buffers are not parameters and are not counted.

    Examples
    --------
    >>> layer = nn.Linear(4, 3, bias=False)
    >>> count_parameters(layer)
    ParameterCount(total=12, nonzero=12, unique=12)
    >>> _ = tie(layer, "weight", TieSpec([0, 0, 1, -1], dim=1))
    >>> count_parameters(layer)
    ParameterCount(total=12, nonzero=9, unique=6)

    Chapter: One idea.
    """
    total = nonzero = unique = 0
    seen: set[int] = set()
    tied = {_original(name): spec for name, spec in tie_specs(model).items()}
    for key, parameter in model.named_parameters(remove_duplicate=False):
        used = _sharded.whole(parameter.detach())
        free = int(torch.count_nonzero(used))
        if key in tied:
            used = selection._expand(used, tied[key].labels.to(used.device), tied[key].dim)
        total += used.numel()
        nonzero += int(torch.count_nonzero(used))
        if id(parameter) not in seen:
            unique += free
            seen.add(id(parameter))
    return ParameterCount(total, nonzero, unique)


def storage_bits(model: nn.Module, *, value_bits: int = 32) -> int:
    """Bits that a model's state needs: every distinct value once, and the packed labels of its ties.

    Parameters
    ----------
    model
        Any module.
    value_bits
        Bits for one value, of a parameter or a buffer.

    Returns
    -------
    int
        ``free values * value_bits + sum over ties of n * ceil(log2 k)`` (k + 1 where slices are pruned).
        `save_tied` writes this, padded to bytes, and a header.

    Raises
    ------
    ValueError
        If `value_bits` is not a positive integer.

    Examples
    --------
    >>> layer = tie(nn.Linear(4, 3, bias=False), "weight", TieSpec([0, 0, 1, 1], dim=1))
    >>> storage_bits(layer)  # 6 values of 32 bits, 4 labels of 1 bit
    196

    Chapter: One idea. Compare equation (1) of Han et al. (2016).
    """
    if isinstance(value_bits, bool) or not isinstance(value_bits, int) or value_bits < 1:
        raise ValueError(f"value_bits must be a positive integer, got {value_bits!r}")
    specs = tie_specs(model)
    values, _ = _distinct(model, specs)
    bits = sum(value.numel() for value in values.values()) * value_bits
    return bits + sum(spec.labels.numel() * _label_bits(spec.labels) for spec in specs.values())


def save_tied(model: nn.Module, path: str | os.PathLike[str]) -> int:
    """Save a model so that shared values are stored once, in a safetensors file.

    Parameters
    ----------
    model
        Any module; its ``state_dict`` must hold tensors only.
    path
        Where to write. The file appears whole or not at all: it is written beside the target,
        flushed to disk, then renamed. What a killed writer left there is removed by the first save an hour later.

    Returns
    -------
    int
        The file's size in bytes.

    Raises
    ------
    ValueError
        If the state holds something that is not a tensor, or is sharded over processes. Nothing is written.
    OSError
        If the file cannot be written. What stood at `path` before still stands there.

    Examples
    --------
    >>> import tempfile
    >>> layer = tie(nn.Linear(4, 3), "weight", TieSpec([0, 0, 1, 1], dim=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     size = save_tied(layer, f"{folder}/layer.safetensors")
    ...     copy = load_tied(nn.Linear(4, 3), f"{folder}/layer.safetensors")
    >>> torch.equal(copy.weight, layer.weight)
    True

    Chapter: One idea.
    """
    specs = tie_specs(model)
    tensors, aliases = _distinct(model, specs)
    for key, value in tensors.items():
        _sharded.refuse_sharded(
            value, repr(key), f"load {GATHERED} into a plain model that is tied alike, and save that"
        )
    ties = {}
    for name, spec in specs.items():
        packed, described = _pack(spec)
        tensors[_labels_key(name)] = packed
        ties[name] = described
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "ties": json.dumps(ties, sort_keys=True),
        "aliases": json.dumps(aliases, sort_keys=True),
    }
    metadata["sha256"] = _digest(tensors, metadata)
    data = safetensors.torch.save(tensors, metadata)
    _write_atomically(Path(path), data)
    return len(data)


def load_tied(model: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Load what `save_tied` wrote: tie the model as the file says, then load its values strictly.

    Parameters
    ----------
    model
        The same architecture, untied, or tied in the same way. Parameters that the saved model used at
        several places must be shared here too.
    path
        The file. No code in it is run; a file larger than this model can need is not read, and no shape that it
        claims is believed before it was compared with the model's.

    Returns
    -------
    Module
        The same module, tied, with the saved values bit for bit, on the device it was on.

    Raises
    ------
    ValueError
        If the file is cut short, altered, not written by `save_tied`, or does not fit the model in
        names, shapes, dtypes, ties or sharing; or if the model is sharded over processes. The model is left as it was.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> layer, other = nn.Linear(4, 3), nn.Linear(4, 3)
    >>> _ = tie(layer, "weight", TieSpec([0, 0, 1, 1], dim=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     size = save_tied(layer, f"{folder}/layer.safetensors")
    ...     _ = load_tied(other, f"{folder}/layer.safetensors")
    >>> tie_specs(other), torch.equal(other.weight, layer.weight)
    ({'weight': TieSpec(n=4, n_groups=2, pruned=0, dim=1)}, True)

    Chapter: One idea.
    """
    path = Path(path)
    room = _sizes(model)
    tensors, metadata = _read(path, limit=_largest_file(model))
    try:
        described: dict[str, dict[str, Any]] = json.loads(metadata["ties"])
        aliases: dict[str, str] = json.loads(metadata["aliases"])
        if not all(isinstance(text, str) for pair in aliases.items() for text in pair):
            raise TypeError(f"aliases must be names, got {str(aliases)[:80]}")
        specs = {}
        for name, tied in described.items():
            if name not in room:
                raise ValueError(f"{path} ties {name!r}, which the model does not have")
            specs[name] = _unpack(tensors.pop(_labels_key(name)), tied, room[name])
    except (KeyError, TypeError, AttributeError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged: its ties cannot be read ({error!r})") from error
    _check_fit(model, tensors, specs, aliases, path)
    present = tie_specs(model)
    for name, spec in specs.items():
        if name not in present:
            prefix, _, weight = name.rpartition(".")
            tie(model.get_submodule(prefix), weight, spec)
    state = {alias: tensors[kept] for alias, kept in aliases.items()} | tensors
    state |= {_labels_key(name): spec.labels for name, spec in specs.items()}
    model.load_state_dict(state, strict=True)
    return model


# Names in a state_dict: the weight "0.weight" is kept as a codebook and as labels.


def _original(name: str) -> str:
    prefix, _, weight = name.rpartition(".")
    return f"{prefix}.parametrizations.{weight}.original".lstrip(".")


def _sizes(model: nn.Module) -> dict[str, int]:
    """How many numbers each weight has as it is used, by the names that `tie` knows."""
    specs = {_original(name): (name, spec) for name, spec in tie_specs(model).items()}
    sizes = {}
    for key, value in model.named_parameters(remove_duplicate=False):
        shape = list(value.shape)
        name, spec = specs.get(key, (key, None))
        if spec is not None and spec.dim is None:
            shape = list(spec.labels.shape)
        elif spec is not None and spec.dim is not None:
            shape[spec.dim] = len(spec.labels)
        sizes[name] = math.prod(shape)
    return sizes


def _labels_key(name: str) -> str:
    prefix, _, weight = name.rpartition(".")
    return f"{prefix}.parametrizations.{weight}.0.labels".lstrip(".")


def _distinct(model: nn.Module, specs: dict[str, TieSpec]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The state without labels, a shared tensor once; and which names are other names of which."""
    labels = {_labels_key(name) for name in specs}
    values: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    first: dict[int, str] = {}
    for key, value in model.state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor):
            raise ValueError(
                f"the state of the model holds {key!r} of type {type(value).__name__}; "
                "only tensors can be stored: register it as a buffer or leave it out"
            )
        if key in labels:
            continue
        if id(value) in first:
            aliases[key] = first[id(value)]
        else:
            first[id(value)] = key
            values[key] = value
    return values, aliases


# Labels as bits. With pruned slices, -1 becomes 0 and the groups count from 1.


def _label_bits(labels: Tensor) -> int:
    shift = int(labels.min() < 0)
    return int(labels.max() + shift).bit_length()


def _pack(spec: TieSpec) -> tuple[Tensor, dict[str, Any]]:
    labels = spec.labels.cpu().flatten().numpy()
    shift = int(labels.min() < 0)
    width = _label_bits(spec.labels)
    bits = (labels[:, None] + shift) >> np.arange(width) & 1
    packed = torch.from_numpy(np.packbits(bits.astype(np.uint8)))
    return packed, {"shape": list(spec.labels.shape), "dim": spec.dim, "bits": width, "shift": shift}


def _unpack(packed: Tensor, described: dict[str, Any], room: int) -> TieSpec:
    """The labels; `room`, the size of the weight, is the most that there can be, whatever the file claims."""
    shape, width, shift = described["shape"], described["bits"], described["shift"]
    numbers = [*shape, width, shift]
    if not all(type(number) is int and 0 <= number <= room for number in numbers) or width > 62 or shift > 1:
        raise ValueError(f"the labels of a tie are damaged: shape, bits, shift are {str(numbers)[:80]}")
    count = math.prod(shape)
    if packed.dtype != torch.uint8 or count > room or packed.numel() != -(-count * width // 8):
        raise ValueError(f"the labels of a tie are damaged: {packed.numel()} bytes for {count} labels")
    bits = np.unpackbits(packed.numpy(), count=count * width).reshape(count, width)
    labels = bits.astype(np.int64) @ (1 << np.arange(width, dtype=np.int64)) - shift
    return TieSpec(labels.reshape(shape), described["dim"])


# The file.


def _digest(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """A hash of everything that is loaded: safetensors itself notices a short file, not a flipped bit."""
    digest = hashlib.sha256()
    for key in ("format", "version", "ties", "aliases"):
        digest.update(f"{key}={metadata[key]}\n".encode())
    for key in sorted(tensors):
        value = tensors[key]
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


HEADER = 1 << 20  # bytes that a header may have for a small model
NAMED = 1 << 12  # and more for every name in its state


def _largest_file(model: nn.Module) -> int:
    """More than any file of this model has: its state in the widest numbers, every label as a number of its own."""
    state = [value for value in model.state_dict(keep_vars=True).values() if isinstance(value, Tensor)]
    values = sum(NAMED + max(value.nbytes, 8 * value.numel()) for value in state)
    return HEADER + values + sum(8 * size for size in _sizes(model).values())


def _read(path: Path, limit: int) -> tuple[dict[str, Tensor], dict[str, str]]:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise ValueError(f"{path} has {size} bytes, more than this model can need ({limit}); it is of another one")
        data = file.read(limit + 1)
    if len(data) > limit:  # it grew, or is no plain file
        raise ValueError(f"{path} has more bytes than this model can need ({limit}); it is of another one")
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is no safetensors file, or was cut short ({error}); save the model again") from error
    metadata = header.get("__metadata__", {})
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} was not written by save_tied; load it with safetensors.torch.load_model")
    if metadata.get("version") != VERSION:
        raise ValueError(
            f"{path} has version {metadata.get('version')!r}, this tyinglib reads {VERSION!r}; "
            "install the tyinglib that wrote it"
        )
    missing = {"ties", "aliases", "sha256"} - metadata.keys()
    if missing or metadata["sha256"] != _digest(tensors, metadata):
        raise ValueError(f"{path} was altered or damaged after it was written; save the model again")
    return tensors, metadata


def _write_atomically(path: Path, data: bytes) -> None:
    _remove_abandoned(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":  # the rename itself must reach the disk too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


ABANDONED = 3600  # seconds after which nobody can still be writing


def _remove_abandoned(path: Path) -> None:
    """A writer that was killed left its unfinished file; saved often, they would fill the disk."""
    for unfinished in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 16}.tmp"):
        with contextlib.suppress(OSError):  # another writer took it away, or it is somebody else's
            if time.time() - unfinished.stat().st_mtime > ABANDONED:
                unfinished.unlink()


def _check_fit(
    model: nn.Module,
    tensors: dict[str, Tensor],
    specs: dict[str, TieSpec],
    aliases: dict[str, str],
    path: Path,
) -> None:
    """Compare everything before anything is changed."""
    for key, parameter in model.named_parameters():
        _sharded.refuse_sharded(parameter, repr(key), "load first, then fully_shard")
    present = tie_specs(model)
    extra = sorted(present.keys() - specs.keys())
    if extra:
        raise ValueError(f"{extra[0]!r} is tied in the model, but not in {path}; untie it first")
    expected, shared = _distinct(model, present)
    for name, spec in specs.items():
        if name in present:
            if present[name] != spec:
                raise ValueError(f"{name!r} is tied otherwise in the model than in {path}; untie it first")
            continue
        weight = expected.pop(name, None)
        if weight is None:
            raise ValueError(f"{path} ties {name!r}, which the model does not have")
        shape = list(weight.shape)
        if spec.dim is None:
            fits, codebook = list(spec.labels.shape) == shape, [spec.n_groups]
        else:
            fits = -len(shape) <= spec.dim < len(shape) and shape[spec.dim] == len(spec.labels)
            codebook = shape
            if fits:
                codebook[spec.dim] = spec.n_groups
        if not fits:
            raise ValueError(f"{path} ties {name!r} by {spec}, which does not fit its shape {tuple(weight.shape)}")
        expected[_original(name)] = weight.new_empty(codebook)
    if shared != aliases:
        odd = sorted(shared.items() ^ aliases.items())[0]
        where = "the model" if odd in shared.items() else str(path)
        raise ValueError(f"{odd[0]!r} and {odd[1]!r} are one parameter in {where} only; share them alike")
    if expected.keys() != tensors.keys():
        raise ValueError(
            f"{path} does not fit the model: it lacks {sorted(expected.keys() - tensors.keys())} "
            f"and has {sorted(tensors.keys() - expected.keys())} too many"
        )
    for key, value in sorted(tensors.items()):  # so that the same fault is named every time
        want = expected[key]
        if value.shape != want.shape or value.dtype != want.dtype:
            raise ValueError(
                f"{key!r} is {tuple(value.shape)} {value.dtype} in {path}, but {tuple(want.shape)} "
                f"{want.dtype} in the model; build the model as it was saved, or convert it with .to()"
            )
