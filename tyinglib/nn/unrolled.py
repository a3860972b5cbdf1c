r"""The untied twin of a recurrent net: matrices of its own at every step.

Every step has its own slice along dim 0 of the weight; the recurrent net is the same layer under the tie of
`UnrolledRNN.tie_over_time`: theta = S phi with S = (I; I; ...; I).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tyinglib import selection
from tyinglib._checks import check_whole
from tyinglib.tying import TieSpec, _places, tie, tie_specs

Cell = Literal["elman", "lstm", "gru"]
CELLS: dict[Cell, tuple[type[nn.RNNBase], int]] = {  # torch's layer, and its gates
    "elman": (nn.RNN, 1),
    "lstm": (nn.LSTM, 4),
    "gru": (nn.GRU, 3),
}


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
        cell: Cell = "elman",
        nonlinearity: Literal["tanh", "relu"] = "tanh",
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
        self.input_size = check_whole("input_size", input_size, 1)
        self.hidden_size = check_whole("hidden_size", hidden_size, 1)
        self.steps = check_whole("steps", steps, 1)
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
            if not torch.isfinite(_places.parameter_at(_places.find(self, name))).all():
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
                mean = selection.group_means(getattr(self, name).detach(), self.tie_spec().labels, dim=0)[0]
                getattr(rnn, f"{name}_l0").copy_(mean)
        return rnn

    def extra_repr(self) -> str:
        """The sizes, for print(model). As `torch.nn.Module.extra_repr`."""
        return f"{self.input_size}, {self.hidden_size}, steps={self.steps}, cell={self.cell!r}"
