r"""The untied twin of a convolution: a weight of its own at every position.

A convolution shares its filter over positions. Untied, every position has its own slice along dim 0 of the weight;
the convolution is the same layer under the tie::

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

from tyinglib import selection
from tyinglib._checks import check_whole
from tyinglib.tying import TieSpec


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
        self.in_channels = check_whole("in_channels", in_channels, 1)
        self.out_channels = check_whole("out_channels", out_channels, 1)
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
        conv.weight = nn.Parameter(selection.group_means(self.weight.detach(), labels, dim=0)[0])
        if self.bias is not None:
            conv.bias = nn.Parameter(selection.group_means(self.bias.detach(), labels, dim=0)[0])
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
        return tuple(check_whole(name, v, low) for v in values)

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
    >>> from tyinglib import tie
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
