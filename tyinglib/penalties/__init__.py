r"""Norm penalties g, and their proximal maps: prox(v) = argmin over x of 1/2 ||x - v||^2 + step_size * g(x).

A penalty is a value and a proximal map. Where g has a corner, the map puts weights exactly there: at zero (l1),
whole slices at zero (group lasso), at equal sizes (OWL, GrOWL). A gradient step only circles the corner.

=============  ==============================================  =========================================
penalty        g(x)                                            prox
=============  ==============================================  =========================================
`L1`           lam sum ``|x_i|``                               every entry moves towards 0, and stops there
`L2`           lam/2 ||x||^2 (the square, with the half)       x / (1 + step_size lam)
`ElasticNet`   l1 sum ``|x_i|`` + l2/2 ||x||^2                 L1's, then L2's
`GroupLasso`   lam sum_j ||slice_j||                           every slice gets shorter by step_size lam
`OWL`          ``sum_i w_i |x|_(i)``                           `prox_owl`
`GrOWL`        sum_i w_i ||slice||_(i)                         `prox_growl`
=============  ==============================================  =========================================

`protocol` says what any penalty has; a new one needs no more. `norms` work entry by entry, `slices` slice by slice,
`ordered` are OWL and GrOWL, `weight_sequences` their w. `difference` puts any of them on the difference of two weights.
"""

from tyinglib.penalties.difference import difference_value, prox_difference
from tyinglib.penalties.norms import L1, L2, ElasticNet, prox_l2, soft_threshold
from tyinglib.penalties.ordered import OWL, GrOWL, growl_norm, owl_dual_norm, owl_norm, prox_growl, prox_owl
from tyinglib.penalties.protocol import Penalty
from tyinglib.penalties.slices import GroupLasso, group_soft_threshold, slice_norms
from tyinglib.penalties.weight_sequences import oscar_weights, pld_weights, slope_bh_weights

__all__ = [
    "L1",
    "L2",
    "OWL",
    "ElasticNet",
    "GrOWL",
    "GroupLasso",
    "Penalty",
    "difference_value",
    "group_soft_threshold",
    "growl_norm",
    "oscar_weights",
    "owl_dual_norm",
    "owl_norm",
    "pld_weights",
    "prox_difference",
    "prox_growl",
    "prox_l2",
    "prox_owl",
    "slice_norms",
    "slope_bh_weights",
    "soft_threshold",
]
