"""compact: the same outputs with less in the model; each rewrite by itself, together, and what is refused."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tyinglib.compacting import SumInputs, compact
from tyinglib.counting import count_parameters
from tyinglib.tying import TieSpec, tie

F64 = torch.float64


def checked(model, x, *, smaller=True):
    """The compact model, after checking that it computes the same on other inputs and that the model is untouched."""
    model = model.to(F64)
    torch.manual_seed(3)
    for module in model.modules():  # batch norms that have seen data
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    model.eval()
    before = copy.deepcopy(model.state_dict())
    small = compact(model, x[:2])
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not any(a is b for a in model.parameters() for b in small.parameters())
    torch.testing.assert_close(small(x), model(x), rtol=1e-12, atol=1e-12)
    assert (count_parameters(small).total < count_parameters(model).total) == smaller
    return small


def normal(*shape):
    torch.manual_seed(2)
    return torch.randn(*shape, dtype=F64)


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(12, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)
    )


def cnn(padding=1):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=padding), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 6, 3, padding=padding), nn.LeakyReLU(0.1), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 4),
    )  # fmt: skip


def zero(layer, *, inputs=(), outputs=()):
    with torch.no_grad():
        layer.weight[:, list(inputs)] = 0
        layer.weight[list(outputs)] = 0


def shapes(model):
    return [tuple(m.weight.shape) for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d))]


def test_tied_inputs_are_summed_once():
    model = mlp()
    tie(model[0], "weight", TieSpec([0, 0, 1, 1, 2, 2, 3, 3, -1, -1, 0, 1], dim=1))
    small = checked(model, normal(20, 12))
    assert shapes(small) == [(8, 4), (6, 8), (3, 6)]
    assert repr(small[0][0]) == "SumInputs(read=10, groups=4, dim=-1)"
    assert not hasattr(small[0][1], "parametrizations")


def test_pruned_inputs_take_their_neurons_along():
    model = mlp()
    zero(model[4], inputs=[1, 5])
    zero(model[6], inputs=[0])
    assert shapes(checked(model, normal(20, 12))) == [(6, 12), (5, 6), (3, 5)]


def test_what_dies_upstream_dies_further_up():
    """Neuron 0 of the second layer is not read; only it reads neurons 2 and 3 of the first."""
    model = mlp()
    zero(model[6], inputs=[0])
    with torch.no_grad():
        model[4].weight[1:, 2:4] = 0
    assert shapes(checked(model, normal(20, 12))) == [(6, 12), (5, 6), (3, 5)]


def test_constant_neurons_go_into_the_bias():
    model = mlp()
    zero(model[0], outputs=[0, 3])
    zero(model[4], outputs=[2])
    small = checked(model, normal(20, 12))
    assert shapes(small) == [(6, 12), (5, 6), (3, 5)]
    assert not torch.equal(small[6].bias, model[6].bias)


def test_constants_into_a_layer_without_bias():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 2, bias=False))
    zero(model[0], outputs=[1])
    small = checked(model, normal(6, 4))
    assert shapes(small) == [(4, 4), (2, 4)]
    assert small[2].bias is not None


def test_a_constant_can_make_the_next_neuron_constant():
    model = mlp()
    zero(model[0], outputs=[0])
    with torch.no_grad():
        model[4].weight[1, 1:] = 0  # neuron 1 of the second layer reads only the constant
    assert shapes(checked(model, normal(20, 12))) == [(7, 12), (5, 7), (3, 5)]


def test_equal_neurons_are_computed_once():
    model = mlp()
    tie(model[4], "weight", TieSpec([0, 1, 0, 2, 3, 3], dim=0))
    tie(model[4], "bias", TieSpec([0, 1, 0, 2, 3, 4], dim=0))  # the last two differ in their bias
    assert shapes(checked(model, normal(20, 12))) == [(8, 12), (5, 8), (3, 5)]


def test_equal_neurons_with_different_batch_norm_are_not_equal():
    model = mlp()
    tie(model[0], "weight", TieSpec([0, 0, 1, 2, 3, 4, 5, 6], dim=0))
    tie(model[0], "bias", TieSpec([0, 0, 1, 2, 3, 4, 5, 6], dim=0))
    checked(model, normal(20, 12), smaller=False)


@pytest.mark.parametrize("padding", [0, 1, "same"])
def test_convolutions(padding):
    model = cnn(padding)
    tie(model[4], "weight", TieSpec([0, 0, 1, 2, 2, 3, -1, -1], dim=1))
    zero(model[8], inputs=range(4, 12))  # channels 1 and 2, four features each
    small = checked(model, normal(5, 3, 16, 16))
    assert shapes(small) == [(6, 3, 3, 3), (4, 4, 3, 3), (4, 16)]
    assert (small[4][0].dim, small[4][0].n_groups) == (-3, 4)


def test_constant_channels_stay_where_padding_mixes_them_with_zeros():
    for padding, channels in ((0, 7), (1, 8)):
        model = cnn(padding)
        zero(model[0], outputs=[2])
        small = checked(model, normal(5, 3, 16, 16), smaller=padding == 0)
        assert shapes(small)[0][0] == channels
    # a constant zero may go: ReLU of a negative bias
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3, padding=1))
    zero(model[0], outputs=[2])
    with torch.no_grad():
        model[0].bias[2] = -1
    assert shapes(checked(model, normal(5, 3, 16, 16)))[0][0] == 7


def test_constant_channels_through_flatten():
    model = cnn()
    zero(model[4], outputs=[1])
    assert shapes(checked(model, normal(5, 3, 16, 16)))[1:] == [(5, 8, 3, 3), (4, 20)]


def test_one_dimensional_convolution():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6), nn.ReLU(), nn.AvgPool1d(2), nn.Conv1d(6, 3, 3, stride=2)
    )
    zero(model[4], inputs=[0, 5])
    zero(model[0], outputs=[1])
    tie(model[0], "weight", TieSpec([0, 0, 1, 1], dim=1))
    small = checked(model, normal(5, 4, 30))
    assert shapes(small) == [(3, 2, 3), (3, 3, 3)]
    assert small[0][0].dim == -2


class Functional(nn.Module):
    """A plain forward with functions, methods and a residual connection."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 5, 3)
        self.norm = nn.BatchNorm2d(5)
        self.first = nn.Linear(5 * 9, 10)
        self.second = nn.Linear(10, 10)
        self.last = nn.Linear(10, 2)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        x = torch.flatten(x, 1)
        h = torch.tanh(self.first(x))
        h = h + self.second(h).relu()
        return self.last(h)


def test_functions_and_a_residual():
    model = Functional()
    zero(model.first, inputs=range(9, 18))  # channel 1
    zero(model.last, inputs=[0, 1])  # read by nobody, but the sum needs both terms: not dropped
    small = checked(model, normal(4, 1, 8, 8))
    assert shapes(small) == [(4, 1, 3, 3), (10, 36), (10, 10), (2, 8)]


def test_several_samples_dimensions():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    zero(model[2], inputs=[1])
    zero(model[0], inputs=[0], outputs=[2])
    checked(model, normal(7, 3, 6))
    small = compact(model, normal(6))
    torch.testing.assert_close(small(normal(6)), model(normal(6)))


def test_flattened_sequences_are_not_mistaken_for_channels():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Flatten(), nn.Linear(15, 4))
    zero(model[3], inputs=[0, 1, 2])  # feature 0..2 of the first time step, not a channel
    small = checked(model, normal(7, 3, 6))
    assert shapes(small) == [(5, 6), (4, 12)]


def test_everything_pruned_leaves_one():
    model = mlp()
    zero(model[6], inputs=range(6))
    small = checked(model, normal(20, 12))
    assert shapes(small)[-1] == (3, 1)
    model = mlp()
    zero(model[0], outputs=range(8))
    checked(model, normal(20, 12))


def test_nothing_to_gain_changes_nothing():
    for model, x in ((mlp(), normal(20, 12)), (cnn(), normal(5, 3, 16, 16))):
        small = checked(model, x, smaller=False)
        assert shapes(small) == shapes(model)
        assert not any(isinstance(m, SumInputs) for m in small.modules())


def test_float32_and_counts():
    model = mlp().eval()
    tie(model[0], "weight", TieSpec([0] * 6 + [1] * 6, dim=1))
    small = compact(model, torch.zeros(1, 12))
    assert small[0][1].weight.dtype == torch.float32
    x = torch.randn(50, 12)
    torch.testing.assert_close(small(x), model(x))
    assert count_parameters(small).total < count_parameters(model).total
    assert not small.training
    model.train()
    compact(model, torch.zeros(2, 12))
    assert model.training


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.other = nn.Linear(4, 4)
        self.other.weight = nn.Parameter(torch.randn(4, 4))
        self.twin = nn.Linear(4, 4)
        self.twin.weight = self.other.weight

    def forward(self, x):
        return self.twin(self.other(self.layer(self.layer(x))))


def test_what_is_left_alone_says_why():
    model = Shared()
    zero(model.layer, inputs=[0])
    with pytest.warns(UserWarning, match="compact left 'layer' alone: it is called more than once"):
        compact(model, torch.randn(2, 4))
    model = Shared()
    zero(model.other, inputs=[0])
    with pytest.warns(UserWarning, match="alone: it") as caught:
        small = compact(model, torch.randn(2, 4))
    assert [str(w.message) for w in caught] == [
        f"compact left '{name}' alone: it shares a parameter with another layer" for name in ("other", "twin")
    ]
    assert shapes(small) == shapes(model)
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"))
    zero(model[0], inputs=[0])
    zero(model[1], inputs=[0])
    with pytest.warns(UserWarning, match="alone: it") as caught:
        compact(model, torch.randn(2, 4, 8, 8))
    assert [str(w.message).split(": ")[1] for w in caught] == [
        "it is a convolution in groups",
        "its padding is 'circular'",
    ]


class Viewing(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.b(self.a(x).relu()) + self.a.weight.sum()


class Choosing(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Twice(nn.Module):
    """One batch norm after two layers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.last, self.norm = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2), nn.BatchNorm1d(6)

    def forward(self, x):
        return self.last(self.norm(self.b(self.norm(self.a(x)))))


def test_a_batch_norm_with_two_places_stays_whole():
    model = Twice()
    zero(model.last, inputs=[0])
    small = checked(model, normal(5, 4))
    assert shapes(small) == [(6, 4), (6, 6), (2, 5)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    model = mlp().to(dtype).eval()
    tie(model[0], "weight", TieSpec([0, 0, 1, 1, 2, 2, 3, 3, -1, -1, 0, 1], dim=1))
    small = compact(model, torch.randn(4, 12).to(dtype))
    assert small[0][1].weight.dtype == dtype
    model = Viewing().to(dtype)  # what is wrong must be seen in half precision too
    with torch.no_grad():
        model.a.weight.copy_(torch.arange(24).view(6, 4))
    zero(model.b, inputs=[5])
    with pytest.raises(ValueError, match="outputs differ"):
        compact(model, torch.ones(2, 4, dtype=dtype))


class Pair(nn.Module):
    def forward(self, x):
        return x, x


def test_models_that_cannot_be_rewritten_are_refused():
    with pytest.raises(ValueError, match="must return one tensor, got tuple"):
        compact(Pair(), torch.ones(2))
    with pytest.raises(ValueError, match=r"torch\.fx cannot trace Choosing .* compact the parts"):
        compact(Choosing(), torch.ones(2))
    model = Viewing()
    zero(model.b, inputs=[0])
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="outputs differ"):
        compact(model, torch.ones(2, 4))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_forward_that_needs_the_layer_itself_is_refused():
    model = Viewing()
    tie(model.a, "weight", TieSpec([0, 0, 1, 1], dim=1))  # becomes two modules, without a weight of their own
    with pytest.raises(ValueError, match="does not run with smaller layers"):
        compact(model, torch.ones(2, 4))


class Counting(nn.Module):
    """Its forward knows the width."""

    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 4, 3), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.conv(x).mean((2, 3)).view(-1, 4))


def test_a_view_of_known_width_is_left_as_it_is():
    model = Counting()
    zero(model.last, inputs=[0])
    small = compact(model, torch.randn(2, 1, 6, 6))
    assert shapes(small) == [(4, 1, 3, 3), (2, 3)]
