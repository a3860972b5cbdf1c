"""What stands between a tied layer and its codebook, where others may add parametrizations of their own."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList


class TieList(ParametrizationList):
    """A list that begins with a tie, and looks at what is added before it is there.

    torch adds a weight norm or an orthogonal parametrization to a tie without a word, and the layer fails at its next
    forward: they make a weight of several tensors, or of one that they keep themselves.
    """

    def append(self, module: nn.Module) -> TieList:
        """As torch's; ValueError, and nothing is added, if the module can't make a weight of a tied one."""
        try:
            with torch.no_grad():
                made = module(self())
            fits = isinstance(made, torch.Tensor)
        except Exception:
            fits = False
        if not fits:
            raise ValueError(
                f"{type(module).__name__} can't stand over a tie: it does not make a weight of one tensor, the tied "
                "weight; untie it, add this, and tie what it leaves as parameters"
            )
        super().append(module)
        return self

    def _get_name(self) -> str:
        return "ParametrizationList"
