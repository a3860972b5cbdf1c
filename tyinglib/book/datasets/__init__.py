"""Data with fixed parts, the same on every machine. Most come with the book; two large ones are fetched.

In the checkout, or made on the spot: `digits`, `tecator`, `fashion_small`, `mnist1d`, `plays`. From a folder or the
network: `mnist`, `fashion_mnist`. Where a set that is stored here is from, and its licence, stands beside its files,
in data/.
"""

from tyinglib.book.datasets._digits import digits
from tyinglib.book.datasets._images import FASHION_CLASSES, fashion_mnist, fashion_small, mnist
from tyinglib.book.datasets._mnist1d import mnist1d
from tyinglib.book.datasets._plays import Texts, plays, words
from tyinglib.book.datasets._splits import Split, Splits, subset
from tyinglib.book.datasets._tecator import Spectra, tecator

__all__ = [
    "FASHION_CLASSES",
    "Spectra",
    "Split",
    "Splits",
    "Texts",
    "digits",
    "fashion_mnist",
    "fashion_small",
    "mnist",
    "mnist1d",
    "plays",
    "subset",
    "tecator",
    "words",
]
