"""The physically smaller model that computes the same."""

from tyinglib.compacting.rewriting import SumInputs, compact

__all__ = ["SumInputs", "compact"]
