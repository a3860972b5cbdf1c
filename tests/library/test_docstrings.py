"""Every public name of the library says what goes in, what comes out, what goes wrong, and where it is from."""

import importlib
import sys

import docstring_rules as rules
import pytest

import tyinglib

NAMES = rules.public_names(tyinglib)
# Rooms of published methods: what is in them has a reference, but for what the library made up.
PUBLISHED = ("finding", "penalties", "regression.stability")
OWN = {
    "finding.Grouping",
    "finding.Leaders",
    "penalties.slices.slice_norms",
    "penalties.protocol.Penalty",
    "penalties.difference.difference_value",
    "penalties.difference.prox_difference",
    "regression.stability.Stability",
}


def needs_reference(name):
    return name.owner is None and name.path.startswith(PUBLISHED) and name.path not in OWN


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.path)
def test_docstring(name):
    found = rules.faults(name, needs_reference(name))
    assert not found, "\n" + "\n".join(found)


def test_no_name_is_left_out():
    checked = {id(name.found) for name in NAMES}
    assert [key for key in tyinglib.__all__ if id(getattr(tyinglib, key)) not in checked] == []
    paths = {name.path for name in NAMES}
    assert paths >= OWN
    # of a private base, a property, of a class, a NamedTuple, a decorated function, of a protocol
    assert paths >= {
        "nn.locally_connected.LocallyConnected1d.to_conv",
        "tying.spec.TieSpec.labels",
        "nn.unrolled.UnrolledRNN.from_rnn",
    }
    assert paths >= {"regression.stability.Stability", "sharing.prox_tying", "penalties.protocol.Penalty.prox"}
    assert not [path for path in paths if any(part.startswith("_") for part in path.split("."))]


# The rules themselves, on a made-up package: it is good as it is, and each change is a fault that must be reported.

CHECKS = """
def check_factor(factor):
    if factor < 0:
        raise ValueError(factor)
"""
ROOM = '''
"""A made-up room."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from made_up._checks import check_factor

Tensor = list


def scale(weight: Tensor, factor: float, *others: float) -> Tensor:
    """Multiply every entry.

    Parameters
    ----------
    weight
        The entries, (n,).
    factor, *others
        Numbers >= 0.

    Returns
    -------
    Tensor
        The products, of the same shape.

    Raises
    ------
    ValueError
        If a factor is negative.

    Examples
    --------
    >>> scale([1.0, 2.0], 3.0)
    [3.0, 6.0]

    Reference: Nobody and Noone (1999), equation (3). Chapter: One idea; Two models, tied softly.
    """
    check_factor(factor)
    return [factor * x for x in weight]


def quiet(factor: float) -> None:
    """Check a factor, and say nothing.

    Parameters
    ----------
    factor
        Any number.

    Examples
    --------
    >>> print(quiet(-1.0))
    None

    Chapter: all.
    """
    try:
        scale([], factor)
    except (ValueError, TypeError):
        scale([], 1.0)


class Map(Protocol):
    """What is applied to a weight.

    Examples
    --------
    >>> issubclass(Scale, Map)
    True

    Chapter: all.
    """

    def apply(self, weight: Tensor) -> Tensor:
        """Apply it.

        Parameters
        ----------
        weight
            Any shape.

        Returns
        -------
        Tensor
            Of the weight's shape.

        Raises
        ------
        ValueError
            If it does not fit.
        """
        ...


class _Base:
    def twice(self) -> Scale:
        """Apply it twice.

        Returns
        -------
        Scale
            A new one.
        """
        return Scale(self.factor**2)


@dataclass
class Scale(_Base):
    """A map that multiplies.

    Parameters
    ----------
    factor
        A number >= 0.

    Raises
    ------
    ValueError
        If it is negative.

    Examples
    --------
    >>> Scale(2.0).apply([1.0])
    [2.0]

    Chapter: all.
    """

    factor: float

    def __post_init__(self) -> None:
        check_factor(self.factor)

    def apply(self, weight: Tensor) -> Tensor:
        """Multiply every entry. As `Map.apply`."""
        return _apply(weight, self.factor)

    @property
    def ones(self) -> Tensor:
        """What it makes of ones, (1,)."""
        return [self.factor]

    @classmethod
    def parse(cls, text: str) -> Scale:
        """Read one.

        Parameters
        ----------
        text
            A number.

        Returns
        -------
        Scale
            Of this factor.

        Raises
        ------
        ValueError
            If the text is no number.
        """
        return cls(float(text)).checked(text)

    def checked(self, text: str) -> Scale:
        """The same, if the text is a number.

        Parameters
        ----------
        text
            A number.

        Returns
        -------
        Scale
            The same.

        Raises
        ------
        ValueError
            If the text is no number.
        """
        try:
            return self
        except ValueError as error:
            raise ValueError(text) from error


def _apply(weight, factor):
    return scale(weight, factor)


class Pair(NamedTuple):
    """Two weights.

    Parameters
    ----------
    first, second
        Of shape (n,).

    Examples
    --------
    >>> Pair([1.0], [2.0]).first
    [1.0]

    Chapter: all.
    """

    first: Tensor
    second: Tensor


@functools.lru_cache
def once() -> int:
    """A number.

    Returns
    -------
    int
        Always the same.

    Examples
    --------
    >>> once()
    1

    Chapters: One idea; all.
    """
    return 1
'''
PAIR_DOCSTRING = ROOM[ROOM.index('    """Two weights.\n') : ROOM.index("    first: Tensor\n")]
CLASS_DOCSTRING = ROOM[ROOM.index('    """A map that multiplies.\n') : ROOM.index("    factor: float\n")]
SCALE_DOCSTRING = ROOM[
    ROOM.index('    """Multiply every entry.\n') : ROOM.index("    check_factor(factor)\n    return")
]


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    def build(room):
        folder = tmp_path / "made_up"
        folder.mkdir()
        (folder / "__init__.py").write_text("", encoding="utf-8")
        (folder / "_checks.py").write_text(CHECKS, encoding="utf-8")
        (folder / "room.py").write_text(room, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        return {name.path: name for name in rules.public_names(importlib.import_module("made_up"))}

    yield build
    for name in [name for name in sys.modules if name.split(".")[0] == "made_up"]:
        del sys.modules[name]


def test_a_good_room_has_no_faults(made_up):
    names = made_up(ROOM)
    of_scale = [f"Scale.{name}" for name in ("apply", "ones", "parse", "checked", "twice")]
    expected = ["scale", "quiet", "Map", "Map.apply", "Scale", *of_scale, "Pair", "once"]
    assert list(names) == [f"room.{name}" for name in expected]
    assert [fault for name in names.values() for fault in rules.faults(name)] == []
    assert rules.faults(names["room.scale"], needs_reference=True) == []


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        # no docstring, or what dataclass and NamedTuple make of none
        (SCALE_DOCSTRING, "", "scale", "there is no docstring [GL08]: write one"),
        (CLASS_DOCSTRING, "", "Scale", "there is no docstring"),
        (PAIR_DOCSTRING, "", "Pair", "there is no docstring"),
        ('    """What it makes of ones, (1,)."""\n', "    ", "Scale.ones", "there is no docstring"),
        # sections
        ("Multiply every entry.\n", "Multiply every entry\n", "scale", "[SS03]: end the first line"),
        ("Multiply every entry.\n", "Multiply\n    every entry.\n", "scale", "[SS06]: say it in one line"),
        ("    Raises\n    ------\n", "    Trouble\n    -------\n", "scale", "unknown section"),
        ("    Examples\n    --------\n    >>> scale", "    Returns\n    -------\n    >>> scale", "scale", "be parsed"),
        (
            "    Returns\n    -------\n    Tensor\n        The products",
            "    Notes\n    -----\n    The products",
            "scale",
            "[GL07]: put",
        ),
        # parameters
        ("    factor, *others\n", "    factor\n", "scale", "Parameters {'*others'} not documented [PR01]: name and"),
        ("    factor, *others\n", "    factor, *others, more\n", "scale", "Unknown parameters {'more'} [PR02]: take"),
        ("first, second\n", "second, first\n", "Pair", "[PR03]: put them in the order of the signature"),
        (
            "    factor\n        A number >= 0.\n",
            "    faktor\n        A number.\n",
            "Scale",
            "Unknown parameters {'faktor'}",
        ),
        ("        Numbers >= 0.\n", "        Numbers >= 0\n", "scale", "[PR09]: end with a full stop"),
        ("        Numbers >= 0.\n", "", "scale", "[PR07]: say what it is"),
        # results
        ("        Returns\n        -------\n        Scale\n            A new one.\n", "", "Scale.twice", "[RT01]: add"),
        ("    Tensor\n        The products", "    float\n        The products", "scale", "the annotation is Tensor"),
        (
            "    Tensor\n        The products, of the same shape.",
            "    The products, of the same shape.",
            "scale",
            "[RT03]",
        ),
        (
            "    Examples\n    --------\n    >>> print",
            "    Returns\n    -------\n    int\n        No.\n\n    Examples\n    --------\n    >>> print",
            "quiet",
            "it returns nothing",
        ),
        # shapes
        ("The entries, (n,).", "The entries (all of them).", "scale", "parameter 'weight' is an array of no stated"),
        ("The products, of the same shape.", "The products.", "scale", "the result is an array of no stated shape"),
        ("Of shape (n,).", "Two weights.", "Pair", "parameter 'second' is an array of no stated shape"),
        ("What it makes of ones, (1,).", "What it makes of ones.", "Scale.ones", "the shape is not stated"),
        # exceptions: in a private room, raised here, in a constructor, through another function, not caught
        (
            "    Raises\n    ------\n    ValueError\n        If a factor is negative.\n\n",
            "",
            "scale",
            "can raise ValueError",
        ),
        ("    ValueError\n        If a factor", "    TypeError\n        If a factor", "scale", "can raise ValueError"),
        ("        If a factor is negative.\n", "", "scale", "Raises does not say when ValueError"),
        ("    Raises\n    ------\n    ValueError\n        If it is negative.\n\n", "", "Scale", "can raise ValueError"),
        (
            "    check_factor(factor)\n    return",
            "    if not weight:\n        raise KeyError\n    check_factor(factor)\n    return",
            "scale",
            "can raise KeyError",
        ),
        ("    except (ValueError, TypeError):", "    except (KeyError, TypeError):", "quiet", "can raise ValueError"),
        (
            "        scale([], 1.0)",
            "        raise",
            "quiet",
            "can raise ValueError, which is not under Raises: say there when",
        ),
        (
            "            raise ValueError(text) from error",
            "            raise OSError from error",
            "Scale.checked",
            "OSError",
        ),
        (
            "            raise ValueError(text) from error",
            "            raise LookupError",
            "Scale.checked",
            "LookupError",
        ),
        (
            "        Raises\n        ------\n        ValueError\n            If it does not fit.\n",
            "",
            "Scale.apply",
            "can raise ValueError",
        ),
        # leaning on another method
        ("As `Map.apply`.", "As `Map.use`.", "Scale.apply", "leans on `Map.use`, which is not there: name"),
        ("As `Map.apply`.", "As `scale`.", "Scale.apply", "leans on `scale`, which has other parameters: describe"),
        ("            Any shape.\n", "            A weight.\n", "Scale.apply", "whose docstring has faults itself"),
        ("As `Map.apply`.", "As `Scale.apply`.", "Scale.apply", "which leans on another"),
        ("As `Map.apply`.", "As with `Map.apply`.", "Scale.apply", "[PR01]"),
        # examples
        (
            "    Examples\n    --------\n    >>> scale([1.0, 2.0], 3.0)\n    [3.0, 6.0]\n\n",
            "",
            "scale",
            "no example with a result",
        ),
        ("    [3.0, 6.0]\n", "", "scale", "no example with a result: add Examples"),
        (">>> scale([1.0, 2.0], 3.0)", ">>> [3.0, 6.0]", "scale", "the example does not use scale: show it"),
        (">>> once()", ">>> once()  # doctest: +SKIP", "once", "the example is skipped: write one that runs"),
        (">>> once()", ">>>once()", "once", "the example cannot be read"),
        # chapters and references
        ("Chapter: One idea; Two models, tied softly.", "", "scale", "no chapter is named: end with"),
        ("Two models, tied softly.", "Two modles.", "scale", "'Two modles' is no chapter: write one of all, One idea"),
        ("Reference: Nobody and Noone (1999), equation (3). ", "", "scale", "no reference is given: write 'Reference:"),
        ("Noone (1999)", "Noone", "scale", "no reference is given"),
    ],
)
def test_each_fault_is_reported(made_up, old, new, path, message):
    assert old in ROOM
    names = made_up(ROOM.replace(old, new, 1))
    found = rules.faults(names[f"room.{path}"], needs_reference=path == "scale")
    assert any(fault.startswith(f"room.{path}: ") and message in fault for fault in found), found
