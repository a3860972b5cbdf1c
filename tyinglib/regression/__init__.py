"""Linear regression with OWL and GrOWL, and how stable a selection of features is."""

from tyinglib.regression.estimators import GrOWLRegressor, OWLRegressor, RegularizationPath
from tyinglib.regression.stability import Stability, bootstrap_selection, jaccard, selection_stability

__all__ = [
    "GrOWLRegressor",
    "OWLRegressor",
    "RegularizationPath",
    "Stability",
    "bootstrap_selection",
    "jaccard",
    "selection_stability",
]
