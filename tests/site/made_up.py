"""Interactive figures of all kinds, so that each is tested even if no chapter uses it."""

import torch

from tyinglib import L1, OWL, GroupLasso
from tyinglib.book import interactive, plots


def owl(*weights):
    return OWL(torch.tensor(weights, dtype=torch.float64))


def draw(figure, slope, ends):
    figure.subplots().axline((0, 0), slope=slope, marker="", linestyle="-" if ends == "solid" else ":")
    return f"A {ends} line through the origin that rises by {slope:g} for each step, on white."


def bundles():
    """The outputs of made-up cells."""
    plots.use_style()
    figures = [
        interactive.frames(draw, {"slope": [0, 0.5, 1, 2], "line": ["solid", "dotted"]}, start=[1, "dotted"]),
        interactive.plane({"l1": L1(0.5), "group lasso": GroupLasso(0.5, dim=1), "OWL": owl(0.7, 0.3)}),
        interactive.plane({"only one": L1(0.3)}, start=(-1, -0.2), limit=1.5),
        interactive.solid({"OWL": owl(1.0, 0.7, 0.3), "l1": L1(1.0)}),
    ]
    return [figure._repr_mimebundle_() for figure in figures]
