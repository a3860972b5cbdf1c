"""The parametrization of a tied weight: what the layer reads is S phi, what it holds is phi."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from tyinglib import _maps, selection
from tyinglib.tying.spec import TieSpec


class Tie(nn.Module):
    """The parametrization that `tie` registers: codebook -> weight.

    Its `right_inverse` is the group mean, so assigning any weight to a tied layer stores the nearest
    tied one.

    Parameters
    ----------
    spec
        The groups. Their labels become a buffer, and so do their factors, if there are any.
    codebook_dim
        The dimension of the codebook along which its slices lie, where that is another than the weight's: a codebook
        may feed the columns of one weight and the rows of another. By default it is the spec's.

    Examples
    --------
    >>> import torch
    >>> Tie(TieSpec([0, 0, 1], dim=0))(torch.tensor([5.0, 7.0]))
    tensor([5., 5., 7.])

    Chapter: One idea.
    """

    labels: Tensor
    factors: Tensor | None

    def __init__(self, spec: TieSpec, *, codebook_dim: int | None = None) -> None:
        super().__init__()
        self.dim = spec.dim
        self.codebook_dim = spec.dim if codebook_dim is None or spec.dim is None else codebook_dim
        self.n_groups = spec.n_groups
        self.register_buffer("labels", spec.labels)
        self.register_buffer("factors", spec.factors)
        self._start: Tensor | None = None
        self._aside: tuple[Tensor | None, ...] | None = None

    def spec(self) -> TieSpec:
        """The groups, as they are now.

        Returns
        -------
        TieSpec
            Equal to the one it was made of, as long as no state with others was loaded.

        Raises
        ------
        ValueError
            If a state was loaded whose labels are no groups.

        Examples
        --------
        >>> Tie(TieSpec([0, 0, 1], dim=0)).spec()
        TieSpec(n=3, n_groups=2, pruned=0, dim=0)

        Chapter: One idea.
        """
        return TieSpec(self.labels, self.dim, factors=self.factors, n_groups=self.n_groups)

    def forward(self, codebook: Tensor) -> Tensor:
        """S phi: the weight that the layer uses.

        Parameters
        ----------
        codebook
            phi, with k slices along the dimension of the spec (`codebook_dim`, if it was given); for ``dim=None`` of
            shape (k,).

        Returns
        -------
        Tensor
            theta, with n slices; for ``dim=None`` of the labels' shape.
        """
        if self.dim is not None and self.codebook_dim is not None and self.codebook_dim != self.dim:
            codebook = codebook.movedim(self.codebook_dim, self.dim)
        return _maps.expand(codebook, self.labels, self.dim, self.factors)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The codebook nearest to a weight: `selection.group_means`.

        Parameters
        ----------
        weight
            theta, with n slices along the dimension of the spec; for ``dim=None`` of the labels' shape.

        Returns
        -------
        Tensor
            phi, with k slices; for ``dim=None`` of shape (k,).

        Raises
        ------
        ValueError
            If the weight does not fit the labels, or does not say what a group is that only other weights use.
        """
        if self._start is not None:
            return self._start
        if self.labels.is_meta:
            raise ValueError("the tied layer is on the meta device, and has no labels to take means by; to_empty first")
        selection.check_fit(weight, self.labels, self.dim, sliced=True, n_groups=self.n_groups)
        if not _maps.squares(self.labels, self.n_groups).all():
            raise ValueError(
                "this weight uses only some groups of its codebook, and assigning to it does not say what the others "
                "are; assign to the codebook: parametrizations.<name>.original"
            )
        return self.to_codebook(_maps.group_means(weight, self.labels, self.dim, self.n_groups, self.factors))

    @contextmanager
    def starting_at(self, codebook: Tensor) -> Iterator[None]:
        """Inside the `with`, `right_inverse` gives this codebook: its values come from several weights, or a file.

        Parameters
        ----------
        codebook
            phi, of the codebook's shape, as in `forward`.

        Yields
        ------
        None

        Examples
        --------
        >>> import torch
        >>> step = Tie(TieSpec([0, 0], dim=0))
        >>> with step.starting_at(torch.tensor([7.0])):
        ...     step.right_inverse(torch.zeros(2))
        tensor([7.])

        Chapter: One idea.
        """
        self._start = codebook
        try:
            yield
        finally:
            self._start = None

    def to_codebook(self, slices: Tensor) -> Tensor:
        """k slices along the weight's dimension, as the codebook has them.

        Parameters
        ----------
        slices
            Of the shape that `selection.pull_back` gives them.

        Returns
        -------
        Tensor
            The same numbers; their slices along `codebook_dim`.

        Examples
        --------
        >>> import torch
        >>> Tie(TieSpec([0, 0, 1], dim=1), codebook_dim=0).to_codebook(torch.zeros(5, 2)).shape
        torch.Size([2, 5])

        Chapter: One idea.
        """
        if self.dim is None or self.codebook_dim is None or self.codebook_dim == self.dim:
            return slices
        return slices.movedim(self.dim, self.codebook_dim)

    def extra_repr(self) -> str:
        """The groups, for print(model). As `torch.nn.Module.extra_repr`."""
        return "labels on the meta device" if self.labels.is_meta else repr(self.spec())

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """As torch's; but labels and factors keep their values, through ``to_empty`` and the meta device too."""
        kept = self._aside if self._aside is not None and self.labels.is_meta else (self.labels, self.factors)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._aside = kept if self.labels.is_meta else None
        if not self.labels.is_meta:
            for now, before in zip((self.labels, self.factors), kept, strict=True):
                if now is not None and before is not None and now is not before and not before.is_meta:
                    now.copy_(before)
        return self
