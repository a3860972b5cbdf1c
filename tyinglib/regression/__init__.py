"""Linear regression with OWL and GrOWL, and how stable a selection of features is."""

from tyinglib.regression.estimators import GrOWLRegressor, OWLRegressor
from tyinglib.regression.stability import bootstrap_selection, jaccard, selection_stability

__all__ = ["GrOWLRegressor", "OWLRegressor", "bootstrap_selection", "jaccard", "selection_stability"]
