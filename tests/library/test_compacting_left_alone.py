"""What compact leaves alone though it could be smaller: right, and with a sentence that says why."""

import pytest
import torch
import torch.nn.functional as F
from compact_models import checked, normal, shapes, warned, zero
from torch import nn
from torch.nn.utils import prune

from tyinglib.compacting import SumInputs, compact
from tyinglib.tying import TieSpec, tie


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


class Reading(nn.Module):
    """Uses a layer's weight without calling it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 2), nn.Linear(2, 2)

    def forward(self, x):
        return F.linear(self.b(self.a(x).relu()) + self.a.weight.sum(), self.c.weight)


def test_a_weight_that_is_used_elsewhere_is_left_alone():
    for tied in (False, True):
        model = Reading()
        zero(model.a, inputs=[0])
        zero(model.c, inputs=[0])
        if tied:
            tie(model.a, "weight", TieSpec([0, 1, 1, 2], dim=1))
        assert warned(model, normal(2, 4), smaller=False) == [
            "'a' alone: its parameters are used outside it too",
            "'c' alone: its weight is used without a call of it",
        ]


class Adding(nn.Linear):
    def forward(self, x):
        return super().forward(x) + x.sum(-1, keepdim=True)


class Calling(nn.Linear):
    def __call__(self, x):
        return super().__call__(x) + x.sum(-1, keepdim=True)


class Scaling(nn.Conv1d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight, bias) + x.sum(1, keepdim=True)


class Plain(nn.Linear):
    """A class of its own, with torch's forward."""


def instance():
    layer = nn.Linear(6, 4)
    layer.forward = lambda x: x[..., :4] + x.sum(-1, keepdim=True)
    return layer


@pytest.mark.parametrize(
    ("layer", "method", "kind"),
    [
        (lambda: Adding(6, 4), "forward", "Linear"),
        (lambda: Calling(6, 4), "__call__", "Linear"),
        (instance, "forward", "Linear"),
        (lambda: nn.Sequential(nn.Unflatten(1, (6, 1)), Scaling(6, 4, 1), nn.Flatten()), "_conv_forward", "Conv1d"),
    ],
)
def test_a_forward_that_is_not_torchs_own(layer, method, kind):
    torch.manual_seed(0)
    model = nn.Sequential(layer(), nn.ReLU(), nn.Linear(4, 2))
    name, inner = next((n, m) for n, m in model.named_modules() if isinstance(m, (nn.Linear, nn.Conv1d)))
    zero(inner, inputs=[0, 1, 2])
    zero(model[2], inputs=[1])  # nor may its outputs go
    expected = [f"{name!r} alone: its {method} is not that of torch's {kind}"]
    assert warned(model, torch.zeros(2, 6, dtype=torch.float64), other=normal(5, 6), smaller=True) == expected


def test_a_class_of_its_own_with_torchs_forward_is_rewritten():
    model = nn.Sequential(Plain(6, 4), nn.ReLU(), nn.Linear(4, 2))
    zero(model[0], inputs=[0])
    assert shapes(checked(model, normal(5, 6))) == [(4, 5), (2, 4)]


HOOKS = {
    "forward": lambda layer: layer.register_forward_hook(lambda m, args, out: out + args[0].sum(-1, keepdim=True)),
    "pre": lambda layer: layer.register_forward_pre_hook(lambda m, args: (args[0] + args[0].sum(-1, keepdim=True),)),
    "keywords": lambda layer: layer.register_forward_hook(lambda m, args, kw, out: None, with_kwargs=True),
    "backward": lambda layer: layer.register_full_backward_hook(lambda m, grads, out: None),
    "before backward": lambda layer: layer.register_full_backward_pre_hook(lambda m, grads: None),
}


@pytest.mark.parametrize("kind", HOOKS)
def test_hooks(kind):
    def build():
        torch.manual_seed(0)
        return nn.Sequential(nn.Sequential(nn.Linear(6, 4), nn.ReLU()), nn.Linear(4, 2))

    model = build()
    zero(model[0][0], inputs=[0, 1, 2])
    HOOKS[kind](model[0][0])
    expected = ["'0.0' alone: it carries a hook (<lambda>); remove it first"]
    assert warned(model, torch.zeros(2, 6, dtype=torch.float64), other=normal(5, 6)) == expected
    model = build()  # a hook on what stands between: it may mix the channels, or keep them
    zero(model[1], inputs=[0])
    HOOKS[kind](model[0][1])
    expected = ["'0.0' with all its outputs: its outputs go into '0.1' (ReLU)"]
    assert warned(model, torch.zeros(2, 6, dtype=torch.float64), other=normal(5, 6), smaller=True) == expected
    model = build()  # on what holds the layer
    zero(model[0][0], inputs=[0, 1, 2])
    HOOKS[kind](model[0])
    expected = ["'0.0' alone: it is inside '0' (Sequential, which carries a hook)"]
    assert warned(model, torch.zeros(2, 6, dtype=torch.float64), other=normal(5, 6)) == expected


def test_hooks_of_the_whole_model_stay():
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    zero(model[2], inputs=[0])
    model.register_forward_hook(lambda m, args, out: 2 * out)
    model.register_forward_pre_hook(lambda m, args: (args[0] + 1,))
    assert shapes(checked(model, normal(5, 6))) == [(3, 6), (2, 3)]


def test_weights_that_a_hook_computes():
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)).to(torch.float64)
    prune.ln_structured(model[0], "weight", 0.5, n=2, dim=1)
    with pytest.raises(ValueError, match=r"cannot be copied .* prune\.remove"):
        compact(model, normal(2, 6))
    with torch.no_grad():
        model(normal(2, 6))
    assert warned(model, normal(2, 6)) == ["'0' alone: it carries a hook (LnStructured); remove it first"]
    prune.remove(model[0], "weight")
    assert shapes(checked(model, normal(2, 6))) == [(4, 3), (2, 4)]


@pytest.mark.parametrize("layer", [nn.Linear(6, 4), nn.Conv1d(6, 4, 3), nn.Conv2d(6, 4, 3)])
def test_a_bare_layer(layer):
    x = normal(5, *(6, 8, 8)[: layer.weight.ndim - 1])
    tie(layer, "weight", TieSpec([0, 0, 1, 1, 2, -1], dim=1))
    small = checked(layer, x)
    assert [type(part) for part in small] == [SumInputs, type(layer).__bases__[0]]
    layer.register_forward_hook(lambda m, args, out: None)
    assert warned(layer, x) == ["the model alone: it carries a hook (<lambda>); remove it first"]


def test_a_bare_layer_with_nothing_to_gain_is_a_layer():
    assert type(checked(nn.Linear(6, 4), normal(5, 6), smaller=False)) is nn.Linear


class Between(nn.Module):
    """Two layers, what is between them, and one that reads."""

    def __init__(self, between, width=8, last=8):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.last = nn.Linear(6, width), nn.Linear(6, 8), nn.Linear(last, 2)
        self.norm = nn.LayerNorm(8)
        self.between = between

    def forward(self, x):
        return self.last(self.between(self, self.a(x), self.b(x)))


BETWEEN = {
    "'add'": lambda m, a, b: a + b.relu(),
    "'mul'": lambda m, a, b: F.silu(a) * b,
    "'cat'": lambda m, a, b: torch.cat([a, b], 1)[:, 4:12],
    "'sub'": lambda m, a, b: torch.sub(a, b),
}


@pytest.mark.parametrize("step", BETWEEN)
def test_outputs_that_nobody_reads_behind_a_sum_a_product_or_a_concatenation(step):
    model = Between(BETWEEN[step])
    checked(model, normal(5, 6), smaller=False)  # everything is read: no word
    zero(model.last, inputs=[2])
    assert warned(model, normal(5, 6), smaller=True) == [
        f"{name!r} with all its outputs: its outputs go into {step}" for name in ("a", "b")
    ]


def test_outputs_that_are_constant_or_equal_behind_a_sum():
    for change in (lambda w: w[3].zero_(), lambda w: w[3].copy_(w[4])):
        model = Between(BETWEEN["'add'"])
        with torch.no_grad():
            change(model.a.weight)
            model.a.bias[3] = model.a.bias[4]
        assert warned(model, normal(5, 6)) == ["'a' with all its outputs: its outputs go into 'add'"]


def test_what_is_read_in_one_place_at_least_is_no_gain():
    model = Between(lambda m, a, b: a + m.c(a).relu())
    model.c = nn.Linear(8, 8)
    zero(model.last, inputs=[2])
    # output 2 of a is read by c; output 2 of c by nobody
    assert warned(model, normal(5, 6), smaller=True) == ["'c' with all its outputs: its outputs go into 'add'"]
    zero(model.c, inputs=[2])
    assert warned(model, normal(5, 6), smaller=True) == [
        "'a' with all its outputs: its outputs are read in 2 places",
        "'c' with all its outputs: its outputs go into 'add'",
    ]


def test_what_mixes_the_channels_reads_them_all():
    model = Between(lambda m, a, b: m.norm(a) + b.softmax(-1))
    zero(model.last, inputs=[2])
    checked(model, normal(5, 6))  # no word: nothing before could be smaller


def test_a_split():
    model = Between(lambda m, a, b: a.chunk(2, 1)[0] + b[:, :4], last=4)
    zero(model.last, inputs=[2])
    assert warned(model, normal(5, 6), smaller=True) == [
        "'a' with all its outputs: its outputs go into 'chunk'",
        "'b' with all its outputs: its outputs go into 'getitem'",
    ]


def test_a_view():
    model = Between(lambda m, a, b: a.view(a.shape[0], -1) + b.reshape(b.size(0), 8))
    zero(model.last, inputs=[2])
    assert warned(model, normal(5, 6), smaller=True) == [
        f"{name!r} with all its outputs: its outputs are read in 2 places" for name in ("a", "b")
    ]


def test_outputs_that_nobody_takes():
    model = Between(lambda m, a, b: (m.unused(a), b)[1])
    model.unused = nn.Linear(8, 8)
    zero(model.unused, outputs=[1])
    checked(model, normal(5, 6), smaller=False)


def test_the_models_own_outputs_are_kept_without_a_word():
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU())
    zero(model[0], outputs=[0, 1])
    checked(model, normal(5, 6), smaller=False)


def test_a_depthwise_convolution():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.Conv2d(8, 4, 1)
    )
    zero(model[5], inputs=[1])
    assert warned(model, normal(2, 3, 8, 8), smaller=True) == [
        "'0' with all its outputs: '3' reads its outputs, and is left alone",
        "'3' alone: it is a convolution in groups",
    ]


class Conv1D(nn.Module):
    """As in Hugging Face's GPT-2: a Linear with its weight turned."""

    def __init__(self, n_out, n_in):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(n_in, n_out)), nn.Parameter(torch.zeros(n_out))

    def forward(self, x):
        return torch.addmm(self.bias, x, self.weight)


@pytest.mark.parametrize("tied", [False, True])
def test_other_modules_with_a_weight(tied):
    torch.manual_seed(0)
    model = nn.Sequential(Conv1D(8, 6), nn.GELU(), Conv1D(4, 8))
    checked(model, normal(5, 6), smaller=False)
    if tied:
        tie(model[2], "weight", TieSpec([0, 0, 1, 1, 2, 2, 3, 3], dim=0))
    else:
        zero(model[2], outputs=[3])
    assert warned(model, normal(5, 6)) == ["'2' alone: only Linear, Conv1d and Conv2d are rewritten, not Conv1D"]


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.recurrent, self.last, self.never = nn.GRU(8, 4, batch_first=True), nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.recurrent(self.attention(x, x, x)[0])[0])


def test_layers_that_the_graph_does_not_show():
    model = Attending()
    checked(model, normal(2, 3, 8), smaller=False)
    zero(model.attention.out_proj, inputs=[2])
    zero(model.never, inputs=[2])
    with torch.no_grad():
        model.recurrent.weight_ih_l0[:, 1] = 0
    assert warned(model, normal(2, 3, 8)) == [
        "'attention.out_proj' alone: it is inside 'attention' (MultiheadAttention)",
        "'never' alone: the model does not call it",
        "'recurrent' alone: only Linear, Conv1d and Conv2d are rewritten, not GRU",
    ]


def test_embeddings_and_norms():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(10, 4, padding_idx=0), nn.LayerNorm((3, 4)), nn.Flatten(), nn.Linear(12, 2))
    words = torch.tensor([[1, 2, 3], [9, 0, 4]])
    checked(model, words, smaller=False)  # neither the padding nor a constant weight is a gain
    tie(model[0], "weight", TieSpec([0, 1, 2, 3, 4, 4, 4, 5, 6, 7], dim=0))
    assert warned(model, words) == ["'0' alone: only Linear, Conv1d and Conv2d are rewritten, not Embedding"]


def test_nan_and_keywords():
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    zero(model[2], inputs=[0])
    with torch.no_grad():
        model[0].weight[1, 1] = torch.nan
    with pytest.warns(UserWarning, match="compact left '0' alone: it holds NaN or infinite values"):
        small = compact(model, torch.zeros(2, 6))
    torch.testing.assert_close(small(torch.ones(2, 6)), model(torch.ones(2, 6)), equal_nan=True)
    model = Between(lambda m, a, b: m.c(input=a))
    model.c = nn.Linear(8, 8)
    zero(model.c, inputs=[0])
    zero(model.b, inputs=[0])
    assert warned(model, normal(5, 6), smaller=True) == [
        "'a' with all its outputs: 'c' reads its outputs, and is left alone",
        "'c' alone: it is called with a keyword",
    ]


class Aliased(nn.Module):
    """The same layers under several names, and in a list."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(6, 4)
        self.body = nn.Sequential(self.first, nn.ReLU())
        self.last = nn.Linear(4, 2)
        self.listed = [self.first, self.last]

    def forward(self, x):
        return self.listed[1](self.body(x))


def test_a_layer_under_two_names_is_rewritten_under_both():
    model = Aliased()
    zero(model.first, inputs=[0])
    zero(model.last, inputs=[0])
    small = checked(model, normal(5, 6))
    assert small.first is small.body[0] is small.listed[0]
    assert shapes(small) == [(3, 5), (2, 3)]


def test_what_is_shared_and_left_stays_shared():
    model = Shared()
    zero(model.layer, inputs=[0])
    with pytest.warns(UserWarning, match="'layer' alone"):
        small = compact(model, torch.randn(2, 4))
    assert small.twin.weight is small.other.weight
    assert model.twin.weight is model.other.weight
    assert small.twin.weight is not model.twin.weight
