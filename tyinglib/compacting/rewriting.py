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
import itertools
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tyinglib import _sharded
from tyinglib.compacting import _channels, _graph, _left_alone, _same_outputs
from tyinglib.compacting._channels import Trail
from tyinglib.compacting._drafts import LAYERS, Draft, is_plain, shrink
from tyinglib.compacting._inputs import Inputs

RANDOM_INPUTS = 3  # with one sample each, a neuron that is off on one may be on on another


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


def compact(model: nn.Module, example_input: Any) -> nn.Module:
    """A smaller copy of a tied or pruned model, with the same outputs to rounding.

    Parameters
    ----------
    model
        `nn.Sequential`, or any module whose forward `torch.fx` can trace: Linear, Conv1d and Conv2d layers (tied
        or not), BatchNorm, elementwise activations, pooling, Dropout and Flatten between them. Other parts stay as
        they are. A single layer will do.
    example_input
        One input to the model, of any batch size, on its device; for a model with several, a tuple of its arguments
        or a dict of its keyword arguments. Shapes are taken from it. The outputs of both models are compared on it,
        and on random values of its shapes, dtypes and ranges (any value, where it holds but one).

    Returns
    -------
    Module
        A copy in eval mode, for inference. The parameters of the layers that were rewritten are new, and no longer
        tied; those that other layers share stay shared. The model itself is left as it was.

    Raises
    ------
    ValueError
        If the model cannot be copied, does not run on the example, or cannot be traced by torch.fx; if it returns
        something else than tensors, or tuples, lists, dicts or dataclasses of them; if the outputs would change (a
        forward that depends on layer sizes) or change from call to call; if the model is sharded over processes, on the
        meta device, or has layers that get their weights at the first call.

    Warns
    -----
    UserWarning
        For each layer that could be smaller but is left alone, or with all its outputs, with the reason: a forward
        that is not torch's own, a hook, a weight used elsewhere, a sum or a product behind it. For each other module
        whose weight has slices of zeros or equal ones. If the model does not run on random values.

    Notes
    -----
    A hook is one that sees a layer's calls (forward or backward); also one that only keeps what it sees stops the
    rewriting, for it would see something smaller. Hooks of the whole model stay. Hooks on every module of the process,
    and those of `state_dict`, are not looked at.

    Examples
    --------
    >>> from tyinglib import TieSpec, tie
    >>> model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> _ = tie(model[0], "weight", TieSpec([0, 0, 1, 1, -1, -1], dim=1))
    >>> compact(model, torch.randn(1, 6))[0]
    Sequential(
      (0): SumInputs(read=4, groups=2, dim=-1)
      (1): Linear(in_features=2, out_features=4, bias=True)
    )

    Method: for equal and zero rows Zhang et al. (ICLR 2018), section 3.3. Chapter: GrOWL in a network.
    """
    inputs = Inputs.of(example_input)
    if inputs.tensors() and not any(x.numel() for x in inputs.tensors()):
        raise ValueError("example_input holds no values; give at least one sample")
    _refuse_without_values(model)
    single = isinstance(model, LAYERS)
    whole = nn.Sequential(model) if single else model  # a layer that can be found by name
    with torch.no_grad():
        runs, expected = _expected(_copied(whole), inputs)
        small, read = _copied(whole), _copied(whole)
        graph = _graph.trace(read, inputs, LAYERS)
        drafts = {
            name: Draft.of(layer, _left_alone.reason(read, graph, name))
            for name, layer in read.named_modules()
            if isinstance(layer, LAYERS) and is_plain(layer.weight)
        }
        trails = _channels.trails(read, graph, {name: draft.reason for name, draft in drafts.items()})
        pairs = [trail for trail in trails if trail.consumer and not drafts[trail.producer].reason]
        while any([shrink(read, drafts, pair) for pair in pairs]):
            pass
        _rewrite(small, drafts, pairs)
        _compare(whole, small, runs, expected)
        for name, what in _left_alone.named(read, drafts, trails):
            who = "the model" if single or not name else repr(name)
            warnings.warn(f"compact left {who} {what}", stacklevel=2)
    return next(small.children()) if single else small


def _refuse_without_values(model: nn.Module) -> None:
    for name, value in itertools.chain(model.named_parameters(), model.named_buffers()):
        _sharded.refuse_sharded(value, repr(name), "compact a plain model that was loaded with the whole state")
        if is_lazy(value) or value.is_meta:
            why = "gets them at the first call; call the model once" if is_lazy(value) else "is on the meta device"
            raise ValueError(f"{name!r} has no values: it {why}")


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model).eval()
    except Exception as error:
        raise ValueError(
            f"the model cannot be copied ({error}); make plain parameters of what torch.nn.utils.prune, weight_norm or "
            "spectral_norm compute, for example with prune.remove(layer, 'weight')"
        ) from error


def _expected(model: nn.Module, inputs: Inputs) -> tuple[list[Inputs], list[dict[str, Any]]]:
    """The example and random inputs, and what the model gives for each."""
    try:
        first = _same_outputs.called(model, inputs)
    except Exception as error:
        raise ValueError(
            f"the model does not run on example_input ({error}); give a tensor on its device, a tuple of its arguments "
            "or a dict of its keyword arguments"
        ) from error
    runs, expected = [inputs], [_same_outputs.parts(first)]
    for seed in range(RANDOM_INPUTS):
        inputs = inputs.random(seed)
        try:
            expected.append(_same_outputs.parts(_same_outputs.called(model, inputs)))
        except Exception as error:
            text = f"the model does not run on random values of its shapes, dtypes and ranges ({error})"
            warnings.warn(f"compact compared the outputs on the example alone: {text}", stacklevel=3)
            break
        runs.append(inputs)
    return runs, expected


def _rewrite(small: nn.Module, drafts: dict[str, Draft], pairs: list[Trail]) -> None:
    for pair in pairs:
        kept = drafts[pair.producer].kept
        for name in pair.norms:
            norm: Any = small.get_submodule(name)
            if len(kept) < norm.num_features:
                _become(norm, _smaller_norm(norm, kept))
    for name, draft in drafts.items():
        if not draft.reason and draft.gains():
            layer = small.get_submodule(name)
            _become(layer, _build(draft, layer))


def _become(old: nn.Module, new: nn.Module) -> None:
    """Make a module another one: whoever holds it, under whatever name or in a list, then holds the new one."""
    old.__class__ = type(new)
    vars(old).clear()
    vars(old).update(vars(new.eval()))


def _build(draft: Draft, old: nn.Module) -> nn.Module:
    """The small layer; with the sums of its inputs before it, where there are any."""
    labels = draft.input_groups()
    k = int(labels.max()) + 1
    if k == len(labels):
        return _layer_like(old, draft.weight, draft.bias)
    first = torch.stack([(labels == j).nonzero()[0, 0] for j in range(k)])
    layer = _layer_like(old, draft.weight.index_select(1, first), draft.bias)
    return nn.Sequential(SumInputs(labels, dim=1 - draft.weight.ndim), layer)


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


def _smaller_norm(norm: Any, kept: Tensor) -> nn.Module:
    kind = nn.BatchNorm1d if isinstance(norm, nn.BatchNorm1d) else nn.BatchNorm2d
    small = kind(len(kept), norm.eps, norm.momentum, affine=False, device="meta")
    for name in ("weight", "bias"):
        value = getattr(norm, name)
        setattr(small, name, None if value is None else nn.Parameter(value.detach()[kept]))
    for name in ("running_mean", "running_var"):
        setattr(small, name, getattr(norm, name)[kept])
    small.num_batches_tracked = norm.num_batches_tracked
    small.affine = norm.affine
    return small


def _compare(model: nn.Module, small: nn.Module, runs: list[Inputs], expected: list[dict[str, Any]]) -> None:
    try:
        got = [_same_outputs.parts(_same_outputs.called(small, run)) for run in runs]
    except Exception as error:
        raise ValueError(
            f"the model's forward does not run with smaller layers ({error}); it may use their sizes, for example in "
            "a view, or their weights: use nn.Flatten, or compact its parts one by one"
        ) from error
    if _same_outputs.same(got, expected, model):
        return
    again = _copied(model)
    if not _same_outputs.same([_same_outputs.parts(_same_outputs.called(again, run)) for run in runs], expected, model):
        raise ValueError(
            "the model gives other outputs each time for the same input, so that a smaller one cannot be compared "
            "with it; turn off what is random in eval mode too, for example F.dropout without training=self.training"
        )
    raise ValueError(
        "the smaller model's outputs differ from the model's; its forward may use the layers' sizes or weights itself. "
        "Compact its parts one by one"
    )
