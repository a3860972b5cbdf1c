"""For tests of your own: what was shared stays shared, whatever the test does to the model::

    from tyinglib.testing import keeps_sharing  # in a conftest.py


    def test_training(keeps_sharing):
        model = keeps_sharing(build_model())
        train(model)  # at the end, check_sharing must have nothing to report

The fixture is there where pytest is; `sharing_kept` needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

from tyinglib.diagnosis import check_sharing
from tyinglib.sharing import shared_parameters
from tyinglib.tying import Net, tie_specs


@contextmanager
def sharing_kept() -> Iterator[Callable[[Net], Net]]:
    """Inside the `with`, give models to what it yields; at its end, they share and tie what they did then.

    Without pytest it serves as it is; `keeps_sharing` is the same as a fixture.

    Yields
    ------
    Callable
        Takes a model, notes what it shares and how it is tied, and returns it.

    Raises
    ------
    AssertionError
        At the end of the block, if something that was one parameter is no longer, a tie is gone or another, or
        `check_sharing` has anything else to report. It says what `check_sharing` says.

    Examples
    --------
    >>> import copy
    >>> net = nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.Linear(3, 2)})
    >>> net["b"].weight = net["a"].weight
    >>> with sharing_kept() as keep:
    ...     _ = keep(net)
    ...     net["b"] = copy.deepcopy(net["b"])
    Traceback (most recent call last):
    ...
    AssertionError: 'a.weight' and 'b.weight' should be one parameter and are 2: a copy, an assignment or \
load_state_dict(assign=True) came between; call share(...) again, then build the optimizer

    Chapter: Two models, one set of weights.
    """
    noted: list[tuple[nn.Module, list[tuple[str, ...]], object]] = []

    def note(model: Net) -> Net:
        noted.append((model, [tuple(group) for group in shared_parameters(model)], tie_specs(model)))
        return model

    yield note
    for model, shared, ties in noted:
        found = [str(diagnosis) for diagnosis in check_sharing(model, expected=shared)]
        if tie_specs(model) != ties:
            found.append(f"the ties were {ties} and are {tie_specs(model)}")
        if found:
            raise AssertionError("\n".join(found))


try:
    import pytest
except ImportError:  # then there is no fixture
    pass
else:

    @pytest.fixture
    def keeps_sharing() -> Iterator[Callable[[nn.Module], nn.Module]]:
        """`sharing_kept` as a fixture of pytest, which is there where pytest is.

        Yields
        ------
        Callable
            As `sharing_kept` yields it.

        Examples
        --------
        >>> from tyinglib import testing  # in a conftest.py: from tyinglib.testing import keeps_sharing
        >>> hasattr(testing, "keeps_sharing")
        True

        Chapter: Two models, one set of weights.
        """
        with sharing_kept() as keep:
            yield keep
