"""A tie in a module: the weight is S phi, and what is stored is phi."""

from tyinglib.tying.parametrization import Tie
from tyinglib.tying.spec import TieSpec
from tyinglib.tying.ties import ORIGIN, Net, mean_gradients, same_origin, tie, tie_specs, untie
from tyinglib.tying.untied import untied

__all__ = ["ORIGIN", "Net", "Tie", "TieSpec", "mean_gradients", "same_origin", "tie", "tie_specs", "untie", "untied"]
