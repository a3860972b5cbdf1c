"""What was found, as a sentence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Diagnosis:
    """One thing that is wrong, as a sentence.

    Parameters
    ----------
    kind
        ``"equal"``, ``"expected"``, ``"declared"``, ``"replaced"``, ``"memory"``, ``"twice"``, ``"stale"``,
        ``"untrained"``, ``"state"``, ``"ddp"``, ``"device"``, ``"checkpoint"``, ``"form"``, ``"adapter"``,
        ``"tensor"``, ``"rounded"``, ``"size"`` or (of a file) ``"stored"``.
    names
        The parameters that it is about; empty for parameters that the modules do not have.
    message
        What was found, why it hurts, and what to do.

    Examples
    --------
    >>> print(Diagnosis("stale", (), "the optimizer holds 1 parameter that no module has"))
    the optimizer holds 1 parameter that no module has

    Chapter: Two models, one set of weights.
    """

    kind: str
    names: tuple[str, ...]
    message: str

    def __str__(self) -> str:
        return self.message
