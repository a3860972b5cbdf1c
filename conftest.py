"""For all tests, docstring examples and notebooks: one thread, and no leak of global state from one to the next."""

import contextlib
import os
import sys

import pytest

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before torch is loaded; kernels inherit it


@pytest.fixture(autouse=True)
def same_global_state(request):
    """Undo what an example such as chapter.setup() changes; notebooks run in kernels of their own."""
    if request.node.nodeid.startswith("book/"):
        yield
        return
    import torch

    dtype, deterministic = torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled()
    plt = sys.modules.get("matplotlib.pyplot")  # not loaded for tests that draw nothing
    with plt.rc_context() if plt else contextlib.nullcontext():
        yield
    if plt := sys.modules.get("matplotlib.pyplot"):
        plt.close("all")
    torch.set_default_dtype(dtype)
    torch.use_deterministic_algorithms(deterministic)
