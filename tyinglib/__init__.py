"""Parameter sharing and tying for PyTorch: a tie is a linear map, theta = S phi::

    tie(layer, "weight", TieSpec(labels, dim=1))   the layer uses S phi, stores phi
    count_parameters(model)                        total, nonzero, unique
    save_tied(model, path); load_tied(model, path) shared values stored once

The rooms: `selection` (S itself), `tying`, `compression`, `datasets`; for the book: `plots`, `notebook`.
"""

from tyinglib.compression import ParameterCount, count_parameters, load_tied, save_tied, storage_bits
from tyinglib.tying import TieSpec, tie, tie_specs, untie

__all__ = [
    "ParameterCount",
    "TieSpec",
    "count_parameters",
    "load_tied",
    "save_tied",
    "storage_bits",
    "tie",
    "tie_specs",
    "untie",
]
__version__ = "0.1.0"
