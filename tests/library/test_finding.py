"""find_ties: groups that were put in are found, in both ways; what is no group is named."""

import pytest
import torch
from torch import nn

from tyinglib import finding, selection, tie
from tyinglib.finding import AffinityPropagation, KMeans, Leaders, find_ties
from tyinglib.penalties import prox_owl

F64 = torch.float64


def planted(n=60, groups=6, pruned=10, width=20, noise=0.02, seed=0):
    """Slices that are noisy copies of a few, some of them zero; and the groups they came from."""
    torch.manual_seed(seed)
    centres = torch.randn(groups, width, dtype=F64)
    labels = torch.cat([torch.arange(groups), torch.randint(groups, (n - groups,))])
    rows = centres[labels] + noise * torch.randn(n, width, dtype=F64)
    labels[-pruned:] = -1
    rows[-pruned:] = 0
    return rows, labels


@pytest.mark.parametrize("method", [AffinityPropagation(), Leaders()])
@pytest.mark.parametrize("similarity", ["length", "cosine"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, F64])
def test_planted_groups_are_found(method, similarity, dtype):
    rows, labels = planted()
    spec = find_ties(rows.to(dtype).T, dim=1, by=method, similarity=similarity)
    assert spec.dim == 1
    assert torch.equal(spec.labels, labels)
    again = find_ties(rows.to(dtype).T, dim=1, by=method, similarity=similarity)
    assert again == spec


@pytest.mark.parametrize("method", [AffinityPropagation(), Leaders()])
def test_slices_of_a_convolution(method):
    rows, labels = planted(width=3 * 2 * 2)
    weight = rows.view(60, 3, 2, 2).movedim(0, 1)
    assert torch.equal(find_ties(weight, dim=1, by=method).labels, labels)
    assert torch.equal(find_ties(weight.movedim(1, 0), dim=0, by=method).labels, labels)


def test_length_tells_apart_what_cosine_does_not():
    weight = torch.tensor([[1.0, 0.5], [1.0, 0.5]])
    assert find_ties(weight, dim=1, by=Leaders(threshold=0.8)).labels.tolist() == [0, 1]
    assert find_ties(weight, dim=1, by=Leaders(threshold=0.5)).labels.tolist() == [0, 0]
    assert find_ties(weight, dim=1, similarity="cosine", by=Leaders()).labels.tolist() == [0, 0]


def test_opposite_slices_are_not_tied():
    weight = torch.tensor([[1.0, -1.0], [2.0, -2.0]])
    for method in (AffinityPropagation(), Leaders()):
        assert find_ties(weight, dim=1, by=method).labels.tolist() == [0, 1]


def naive_leaders(rows, threshold):
    order = sorted(range(len(rows)), key=lambda i: -float(rows[i].square().sum()))
    leaders, labels = [], {}
    for i in order:
        found = [(float(rows[i] @ rows[j] / rows[j].square().sum()), -k) for k, j in enumerate(leaders)]
        if found and max(found)[0] >= threshold:
            labels[i] = -max(found)[1]
        else:
            labels[i] = len(leaders)
            leaders.append(i)
    return torch.tensor([labels[i] for i in range(len(rows))])


@pytest.mark.parametrize("block", [1, 7, 64, 2048])
@pytest.mark.parametrize("threshold", [0.3, 0.7, 0.95])
def test_blocks_change_nothing(block, threshold, monkeypatch):
    monkeypatch.setattr(finding, "BLOCK", block)
    torch.manual_seed(0)
    rows = planted(n=80, groups=12, noise=0.3)[0][:70] * torch.rand(70, 1, dtype=F64)
    expected = finding._in_order_of_appearance(naive_leaders(rows, threshold))
    found = find_ties(rows, dim=0, by=Leaders(threshold=threshold)).labels
    assert torch.equal(found, expected)
    assert len(found.unique()) > 1


def test_every_member_is_as_similar_to_its_longest_as_asked():
    torch.manual_seed(1)
    rows = torch.randn(300, 4, dtype=F64)
    labels = find_ties(rows, dim=0, by=Leaders(threshold=0.85)).labels
    for k in labels.unique():
        members = rows[labels == k]
        leader = members[members.square().sum(1).argmax()]
        assert (members @ leader / leader.square().sum()).min() >= 0.85 - 1e-6


def test_equal_slices_are_one_group_at_threshold_one():
    torch.manual_seed(0)
    row = torch.randn(1, 50)
    rows = torch.cat([row.expand(20, 50), torch.randn(5, 50)])
    labels = find_ties(rows, dim=0, by=Leaders(threshold=1.0)).labels
    assert labels.tolist() == [0] * 20 + [1, 2, 3, 4, 5]


def test_more_preference_more_groups():
    rows = planted(noise=0.4)[0]
    groups = [find_ties(rows, dim=0, by=AffinityPropagation(preference=p)).n_groups for p in (-2.0, 0.6, 0.99)]
    assert groups[0] < groups[1] < groups[2]


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_kmeans_finds_planted_groups(dtype):
    rows, labels = planted()
    spec = find_ties(rows.to(dtype).T, dim=1, by=KMeans(6))
    assert spec.dim == 1
    assert torch.equal(spec.labels, labels)
    assert find_ties(rows.to(dtype).T, dim=1, by=KMeans(6)) == spec


def test_kmeans_spends_its_groups_where_slices_matter():
    weight = torch.tensor([[0.0, 1.0, 10.0, 14.0]]) + 1  # slices, dim=1
    plain = find_ties(weight, dim=1, by=KMeans(3))
    assert plain.labels.tolist() == [0, 0, 1, 2]
    weighed = find_ties(weight, dim=1, by=KMeans(3, slice_weight=torch.tensor([100.0, 100, 1, 1])))
    assert weighed.labels.tolist() == [0, 1, 2, 2]
    ignored = find_ties(weight, dim=1, by=KMeans(3, slice_weight=torch.tensor([1.0, 0, 1, 1])))
    assert ignored.labels.tolist() == [0, -1, 1, 2]


def test_kmeans_with_more_groups_than_slices_that_differ():
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [0.0, 0.0]])
    assert find_ties(rows, dim=0, by=KMeans(3)).labels.tolist() == [0, 1, 0, -1]
    assert find_ties(torch.zeros(3, 4), dim=1, by=KMeans(3)).labels.tolist() == [-1] * 4


@pytest.mark.parametrize("method", [AffinityPropagation(), Leaders()])
def test_edges(method):
    assert find_ties(torch.zeros(3, 4), dim=1, by=method).labels.tolist() == [-1] * 4
    one = torch.zeros(3, 4)
    one[:, 2] = 1
    assert find_ties(one, dim=1, by=method).labels.tolist() == [-1, -1, 0, -1]
    assert find_ties(torch.ones(3, 4), dim=1, by=method).labels.tolist() == [0] * 4
    strict = Leaders(0.99) if isinstance(method, Leaders) else AffinityPropagation(preference=0.99)
    assert find_ties(torch.tensor([2.0, 2.0, 5.0]), dim=0, by=strict).n_groups == 2


def test_the_weight_is_not_changed():
    weight = torch.nn.Parameter(planted()[0])
    before = weight.detach().clone()
    find_ties(weight, dim=0)
    assert torch.equal(weight, before)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: KMeans(0), "n_groups must be a whole number >= 1, got 0"),
        (lambda: KMeans(2, slice_weight=-torch.ones(3)), "finite and not negative, .* from -1 to -1"),
        (lambda: KMeans(2, slice_weight=torch.ones(3, 1)), r"one number a slice, got \(3, 1\) numbers"),
        (lambda: KMeans(2, slice_weight=torch.ones(0, 1)), r"one number a slice, got \(0, 1\)$"),
        (lambda: AffinityPropagation(preference=float("nan")), "preference must be a finite number"),
        (lambda: AffinityPropagation(preference="median"), "preference must be a finite number"),
        (lambda: AffinityPropagation(damping=0.4), "0.5 <= damping < 1"),
        (lambda: Leaders(0), "0 < threshold <= 1"),
        (lambda: Leaders(1.1), "0 < threshold <= 1"),
    ],
)
def test_a_way_to_group_checks_its_settings(made, message):
    with pytest.raises(ValueError, match=message):
        made()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": "kmeans"}, r"by must be AffinityPropagation\(\), Leaders\(\), KMeans\(n_groups\), .* got 'kmeans'"),
        ({"by": KMeans}, "by must be"),
        ({"by": KMeans(2, slice_weight=torch.ones(2))}, "one number a slice, 3, got 2"),
        ({"similarity": "l2"}, 'similarity must be "length" or "cosine"'),
        ({"dim": 2}, r"dim must be an integer in -2\.\.1"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        find_ties(torch.randn(4, 3), **{"dim": 1, **settings})


def test_ways_to_group_are_equal_when_equal():
    weights = torch.rand(3)
    ways = {KMeans(2, slice_weight=weights), KMeans(2, slice_weight=weights.tolist()), Leaders(), AffinityPropagation()}
    ways |= {Leaders(0.9), AffinityPropagation(0.6), KMeans(2)}
    assert len(ways) == 4


def test_a_way_of_ones_own():
    """Any numbers, in any order; -1 prunes."""

    class BySign:
        def groups(self, rows, slices, n):
            assert rows.shape == (3, 2)
            assert slices.tolist() == [0, 2, 3]
            assert n == 4
            return torch.tensor([7, -1, 3])

    weight = torch.tensor([[1.0, 0, 2, 3], [1, 0, 2, 3]])
    assert find_ties(weight, dim=1, by=BySign()).labels.tolist() == [0, -1, -1, 1]


def test_bad_weights_are_named():
    weight = torch.ones(3, 4)
    weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="NaN or infinite"):
        find_ties(weight, dim=1)
    with pytest.raises(ValueError, match=r"shape \(3, 0\) has no slices to compare along dim 1"):
        find_ties(torch.ones(3, 0), dim=1)


def test_more_damping_is_tried_before_giving_up(monkeypatch):
    from sklearn import cluster

    tried, usual = [], cluster.AffinityPropagation

    def short(**settings):
        tried.append(settings["damping"])
        return usual(**{**settings, "max_iter": 2})

    monkeypatch.setattr(cluster, "AffinityPropagation", short)
    with pytest.raises(ValueError, match=r"did not settle .* by=Leaders"):
        find_ties(planted(noise=0.5)[0], dim=0, by=AffinityPropagation(damping=0.8))
    assert tried == [0.8, 0.8, 0.9, 0.9, 0.97, 0.97]


# Up to the sign


@pytest.mark.parametrize("by", [Leaders(), AffinityPropagation(), KMeans(3)])
@pytest.mark.parametrize("shape", [(1, 12), (5, 12), (40, 12)])  # by features, and by all pairs
@pytest.mark.parametrize("most", [8192, 12])
def test_mirrored_slices_are_one_group(by, shape, most, monkeypatch):
    monkeypatch.setattr("tyinglib.finding.MOST", most)
    torch.manual_seed(0)
    directions = torch.linalg.qr(torch.randn(max(shape[0], 3), 3)).Q.T[:, : shape[0]]
    if shape[0] == 1:
        directions = torch.tensor([[1.0], [3.0], [9.0]])
    labels = torch.arange(12) % 3
    signs = torch.where(torch.arange(12) % 4 == 3, -1.0, 1.0)
    weight = (signs[:, None] * directions[labels]).T * (1 + 1e-4 * torch.randn(12))
    found = find_ties(weight, dim=1, by=by, signed=True)
    assert found.labels.tolist() == labels.tolist()
    expected = signs * signs[:3][labels]  # the first of each group has 1
    assert found.factors.tolist() == expected.tolist()
    torch.testing.assert_close(
        selection.project(weight, found.labels, dim=1, factors=found.factors), weight, rtol=1e-3, atol=1e-3
    )
    assert find_ties(weight, dim=1, by=by).n_groups > 3 or isinstance(by, KMeans)


def test_without_mirror_images_there_are_no_factors():
    weight = torch.tensor([[1.0, 1.1, 0.0, 1.0], [2.0, 2.0, 0.0, -1.0]])
    assert find_ties(weight, dim=1, by=Leaders(), signed=True) == find_ties(weight, dim=1, by=Leaders())


def test_owl_ties_sizes_and_the_layer_keeps_its_signs():
    """The prox of OWL makes sizes exactly equal; unsigned, a mirrored pair is two groups, or its mean is near zero."""
    weight = prox_owl(torch.tensor([3.0, -2.9, 1.0, 0.1]), torch.tensor([0.6, 0.4, 0.2, 0.2]))
    assert weight[0] == -weight[1]
    spec = find_ties(weight[None], dim=1, by=Leaders(), signed=True)
    assert (spec.labels.tolist(), spec.factors.tolist()) == ([0, 0, 1, -1], [1, -1, 1, 0])
    layer = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(weight)
    tie(layer, "weight", spec)
    assert layer.weight.tolist() == weight[None].tolist()


def test_too_many_slices_for_all_pairs(monkeypatch):
    monkeypatch.setattr("tyinglib.finding.MOST", 8)
    with pytest.raises(ValueError, match="signed=True compares all pairs of slices: 9 of 20 entries are too many"):
        find_ties(torch.randn(20, 9), dim=1, by=Leaders(), signed=True)


@pytest.mark.parametrize(
    "rows", [[[1.0, 0], [1, 0], [1, 0], [0, 1]], [[1.0, 0], [1, 0], [1, 0], [-1, 0]], [[2.0], [0.5], [0.5], [0.5]]]
)
def test_three_equal_slices_do_not_pull_in_an_unlike_one(rows):
    """Nothing changes for fifteen rounds there, long before the messages have settled."""
    found = find_ties(torch.tensor(rows), dim=0)
    assert found.n_groups == 2
    assert sorted(found.labels.bincount().tolist()) == [1, 3]


@pytest.mark.parametrize("noise", [0, 1e-6, 1e-4, 1e-2])
def test_copies_and_an_outlier(noise):
    for seed in range(10):
        torch.manual_seed(seed)
        rows = torch.randn(5, 50).repeat_interleave(4, 0)
        rows = torch.cat([rows + noise * torch.randn_like(rows), torch.randn(1, 50)])
        labels = find_ties(rows, dim=0).labels
        assert labels.tolist() == [*torch.arange(5).repeat_interleave(4).tolist(), 5]
