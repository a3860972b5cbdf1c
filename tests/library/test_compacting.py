"""compact: the same outputs with less in the model; each rewrite by itself, together, and what is refused.

What is left alone, and what a warning says of it, is in test_compacting_left_alone.py.
"""

import collections
import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from compact_models import checked, normal, shapes, zero
from torch import fx, nn
from torch.nn.utils import parametrizations

from tyinglib.compacting import SumInputs, compact
from tyinglib.compacting._same_outputs import parts, same
from tyinglib.counting import count_parameters
from tyinglib.tying import TieSpec, tie


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
    with pytest.warns(UserWarning, match="left 'second' with all its outputs: its outputs go into 'add'"):
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
    with pytest.warns(UserWarning, match=r"left 'b' with all its outputs: its outputs go into 'norm' \(BatchNorm1d\)"):
        small = checked(model, normal(5, 4))
    assert shapes(small) == [(6, 4), (6, 6), (2, 5)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    model = mlp().to(dtype).eval()
    tie(model[0], "weight", TieSpec([0, 0, 1, 1, 2, 2, 3, 3, -1, -1, 0, 1], dim=1))
    small = compact(model, torch.randn(4, 12).to(dtype))
    assert small[0][1].weight.dtype == dtype
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).to(dtype)
    zero(model[2], inputs=[5])
    adds_the_width(model, "0")
    with pytest.raises(ValueError, match="outputs differ"):  # what is wrong must be seen in half precision too
        compact(model, torch.zeros(2, 4, dtype=dtype))


def adds_the_width(model, name):
    """Make the outputs depend on the width of a layer: seen by nobody who reads the graph."""
    model.register_forward_hook(lambda m, args, out: out + m.get_submodule(name).out_features)


def test_models_that_cannot_be_rewritten_are_refused():
    with pytest.raises(ValueError, match=r"torch\.fx cannot trace Choosing .* compact the parts"):
        compact(Choosing(), torch.ones(2))
    model = mlp().eval()
    zero(model[4], inputs=[0])
    adds_the_width(model, "0")
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"outputs differ .* sizes or weights itself"):
        compact(model, torch.zeros(2, 12))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_forward_that_needs_the_layer_itself_is_refused():
    model = mlp()
    tie(model[0], "weight", TieSpec([0, 0, 1, 1] * 3, dim=1))  # becomes two modules, without a width of their own
    adds_the_width(model, "0")
    with pytest.raises(ValueError, match="does not run with smaller layers"):
        compact(model, torch.ones(2, 12))


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


class Several(nn.Module):
    """Two inputs and an option; what it returns is chosen."""

    def __init__(self, returned):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.last = nn.Linear(6, 4), nn.Linear(3, 4), nn.Linear(4, 2)
        self.returned = returned

    def forward(self, x, y=None, *, scale=None, names=("a",)):
        h = self.a(x) if y is None else self.a(x) + self.b(y)
        h = h if scale is None else h * scale
        return self.returned(self.last(torch.relu(h)), h)


@dataclasses.dataclass
class Result:
    logits: torch.Tensor
    hidden: list


class Output(collections.OrderedDict):
    """As Hugging Face's ModelOutput: a dict with attributes."""

    def __getattr__(self, name):
        if name in self:
            return self[name]
        raise AttributeError(name)


Named = collections.namedtuple("Named", "logits hidden")
RETURNED = {
    "tensor": lambda out, h: out,
    "tuple": lambda out, h: (out, (h, None)),
    "dict": lambda out, h: {"logits": out, "hidden": [h], "name": "net"},
    "named": lambda out, h: Named(out, h),
    "dataclass": lambda out, h: Result(out, [h]),
    "output": lambda out, h: Output(logits=out, hidden=h),
    "integers": lambda out, h: (out.argmax(-1), out > 0),
}


@pytest.mark.parametrize("returned", RETURNED)
@pytest.mark.parametrize("several", ["one", "tuple", "dict", "all"])
def test_several_inputs_and_outputs(returned, several):
    model = Several(RETURNED[returned]).to(torch.float64).eval()
    zero(model.a, inputs=[0, 1])
    x, y = normal(5, 6), normal(5, 3)
    example = {"one": x, "tuple": (x, y), "dict": {"y": y, "x": x}, "all": {"x": x, "scale": y[0, 0]}}[several]
    args, kwargs = ((x, y), {}) if several == "tuple" else ((), example) if several in ("dict", "all") else ((x,), {})
    small = compact(model, example)
    assert small.a[1].weight.shape == (4, 4)
    got, expected = small(*args, **kwargs), model(*args, **kwargs)
    assert type(got) is type(expected)
    assert same([parts(got)], [parts(expected)], model)


@pytest.mark.parametrize("returned", RETURNED)
def test_a_difference_is_seen_wherever_it_stands(returned):
    model = mlp()
    zero(model[4], inputs=[0])  # 8 neurons become 7
    model.register_forward_hook(lambda m, args, out: RETURNED[returned](out * (-1) ** m[0].out_features, args[0]))
    with pytest.raises(ValueError, match="outputs differ"):
        compact(model, torch.zeros(2, 12))


def test_arguments_that_are_no_tensors_choose_the_way():
    class Choice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x, which="a", pair=None):
            return (self.a if which == "a" else self.b)(x + pair[1] if pair else x)

    model = Choice().to(torch.float64)
    zero(model.b, inputs=[0])
    x = normal(3, 4)
    small = compact(model, (x, "b", [0, x]))
    torch.testing.assert_close(small(x, "b", [0, 2 * x]), model(x, "b", [0, 2 * x]))
    assert small.b[1].in_features == 3


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (3, "example_input must be a tensor, a tuple .* got int"),
        ([torch.ones(1, 6)], "example_input must be .* got list"),
        (torch.ones(1, 5), "does not run on example_input .* give a tensor on its device, a tuple"),
        ({"z": torch.ones(1, 6)}, "does not run on example_input .* unexpected keyword argument 'z'"),
        ((), "does not run on example_input .* missing 1 required positional argument"),
        (torch.ones(0, 6), "example_input holds no values"),
    ],
)
def test_examples_that_are_no_input(example, message):
    with pytest.raises(ValueError, match=message):
        compact(Several(RETURNED["tensor"]), example)


def test_outputs_that_cannot_be_compared():
    model = Several(lambda out, h: {"a": [torch.distributions.Normal(0.0, 1.0)]})
    with pytest.raises(ValueError, match=r"must return tensors, .* got Normal as output\['a'\]\[0\]"):
        compact(model, torch.ones(1, 6))


def test_models_without_values_are_refused():
    with pytest.raises(ValueError, match=r"'0\.weight' has no values: it gets them at the first call"):
        compact(nn.Sequential(nn.LazyLinear(3)), torch.ones(1, 6))
    with pytest.raises(ValueError, match="'weight' has no values: it is on the meta device"):
        compact(nn.Linear(3, 2, device="meta"), torch.ones(1, 3))


def test_what_is_wrong_is_seen_though_the_example_hides_it():
    """The hook is silent on zeros; small outputs are no excuse."""
    model = mlp()
    zero(model[4], inputs=[0])
    model.register_forward_hook(lambda m, args, out: 1e-8 * (out + args[0].sum() * m[0].out_features))
    with pytest.raises(ValueError, match="outputs differ"):
        compact(model, torch.zeros(2, 12))


def test_random_input_stays_in_the_range_of_the_example():
    seen = []
    example = {
        "words": torch.tensor([[3, 7], [4, 4]]),
        "mask": torch.tensor([True, False] * 8),
        "all": torch.ones(4, dtype=torch.bool),
        "bytes": torch.tensor([0, 255] * 8, dtype=torch.uint8),
        "x": torch.tensor([[0.25, 0.5, 0.5]]).half(),
        "zeros": torch.zeros(50),
        "ones": torch.ones(50, dtype=torch.float64),
        "z": torch.zeros(4, dtype=torch.complex64),
    }

    class Looking(nn.Module):
        def forward(self, **inputs):
            if all(isinstance(value, torch.Tensor) for value in inputs.values()):
                seen.append(inputs)
            return inputs["x"] + 0

    compact(Looking(), example)
    first, *others = [s for s in seen if s["words"].tolist() != [[3, 7], [4, 4]]]
    assert others
    for name, value in example.items():
        assert (first[name].dtype, first[name].shape) == (value.dtype, value.shape)
        assert torch.equal(first[name], value) == (name == "all")
        if name in ("words", "bytes", "x"):
            assert value.min() <= first[name].min() <= first[name].max() <= value.max()
    assert any(not torch.equal(other["words"], first["words"]) for other in others)
    assert first["zeros"].std() > 0.5
    assert abs(first["ones"].mean() - 1) < 1


def test_embeddings():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(10, 6), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    zero(model[1], inputs=[0])
    zero(model[3], inputs=[0])
    assert shapes(checked(model, torch.tensor([[1, 2, 9], [0, 4, 4]]))) == [(3, 5), (2, 3)]


@fx.wrap
def only_zeros(x):
    if x.any():
        raise RuntimeError("only zeros")
    return x


def test_a_model_that_does_not_run_on_random_input():
    class Sure(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(6, 2)

        def forward(self, x):
            return self.a(only_zeros(x))

    model = Sure()
    zero(model.a, inputs=[0])
    with pytest.warns(UserWarning, match="compared the outputs on the example alone: .* random values .*only zeros"):
        small = compact(model, torch.zeros(1, 6))
    assert small.a[1].in_features == 5


def test_outputs_that_differ_by_chance_are_named_so():
    class Random(nn.Module):
        def forward(self, x):
            return F.dropout(x)

    model = nn.Sequential(nn.Linear(6, 4), Random())
    with pytest.raises(ValueError, match="other outputs each time for the same input"):
        compact(model, torch.zeros(1, 6))


def test_inputs_that_the_model_writes_into():
    class Writing(nn.Module):
        def forward(self, x):
            return x.mul_(2)

    model = nn.Sequential(Writing(), nn.Linear(6, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    zero(model[3], inputs=[0])
    x = torch.ones(2, 6)
    small = compact(model, x)
    assert torch.equal(x, torch.ones(2, 6))
    assert shapes(small) == [(3, 6), (2, 3)]


@pytest.mark.parametrize("wrap", [parametrizations.spectral_norm, parametrizations.weight_norm])
def test_other_parametrizations(wrap):
    model = mlp()
    zero(model[4], inputs=[0, 1])
    zero(model[6], inputs=[0])
    wrap(model[4])
    assert shapes(checked(model, normal(20, 12))) == [(6, 12), (5, 6), (3, 5)]


def test_a_tied_batch_norm():
    model = mlp()
    tie(model[2], "weight", TieSpec([0, 0, 1, 1, 2, 2, 3, 3], dim=0))
    zero(model[4], inputs=[1])
    small = checked(model, normal(20, 12))
    assert small[2].num_features == 7
    assert "parametrizations" not in dict(small[2].named_modules())


def test_a_single_constant_neuron():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid(), nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 2))
    zero(model[0], outputs=[0])
    zero(model[4], inputs=[1])  # the layer that takes the constant into its bias is rewritten for another reason too
    assert shapes(checked(model, normal(5, 4))) == [(1, 1), (1, 1), (2, 1)]


@pytest.mark.parametrize("pool", [nn.AvgPool2d(3, stride=1, padding=1), lambda x: F.avg_pool2d(x, 3, 1, 1)])
def test_a_constant_that_a_border_dilutes_may_be_diluted_otherwise_elsewhere(pool):
    """On 2 x 2 pixels each window of the pooling holds four of nine; on more pixels it does not."""

    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b, self.pool = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1), pool

        def forward(self, x):
            return self.b(self.pool(self.a(x)))

    model = Pooled()
    zero(model.a, outputs=[1])
    small = checked(model, normal(2, 3, 4, 4), smaller=False)
    torch.testing.assert_close(small(normal(2, 3, 9, 9)), model(normal(2, 3, 9, 9)), rtol=1e-12, atol=1e-12)


def test_complex_weights():
    model = nn.Sequential(nn.Linear(6, 4, dtype=torch.complex128), nn.Linear(4, 2, dtype=torch.complex128))
    zero(model[1], inputs=[0])
    zero(model[0], inputs=[1])
    small = compact(model, torch.zeros(1, 6, dtype=torch.complex128))
    x = torch.randn(5, 6, dtype=torch.complex128)
    torch.testing.assert_close(small(x), model(x), rtol=1e-12, atol=1e-12)
    assert [p.shape for p in small.parameters() if p.ndim > 1] == [(3, 5), (2, 3)]


def test_layers_called_by_keyword_between():
    class Keywords(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b, self.flat = nn.Linear(6, 4), nn.Linear(4, 2), nn.Flatten()

        def forward(self, x):
            return self.b(self.flat(input=F.relu(input=self.a(x))))

    model = Keywords()
    zero(model.b, inputs=[0])
    assert shapes(checked(model, normal(5, 6))) == [(3, 6), (2, 3)]
