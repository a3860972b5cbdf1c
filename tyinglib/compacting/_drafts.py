"""Which inputs and outputs of a layer are needed: by its weights and those of the layer that reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tyinglib.compacting._channels import Trail

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


@dataclass
class Draft:
    """A layer's dense weight and bias as far as they are needed, and which of its outputs are kept."""

    weight: Tensor
    bias: Tensor | None
    kept: Tensor
    shape: torch.Size
    reason: str  # why it must be left alone, or ""

    @staticmethod
    def of(layer: nn.Module, reason: str) -> Draft:
        """The whole layer."""
        bias: Any = layer.bias
        weight: Any = layer.weight.detach().clone()  # type: ignore[operator]
        bias = None if bias is None else bias.detach().clone()
        return Draft(weight, bias, torch.arange(len(weight), device=weight.device), weight.shape, reason)

    def gains(self) -> bool:
        """Whether the layer would become smaller."""
        labels = self.input_groups()
        return self.weight.shape != self.shape or int(labels.max()) + 1 < len(labels)

    def dead_inputs(self) -> Tensor:
        """(inputs,) bool: which have no weight."""
        return ~self.weight.movedim(1, 0).flatten(1).any(1)

    def input_groups(self) -> Tensor:
        """Labels of the inputs: equal ones together, -1 for those without weight (but one, which a layer needs)."""
        alive = ~self.dead_inputs()
        if not alive.any():
            alive[0] = True
        labels = torch.full((len(alive),), -1, device=alive.device)
        labels[alive] = equal_rows(self.weight.movedim(1, 0).flatten(1)[alive])
        return labels


def shrink(model: nn.Module, drafts: dict[str, Draft], trail: Trail) -> bool:
    """Drop the neurons of a producer that need not be computed. Whether there were any."""
    assert trail.consumer is not None
    producer, consumer = drafts[trail.producer], drafts[trail.consumer]
    channels = len(producer.weight)
    # after Flatten a channel has many features
    columns = consumer.weight.reshape(len(consumer.weight), channels, -1, *consumer.weight.shape[2:]).clone()
    dead = ~columns.movedim(1, 0).flatten(1).any(1)
    drop = dead | _fold_constants(model, producer, consumer, columns, trail)
    same = equal_neurons(model, producer, trail.norms)
    for group in range(int(same.max()) + 1):
        members = ((same == group) & ~drop).nonzero().flatten()
        if len(members) > 1:
            columns[:, members[0]] = columns[:, members].sum(1)
            drop[members[1:]] = True
    keep = (~drop).nonzero().flatten()
    if not len(keep):
        keep = drop.new_zeros(1, dtype=torch.int64)  # a layer needs one output
        columns[:, 0] = 0
    consumer.weight = columns[:, keep].flatten(1, 2)
    producer.weight, producer.kept = producer.weight[keep], producer.kept[keep]
    if producer.bias is not None:
        producer.bias = producer.bias[keep]
    return len(keep) < channels


def _fold_constants(model: nn.Module, producer: Draft, consumer: Draft, columns: Tensor, trail: Trail) -> Tensor:
    """Move what neurons without weights give to the consumer into its bias; which neurons those are."""
    assert trail.consumer is not None
    assert trail.fed is not None
    old = model.get_submodule(trail.consumer)
    constant = ~producer.weight.flatten(1).any(1)
    constant &= columns.movedim(1, 0).flatten(1).any(1)
    if isinstance(old, nn.Linear):
        fed = trail.fed.reshape(-1, trail.fed.shape[-1] // columns.shape[2], columns.shape[2])
    else:
        fed = trail.fed.movedim(1, 0).flatten(1).T[:, :, None]  # one row a sample and position
    for c in constant.nonzero().flatten().tolist():
        values = fed[:, producer.kept[c]]
        padded = not isinstance(old, nn.Linear) and old.padding not in ("valid", 0, (0,), (0, 0))
        if not len(values) or not (values == values[0]).all() or ((padded or trail.borders) and values.any()):
            constant[c] = False  # beside a border zeros are seen, not the constant
            continue
        extra = columns[:, c].flatten(2).sum(2) if columns.ndim > 3 else columns[:, c]
        extra = (extra * values[0]).sum(1)
        consumer.bias = extra if consumer.bias is None else consumer.bias + extra
        columns[:, c] = 0
    return constant


def equal_neurons(model: nn.Module, producer: Draft, norms: tuple[str, ...]) -> Tensor:
    """Labels of the neurons: equal where weights, bias and batch norm are equal, bit for bit."""
    marks = [producer.weight.flatten(1)]
    if producer.bias is not None:
        marks.append(producer.bias[:, None])
    for name in norms:
        norm: Any = model.get_submodule(name)
        statistics = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        marks += [s.detach()[producer.kept][:, None] for s in statistics if s is not None]
    return equal_rows(torch.cat(marks, dim=1))


def equal_rows(matrix: Tensor) -> Tensor:
    """Labels 0..k-1 of the rows; equal rows have one label."""
    if matrix.is_complex():
        matrix = torch.view_as_real(matrix).flatten(1)
    labels: Tensor = torch.unique(matrix, dim=0, return_inverse=True)[1]
    return labels


def is_plain(weight: Tensor) -> bool:
    """Whether a weight is dense floating-point numbers; what is sparse or quantized is not looked at."""
    dense = type(weight) in (Tensor, nn.Parameter) and weight.layout is torch.strided
    return dense and (weight.is_floating_point() or weight.is_complex())
