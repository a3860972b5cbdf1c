"""ONNX with the ties kept: the file holds codebooks and labels, and the runtime expands them."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tyinglib._checks import Array
from tyinglib.saving._replacing import replacing
from tyinglib.saving._state import factors_key, labels_key, ties_of

LIMIT = 2**31 - 1  # bytes of a protocol buffer


def export_onnx(
    model: nn.Module,
    example_input: Tensor | tuple[Any, ...],
    path: str | os.PathLike[str],
    *,
    dynamic_shapes: Any = None,
) -> int:
    """Write a model as ONNX, every tie as its codebook and its labels.

    `torch.onnx.export` by itself computes a small tied weight while it optimizes, and stores it in full; of a large one
    it stores 8 bytes a label, and of each node where in the source it came from. Here the graph gathers every tied
    weight from its codebook; labels take a byte each (two or four for many groups), and those that several weights have
    are stored once. A runtime may compute the tied weights when it loads the file, once.

    Parameters
    ----------
    model
        Any module that `torch.export` takes. It is exported as in evaluation mode, and not changed.
    example_input
        What it is called with: a tensor of any shape, or a tuple of inputs.
    path
        Where to write. The file appears whole or not at all.
    dynamic_shapes
        As for `torch.onnx.export`: which dimensions of the inputs may differ from the example's; ``({0: "batch"},)``
        for the first dimension of the only input.

    Returns
    -------
    int
        The file's size in bytes.

    Raises
    ------
    ImportError
        If the packages onnx or onnxscript are missing: ``pip install onnx onnxscript``.
    ValueError
        If the file would have 2 GiB or more.
    OSError
        If the file cannot be written. What stood at `path` before still stands there.

    Examples
    --------
    >>> import tempfile
    >>> from importlib.util import find_spec
    >>> from tyinglib import TieSpec, tie
    >>> layer = tie(nn.Linear(4, 3), "weight", TieSpec([0, 0, 1, 1], dim=1))
    >>> there = find_spec("onnx") and find_spec("onnxscript")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     not there or export_onnx(layer, torch.zeros(1, 4), f"{folder}/layer.onnx") > 0
    True

    Chapter: One idea.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"export_onnx needs two packages more: pip install onnx onnxscript ({error})") from error
    ties = ties_of(model, every_name=True)
    beside = {labels_key(name): parts.tie.labels for name, parts in ties.items()}
    beside |= {factors_key(name): parts.tie.factors for name, parts in ties.items() if parts.tie.factors is not None}
    inputs = (example_input,) if isinstance(example_input, Tensor) else example_input
    settings: dict[str, Any] = {"dynamo": True, "optimize": False, "verbose": False, "external_data": False}
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with warnings.catch_warnings():  # of torch, about torch
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            program = torch.onnx.export(model, inputs, dynamic_shapes=dynamic_shapes, **settings)
    finally:
        for module, training in modes:
            module.training = training
    assert program is not None  # for mypy: it is, when nothing is written
    made = program.model_proto
    _name_types(made.graph, onnx)
    _strip(made)
    _store_small(made.graph, beside, onnx)
    onnx.checker.check_model(made)
    if made.ByteSize() > LIMIT:
        raise ValueError(
            f"the model takes {made.ByteSize()} bytes, and an ONNX file at most {LIMIT}; export parts of it"
        )
    data = made.SerializeToString()
    with replacing(Path(path)) as file:
        file.write(data)
    return len(data)


def _name_types(graph: Any, onnx: Any) -> None:
    """A cast to another tensor's type becomes one to a type: for the former onnxruntime has no kernel, and warns."""
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    types |= {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info)}
    for node in graph.node:
        if node.op_type == "Constant":
            (given,) = node.attribute  # a tensor, or integers, or floats
            numbers = onnx.TensorProto.INT64 if "int" in given.name else onnx.TensorProto.FLOAT
            types[node.output[0]] = given.t.data_type if given.name == "value" else numbers
        if node.op_type == "CastLike" and types.get(node.input[1]):
            kind = types[node.input[1]]
            node.CopyFrom(onnx.helper.make_node("Cast", [node.input[0]], list(node.output), to=kind))


def _strip(made: Any) -> None:
    """Nothing but what a runtime needs: no traces of where a node came from."""
    del made.graph.value_info[:]
    for part in (made, made.graph, *made.graph.node, *made.graph.initializer, *made.graph.input, *made.graph.output):
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]
        part.doc_string = ""
    for node in made.graph.node:
        node.name = ""


def _store_small(graph: Any, beside: dict[str, Tensor], onnx: Any) -> None:
    """Labels and factors as the smallest integers that hold them, equal ones once; a Cast makes them what they were."""
    first: dict[tuple[str, bytes], str] = {}
    casts = []
    for number in range(len(graph.initializer) - 1, -1, -1):
        stored = graph.initializer[number]
        small = _smallest(beside[stored.name]) if stored.name in beside else None
        if small is None:
            continue
        own = f"{stored.name}_small"
        name = first.setdefault((str(small.dtype), small.tobytes()), own)
        casts.append(onnx.helper.make_node("Cast", [name], [stored.name], to=stored.data_type))
        del graph.initializer[number]
        if name == own:
            graph.initializer.append(onnx.numpy_helper.from_array(small, name))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _smallest(values: Tensor) -> Array | None:
    """The same numbers as integers of fewer bytes; None if they are no small integers (a scale of 0.5)."""
    kept = values.cpu().double().numpy()
    for kind in (np.uint8, np.int8, np.uint16, np.int16, np.int32):
        limits = np.iinfo(kind)
        inside = limits.min <= kept.min() and kept.max() <= limits.max
        if inside and np.array_equal(kept, np.trunc(kept)) and limits.bits < 8 * values.element_size():
            return kept.astype(kind)
    return None
