"""MNIST-1D: signals of 40 numbers, in which what counts may lie anywhere. Made on the spot by the package mnist1d."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from tyinglib.book.datasets._splits import Split, Splits, check_dtype

VALIDATION = 500  # of the 4000 published for training
SUM_OF_SIZES = 148316.172648065  # of all values without their signs, as made by 0.0.2.post1
COMMAND = "pip install mnist1d==0.0.2.post1"


def mnist1d(*, shuffled: bool = False, dtype: torch.dtype | None = None) -> Splits:
    """Ten shapes in 40 numbers, moved, stretched and noisy: 3500 to train on, 500 to choose on, 1000 to test on.

    Made in some seconds by the package mnist1d, with its seed 42; the global random numbers stay as they were.

    Parameters
    ----------
    shuffled
        Whether the 40 places are put in one other order, the same for all: the same information, but no more
        neighbourhood.
    dtype
        Of the inputs. Default: torch's default dtype.

    Returns
    -------
    Splits
        x of shape (n, 40), of mean 0 and variance 1 over all; y of shape (n,), int64, 0..9.

    Raises
    ------
    ImportError
        If mnist1d is not installed. It says how.
    RuntimeError
        If it makes other data than the version that the book uses.
    ValueError
        If the dtype is no floating-point one.

    Examples
    --------
    >>> train, validation, test = mnist1d()
    >>> train.x.shape, validation.x.shape, test.x.shape
    (torch.Size([3500, 40]), torch.Size([500, 40]), torch.Size([1000, 40]))

    Source: S. Greydanus and D. Kobak, Scaling Down Deep Learning with MNIST-1D, ICML 2024, arXiv 2011.14439;
    Apache-2.0 licence. Chapters: Convolution; Recurrence.
    """
    dtype = check_dtype(dtype)
    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except ImportError as error:
        raise ImportError(f"MNIST-1D is made by the package mnist1d, which cannot be imported: {COMMAND}") from error
    with _same_global_random_numbers():
        args = get_dataset_args()
        args.shuffle_seq = shuffled
        made = make_dataset(args)
    x, y = np.concatenate([made["x"], made["x_test"]]), np.concatenate([made["y"], made["y_test"]])
    if not np.isclose(np.abs(x).sum(), SUM_OF_SIZES, rtol=1e-9):
        raise RuntimeError(f"mnist1d makes other data than the book was verified with: {COMMAND}")
    inputs, classes = torch.as_tensor(x, dtype=dtype), torch.as_tensor(y, dtype=torch.int64)
    test = len(made["y"])
    ends = [slice(test - VALIDATION), slice(test - VALIDATION, test), slice(test, None)]
    return Splits(*(Split(inputs[part], classes[part]) for part in ends))


@contextmanager
def _same_global_random_numbers() -> Iterator[None]:
    """Undo what mnist1d does to them: it sets their seeds."""
    python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - not ours to choose
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(of_numpy)  # noqa: NPY002
