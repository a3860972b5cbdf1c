"""Parameter sharing and tying for PyTorch: a tie is a linear map, theta = S phi::

    ProxSGD([{"params": [layer.weight], "penalty": GrOWL(w, dim=1)}], lr)         learn the structure
    find_ties(layer.weight, dim=1)                 which neurons to drop, which to tie
    tie(layer, "weight", spec)                     the layer uses S phi, stores phi
    compact(model, example_input)                  the physically smaller model
    count_parameters(model)                        total, nonzero, unique
    save_tied(model, path); load_tied(model, path) shared values stored once

The rooms: `selection` (S itself), `tying`, `finding`, `compacting`; `penalties` and `optim`; `sharing` (two models) and
its `diagnosis`; `counting`, `saving`; `nn` (untied twins, attention); `regression`. A file whose name begins with an
underscore is for the library alone; `tyinglib.book` is for the chapters, and is not installed.
"""

from tyinglib.compacting import compact
from tyinglib.counting import ParameterCount, count_parameters, storage_bits
from tyinglib.diagnosis import Diagnosis, check_sharing
from tyinglib.finding import AffinityPropagation, KMeans, Leaders, find_ties
from tyinglib.optim import ProxSGD
from tyinglib.penalties import (
    L1,
    L2,
    OWL,
    ElasticNet,
    GroupLasso,
    GrOWL,
    Penalty,
    oscar_weights,
    pld_weights,
    slope_bh_weights,
)
from tyinglib.regression import GrOWLRegressor, OWLRegressor, bootstrap_selection, selection_stability
from tyinglib.saving import dense_state, load_tied, save_tied
from tyinglib.sharing import prox_tying, share, shared_parameters, tying_group, tying_penalty, unshare
from tyinglib.tying import TieSpec, mean_gradients, tie, tie_specs, untie
from tyinglib.tying.untied import untied

__all__ = [
    "L1",
    "L2",
    "OWL",
    "AffinityPropagation",
    "Diagnosis",
    "ElasticNet",
    "GrOWL",
    "GrOWLRegressor",
    "GroupLasso",
    "KMeans",
    "Leaders",
    "OWLRegressor",
    "ParameterCount",
    "Penalty",
    "ProxSGD",
    "TieSpec",
    "bootstrap_selection",
    "check_sharing",
    "compact",
    "count_parameters",
    "dense_state",
    "find_ties",
    "load_tied",
    "mean_gradients",
    "oscar_weights",
    "pld_weights",
    "prox_tying",
    "save_tied",
    "selection_stability",
    "share",
    "shared_parameters",
    "slope_bh_weights",
    "storage_bits",
    "tie",
    "tie_specs",
    "tying_group",
    "tying_penalty",
    "unshare",
    "untie",
    "untied",
]
__version__ = "0.1.0"
