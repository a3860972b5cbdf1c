"""The change itself: weights become S phi."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn
from torch.nn.utils import parametrize

from tyinglib import _private_apis
from tyinglib._undo import ModulesAsTheyWere
from tyinglib.tying._chain import TieList
from tyinglib.tying._own_class import give_own_class
from tyinglib.tying._places import Place, own_parametrizations
from tyinglib.tying.parametrization import Tie
from tyinglib.tying.spec import TieSpec


def tie_places(ties: Sequence[tuple[Place, TieSpec]], codebook: nn.Parameter, codebook_dim: int | None = None) -> None:
    """Let weights be S phi from now on, all at once or none: what `tie` does when all is checked.

    The weights are untied, and their values are not looked at. The codebook is laid out as the first of them, or
    has its slices along `codebook_dim`.
    """
    made: dict[TieSpec, Tie] = {}
    with ModulesAsTheyWere(touched(place for place, _ in ties)):
        for place, spec in ties:
            give_own_class(place.owner)  # or a deepcopy of it would get the property too
            step = Tie(spec, codebook_dim=ties[0][1].dim if codebook_dim is None else codebook_dim).to(codebook.device)
            # one S is kept once; not as one module under two names, which functional_call takes badly
            first = made.setdefault(spec, step)
            step.labels, step.factors = first.labels, first.factors
            # the parametrization changes the Parameter that it finds in place: it must be nobody else's
            shape = place.owner.get_parameter(place.own).shape
            own = codebook.detach().new_empty(()).expand(shape)  # takes no memory
            setattr(place.owner, place.own, nn.Parameter(own, requires_grad=codebook.requires_grad))
            with step.starting_at(codebook.detach()):
                parametrize.register_parametrization(place.owner, place.own, step)
            chain = place.owner.get_submodule(f"parametrizations.{place.own}")
            chain.__class__ = TieList
            chain.original = codebook
            give_own_class(place.owner)
            _private_apis.fill_flat_weights(place.owner)


def touched(places: Iterable[Place]) -> list[nn.Module]:
    """The modules that a tie changes: the owners, and where they keep parametrizations of other weights."""
    owners = {id(place.owner): place.owner for place in places}.values()
    lists = [owner.get_submodule("parametrizations") for owner in owners if own_parametrizations(owner)]
    return [*owners, *lists]
