"""The untied twins: copies of a filter give the convolution, tied they are it, and untied they are more."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn

from tyinglib import selection
from tyinglib.counting import count_parameters
from tyinglib.nn import LocallyConnected1d, LocallyConnected2d, UnrolledRNN
from tyinglib.tying import TieSpec, tie, tie_specs

F64 = torch.float64
SETTINGS = [
    {},
    {"stride": 2},
    {"padding": 1},
    {"dilation": 2, "padding": 2},
    {"stride": 2, "padding": 1, "bias": False},
]


def conv(ndim, settings):
    torch.manual_seed(0)
    kind = nn.Conv1d if ndim == 1 else nn.Conv2d
    return kind(3, 4, 3 if ndim == 1 else (3, 2), **settings).to(F64)


def twin(conv, size):
    kind = LocallyConnected1d if isinstance(conv, nn.Conv1d) else LocallyConnected2d
    return kind.from_conv(conv, size[0] if len(size) == 1 else size)


def inputs(size, batch=5):
    return torch.randn(batch, 3, *size, dtype=F64, generator=torch.Generator().manual_seed(1))


CASES = [((9,), s) for s in SETTINGS] + [((7, 6), s) for s in SETTINGS]
CASES += [((9, 9), {"stride": (2, 1), "padding": (0, 2), "dilation": (1, 3)})]  # height and width each its own


@pytest.mark.parametrize(("size", "settings"), CASES)
def test_copies_of_the_filter_give_the_convolution(size, settings):
    shared = conv(len(size), settings)
    layer = twin(shared, size)
    x = inputs(size)
    expected = shared(x)
    assert expected.shape[2:] == layer.output_size
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer(x[0]), expected[0])
    back = layer.to_conv()
    assert repr(back) == repr(shared)
    torch.testing.assert_close(back.weight, shared.weight)


@pytest.mark.parametrize(("size", "settings"), CASES)
def test_tied_it_is_the_convolution_in_value_and_gradient(size, settings):
    shared = conv(len(size), settings)
    layer = twin(shared, size)
    names = ["weight", "bias"] if layer.bias is not None else ["weight"]
    for name in names:
        tie(layer, name, layer.tie_spec())
    x, slope = inputs(size), torch.randn_like(shared(inputs(size)))
    (layer(x) * slope).sum().backward()
    (shared(x) * slope).sum().backward()
    torch.testing.assert_close(layer.parametrizations.weight.original.grad[0], shared.weight.grad)
    if "bias" in names:
        torch.testing.assert_close(layer.parametrizations.bias.original.grad[0], shared.bias.grad)
    assert sum(p.numel() for p in layer.parameters()) == sum(p.numel() for p in shared.parameters())
    torch.testing.assert_close(layer.to_conv()(x), shared(x))


def test_gradient_of_the_shared_filter_is_the_sum_over_positions():
    shared = conv(1, {})
    layer = twin(shared, (9,))
    x = inputs((9,))
    layer(x).square().sum().backward()
    shared(x).square().sum().backward()
    summed = selection.pull_back(layer.weight.grad, layer.tie_spec().labels, dim=0)[0]
    torch.testing.assert_close(summed, shared.weight.grad)
    assert not torch.allclose(layer.weight.grad[0], layer.weight.grad[1])


def test_every_position_reads_only_its_window():
    layer = LocallyConnected2d(1, 2, (5, 4), 3).to(F64)
    x = torch.randn(1, 1, 5, 4, dtype=F64, requires_grad=True)
    layer(x)[0, 0, 2, 1].backward()
    window = torch.zeros(5, 4, dtype=torch.bool)
    window[2:5, 1:4] = True
    assert torch.equal(x.grad[0, 0] != 0, window)
    torch.testing.assert_close(x.grad[0, 0, 2:5, 1:4], layer.weight[2 * 2 + 1, 0, 0])


def test_nearest_convolution_is_the_mean():
    layer = LocallyConnected1d(1, 1, 4, 2, bias=False).to(F64)
    torch.testing.assert_close(layer.to_conv().weight, layer.weight.mean(0))


def test_initial_values_are_drawn_as_torch_draws_them():
    torch.manual_seed(0)
    layer, shared = LocallyConnected2d(4, 8, 12, 3), nn.Conv2d(4, 8, 3)
    bound = 1 / math.sqrt(4 * 9)
    for mine, theirs in ((layer.weight, shared.weight), (layer.bias, shared.bias)):
        assert mine.abs().max() <= bound
        assert theirs.abs().max() <= bound
        assert mine.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert not torch.equal(layer.weight[0], layer.weight[1])


def test_state_and_copies():
    layer = LocallyConnected1d(1, 2, 6, 3)
    assert set(layer.state_dict()) == {"weight", "bias"}
    tie(layer, "weight", layer.tie_spec())
    keys = {"bias", "parametrizations.weight.original", "parametrizations.weight.0.labels"}
    assert set(layer.state_dict()) == keys
    assert set(tie_specs(layer)) == {"weight"}
    x = torch.randn(2, 1, 6)
    torch.testing.assert_close(copy.deepcopy(layer)(x), layer(x))
    plain = LocallyConnected1d(1, 2, 6, 3)
    torch.testing.assert_close(pickle.loads(pickle.dumps(plain))(x), plain(x))
    assert "input_size=(6,), kernel_size=(3,)" in repr(plain)
    assert count_parameters(plain).total == 4 * 2 * 3 + 4 * 2


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LocallyConnected1d(0, 1, 5, 3), "in_channels must be a whole number >= 1, got 0"),
        (lambda: LocallyConnected1d(1, 1, 5, 3, stride=0), "stride must be a whole number >= 1"),
        (lambda: LocallyConnected1d(1, 1, 5, 3, padding=-1), "padding must be a whole number >= 0"),
        (lambda: LocallyConnected1d(1, 1, 5, (3, 3)), "kernel_size must be one whole number, or 1, got"),
        (lambda: LocallyConnected2d(1, 1, (5, 5, 5), 3), "input_size must be one whole number, or 2"),
        (lambda: LocallyConnected2d(1, 1, 5, 3, padding="same"), "padding must be a whole number"),
        (lambda: LocallyConnected1d(1, 1, 5, 3, dilation=3), "smaller than the kernel"),
        (lambda: LocallyConnected1d.from_conv(nn.Conv1d(2, 2, 3, groups=2), 5), "groups=1"),
        (lambda: LocallyConnected1d.from_conv(nn.Conv1d(2, 2, 3, padding="same"), 5), "padding in numbers"),
        (lambda: LocallyConnected1d(1, 1, 5, 3)(torch.zeros(1, 1, 6)), r"expected an input \(N, 1, 5\)"),
        (lambda: LocallyConnected2d(2, 1, 5, 3)(torch.zeros(5, 5)), r"\(N, 2, 5, 5\), or without N, got \(5, 5\)"),
        (lambda: UnrolledRNN(3, 5, 0), "steps must be a whole number >= 1"),
        (lambda: UnrolledRNN(3, 5, 2, cell="rnn"), "cell must be one of elman, lstm, gru"),
        (lambda: UnrolledRNN(3, 5, 2, nonlinearity="gelu"), 'nonlinearity must be "tanh" or "relu"'),
        (lambda: UnrolledRNN(3, 5, 2)(torch.zeros(2, 1, 4)), r"expected an input \(T, N, 3\)"),
        (lambda: UnrolledRNN(3, 5, 2)(torch.zeros(3, 1, 3)), r"weights for 2 steps, and the sequence has 3; only a"),
        (lambda: UnrolledRNN(3, 5, 2)(torch.zeros(2, 1, 3), torch.zeros(1, 2, 5)), r"state of shape \(1, 1, 5\)"),
        # as many numbers, in another order: reshaped it would be taken in silence
        (lambda: UnrolledRNN(3, 5, 2)(torch.zeros(2, 4, 3), torch.zeros(1, 5, 4)), r"\(1, 4, 5\), got \(1, 5, 4\)"),
        (lambda: UnrolledRNN(3, 5, 2)(torch.zeros(2, 3), torch.zeros(5)), r"\(1, 5\), got \(5,\)"),
        (lambda: UnrolledRNN(3, 5, 2, cell="lstm")(torch.zeros(2, 1, 3), torch.zeros(1, 1, 5)), "'lstm' has 2 tensors"),
        (
            lambda: UnrolledRNN(3, 5, 2)(torch.zeros(2, 1, 3), (torch.zeros(1, 1, 5),) * 2),
            "'elman' has 1 tensor, got 2",
        ),
        (lambda: UnrolledRNN(3, 5, 2)(torch.zeros(0, 1, 3)), "at least one step"),
        (lambda: UnrolledRNN(3, 5, 2)(torch.zeros(1, 1, 3)), "weights for 2 steps, and the sequence has 1"),
        (lambda: UnrolledRNN(3, 5, 2)(nn.utils.rnn.pack_sequence([torch.zeros(2, 3)])), "must be padded"),
        (lambda: UnrolledRNN(3, 5, 2, batch_first=True)(torch.zeros(1, 2, 4)), r"\(N, T, 3\)"),
        (lambda: LocallyConnected1d.from_conv(nn.Conv2d(1, 1, 3), 5), "expected a torch.nn.Conv1d"),
        (lambda: LocallyConnected2d.from_conv(nn.Linear(1, 1), 5), "expected a torch.nn.Conv2d"),
        (lambda: UnrolledRNN.from_rnn(nn.GRU(3, 5, num_layers=2), 4), "one layer, one direction"),
        (lambda: UnrolledRNN.from_rnn(nn.LSTM(3, 5, bidirectional=True), 4), "one direction"),
        (lambda: UnrolledRNN.from_rnn(nn.Linear(3, 5), 4), "expected nn.RNN, nn.LSTM or nn.GRU"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


RNNS = {
    "elman": lambda **k: nn.RNN(3, 5, **k),
    "elman, relu": lambda **k: nn.RNN(3, 5, nonlinearity="relu", **k),
    "lstm": lambda **k: nn.LSTM(3, 5, **k),
    "gru": lambda **k: nn.GRU(3, 5, **k),
}
every_rnn = pytest.mark.parametrize("build", RNNS.values(), ids=RNNS)


def states(result):
    output, last = result
    return [output, *(last if isinstance(last, tuple) else [last])]


@every_rnn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_copies_of_the_weights_give_the_recurrent_layer(build, bias, batch_first):
    torch.manual_seed(0)
    rnn = build(bias=bias, batch_first=batch_first).to(F64)
    layer = UnrolledRNN.from_rnn(rnn, 6)
    x = torch.randn(*((4, 6) if batch_first else (6, 4)), 3, dtype=F64)
    for mine, theirs in zip(states(layer(x)), states(rnn(x)), strict=True):
        torch.testing.assert_close(mine, theirs)
    alone = torch.randn(6, 3, dtype=F64)
    for mine, theirs in zip(states(layer(alone)), states(rnn(alone)), strict=True):
        torch.testing.assert_close(mine, theirs)
    start = torch.randn(1, 4, 5, dtype=F64)
    start = (start, start.cos()) if isinstance(rnn, nn.LSTM) else start
    for mine, theirs in zip(states(layer(x, start)), states(rnn(x, start)), strict=True):
        torch.testing.assert_close(mine, theirs)
    back = layer.to_rnn()
    assert repr(back) == repr(rnn)
    torch.testing.assert_close(back(x)[0], rnn(x)[0])


@every_rnn
def test_tied_over_time_it_is_recurrent_at_any_length(build):
    torch.manual_seed(0)
    rnn = build().to(F64)
    layer = UnrolledRNN.from_rnn(rnn, 6).tie_over_time()
    for length in (1, 6, 20):
        x = torch.randn(length, 4, 3, dtype=F64)
        torch.testing.assert_close(layer(x)[0], rnn(x)[0])
    layer(x)[0].square().sum().backward()
    rnn(x)[0].square().sum().backward()
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        grad = layer.parametrizations[name].original.grad[0]
        torch.testing.assert_close(grad, getattr(rnn, f"{name}_l0").grad)
    assert sum(p.numel() for p in layer.parameters()) == sum(p.numel() for p in rnn.parameters())
    torch.testing.assert_close(layer.to_rnn()(x)[0], rnn(x)[0])


@every_rnn
def test_the_recurrent_gradient_is_the_sum_over_steps(build):
    torch.manual_seed(0)
    rnn = build().to(F64)
    layer = UnrolledRNN.from_rnn(rnn, 6)
    x = torch.randn(6, 4, 3, dtype=F64)
    layer(x)[1][0].sum().backward()
    rnn(x)[1][0].sum().backward()
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        grad = getattr(layer, name).grad
        torch.testing.assert_close(grad.sum(0), getattr(rnn, f"{name}_l0").grad)
        assert not torch.allclose(grad[0], grad[-1])


def test_untied_it_is_a_feedforward_net():
    """Each step its own weights: written out with plain layers."""
    torch.manual_seed(0)
    layer = UnrolledRNN(3, 5, 3).to(F64)
    x = torch.randn(3, 4, 3, dtype=F64)
    h = torch.zeros(4, 5, dtype=F64)
    for t in range(3):
        h = torch.tanh(x[t] @ layer.weight_ih[t].T + layer.bias_ih[t] + h @ layer.weight_hh[t].T + layer.bias_hh[t])
    torch.testing.assert_close(layer(x)[0][-1], h)


@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, -1]])
def test_tied_in_other_groups_cannot_run_on(labels):
    layer = UnrolledRNN(3, 5, 4)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        tie(layer, name, TieSpec(labels, dim=0))
    with pytest.raises(ValueError, match="only a layer that is tied"):
        layer(torch.zeros(9, 1, 3))


def test_other_parametrizations_are_no_tie():
    layer = UnrolledRNN(3, 5, 4, bias=False)
    for name in ("weight_ih", "weight_hh"):
        nn.utils.parametrizations.weight_norm(layer, name)
    with pytest.raises(ValueError, match="only a layer that is tied"):
        layer(torch.zeros(9, 1, 3))


def test_tying_over_time_is_all_or_nothing_and_may_be_repeated():
    layer = UnrolledRNN(3, 5, 2)
    with torch.no_grad():
        layer.bias_hh[0, 0] = float("nan")
    with pytest.raises(ValueError, match="'bias_hh' holds NaN"):
        layer.tie_over_time()
    assert tie_specs(layer) == {}
    with torch.no_grad():
        layer.bias_hh[0, 0] = 0
    assert len(tie_specs(tie(layer, "weight_ih", layer.tie_spec()).tie_over_time().tie_over_time())) == 4


def test_recurrent_initial_values_are_drawn_as_torch_draws_them():
    torch.manual_seed(0)
    bound = 1 / math.sqrt(16)
    for parameter in UnrolledRNN(3, 16, steps=40).parameters():
        assert parameter.abs().max() <= bound
        assert parameter.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_half_tied_cannot_run_on():
    layer = UnrolledRNN(3, 5, 2)
    tie(layer, "weight_ih", layer.tie_spec())
    with pytest.raises(ValueError, match="only a layer that is tied"):
        layer(torch.zeros(3, 1, 3))
    assert repr(UnrolledRNN(3, 5, 2)) == "UnrolledRNN(3, 5, steps=2, cell='elman')"
