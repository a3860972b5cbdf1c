"""Figures that answer a hand."""

from tyinglib.book.interactive.figures import frames, plane, solid

__all__ = ["frames", "plane", "solid"]
