"""Errors in key phrases, and defaults: what a reader meets first when something is wrong."""

import math
import re

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from tyinglib import selection
from tyinglib.penalties import (
    L1,
    L2,
    OWL,
    ElasticNet,
    GroupLasso,
    GrOWL,
    group_soft_threshold,
    growl_norm,
    owl_dual_norm,
    owl_norm,
    prox_growl,
    prox_l2,
    prox_owl,
    slice_norms,
    soft_threshold,
)
from tyinglib.tying import TieSpec, tie, untie

F64 = torch.float64
ONES, INTEGERS = torch.ones(2, 2), torch.ones(2, 2, dtype=torch.int64)
NOT_FLOAT = "weight must be a floating-point tensor, got dtype torch.int64"
NAN = torch.tensor([[float("nan"), 1.0]])


def number(name, got="-1"):
    return f"{name} must be a finite number >= 0, got {got}"


def tied():
    return tie(nn.Linear(2, 3), "weight", TieSpec([0, 0], dim=1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: soft_threshold(ONES, -1), number("threshold")),
        (lambda: group_soft_threshold(ONES, -1, dim=1), number("threshold")),
        (lambda: prox_l2(ONES, -1), number("strength")),
        (lambda: L1(-1), number("lam")),
        (lambda: L2(-1), number("lam")),
        (lambda: GroupLasso(-1, dim=1), number("lam")),
        (lambda: ElasticNet(-1, 1), number("l1")),
        (lambda: ElasticNet(1, -1), number("l2")),
        (lambda: L1("a"), number("lam", "'a'")),
        (lambda: soft_threshold(INTEGERS, 1), NOT_FLOAT),
        (lambda: owl_norm(INTEGERS, torch.ones(4)), NOT_FLOAT),
        (lambda: owl_dual_norm(INTEGERS, torch.ones(4)), NOT_FLOAT),
        (lambda: prox_owl(INTEGERS, torch.ones(4)), NOT_FLOAT),
        (lambda: prox_growl(INTEGERS, torch.ones(2), dim=1), NOT_FLOAT),
        (lambda: slice_norms(INTEGERS, 0), NOT_FLOAT),
        (lambda: GrOWL(torch.ones(2), dim=1).prox(INTEGERS, 1.0), NOT_FLOAT),
        (lambda: L1(1).prox(NAN, 1.0), "NaN or infinite values, which have no proximal point"),
        (
            lambda: prox_owl(NAN, torch.ones(2)),
            "NaN or infinite values (largest size nan)",
        ),
        (
            lambda: owl_norm(ONES, torch.ones(3)),
            "shape (4,), got shape (3,)",
        ),
        (
            lambda: owl_dual_norm(ONES, torch.ones(3)),
            "shape (4,), got shape (3,)",
        ),
        (
            lambda: OWL(torch.ones(3)).prox(ONES, 1.0),
            "shape (4,), got shape (3,)",
        ),
        (
            lambda: GrOWL(torch.ones(3), dim=1).prox(ONES, 1.0),
            "shape (2,), got shape (3,)",
        ),
        (
            lambda: OWL(torch.ones(2, 2)),
            "shape (2,), got shape (2, 2)",
        ),
        (
            lambda: OWL(torch.tensor(1.0)),
            "shape (0,), got shape ()",
        ),
        (
            lambda: owl_dual_norm(ONES, torch.zeros(4)),
            "w must begin above zero",
        ),
        (
            lambda: prox_owl(torch.tensor(1.0), torch.ones(1), batched=True),
            "batched=True needs a first dimension",
        ),
        (lambda: selection.check_labels([]), "at least one slice, got none"),
        (
            lambda: selection.check_labels([0, 2]),
            "number the groups without gaps",
        ),
        (
            lambda: selection.pull_back(torch.ones(3), [0, 1], dim=0),
            "3 slices along dim 0, but there are 2 labels",
        ),
        (
            lambda: selection.group_means(torch.ones(3), [0, 1], dim=0),
            "3 slices along dim 0, but there are 2 labels",
        ),
        (
            lambda: tie(nn.Linear(3, 2), "weight", TieSpec([0, 0], dim=1)),
            "3 slices along dim 1, but there are 2 labels",
        ),
        (lambda: untie(nn.Linear(3, 2), "weight"), "'weight' of Linear is not tied; tie_specs"),
        (
            lambda: tie(tied(), "weight", TieSpec([0, 0], dim=1)),
            "is tied already; untie it first",
        ),
        (
            lambda: tie(parametrizations.weight_norm(nn.Linear(2, 3)), "weight", TieSpec([0, 0], dim=1)),
            "another parametrization; remove it first",
        ),
        (
            lambda: tie(nn.Linear(2, 3), "w", TieSpec([0, 0], dim=1)),
            "there are 'weight', 'bias'",
        ),
        (
            lambda: tie(nn.Sequential(nn.Linear(2, 3)), "weight", TieSpec([0, 0], dim=1)),
            "there are '0.weight', '0.bias'",
        ),
    ],
)
def test_errors_say_what_was_expected_and_what_came(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: group_soft_threshold(ONES, 0.5),
        lambda: growl_norm(ONES, torch.ones(2)),
        lambda: prox_growl(ONES, torch.ones(2)),
        lambda: GroupLasso(1.0),
        lambda: GrOWL(torch.ones(2)),
        lambda: selection.expand(ONES, [0, 0]),
        lambda: selection.pull_back(ONES, [0, 0]),
        lambda: selection.group_means(ONES, [0, 0]),
        lambda: selection.project(ONES, [0, 0]),
    ],
)
def test_what_picks_the_groups_is_said(call):
    """No default: 1 is the inputs of a Linear and of a convolution, and the outputs of a transposed one."""
    with pytest.raises(TypeError, match="dim"):
        call()


def test_factor_to_zero_at_the_edges():
    zero, empty = torch.zeros(2, 3), torch.zeros(2, 0)
    for penalty in (L1(0.5), ElasticNet(0.5, 1.0), GroupLasso(0.5, dim=1), GrOWL(torch.ones(3), dim=1)):
        assert penalty.factor_to_zero(zero) == 0
    assert OWL(torch.ones(6)).factor_to_zero(zero) == 0
    for penalty in (L1(0.5), GroupLasso(0.5, dim=1)):
        assert penalty.factor_to_zero(empty) == 0
    grad = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    for penalty in (
        L1(0.0),
        ElasticNet(0.0, 1.0),
        GroupLasso(0.0, dim=1),
        GrOWL(torch.zeros(3), dim=1),
        OWL(torch.zeros(6)),
    ):
        assert penalty.factor_to_zero(grad) == math.inf
        assert penalty.factor_to_zero(zero) == 0
    for penalty in (L1(1.0), GroupLasso(1.0, dim=1), GrOWL(torch.ones(3), dim=1)):
        assert penalty.factor_to_zero(grad) == 1
    assert L1(4.0).factor_to_zero(grad) == 0.25
    assert owl_dual_norm(grad.half(), torch.ones(6)).dtype == torch.float32


def test_penalties_do_not_check_their_weights_again(monkeypatch):
    """At every step of training: they are a checked copy. And the weight is looked at once."""
    from tyinglib.penalties import ordered, slices

    penalties = OWL(torch.ones(4)), GrOWL(torch.ones(2), dim=1)
    looked = []
    for room in (ordered, slices):
        monkeypatch.setattr(room, "check_tensor", lambda weight, name: looked.append(name) or weight)
        monkeypatch.setattr(ordered, "check_weights", None)
    for penalty in penalties:
        looked.clear()
        assert torch.equal(penalty.prox(ONES, 0.0), ONES)
        assert looked == ["weight"]


@pytest.mark.parametrize("labels", [torch.tensor([0, 1], dtype=torch.int32), torch.tensor([0, 1], dtype=torch.uint8)])
def test_labels_become_int64(labels):
    assert selection.check_labels(labels).dtype == torch.int64


def test_last_dims_of_the_range():
    v = torch.ones(2, 3)
    assert torch.equal(selection.project(v, [0, 0], dim=-2), v)
    with pytest.raises(ValueError, match=r"dim must be in -2\.\.1"):
        selection.project(v, [0, 0], dim=-3)


def test_a_sparse_matrix_is_coalesced():
    assert selection.selection_matrix([1, 0, -1], sparse=True).is_coalesced()


def test_specs_that_are_equal_hash_alike_and_others_do_not():
    assert hash(TieSpec([0, 1], dim=0)) == hash(TieSpec([0, 1], dim=0))
    assert len({hash(TieSpec([0, 1], dim=d)) for d in (0, 1)}) == 2
    assert "dim=1" in repr(tied())


def test_a_failed_registration_leaves_the_gradient(monkeypatch):
    layer = nn.Linear(2, 3)
    layer(torch.ones(1, 2)).sum().backward()
    grad = layer.weight.grad

    def fail(*arguments, **settings):
        raise RuntimeError("no")

    monkeypatch.setattr("torch.nn.utils.parametrize.register_parametrization", fail)
    with pytest.raises(RuntimeError, match="no"):
        tie(layer, "weight", TieSpec([0, 0], dim=1))
    assert layer.weight.grad is grad
