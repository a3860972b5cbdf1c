"""S as labels: compared with the matrix itself, in float64, for slices along any dim and for single entries."""

import pytest
import torch

from tyinglib import selection

F64 = torch.float64
LABELS = [0, 1, 0, -1, 2, 1, 0]
SHAPES = [((7,), 0), ((7, 3), 0), ((4, 7), 1), ((4, 7), -1), ((4, 7, 2, 3), 1), ((2, 3, 7), 2)]


def matrix_times(matrix, tensor, dim):
    """The same product, written with a dense matrix along dim."""
    return torch.tensordot(matrix, tensor, dims=([1], [dim])).movedim(0, dim)


@pytest.fixture
def S():
    return selection.selection_matrix(LABELS, dtype=F64)


@pytest.mark.parametrize(("shape", "dim"), SHAPES)
def test_the_four_maps_are_products_with_the_matrix(S, shape, dim):
    torch.manual_seed(0)
    weight = torch.randn(shape, dtype=F64)
    inverse = torch.linalg.inv(S.T @ S) @ S.T
    codebook = selection.group_means(weight, LABELS, dim=dim)
    torch.testing.assert_close(codebook, matrix_times(inverse, weight, dim))
    torch.testing.assert_close(selection.pull_back(weight, LABELS, dim=dim), matrix_times(S.T, weight, dim))
    torch.testing.assert_close(selection.expand(codebook, LABELS, dim=dim), matrix_times(S, codebook, dim))
    torch.testing.assert_close(selection.project(weight, LABELS, dim=dim), matrix_times(S @ inverse, weight, dim))


def test_entries_tied_singly_are_the_flattened_case():
    torch.manual_seed(0)
    weight = torch.randn(2, 3, dtype=F64)
    labels = torch.tensor([[0, 1, -1], [1, 0, 0]])
    flat = weight.flatten(), labels.flatten()
    torch.testing.assert_close(selection.group_means(weight, labels, dim=None), selection.group_means(*flat, dim=0))
    torch.testing.assert_close(selection.project(weight, labels, dim=None).flatten(), selection.project(*flat, dim=0))


@pytest.mark.parametrize(("shape", "dim"), SHAPES)
def test_pull_back_is_the_gradient_of_expand(shape, dim):
    torch.manual_seed(0)
    codebook = selection.group_means(torch.randn(shape, dtype=F64), LABELS, dim=dim).requires_grad_()
    upstream = torch.randn(shape, dtype=F64)
    selection.expand(codebook, LABELS, dim=dim).backward(upstream)
    torch.testing.assert_close(codebook.grad, selection.pull_back(upstream, LABELS, dim=dim))


def test_projection_is_orthogonal():
    torch.manual_seed(0)
    weight, other = torch.randn(2, 5, 7, dtype=F64)
    project = lambda w: selection.project(w, LABELS, dim=1)  # noqa: E731
    torch.testing.assert_close(project(project(weight)), project(weight))
    torch.testing.assert_close((project(weight) * other).sum(), (weight * project(other)).sum())
    torch.testing.assert_close(
        selection.pull_back(weight - project(weight), LABELS, dim=1), torch.zeros(5, 3, dtype=F64)
    )


def test_matrix_by_hand_and_sparse():
    dense = selection.selection_matrix([1, 0, -1], dtype=F64)
    assert dense.tolist() == [[0, 1], [1, 0], [0, 0]]
    sparse = selection.selection_matrix([1, 0, -1], sparse=True, dtype=F64)
    assert sparse.is_sparse
    assert torch.equal(sparse.to_dense(), dense)
    assert selection.group_sizes(LABELS).tolist() == [3, 2, 1]


def test_a_nan_in_the_codebook_stays_in_its_group():
    theta = selection.expand(torch.tensor([float("nan"), 1.0]), [1, 0, -1], dim=0)
    assert theta.isnan().tolist() == [False, True, False]
    assert theta[2] == 0


def test_everything_pruned():
    weight = torch.randn(2, 3)
    codebook = selection.group_means(weight, [-1, -1, -1], dim=1)
    assert codebook.shape == (2, 0)
    codebook.requires_grad_()
    theta = selection.expand(codebook, [-1, -1, -1], dim=1)
    assert torch.equal(theta, torch.zeros(2, 3))
    theta.sum().backward()
    assert selection.expand(torch.zeros(0), [[-1], [-1]], dim=None).shape == (2, 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, F64])
def test_dtype_is_kept_and_half_precision_is_averaged_wide(dtype):
    # 4096 values of 1: summed in float16 or bfloat16 one by one they would stop growing at 2048 or 256
    weight = torch.ones(4096, dtype=dtype)
    means = selection.group_means(weight, torch.zeros(4096, dtype=torch.int64), dim=0)
    assert means.dtype == dtype
    assert means.item() == 1


def test_non_contiguous_weights():
    weight = torch.arange(21, dtype=F64).view(7, 3).T
    assert not weight.is_contiguous()
    torch.testing.assert_close(
        selection.project(weight, LABELS, dim=1), selection.project(weight.contiguous(), LABELS, dim=1)
    )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "at least one slice"),
        ([0.0, 1.0], "integers"),
        ([True, False], "integers"),
        (["a"], "integers"),
        ([0, -2], "got -2"),
        ([0, 2, 2], "group 1 is empty"),
        ([0, 9], "group 9"),
    ],
)
def test_bad_labels_are_named(labels, message):
    with pytest.raises(ValueError, match=message):
        selection.check_labels(labels)


def test_labels_that_do_not_fit_are_named():
    weight = torch.zeros(4, 7)
    with pytest.raises(ValueError, match="4 slices along dim 0"):
        selection.project(weight, LABELS, dim=0)
    with pytest.raises(ValueError, match=r"dim must be in -2\.\.1"):
        selection.project(weight, LABELS, dim=2)
    with pytest.raises(ValueError, match="integer or None"):
        selection.project(weight, LABELS, dim="in")
    with pytest.raises(ValueError, match="one-dimensional"):
        selection.project(weight, [[0, 1]], dim=1)
    with pytest.raises(ValueError, match="weight's shape"):
        selection.project(weight, LABELS, dim=None)
    with pytest.raises(ValueError, match="3 slices along dim 1"):
        selection.expand(weight, LABELS, dim=1)


def test_labels_are_copied():
    labels = torch.tensor([0, 1])
    checked = selection.check_labels(labels)
    labels[0] = 1
    assert checked.tolist() == [0, 1]
