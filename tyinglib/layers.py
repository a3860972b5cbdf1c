r"""The untied twins: layers with a weight of their own where a convolution or a recurrent net has one for all.

A convolution shares its filter over positions, a recurrent net its matrices over time. Untied, every position (every
step) has its own slice along dim 0 of the weight; the shared layer is the same under the tie::

    theta = S phi,   S = (I; I; ...; I):   TieSpec(labels=[0, 0, ..., 0], dim=0)

so ``tie(layer, "weight", layer.tie_spec())`` turns the untied layer into the shared one, and the gradient of the
shared filter is the sum over positions.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tyinglib import selection, tying
from tyinglib.tying import TieSpec, tie, tie_specs


class _LocallyConnected(nn.Module):
    """What the one- and the two-dimensional layer have in common; positions are numbered row by row."""

    ndim: int
    kind: Any  # torch's convolution

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        input_size: int | tuple[int, ...],
        kernel_size: int | tuple[int, ...],
        *,
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = _whole("in_channels", in_channels, 1)
        self.out_channels = _whole("out_channels", out_channels, 1)
        self.input_size = self._sizes("input_size", input_size, 1)
        self.kernel_size = self._sizes("kernel_size", kernel_size, 1)
        self.stride = self._sizes("stride", stride, 1)
        self.padding = self._sizes("padding", padding, 0)
        self.dilation = self._sizes("dilation", dilation, 1)
        self.output_size = tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(
                self.input_size, self.padding, self.dilation, self.kernel_size, self.stride, strict=True
            )
        )
        if min(self.output_size) < 1:
            raise ValueError(
                f"an input of size {self.input_size} with padding {self.padding} is smaller than the kernel "
                f"{self.kernel_size} with dilation {self.dilation}"
            )
        positions = math.prod(self.output_size)
        shape = (positions, self.out_channels, self.in_channels, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(shape[:2], device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights and biases as torch's convolutions do, each position its own."""
        bound = 1 / math.sqrt(self.in_channels * math.prod(self.kernel_size))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def tie_spec(self) -> TieSpec:
        """The tie that makes this layer a convolution: all positions one group.

        Returns
        -------
        TieSpec
            For the weight and for the bias, along dim 0.
        """
        return TieSpec(torch.zeros(math.prod(self.output_size), dtype=torch.int64), dim=0)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to each position its own filter.

        Parameters
        ----------
        x
            ``(N, in_channels, *input_size)``, or without N.

        Returns
        -------
        Tensor
            ``(N, out_channels, *output_size)``, or without N.

        Raises
        ------
        ValueError
            If the input has another shape.
        """
        batched = x if x.ndim == self.ndim + 2 else x[None]
        if batched.shape[1:] != (self.in_channels, *self.input_size):
            expected = (self.in_channels, *self.input_size)
            raise ValueError(f"expected an input (N, {str(expected)[1:-1]}), or without N, got {tuple(x.shape)}")
        patches = self._unfold(batched)  # (N, in * kernel, positions)
        weight = self.weight.flatten(2)  # (positions, out, in * kernel)
        result = torch.bmm(weight, patches.permute(2, 1, 0))  # (positions, out, N)
        if self.bias is not None:
            result = result + self.bias[:, :, None]
        result = result.permute(2, 1, 0).reshape(len(batched), self.out_channels, *self.output_size)
        return result if x.ndim == self.ndim + 2 else result[0]

    def _unfold(self, x: Tensor) -> Tensor:
        flat = x if self.ndim == 2 else x[:, :, None]  # F.unfold knows images only
        one, zero = ((1,), (0,)) if self.ndim == 1 else ((), ())
        return F.unfold(
            flat,
            one + self.kernel_size,
            dilation=one + self.dilation,
            padding=zero + self.padding,
            stride=one + self.stride,
        )

    def to_conv(self) -> nn.Module:
        """The nearest convolution: the mean over positions, exact for a tied layer.

        Returns
        -------
        Module
            A `torch.nn.Conv1d` or `torch.nn.Conv2d` with parameters of its own.
        """
        conv: nn.Module = self.kind(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            bias=self.bias is not None,
            device="meta",
        )
        labels = self.tie_spec().labels
        conv.weight = nn.Parameter(selection.group_means(self.weight.detach(), labels)[0])
        if self.bias is not None:
            conv.bias = nn.Parameter(selection.group_means(self.bias.detach(), labels)[0])
        return conv

    @classmethod
    def _from(cls, conv: Any, input_size: int | tuple[int, ...]) -> Any:
        if not isinstance(conv, cls.kind):
            raise ValueError(f"expected a torch.nn.{cls.kind.__name__}, got {conv!r}")
        if conv.groups != 1 or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            raise ValueError(
                "expected a convolution with groups=1, padding_mode='zeros' and padding in numbers, "
                f"got groups={conv.groups}, padding_mode={conv.padding_mode!r}, padding={conv.padding!r}"
            )
        layer = cls(
            conv.in_channels,
            conv.out_channels,
            input_size,
            conv.kernel_size,
            stride=conv.stride,
            padding=conv.padding,
            dilation=conv.dilation,
            bias=conv.bias is not None,
            device=conv.weight.device,
            dtype=conv.weight.dtype,
        )
        with torch.no_grad():
            layer.weight.copy_(conv.weight.expand_as(layer.weight))
            if layer.bias is not None:
                layer.bias.copy_(conv.bias.expand_as(layer.bias))
        return layer

    def _sizes(self, name: str, value: Any, low: int) -> tuple[int, ...]:
        values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * self.ndim
        if len(values) != self.ndim:
            raise ValueError(f"{name} must be one whole number, or {self.ndim}, got {value!r}")
        return tuple(_whole(name, v, low) for v in values)

    def extra_repr(self) -> str:
        """The sizes, for print(model). As `torch.nn.Module.extra_repr`."""
        return (
            f"{self.in_channels}, {self.out_channels}, input_size={self.input_size}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, bias={self.bias is not None}"
        )


class LocallyConnected1d(_LocallyConnected):
    """A one-dimensional convolution whose filter is not shared: each position has its own.

    Parameters
    ----------
    in_channels, out_channels
        >= 1.
    input_size
        The length of the input; the number of positions follows from it.
    kernel_size, stride, padding, dilation, bias
        As for `torch.nn.Conv1d`; padding with zeros.
    device, dtype
        Of the parameters: weight (positions, out, in, kernel), bias (positions, out).

    Raises
    ------
    ValueError
        If a size is no whole number in its range, or the kernel is larger than the padded input; in forward, if the
        input has another shape.

    Examples
    --------
    >>> layer = LocallyConnected1d(1, 4, input_size=10, kernel_size=3)
    >>> layer.weight.shape, layer(torch.zeros(2, 1, 10)).shape
    (torch.Size([8, 4, 1, 3]), torch.Size([2, 4, 8]))
    >>> _ = tie(layer, "weight", layer.tie_spec())  # now a convolution

    Reference: LeCun (1989), Net3 and Net4. Chapter: Convolution.
    """

    ndim = 1
    kind = nn.Conv1d

    @classmethod
    def from_conv(cls, conv: nn.Conv1d, input_size: int) -> LocallyConnected1d:
        """The untied twin of a convolution: the same outputs, a copy of the filter at each position.

        Parameters
        ----------
        conv
            With one group, and padding with zeros, given in numbers.
        input_size
            The length of the input.

        Returns
        -------
        LocallyConnected1d
            On the convolution's device, of its dtype.

        Raises
        ------
        ValueError
            If it is another layer or another kind of convolution, `input_size` is no whole number >= 1, or the kernel
            is larger than the padded input.
        """
        layer: LocallyConnected1d = cls._from(conv, input_size)
        return layer


class LocallyConnected2d(_LocallyConnected):
    """A two-dimensional convolution whose filter is not shared: each position has its own.

    Parameters
    ----------
    in_channels, out_channels
        >= 1.
    input_size
        (height, width) of the input, or one number for both; the number of positions follows from it.
    kernel_size, stride, padding, dilation, bias
        As for `torch.nn.Conv2d`; padding with zeros.
    device, dtype
        Of the parameters: weight (positions, out, in, height, width), bias (positions, out); positions row by row.

    Raises
    ------
    ValueError
        As `LocallyConnected1d`.

    Examples
    --------
    >>> conv = nn.Conv2d(3, 4, 3, padding=1)
    >>> layer = LocallyConnected2d.from_conv(conv, (8, 6))
    >>> layer.weight.shape, torch.allclose(layer(torch.ones(2, 3, 8, 6)), conv(torch.ones(2, 3, 8, 6)), atol=1e-6)
    (torch.Size([48, 4, 3, 3, 3]), True)

    Reference: LeCun (1989), Net3 and Net4. Chapter: Convolution.
    """

    ndim = 2
    kind = nn.Conv2d

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, input_size: int | tuple[int, int]) -> LocallyConnected2d:
        """The untied twin of a convolution: the same outputs, a copy of the filter at each position.

        Parameters
        ----------
        conv
            With one group, and padding with zeros, given in numbers.
        input_size
            (height, width) of the input, or one number for both.

        Returns
        -------
        LocallyConnected2d
            On the convolution's device, of its dtype.

        Raises
        ------
        ValueError
            As `LocallyConnected1d.from_conv`.
        """
        layer: LocallyConnected2d = cls._from(conv, input_size)
        return layer


CELLS = {"elman": (nn.RNN, 1), "lstm": (nn.LSTM, 4), "gru": (nn.GRU, 3)}  # torch's layer, and its gates


class UnrolledRNN(nn.Module):
    """A recurrent net whose weights are not shared over time: a feedforward net with an input at each layer.

    Parameters
    ----------
    input_size, hidden_size
        >= 1.
    steps
        How many steps have weights.
    cell
        ``"elman"``, ``"lstm"`` or ``"gru"``, with torch's equations and order of gates.
    nonlinearity
        For elman: ``"tanh"`` or ``"relu"``.
    bias
        Whether there are biases.
    batch_first
        Inputs (N, T, input_size) instead of (T, N, input_size).
    device, dtype
        Of the parameters: weight_ih (steps, gates * hidden, input), weight_hh (steps, gates * hidden, hidden),
        bias_ih and bias_hh (steps, gates * hidden).

    Raises
    ------
    ValueError
        If a size or the cell is not one of these; in forward, if an input has another size, or is longer or shorter
        than `steps` while the weights are not all tied over time.

    Examples
    --------
    >>> layer = UnrolledRNN(3, 5, steps=7)
    >>> output, last = layer(torch.zeros(7, 2, 3))
    >>> output.shape, last.shape
    (torch.Size([7, 2, 5]), torch.Size([1, 2, 5]))
    >>> output, last = layer.tie_over_time()(torch.zeros(100, 2, 3))  # tied, it runs on

    Reference: Goodfellow, Bengio and Courville (2016), section 10.1: unfolding. Chapter: Recurrence.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        steps: int,
        *,
        cell: str = "elman",
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f'nonlinearity must be "tanh" or "relu", got {nonlinearity!r}')
        self.input_size = _whole("input_size", input_size, 1)
        self.hidden_size = _whole("hidden_size", hidden_size, 1)
        self.steps = _whole("steps", steps, 1)
        self.cell, self.nonlinearity, self.batch_first = cell, nonlinearity, batch_first
        rows = CELLS[cell][1] * hidden_size

        def free(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(steps, rows, *shape, device=device, dtype=dtype))

        self.weight_ih, self.weight_hh = free(input_size), free(hidden_size)
        self.bias_ih: nn.Parameter | None = free() if bias else None
        self.bias_hh: nn.Parameter | None = free() if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters as torch's recurrent layers do, each step its own."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def tie_spec(self) -> TieSpec:
        """The tie that makes this layer recurrent: all steps one group.

        Returns
        -------
        TieSpec
            For every parameter, along dim 0.
        """
        return TieSpec(torch.zeros(self.steps, dtype=torch.int64), dim=0)

    def tie_over_time(self) -> UnrolledRNN:
        """Tie every parameter over time; those that are so already stay. Build the optimizer afterwards.

        Returns
        -------
        UnrolledRNN
            The same layer.

        Raises
        ------
        ValueError
            If a parameter holds NaN or infinite values, or is tied in another way. The layer is left as it was.
        """
        spec, found = self.tie_spec(), tie_specs(self)
        names = [name for name in self._names() if found.get(name) != spec]
        for name in names:  # before any is tied: if one is refused, none is
            if not torch.isfinite(tying._own_parameter(self, name)).all():
                raise ValueError(f"{name!r} holds NaN or infinite values; find where training diverged before tying")
        for name in names:
            tie(self, name, spec)
        return self

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """The outputs and the last state, with the shapes of `torch.nn.RNN`, `LSTM` or `GRU` with one layer.

        Parameters
        ----------
        x
            (T, N, input_size), with `batch_first` (N, T, input_size), or (T, input_size).
        state
            (1, N, hidden_size), or (1, hidden_size) without N; for lstm two of them. None: zeros.

        Returns
        -------
        output : Tensor
            The state after every step, of the shape of x but with hidden_size.
        last : Tensor or tuple
            The last state, of the shape of `state`.

        Raises
        ------
        ValueError
            If x is no tensor, x or the state has another shape, or x has no step, or another number of them than there
            are weights for, while these are not all tied over time.
        """
        if not isinstance(x, Tensor):
            raise ValueError(f"expected a tensor, got {type(x).__name__}; packed sequences must be padded")
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            order = "N, T" if self.batch_first else "T, N"
            raise ValueError(
                f"expected an input ({order}, {self.input_size}) or (T, {self.input_size}), got {tuple(x.shape)}"
            )
        batched = x[:, None] if x.ndim == 2 else x.transpose(0, 1) if self.batch_first else x
        length = len(batched)
        parameters = {name: getattr(self, name) for name in self._names()}  # read once: a tied one expands
        if length == 0:
            raise ValueError(f"expected a sequence of at least one step, got shape {tuple(x.shape)}")
        if length != self.steps and not self._is_tied_over_time():
            raise ValueError(
                f"there are weights for {self.steps} steps, and the sequence has {length}; only a layer that is tied "
                "over time can run on: tie_over_time()"
            )
        h, c = self._start(batched, state, x.ndim == 2)
        outputs = []
        for t in range(length):
            step = {name: p[min(t, self.steps - 1)] for name, p in parameters.items()}
            h, c = self._step(batched[t], h, c, step)
            outputs.append(h)
        output = torch.stack(outputs)
        if x.ndim == 2:
            output, last = output[:, 0], [s for s in (h, c) if s is not None]
        else:
            output = output.transpose(0, 1) if self.batch_first else output
            last = [s[None] for s in (h, c) if s is not None]
        return output, last[0] if self.cell != "lstm" else tuple(last)

    def _is_tied_over_time(self) -> bool:
        specs = tie_specs(self)
        return all(specs.get(name) == self.tie_spec() for name in self._names())

    def _start(self, x: Tensor, state: Any, unbatched: bool) -> tuple[Tensor, Tensor | None]:
        shape = (x.shape[1], self.hidden_size)
        given = () if state is None else tuple(state) if isinstance(state, (tuple, list)) else (state,)
        wanted = 2 if self.cell == "lstm" else 1
        if given and len(given) != wanted:
            raise ValueError(f"the state of {self.cell!r} has {wanted} tensor{'s' * (wanted > 1)}, got {len(given)}")
        expected = (1, shape[1]) if unbatched else (1, *shape)
        for s in given:
            if s.shape != expected:
                raise ValueError(f"expected a state of shape {expected}, got {tuple(s.shape)}")
        h = given[0].reshape(shape) if given else x.new_zeros(shape)
        if self.cell != "lstm":
            return h, None
        return h, given[1].reshape(shape) if given else x.new_zeros(shape)

    def _step(self, x: Tensor, h: Tensor, c: Tensor | None, p: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        from_input = F.linear(x, p["weight_ih"], p.get("bias_ih"))
        from_state = F.linear(h, p["weight_hh"], p.get("bias_hh"))
        if self.cell == "elman":
            total = from_input + from_state
            return (torch.tanh(total) if self.nonlinearity == "tanh" else torch.relu(total)), None
        if self.cell == "lstm":
            assert c is not None
            i, f, g, o = (from_input + from_state).chunk(4, dim=-1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            return torch.sigmoid(o) * torch.tanh(c), c
        (r, z, n), (r_h, z_h, n_h) = from_input.chunk(3, dim=-1), from_state.chunk(3, dim=-1)
        z = torch.sigmoid(z + z_h)
        candidate = torch.tanh(n + torch.sigmoid(r + r_h) * n_h)
        return (1 - z) * candidate + z * h, None

    def _names(self) -> list[str]:
        return ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if self.bias_ih is not None else [])]

    @classmethod
    def from_rnn(cls, rnn: nn.RNN | nn.LSTM | nn.GRU, steps: int) -> UnrolledRNN:
        """The untied twin of a recurrent layer: the same outputs, a copy of its weights at each step.

        Parameters
        ----------
        rnn
            With one layer, one direction, and no projection.
        steps
            How many steps get weights.

        Returns
        -------
        UnrolledRNN
            On the layer's device, of its dtype.

        Raises
        ------
        ValueError
            If it is no such layer, or `steps` is no whole number >= 1.
        """
        cell = next((name for name, (kind, _) in CELLS.items() if type(rnn) is kind), None)
        if cell is None or rnn.num_layers != 1 or rnn.bidirectional or rnn.proj_size:
            raise ValueError(
                f"expected nn.RNN, nn.LSTM or nn.GRU with one layer, one direction and no projection, got {rnn!r}"
            )
        first: Any = rnn.weight_ih_l0
        layer = cls(
            rnn.input_size,
            rnn.hidden_size,
            steps,
            cell=cell,
            nonlinearity=getattr(rnn, "nonlinearity", "tanh"),
            bias=rnn.bias,
            batch_first=rnn.batch_first,
            device=first.device,
            dtype=first.dtype,
        )
        with torch.no_grad():
            for name in layer._names():
                parameter = getattr(layer, name)
                parameter.copy_(getattr(rnn, f"{name}_l0").expand_as(parameter))
        return layer

    def to_rnn(self) -> nn.RNN | nn.LSTM | nn.GRU:
        """The nearest recurrent layer: the mean over steps, exact for a layer that is tied over time.

        Returns
        -------
        torch.nn.RNN, torch.nn.LSTM or torch.nn.GRU
            Torch's layer, with parameters of its own.
        """
        kind: Any = CELLS[self.cell][0]
        extra = {"nonlinearity": self.nonlinearity} if self.cell == "elman" else {}
        biased = self.bias_ih is not None
        weight = self.weight_ih
        rnn: nn.RNN | nn.LSTM | nn.GRU = kind(
            self.input_size, self.hidden_size, bias=biased, batch_first=self.batch_first, **extra
        ).to(weight)
        with torch.no_grad():
            for name in self._names():
                mean = selection.group_means(getattr(self, name).detach(), self.tie_spec().labels)[0]
                getattr(rnn, f"{name}_l0").copy_(mean)
        return rnn

    def extra_repr(self) -> str:
        """The sizes, for print(model). As `torch.nn.Module.extra_repr`."""
        return f"{self.input_size}, {self.hidden_size}, steps={self.steps}, cell={self.cell!r}"


def _whole(name: str, value: Any, low: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{name} must be a whole number >= {low}, got {value!r}")
    return value
