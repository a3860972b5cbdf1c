"""Clustered, pruned and quantised weights."""

import os

import numpy as np
import pytest
import torch
from reported_models import descend
from reports import report
from sklearn.cluster import KMeans as Clustering
from torch import nn
from torch.nn.utils import prune

from tyinglib import KMeans, TieSpec, compact, count_parameters, find_ties, tie


def columns(weight):
    """How many different ones there are."""
    return len(torch.unique(weight, dim=1).T)


@report(
    "pytorch/ao",
    4557,
    "It is asked for weights that keep to N values, a table and assignments, while a network is fine-tuned.",
    today="here too",
    here="kept by",
    by=("tie", "find_ties", "KMeans"),
)
def test_fine_tuning_keeps_the_clusters():
    torch.manual_seed(0)
    free, tied, x = nn.Linear(12, 5), nn.Linear(12, 5), torch.randn(20, 12)
    tie(tied, "weight", find_ties(tied.weight, dim=1, by=KMeans(4)))
    free.load_state_dict({"weight": tied.weight, "bias": tied.bias})
    assert columns(free.weight) == columns(tied.weight) == 4
    for layer in (free, tied):
        descend(layer, layer(x).square().sum(), lr=0.01)
    assert columns(tied.weight) == 4
    return columns(free.weight) == 12


@report(
    "tensorflow/model-optimization",
    520,
    "Clustering a pruned network moves its zeros, and fine-tuning moves them further.",
    today="here too",
    here="kept by",
    by=("find_ties", "tie", "KMeans"),
)
def test_clustering_keeps_zeros():
    torch.manual_seed(0)
    layer, x = nn.Linear(12, 5), torch.randn(20, 12)
    with torch.no_grad():
        layer.weight[:, :6] = 0
        layer.weight[:, 6:8] *= 1e-3
    rows = layer.weight.detach().T.numpy()
    clusters = Clustering(3, n_init=4, random_state=0).fit(rows)
    means = clusters.cluster_centers_[clusters.labels_]
    tie(layer, "weight", find_ties(layer.weight, dim=1, by=KMeans(3)))
    descend(layer, layer(x).square().sum(), lr=0.01)
    assert bool((layer.weight[:, :6] == 0).all())
    return not np.any((means == 0).all(1))


@report(
    "apple/coreai-optimization",
    93,
    "k-means is asked for more clusters than there are slices, fails, and the weight stays as it was.",
    today="here too",
    here="works with",
    by=("find_ties", "KMeans"),
)
def test_fewer_slices_than_clusters():
    weight = torch.randn(3, 4)
    assert find_ties(weight, dim=1, by=KMeans(16)) == TieSpec([0, 1, 2, 3], dim=1)
    with pytest.raises(ValueError, match="n_samples=4 should be >= n_clusters=16") as refusal:
        Clustering(16).fit(weight.T.numpy())
    return refusal.type is ValueError


@report(
    "apple/coremltools",
    2698,
    "Where clusters may be merged, the error is computed from the sum of the centres: for negative weights it is NaN.",
    today="not run",
    here="right in",
    by=("find_ties", "KMeans"),
)
def test_clusters_of_negative_weights():
    weight = torch.tensor([[-1.0, -1.1, -0.9, -10.0, -10.1, -9.9]])
    assert find_ties(weight, dim=1, by=KMeans(2)).labels.tolist() == [0, 0, 0, 1, 1, 1]
    return None


@report(
    "apple/coremltools",
    2777,
    "A weight whose compression is declined is left scaled, though the log says that it was skipped.",
    today="not run",
    here="refused by",
    by=("tie",),
)
def test_a_tie_that_is_refused_leaves_the_weight_alone():
    layer = nn.Linear(120, 16)
    before, weight = layer.weight, layer.weight.detach().clone()
    with pytest.raises(ValueError, match="120"):
        tie(layer, "weight", TieSpec(torch.arange(119) % 7, dim=1))
    assert layer.weight is before
    assert torch.equal(layer.weight, weight)
    return None


@report(
    "pytorch/pytorch",
    36214,
    "A network that was pruned with `torch.nn.utils.prune` needs as much memory and time as before.",
    today="by design",
    here="works with",
    by=("compact", "count_parameters"),
)
def test_pruned_neurons_are_gone(tmp_path):
    model = nn.Sequential(nn.Linear(20, 100), nn.ReLU(), nn.Linear(100, 10))
    torch.save(model.state_dict(), tmp_path / "before.pt")
    prune.ln_structured(model[0], "weight", amount=0.5, n=2, dim=0)
    prune.remove(model[0], "weight")
    with torch.no_grad():
        model[0].bias[(model[0].weight == 0).all(1)] = 0
    torch.save(model.state_dict(), tmp_path / "after.pt")
    x = torch.randn(7, 20)
    small = compact(model, x)
    torch.testing.assert_close(small(x), model(x))
    assert small[0].weight.shape == (50, 20)
    assert count_parameters(small).total < 0.6 * count_parameters(model).total
    sizes = [os.path.getsize(tmp_path / name) for name in ("before.pt", "after.pt")]
    return abs(sizes[1] - sizes[0]) < 100
