"""Data that comes with the install: no download, fixed splits, the same on every machine."""

from tyinglib.datasets._digits import digits
from tyinglib.datasets._splits import Split, Splits, subset
from tyinglib.datasets._tecator import Spectra, tecator

__all__ = ["Spectra", "Split", "Splits", "digits", "subset", "tecator"]
