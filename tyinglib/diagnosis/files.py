"""What a checkpoint holds more than once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tyinglib.diagnosis._copies import classes, fingerprint
from tyinglib.diagnosis._words import quoted
from tyinglib.diagnosis.diagnosis import Diagnosis


def check_file(path: str | os.PathLike[str]) -> list[Diagnosis]:
    """Report weights that a checkpoint holds several times, as copies: loading it makes parameters that drift apart.

    One tensor under several names, as `torch.save` keeps it, and the aliases that `save_tied` writes are no copies.
    Tensors of one or two values, as fresh biases, or whose rows are in order, are equal by accident and not reported.

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
            like = (tensor.dtype, tuple(tensor.shape), fingerprint(tensor))
            alike.setdefault(like, []).append((tensor, name, None))
    found = []
    for members in alike.values():
        for copies in classes(members):
            names = tuple(name for _, name, _ in copies)
            size = copies[0][0].numel() * copies[0][0].element_size() * (len(names) - 1)
            found.append(
                Diagnosis(
                    "stored",
                    names,
                    f"{quoted(names)} hold equal values and are stored {len(names)} times, {size} bytes more than "
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
