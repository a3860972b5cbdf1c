"""28 x 28 images: a part of Fashion-MNIST that comes with the book; all of it, and MNIST, from where they are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from tyinglib.book.datasets._sources import FASHION, MNIST, File, Source
from tyinglib.book.datasets._splits import Split, Splits, check_dtype, stratified_order

FASHION_CLASSES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
TRAIN = 50_000  # of the 60,000 published for training; the others are for validation

SMALL_SIZES = (6000, 1000, 2000)
SMALL = Path(__file__).with_name("data") / "fashion"
SMALL_IMAGES = File(
    "images-idx3-ubyte.gz", (9000, 28, 28), "0e47eea49d205d5aed1db010b66e7e0b8fac636ebfb72d64f269ac454fe3b39b"
)
SMALL_LABELS = File("labels-idx1-ubyte.gz", (9000,), "86e45d85e39667d791f56fb1051d887891e7c9b6e0c129f425f211b1c75afc3f")


def fashion_small(*, dtype: torch.dtype | None = None) -> Splits:
    """Clothes, 28 x 28 pixels, a part of Fashion-MNIST: 6000 to train on, 1000 to choose on, 2000 to test on.

    It comes with the book. Each class has a tenth of each part. The parts are the beginnings of those of
    `fashion_mnist`: what is tested here is never trained on there.

    Parameters
    ----------
    dtype
        Of the inputs. Default: torch's default dtype.

    Returns
    -------
    Splits
        x of shape (n, 784) with values 0..1, row by row of the image; y of shape (n,), int64, 0..9: the
        places in FASHION_CLASSES.

    Raises
    ------
    ValueError
        If the dtype is no floating-point one, or a file of the book is damaged.

    Examples
    --------
    >>> train, validation, test = fashion_small(dtype=torch.float32)
    >>> train.x.shape, validation.x.shape, test.x.shape
    (torch.Size([6000, 784]), torch.Size([1000, 784]), torch.Size([2000, 784]))
    >>> FASHION_CLASSES[train.y[0]]
    'T-shirt'

    Source: H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST, arXiv 1708.07747 (2017), MIT licence.
    Chapters: Convolution; GrOWL in a network.
    """
    images, labels = (file.read(SMALL / file.name) for file in (SMALL_IMAGES, SMALL_LABELS))
    ends = np.cumsum(SMALL_SIZES)
    parts = [np.arange(end - size, end) for end, size in zip(ends, SMALL_SIZES, strict=True)]
    return Splits(*(_split(images, labels, part, dtype) for part in parts))


def fashion_mnist(folder: str | os.PathLike[str] | None = None, *, dtype: torch.dtype | None = None) -> Splits:
    """Clothes, 28 x 28 pixels, all of Fashion-MNIST: 50,000 to train on, 10,000 to choose on, 10,000 to test on.

    Looked for where Debian's package dataset-fashion-mnist puts it, then in the cache folder (`TYINGLIB_DATA`
    in the environment, or a folder of the system), which it is fetched to if it is not there: 31 MB, checked,
    and continued by the next call if the connection breaks. The test part is the published one; the published
    training images are split, evenly by class.

    Parameters
    ----------
    folder
        Where the four files are, packed or not, to look nowhere else.
    dtype
        Of the inputs. Default: torch's default dtype. All in float64 take 440 MB, in float32 half.

    Returns
    -------
    Splits
        As in `fashion_small`: x of shape (n, 784), y of shape (n,).

    Raises
    ------
    FileNotFoundError
        If the folder lacks a file; or if the set is nowhere on the machine and cannot be fetched. It says what
        to put where.
    ValueError
        If a file is not the published one, or the dtype is no floating-point one.

    Examples
    --------
    >>> fashion_mnist("no-such-folder")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileNotFoundError: Fashion-MNIST: no-such-folder lacks train-images-idx3-ubyte, ...

    Source: H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST, arXiv 1708.07747 (2017), MIT licence.
    Chapters: Convolution; GrOWL in a network.
    """
    return _whole(FASHION, folder, dtype)


def mnist(folder: str | os.PathLike[str] | None = None, *, dtype: torch.dtype | None = None) -> Splits:
    """Handwritten digits, 28 x 28 pixels: 50,000 to train on, 10,000 to choose on, 10,000 to test on.

    Looked for in the cache folder (`TYINGLIB_DATA` in the environment, or a folder of the system), which it is
    fetched to if it is not there: 12 MB, checked, and continued by the next call if the connection breaks. The
    test part is the published one; the published training images are split, evenly by class.

    Parameters
    ----------
    folder
        Where the four files are, packed or not, to look nowhere else.
    dtype
        Of the inputs. Default: torch's default dtype. All in float64 take 440 MB, in float32 half.

    Returns
    -------
    Splits
        x of shape (n, 784) with values 0..1 (ink), row by row of the image; y of shape (n,), int64, 0..9.

    Raises
    ------
    FileNotFoundError
        If the folder lacks a file; or if the set is nowhere on the machine and cannot be fetched. It says what
        to put where.
    ValueError
        If a file is not the published one, or the dtype is no floating-point one.

    Examples
    --------
    >>> mnist("no-such-folder")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileNotFoundError: MNIST: no-such-folder lacks train-images-idx3-ubyte, ...

    Source: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, Gradient-based learning applied to document
    recognition, Proceedings of the IEEE 86(11) (1998). Chapter: GrOWL in a network.
    """
    return _whole(MNIST, folder, dtype)


def _whole(source: Source, folder: str | os.PathLike[str] | None, dtype: torch.dtype | None) -> Splits:
    check_dtype(dtype)  # before anything is fetched
    images, labels, test_images, test_labels = source.read(folder)
    order = stratified_order(labels, seed=0)
    return Splits(
        _split(images, labels, order[:TRAIN], dtype),
        _split(images, labels, order[TRAIN:], dtype),
        _split(test_images, test_labels, stratified_order(test_labels, seed=0), dtype),
    )


def _split(
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.intp],
    dtype: torch.dtype | None,
) -> Split:
    x = torch.from_numpy(images[rows].reshape(len(rows), -1)).to(check_dtype(dtype)) / 255
    return Split(x, torch.from_numpy(labels[rows].astype(np.int64)))
