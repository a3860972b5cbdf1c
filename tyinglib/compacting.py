r"""Make a tied and pruned network physically smaller: same outputs, fewer multiplications.

With a tied weight W = C S^T (S selects, by inputs), W x = C (S^T x): sum the inputs of a group once, and multiply by
the smaller codebook C. What is always zero or always the same need not be computed at all::

    an input with no weight       is not read; the neuron that feeds only it goes
    a neuron with no weights      is a constant: it goes into the next layer's bias
    neurons that are equal        are computed once, and the next layer's columns are added
    inputs with equal weights     are summed once, before a smaller layer

`torch.fx` reads the model's graph. Layers are replaced in a copy; its own forward stays.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from tyinglib import _graph, _sharded

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


class SumInputs(nn.Module):
    """S^T x: the inputs of each group summed, inputs in no group left out.

    Parameters
    ----------
    labels
        (n,) int64, 0..k-1; -1 for an input that is not read.
    dim
        The dimension that numbers the inputs, from the end: -1 for Linear, -2 for Conv1d, -3 for Conv2d.

    Examples
    --------
    >>> SumInputs(torch.tensor([0, 1, 0, -1]), dim=-1)(torch.tensor([[1.0, 10.0, 100.0, 1000.0]]))
    tensor([[101.,  10.]])

    Chapter: GrOWL in a network.
    """

    index: Tensor
    groups: Tensor

    def __init__(self, labels: Tensor, dim: int) -> None:
        super().__init__()
        index = (labels >= 0).nonzero().flatten()
        groups = labels[index]
        self.dim, self.n_groups = dim, int(groups.max()) + 1
        self.sums = len(groups) > self.n_groups
        if not self.sums:  # nothing to add: only choose, in the order of the groups
            index = index[groups.argsort()]
        self.register_buffer("index", index)
        self.register_buffer("groups", groups)

    def forward(self, x: Tensor) -> Tensor:
        """Sum the inputs of each group.

        Parameters
        ----------
        x
            Any tensor with n slices along `dim`.

        Returns
        -------
        Tensor
            With k slices along `dim`, one a group.
        """
        chosen = x.index_select(self.dim, self.index)
        if not self.sums:
            return chosen
        shape = list(chosen.shape)
        shape[self.dim] = self.n_groups
        return chosen.new_zeros(shape).index_add(self.dim, self.groups, chosen)

    def extra_repr(self) -> str:
        """The sizes, for print(model). As `torch.nn.Module.extra_repr`."""
        return f"read={len(self.index)}, groups={self.n_groups}, dim={self.dim}"


def compact(model: nn.Module, example_input: Tensor) -> nn.Module:
    """A smaller copy of a tied or pruned model, with the same outputs to rounding.

    Parameters
    ----------
    model
        `nn.Sequential`, or any module whose forward `torch.fx` can trace: Linear, Conv1d and Conv2d layers (tied
        or not), BatchNorm, elementwise activations, pooling, Dropout and Flatten between them. Other parts stay as
        they are.
    example_input
        One input to the model, of any batch size, on its device: shapes are taken from it, and the outputs of both
        models on it are compared.

    Returns
    -------
    Module
        A copy in eval mode, for inference. The parameters of the layers that were rewritten are new, and no longer
        tied. The model itself is left as it was.

    Raises
    ------
    ValueError
        If torch.fx cannot trace the model, it returns no single tensor, the outputs would change (a forward that
        depends on layer sizes), or the model is sharded over processes.

    Warns
    -----
    UserWarning
        For each layer that could be smaller but is left alone, with the reason.

    Examples
    --------
    >>> from tyinglib import TieSpec, tie
    >>> model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> _ = tie(model[0], "weight", TieSpec([0, 0, 1, 1, -1, -1], dim=1))
    >>> compact(model, torch.zeros(1, 6))[0]
    Sequential(
      (0): SumInputs(read=4, groups=2, dim=-1)
      (1): Linear(in_features=2, out_features=4, bias=True)
    )

    Method: for equal and zero rows Zhang et al. (ICLR 2018), section 3.3. Chapter: GrOWL in a network.
    """
    for name, parameter in model.named_parameters():
        _sharded.refuse_sharded(parameter, repr(name), "compact a plain model that was loaded with the whole state")
    with torch.no_grad():
        reference = copy.deepcopy(model).eval()
        expected = reference(example_input)
        if not isinstance(expected, Tensor):
            raise ValueError(f"the model must return one tensor, got {type(expected).__name__}; compact its parts")
        graph = _graph.trace(reference, example_input, LAYERS)
        drafts = _drafts(reference, graph)
        pairs = _graph.pairs(reference, graph, [name for name, draft in drafts.items() if not draft.reason])
        while any([_shrink(reference, drafts, pair) for pair in pairs]):
            pass
        small = copy.deepcopy(reference)
        for pair in pairs:
            for name in pair.norms:
                _replace(small, name, _smaller_norm(small.get_submodule(name), drafts[pair.producer].kept))
        for name, draft in drafts.items():
            if draft.reason and draft.gains():
                warnings.warn(f"compact left {name!r} alone: {draft.reason}", stacklevel=2)
            elif draft.gains():
                _replace(small, name, draft.build(small.get_submodule(name)))
        _compare(small, example_input, expected)
    return small


@dataclass
class _Draft:
    """A layer as it is being rewritten: its dense weight and bias, and which of its outputs are kept."""

    weight: Tensor
    bias: Tensor | None
    kept: Tensor
    shape: torch.Size
    reason: str = ""  # why it must be left alone

    def gains(self) -> bool:
        """Whether anything would become smaller."""
        labels = self.input_groups()
        return self.weight.shape != self.shape or int(labels.max()) + 1 < len(labels)

    def input_groups(self) -> Tensor:
        """Labels of the inputs: equal ones together, -1 for those without weight (but one, which a layer needs)."""
        columns = self.weight.movedim(1, 0).flatten(1)
        alive = columns.any(1)
        if not alive.any():
            alive[0] = True
        labels = torch.full((len(columns),), -1, device=columns.device)
        labels[alive] = _equal_rows(columns[alive])
        return labels

    def build(self, old: nn.Module) -> nn.Module:
        """The small layer; with the sums of its inputs before it, where there are any."""
        labels = self.input_groups()
        k = int(labels.max()) + 1
        if k == len(labels):
            return _layer_like(old, self.weight, self.bias)
        first = torch.stack([(labels == j).nonzero()[0, 0] for j in range(k)])
        layer = _layer_like(old, self.weight.index_select(1, first), self.bias)
        return nn.Sequential(SumInputs(labels, dim=1 - self.weight.ndim), layer)


def _drafts(model: nn.Module, graph: fx.Graph) -> dict[str, _Draft]:
    called = _graph.calls(graph)
    owners: dict[int, int] = {}
    for _, parameter in model.named_parameters(remove_duplicate=False):
        owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    drafts = {}
    for name in dict.fromkeys(called):
        layer = model.get_submodule(name)
        if not isinstance(layer, LAYERS):
            continue
        weight, bias = layer.weight.detach().clone(), None if layer.bias is None else layer.bias.detach().clone()
        draft = _Draft(weight, bias, torch.arange(len(weight), device=weight.device), weight.shape)
        if called.count(name) > 1:
            draft.reason = "it is called more than once"
        elif any(owners[id(p)] > 1 for p in layer.parameters()):
            draft.reason = "it shares a parameter with another layer"
        elif not isinstance(layer, nn.Linear) and layer.groups > 1:
            draft.reason = "it is a convolution in groups"
        elif not isinstance(layer, nn.Linear) and layer.padding_mode != "zeros":
            draft.reason = f"its padding is {layer.padding_mode!r}"
        drafts[name] = draft
    return drafts


def _shrink(model: nn.Module, drafts: dict[str, _Draft], pair: _graph.Pair) -> bool:
    """Drop the neurons of a producer that need not be computed. Whether there were any."""
    producer, consumer = drafts[pair.producer], drafts[pair.consumer]
    channels = len(producer.weight)
    # after Flatten a channel has many features
    columns = consumer.weight.reshape(len(consumer.weight), channels, -1, *consumer.weight.shape[2:]).clone()
    dead = ~columns.movedim(1, 0).flatten(1).any(1)
    drop = dead | _fold_constants(model, producer, consumer, columns, pair)
    same = _equal_neurons(model, producer, pair.norms)
    for group in range(int(same.max()) + 1):
        members = ((same == group) & ~drop).nonzero().flatten()
        if len(members) > 1:
            columns[:, members[0]] = columns[:, members].sum(1)
            drop[members[1:]] = True
    keep = (~drop).nonzero().flatten()
    if not len(keep):
        keep = drop.new_zeros(1, dtype=torch.int64)  # a layer needs one output
        columns[:, 0] = 0
    if len(keep) == channels:
        return False
    consumer.weight = columns[:, keep].flatten(1, 2)
    producer.weight, producer.kept = producer.weight[keep], producer.kept[keep]
    if producer.bias is not None:
        producer.bias = producer.bias[keep]
    return True


def _fold_constants(model: nn.Module, producer: _Draft, consumer: _Draft, columns: Tensor, pair: _graph.Pair) -> Tensor:
    """Move what neurons without weights give to the consumer into its bias; which neurons those are."""
    old = model.get_submodule(pair.consumer)
    constant = ~producer.weight.flatten(1).any(1)
    constant &= columns.movedim(1, 0).flatten(1).any(1)
    if isinstance(old, nn.Linear):
        fed = pair.fed.reshape(-1, pair.fed.shape[-1] // columns.shape[2], columns.shape[2])
    else:
        fed = pair.fed.movedim(1, 0).flatten(1).T[:, :, None]  # one row a sample and position
    for c in constant.nonzero().flatten().tolist():
        values = fed[:, producer.kept[c]]
        at_borders = not isinstance(old, nn.Linear) and old.padding not in ("valid", 0, (0,), (0, 0))
        if not (values == values[0]).all() or (at_borders and values.any()):
            constant[c] = False  # beside the border a convolution sees zeros, not the constant
            continue
        extra = columns[:, c].flatten(2).sum(2) if columns.ndim > 3 else columns[:, c]
        extra = (extra * values[0]).sum(1)
        consumer.bias = extra if consumer.bias is None else consumer.bias + extra
        columns[:, c] = 0
    return constant


def _equal_neurons(model: nn.Module, producer: _Draft, norms: tuple[str, ...]) -> Tensor:
    """Labels of the neurons: equal where weights, bias and batch norm are equal, bit for bit."""
    marks = [producer.weight.flatten(1)]
    if producer.bias is not None:
        marks.append(producer.bias[:, None])
    for name in norms:
        norm: Any = model.get_submodule(name)
        statistics = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        marks += [s.detach()[producer.kept][:, None] for s in statistics if s is not None]
    return _equal_rows(torch.cat(marks, dim=1))


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    model.set_submodule(name, module.eval())


def _equal_rows(matrix: Tensor) -> Tensor:
    """Labels 0..k-1 of the rows; equal rows have one label."""
    labels: Tensor = torch.unique(matrix, dim=0, return_inverse=True)[1]
    return labels


def _layer_like(old: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    layer: nn.Linear | nn.Conv1d | nn.Conv2d
    if isinstance(old, nn.Linear):
        layer = nn.Linear(weight.shape[1], len(weight), bias=bias is not None, device="meta")
    else:
        kind: Any = nn.Conv1d if isinstance(old, nn.Conv1d) else nn.Conv2d
        same = {name: getattr(old, name) for name in ("kernel_size", "stride", "padding", "dilation")}
        layer = kind(weight.shape[1], len(weight), bias=bias is not None, device="meta", **same)
    layer.weight = nn.Parameter(weight.contiguous())
    if bias is not None:
        layer.bias = nn.Parameter(bias)
    return layer


def _smaller_norm(norm: nn.Module, kept: Tensor) -> nn.Module:
    small: Any = copy.deepcopy(norm)
    small.num_features = len(kept)
    for name in ("weight", "bias"):
        if getattr(small, name) is not None:
            setattr(small, name, nn.Parameter(getattr(small, name).detach()[kept]))
    for name in ("running_mean", "running_var"):
        setattr(small, name, getattr(small, name)[kept])
    return small  # type: ignore[no-any-return]


def _compare(small: nn.Module, example_input: Tensor, expected: Tensor) -> None:
    try:
        got = small(example_input)
    except (RuntimeError, AttributeError) as error:
        raise ValueError(
            f"the model's forward does not run with smaller layers ({error}); it may use their sizes, for example in "
            "a view, or their weights: use nn.Flatten, or compact its parts one by one"
        ) from error
    # sums are taken in another order: rounding of thousands of terms, at the size of the outputs; in half precision
    # that would allow anything
    tolerance = min(1000 * torch.finfo(expected.dtype).eps, 0.05) * (1 + float(expected.abs().max()))
    if got.shape != expected.shape or not torch.allclose(got, expected, rtol=0, atol=tolerance, equal_nan=True):
        raise ValueError(
            "the smaller model's outputs differ from the model's; its forward may use the layers' weights itself. "
            "Compact its parts one by one"
        )
