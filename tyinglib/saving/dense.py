"""For whoever has no tyinglib: the weights as they are used."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from tyinglib.saving._state import codebook_key, factors_key, labels_key, plain, quote, sound_specs, ties_of
from tyinglib.tying import TieSpec


def dense_state(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model without its ties: every weight in full, under its plain name.

    Any tool reads it: ``torch.save(dense_state(model), path)``, or of a model of Hugging Face's transformers
    ``model.save_pretrained(folder, state_dict=dense_state(model))``. It loads strictly into the untied model. What
    wants the model itself, as `safetensors.torch.save_model`, is called inside ``with untied(model):``.

    Parameters
    ----------
    model
        Any module, tied or not.

    Returns
    -------
    dict[str, Tensor]
        As ``model.state_dict()`` would be after `untie`: detached, on the same devices, and those that nothing ties
        are the model's own. Weights that have one codebook and one S are one tensor under several names. Names are
        those before torch.compile.

    Raises
    ------
    ValueError
        If the labels of a tie do not fit its codebook, or a tie is part of another parametrization.

    Examples
    --------
    >>> from tyinglib import tie
    >>> layer = tie(nn.Linear(4, 3), "weight", TieSpec([0, 0, 1, 1], dim=1))
    >>> {name: tuple(value.shape) for name, value in dense_state(layer).items()}
    {'bias': (3,), 'weight': (3, 4)}
    >>> nn.Linear(4, 3).load_state_dict(dense_state(layer))
    <All keys matched successfully>

    Chapter: One idea.
    """
    ties = ties_of(model, every_name=True)
    specs = sound_specs(ties)
    weights: dict[str, str] = {}
    beside: set[str] = set()
    made: dict[tuple[int, TieSpec], Tensor] = {}
    for name in ties:
        if isinstance(model.get_submodule(name.rpartition(".")[0]), ParametrizationList) or specs[name] is None:
            raise ValueError(
                f"{quote(name)} has labels that do not fit its codebook, or is tied inside another parametrization; "
                "load it, or untie it and tie it again"
            )
        weights[codebook_key(name)] = name
        beside |= {labels_key(name), factors_key(name)}
    state: dict[str, Tensor] = {}
    for key, value in model.state_dict().items():
        if key in weights:
            name = weights[key]
            spec = specs[name]
            assert spec is not None  # for mypy: refused above
            tied = ties[name]
            state[plain(name)] = made.setdefault((id(tied.codebook), spec), tied.tie(value))
        elif key not in beside:
            state[plain(key)] = value
    return state
