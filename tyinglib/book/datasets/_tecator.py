"""Tecator: 100 absorbances, every pair of them correlated above .96, and three contents to predict."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tyinglib.book.datasets._splits import Split, check_dtype

TABLE = Path(__file__).with_name("data") / "tecator" / "tecator.csv"
RESPONSES = ("water", "fat", "protein")
PARTS = (129, 43, 43)  # StatLib's sets C, M and T


class Spectra(NamedTuple):
    """Three parts of a set of spectra, as `Splits`, and what its columns are.

    Parameters
    ----------
    train, validation, test
        Each a `Split`: x of shape (n, channels), y of shape (n, responses).
    wavelengths
        Of the channels, (channels,), in nanometres.
    responses
        The names of the columns of y.

    Examples
    --------
    >>> spectra = tecator()
    >>> isinstance(spectra, Spectra), spectra.responses
    (True, ('water', 'fat', 'protein'))

    Chapter: The Lasso is unstable.
    """

    train: Split
    validation: Split
    test: Split
    wavelengths: Tensor
    responses: tuple[str, ...]


def tecator(*, repeats: bool = False, dtype: torch.dtype | None = None) -> Spectra:
    """Meat: near infrared spectra, and its water, fat and protein. 115 to train on, 32 to choose on, 31 to test on.

    The parts are StatLib's sets C, M and T (129, 43 and 43 samples), without the 37 samples that repeat an
    earlier one's three contents to the digit: very likely the same meat. 22 of them repeat the spectrum, too.
    With them, 11 of 43 test samples would be of meats seen before.

    Parameters
    ----------
    repeats
        Whether to keep them, and so StatLib's parts.
    dtype
        Of x and y. Default: torch's default dtype.

    Returns
    -------
    Spectra
        x of shape (n, 100): absorbances, -log10 of the transmittance. y of shape (n, 3): water, fat and
        protein in percent. Channels are spaced evenly from 850 to 1050 nm; the source gives the range only.

    Raises
    ------
    ValueError
        If the dtype is no floating-point one.

    Examples
    --------
    >>> spectra = tecator()
    >>> spectra.train.x.shape, spectra.train.y.shape
    (torch.Size([115, 100]), torch.Size([115, 3]))
    >>> f"{spectra.train.x.T.corrcoef().min():.2f}"  # no pair of channels below
    '0.96'

    Source: C. Borggaard and H. H. Thodberg, Optimal Minimal Neural Interpretation of Spectra, Analytical
    Chemistry 64 (1992), 545-551; recorded on a Tecator Infratec Food and Feed Analyzer. Chapters: The Lasso
    is unstable; OWL and GrOWL.
    """
    table = np.loadtxt(TABLE, delimiter=",", skiprows=1)
    _, first = np.unique(table[:, :3], axis=0, return_index=True)
    kept = np.ones(len(table), dtype=bool) if repeats else np.isin(np.arange(len(table)), first)
    values = torch.as_tensor(table, dtype=check_dtype(dtype))
    parts = []
    for rows in np.split(np.arange(len(table)), np.cumsum(PARTS)[:-1]):
        part = values[rows[kept[rows]]]
        parts.append(Split(part[:, 3:], part[:, :3]))
    train, validation, test = parts
    wavelengths = torch.linspace(850, 1050, 100, dtype=values.dtype)
    return Spectra(train, validation, test, wavelengths, RESPONSES)
