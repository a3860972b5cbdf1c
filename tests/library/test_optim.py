"""ProxSGD: torch's SGD without a penalty, known optima with one, and everything an optimizer must live through."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.distributed.checkpoint import state_dict as dcp

from tyinglib.optim import ProxSGD
from tyinglib.penalties import L1, L2, OWL, ElasticNet, GroupLasso, GrOWL, oscar_weights, pld_weights
from tyinglib.tying import TieSpec, tie

F64 = torch.float64
SETTINGS = [
    {"lr": 0.1},
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    {"lr": 0.05, "momentum": 0.5, "weight_decay": 0.1},
    {"lr": 0.05, "weight_decay": 0.1},
]


class Nothing:
    """A penalty that is zero."""

    def value(self, weight):
        return weight.new_zeros(())

    def prox(self, weight, step_size):
        return weight

    def factor_to_zero(self, grad):
        return float("inf")


def model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).to(F64)


def data():
    torch.manual_seed(1)
    return torch.randn(20, 6, dtype=F64), torch.randint(3, (20,))


def run(net, optimizer, steps=30, scheduler=None):
    x, y = data()
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        if scheduler:
            scheduler.step()
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def minimise(grad, x, optimizer, steps):
    for _ in range(steps):
        x.grad = grad(x.detach())
        optimizer.step()
    return x.detach()


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("penalty", [None, Nothing(), L1(0.0), OWL(torch.zeros(30))])
def test_without_a_penalty_it_is_sgd(settings, penalty):
    ours, theirs = model(), model()
    groups = [{"params": [ours[0].weight], "penalty": penalty}, {"params": [*ours.parameters()][1:], "penalty": None}]
    optimizer, reference = ProxSGD(groups, **settings), torch.optim.SGD(theirs.parameters(), **settings)
    decay = [torch.optim.lr_scheduler.CosineAnnealingLR(o, 20) for o in (optimizer, reference)]
    torch.testing.assert_close(
        run(ours, optimizer, scheduler=decay[0]), run(theirs, reference, scheduler=decay[1]), rtol=1e-15, atol=1e-15
    )


TARGET = torch.tensor([[3.0, 0.5], [-0.8, 1.01], [2.95, -3.02]], dtype=F64)
PENALTIES = [L1(1.0), L2(0.5), ElasticNet(0.5, 0.5), GroupLasso(1.0, dim=0), GroupLasso(1.0, dim=1)]
PENALTIES += [
    OWL(oscar_weights(6, 0.2, 0.2)),
    GrOWL(oscar_weights(3, 0.3, 0.5), dim=0),
    GrOWL(torch.tensor([2.0, 1]), dim=1),
]


@pytest.mark.parametrize("settings", [s for s in SETTINGS if "weight_decay" not in s])
@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_known_optimum(settings, penalty):
    """1/2 |x - b|^2 + g(x) has its optimum at prox(b, 1); exactly, whatever the momentum."""
    x = nn.Parameter(torch.zeros_like(TARGET))
    optimizer = ProxSGD([x], penalty=penalty, **settings)
    result = minimise(lambda x: x - TARGET, x, optimizer, 1500)
    expected = penalty.prox(TARGET, 1.0)
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(result == 0, expected == 0)  # zeros are zeros, bit for bit
    torch.testing.assert_close(optimizer.penalty_value(), float(penalty.value(expected)))


def test_weight_decay_is_part_of_the_smooth_loss():
    x = nn.Parameter(torch.zeros_like(TARGET))
    result = minimise(
        lambda x: x - TARGET, x, ProxSGD([x], lr=0.1, momentum=0.9, weight_decay=0.5, penalty=L1(1.0)), 1500
    )
    torch.testing.assert_close(result, ElasticNet(1.0, 0.5).prox(TARGET, 1.0), rtol=1e-12, atol=1e-12)


def test_the_naive_step_is_wrong_and_this_one_is_not():
    """Heavy ball and then prox(lr * lam) solves a problem with (1 - mu) lam: facts of the book's trap."""
    b = torch.tensor([3.0, 0.5, -0.8, 1.01], dtype=F64)
    naive = nn.Parameter(torch.zeros(4, dtype=F64))
    sgd = torch.optim.SGD([naive], lr=0.02, momentum=0.9)
    for _ in range(3000):
        naive.grad = naive.detach() - b
        sgd.step()
        with torch.no_grad():
            naive.copy_(L1(1.0).prox(naive, 0.02))
    torch.testing.assert_close(naive.detach(), L1(0.1).prox(b, 1.0), rtol=1e-6, atol=1e-6)
    x = nn.Parameter(torch.zeros(4, dtype=F64))
    exact = minimise(lambda x: x - b, x, ProxSGD([x], lr=0.02, momentum=0.9, penalty=L1(1.0)), 3000)
    torch.testing.assert_close(exact, L1(1.0).prox(b, 1.0), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_correlated_regression_reaches_the_optimum(momentum):
    """An OWL regression whose optimum is certified by its dual norm, not by another run."""
    torch.manual_seed(0)
    design = torch.randn(40, 1, dtype=F64) + 0.3 * torch.randn(40, 10, dtype=F64)
    y = design @ torch.linspace(-1, 2, 10, dtype=F64) + 0.1 * torch.randn(40, dtype=F64)
    penalty = OWL(oscar_weights(10, 0.05, 0.02))
    curvature = torch.linalg.matrix_norm(design, 2).item() ** 2 / 40
    x = nn.Parameter(torch.zeros(10, dtype=F64))
    grad = lambda x: design.T @ (design @ x - y) / 40  # noqa: E731
    result = minimise(grad, x, ProxSGD([x], lr=1 / curvature, momentum=momentum, penalty=penalty), 20_000)
    slope = -grad(result)
    assert penalty.factor_to_zero(slope) <= 1 + 1e-9  # a subgradient...
    torch.testing.assert_close((slope * result).sum(), penalty.value(result), rtol=1e-9, atol=0)  # ...at this point
    assert 0 < len(result.abs().unique()) < 10


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_prox_every_keeps_the_zeros_and_nearly_the_optimum(momentum):
    """Twenty steps of total size k * lr / (1 - mu) = 0.2 drift towards b, and the prox steps back: a known cycle."""
    b = torch.tensor([3.0, 0.5, -0.8, 1.01], dtype=F64)
    x = nn.Parameter(torch.zeros(4, dtype=F64))
    optimizer = ProxSGD([x], lr=0.01 * (1 - momentum), momentum=momentum, penalty=L1(1.0), prox_every=20)
    result = minimise(lambda x: x - b, x, optimizer, 4000)
    assert result[1] == result[2] == 0
    if momentum == 0:
        # what is left of b - x after 20 steps, (b - x) 0.99^20, is 0.2 less than b - x: the prox's step
        assert result[0].item() == pytest.approx(3 - 0.2 / (1 - 0.99**20), rel=1e-12)
    # half the total step, times the penalty's slope of 1, to first order
    assert (result - L1(1.0).prox(b, 1.0)).abs().max() <= 0.2 / 2


def test_prox_every_counts_and_what_is_owed():
    calls = []

    class Recording(L1):
        def prox(self, weight, step_size):
            calls.append(step_size)
            return super().prox(weight, step_size)

    x = nn.Parameter(torch.ones(2, dtype=F64))
    optimizer = ProxSGD([x], lr=0.1, momentum=0.5, penalty=Recording(0.1), prox_every=3)
    for _ in range(7):
        x.grad = torch.ones(2, dtype=F64)
        optimizer.step()
    # the buffer's weight is 1, 1.5, 1.75, ... -> 2
    weights = [2 - 0.5**t for t in range(7)]
    assert calls == pytest.approx([0.1 * sum(weights[:3]), 0.1 * sum(weights[3:6])])
    optimizer.apply_owed()
    assert calls[2:] == pytest.approx([0.1 * weights[6]])
    optimizer.apply_owed()
    assert len(calls) == 3
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # warm-up: nothing moves, nothing is owed
    before = x.detach().clone()
    for _ in range(3):
        optimizer.step()
    assert len(calls) == 3
    assert torch.equal(x, before)


def test_zeros_survive_gradient_noise_better_with_momentum():
    """The filtered penalty meets the filtered noise: fewer false nonzeros than without momentum, at the same step."""
    b = torch.zeros(200, dtype=F64)

    def nonzeros(momentum):
        torch.manual_seed(0)
        x = nn.Parameter(torch.zeros(200, dtype=F64))
        optimizer = ProxSGD([x], lr=0.1 * (1 - momentum), momentum=momentum, penalty=L1(1.0))
        return int((minimise(lambda x: x - b + torch.randn(200, dtype=F64), x, optimizer, 300) != 0).sum())

    assert nonzeros(0.9) < nonzeros(0.0) / 2


def test_groups_have_their_own_penalty_lr_and_state():
    net = model()
    optimizer = ProxSGD(
        [
            {"params": [net[0].weight], "penalty": GrOWL(pld_weights(6, 0.1, 0.01), dim=1), "prox_every": 2},
            {"params": [net[2].weight], "lr": 0.02},
            {"params": [net[0].bias, net[2].bias], "penalty": None},
        ],
        lr=0.1,
        momentum=0.9,
        penalty=L1(0.01),
    )
    penalties = [group["penalty"] for group in optimizer.param_groups]
    assert [type(p).__name__ for p in penalties] == ["GrOWL", "L1", "NoneType"]
    assert "penalty: L1(lam=0.01)" in repr(optimizer)
    run(net, optimizer, 100)
    assert (net[0].weight.norm(dim=0) == 0).any()
    assert (net[2].weight == 0).any()
    assert not (net[0].bias == 0).any()
    expected = penalties[0].value(net[0].weight) + penalties[1].value(net[2].weight)
    assert optimizer.penalty_value() == pytest.approx(expected.item())


def penalised(net, **settings):
    groups = [{"params": [net[0].weight], "penalty": GroupLasso(0.05, dim=1)}, {"params": [*net.parameters()][1:]}]
    return ProxSGD(groups, **{"lr": 0.1, "momentum": 0.9, "prox_every": 3, **settings})


def test_state_dict_round_trip_continues_bit_for_bit():
    net = model()
    optimizer = penalised(net)
    run(net, optimizer, 7)  # in the middle of a round of prox_every
    file = io.BytesIO()
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = model(seed=5)
    resumed = penalised(other)
    other.load_state_dict(saved["net"])
    resumed.load_state_dict(saved["optimizer"])
    assert torch.equal(run(net, optimizer, 11), run(other, resumed, 11))
    assert set(optimizer.state_dict()["state"][0]) == {"momentum_buffer", "buffer_weight", "steps", "owed"}
    assert set(optimizer.state_dict()["param_groups"][0]) == {
        "lr", "momentum", "nesterov", "weight_decay", "prox_every", "pairs", "params", "penalty",
        "dampening", "maximize", "foreach", "differentiable", "fused",
    }  # fmt: skip


@pytest.mark.parametrize("flat", [False, True])
def test_states_of_distributed_checkpoints(flat):
    """It asks the state for whatever the optimizer's groups have, the penalty among it."""
    options = dcp.StateDictOptions(flatten_optimizer_state_dict=flat)
    net, other = model(), model(seed=5)
    optimizer, resumed = penalised(net), penalised(other)
    run(net, optimizer, 7)
    other.load_state_dict(net.state_dict())
    state = dcp.get_optimizer_state_dict(net, optimizer, options=options)
    dcp.set_optimizer_state_dict(other, resumed, copy.deepcopy(state), options=options)
    assert resumed.param_groups[0]["penalty"] == GroupLasso(0.05, dim=1)
    assert torch.equal(run(net, optimizer, 11), run(other, resumed, 11))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_keep_the_penalty_and_go_on_alike(copied):
    net = model()
    optimizer = penalised(net)
    run(net, optimizer, 7)
    other, twin = copied((net, optimizer))
    assert [group["penalty"] for group in twin.param_groups] == [group["penalty"] for group in optimizer.param_groups]
    assert twin.param_groups[0]["params"][0] is other[0].weight
    assert torch.equal(run(net, optimizer, 11), run(other, twin, 11))
    twin.add_param_group({"params": [nn.Parameter(torch.zeros(1))]})  # with the default penalty, which is None
    assert twin.param_groups[-1]["penalty"] is None


@pytest.mark.parametrize("kind", ["StepLR", "OneCycleLR", "ReduceLROnPlateau", "LambdaLR"])
def test_schedulers(kind):
    """They accept it, and change what is owed."""
    x = nn.Parameter(torch.full((1,), 10.0, dtype=F64))
    optimizer = ProxSGD([x], lr=1.0, penalty=L1(1.0))
    schedulers = torch.optim.lr_scheduler
    scheduler = {
        "StepLR": lambda: schedulers.StepLR(optimizer, 1, gamma=0.5),
        "OneCycleLR": lambda: schedulers.OneCycleLR(optimizer, max_lr=1.0, total_steps=10, cycle_momentum=False),
        "ReduceLROnPlateau": lambda: schedulers.ReduceLROnPlateau(optimizer, factor=0.5, patience=0),
        "LambdaLR": lambda: schedulers.LambdaLR(optimizer, lambda t: 0.0 if t == 2 else 1 / (1 + t)),
    }[kind]()
    total = 0.0
    for _ in range(6):
        total += optimizer.param_groups[0]["lr"]
        x.grad = torch.zeros(1, dtype=F64)
        optimizer.step()
        scheduler.step(*([1.0] if kind == "ReduceLROnPlateau" else []))
    assert x.item() == pytest.approx(10.0 - total)  # the prox of l1 walks lr a step
    assert total != 6


def test_closure():
    x = nn.Parameter(torch.zeros(3, dtype=F64))
    optimizer = ProxSGD([x], lr=0.5, penalty=L1(1.0))

    def closure():
        optimizer.zero_grad()
        loss = (x - 3).square().sum() / 2
        loss.backward()
        return loss.item()

    losses = [optimizer.step(closure) for _ in range(60)]
    assert losses[0] == 13.5
    torch.testing.assert_close(x.detach(), torch.full((3,), 2.0, dtype=F64))


def test_grad_scaler_skips_overflow_and_nothing_moves():
    net = model()
    optimizer = penalised(net)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4, growth_interval=100)
    x, y = data()
    for overflow in (False, True, False):
        before = [p.detach().clone() for p in net.parameters()]
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        scaler.scale(loss * (float("inf") if overflow else 1.0)).backward()
        scaler.step(optimizer)
        scaler.update()
        moved = any(not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
        assert moved != overflow
    assert optimizer.state[net[0].weight]["steps"] == 2
    reference = model()
    run(reference, penalised(reference), 2)
    torch.testing.assert_close(net[0].weight, reference[0].weight)


def test_autocast_in_bfloat16():
    net = model().float()
    optimizer = penalised(net)
    x, y = data()
    for _ in range(40):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = nn.functional.cross_entropy(net(x.float()), y)
        loss.backward()
        optimizer.step()
    assert net[0].weight.dtype == torch.float32
    assert torch.isfinite(loss)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while compiling
def test_compiled_model_takes_the_same_steps():
    net, plain = model(), model()
    compiled = torch.compile(net, backend="aot_eager")
    optimizer, reference = penalised(net), penalised(plain)
    torch.testing.assert_close(run(compiled, optimizer, 8), run(plain, reference, 8))
    assert optimizer.state[net[0].weight]["steps"] == 8


def test_a_tied_weight_is_penalised_as_its_codebook():
    net = model()
    tie(net[0], "weight", TieSpec([0, 0, 1, 1, 2, -1], dim=1))
    (codebook,) = [p for name, p in net.named_parameters() if name.endswith("original")]
    optimizer = ProxSGD([codebook], lr=0.1, momentum=0.9, penalty=GrOWL(pld_weights(3, 0.2, 0.1), dim=1))
    run(net, optimizer, 100)
    assert (codebook == 0).all(dim=0).any()


def test_frozen_parameters_are_left_alone():
    net = model()
    net[0].weight.requires_grad_(False)
    before = net[0].weight.clone()
    run(net, penalised(net), 4)
    assert torch.equal(net[0].weight, before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1}, "lr must be a number with 0 <= lr < inf, got -1"),
        ({"lr": float("nan")}, "lr must be a number"),
        ({"lr": "0.1"}, "lr must be a number"),
        ({"momentum": 1.0}, "momentum must be a number with 0 <= momentum < 1, got 1.0"),
        ({"weight_decay": -0.1}, "weight_decay must be a number"),
        ({"nesterov": True, "momentum": 0.0}, "nesterov=True needs a momentum above 0"),
        ({"prox_every": 0}, "prox_every must be a whole number of steps >= 1, got 0"),
        ({"prox_every": True}, "prox_every must be a whole number"),
        ({"penalty": 0.1}, r"must be None or have value\(weight\), prox\(weight, step_size\) and"),
        ({"penalty": L1}, "must be None or have value"),
        ({"penalty": OWL(torch.ones(3))}, r"does not fit parameter 0 of group 0, of shape \(5, 6\): w must have"),
    ],
)
def test_bad_settings_are_named(settings, message):
    net = model()
    with pytest.raises(ValueError, match=message):
        ProxSGD(net.parameters(), **{"lr": 0.1, **settings})


def test_a_bad_group_leaves_the_optimizer_as_it_was():
    net = model()
    optimizer = ProxSGD([net[0].weight], lr=0.1)
    for group in (
        {"params": [net[2].weight], "penalty": OWL(torch.ones(3))},
        {"params": [net[2].weight], "prox_every": 0},
        {"params": [net[2].weight], "momentum": -1.0},
    ):
        with pytest.raises(ValueError, match="must"):
            optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": [net[2].weight]})


def test_divergence_is_named():
    x = nn.Parameter(torch.ones(3))
    optimizer = ProxSGD([x], lr=0.1, penalty=L1(0.1))
    x.grad = torch.tensor([1.0, float("nan"), 1.0])
    with pytest.raises(
        ValueError, match=r"parameter 0 of group 0 \(shape \(3,\)\) holds NaN or infinite values .* lower lr"
    ):
        optimizer.step()


def test_an_error_in_the_penalty_itself_is_passed_on():
    class Broken(Nothing):
        def prox(self, weight, step_size):
            raise ValueError("my own error")

    x = nn.Parameter(torch.ones(3))
    x.grad = torch.ones(3)
    with pytest.raises(ValueError, match="my own error"):
        ProxSGD([x], lr=0.1, penalty=Broken()).step()


def test_sparse_gradients_are_refused():
    embedding = nn.Embedding(4, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match="dense gradients"):
        ProxSGD(embedding.parameters(), lr=0.1).step()


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}])
def test_states_go_to_and_from_torchs_own(settings):
    """Without a penalty both take the same steps, so either goes on where the other stopped, bit for bit."""
    makers = {"prox": ProxSGD, "sgd": torch.optim.SGD}
    ends = {}
    for before in makers:
        for after in makers:
            net = model()
            first = makers[before](net.parameters(), lr=0.1, **settings)
            run(net, first, 5)
            second = makers[after](net.parameters(), lr=0.3)
            second.load_state_dict(copy.deepcopy(first.state_dict()))
            run(net, second, 5)
            ends[before, after] = torch.cat([p.detach().flatten() for p in net.parameters()])
    assert all(torch.equal(end, ends["sgd", "sgd"]) for end in ends.values())


def test_a_penalty_stays_when_torchs_state_is_loaded():
    """A buffer that SGD filled is taken to be full: the penalty owes as much for it as after a long run."""
    net = model()
    groups = [{"params": [net[0].weight]}, {"params": [*net.parameters()][1:]}]
    plain = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    run(net, plain, 80)
    optimizer = penalised(net)
    optimizer.load_state_dict(plain.state_dict())
    assert optimizer.param_groups[0]["penalty"] == GroupLasso(0.05, dim=1)
    assert optimizer.param_groups[0]["prox_every"] == 3
    run(net, optimizer, 1)  # of three that pass before the prox
    assert optimizer.state[net[0].weight]["owed"] == pytest.approx(0.1 / (1 - 0.9))


@pytest.mark.parametrize(
    ("maker", "message"),
    [
        (
            torch.optim.Adam,
            "neither ProxSGD's nor torch.optim.SGD's: its groups have amsgrad, betas, .*, and no momentum",
        ),
        (lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, dampening=0.5), "dampening=0.5"),
        (lambda p: torch.optim.SGD(p, 0.1, maximize=True), "maximize=True"),
    ],
)
def test_other_states_are_refused(maker, message):
    net = model()
    optimizer = penalised(net)
    before = copy.deepcopy(optimizer.state_dict())
    other = maker([{"params": [net[0].weight]}, {"params": [*net.parameters()][1:]}])
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(other.state_dict())
    assert optimizer.state_dict() == before
    assert optimizer.param_groups[0]["penalty"] == GroupLasso(0.05, dim=1)
