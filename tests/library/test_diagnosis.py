"""check_sharing: every trap is found and named, every cure is silent, and accidents are not reported."""

import copy
import warnings

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrizations, prune

from tyinglib import Diagnosis, TieSpec, check_sharing, share, shared_parameters, tie, unshare, untie


def model():
    return nn.ModuleDict({"encoder": nn.Linear(4, 3), "head": nn.Linear(3, 2)})


@pytest.fixture
def pair():
    torch.manual_seed(0)
    both = nn.ModuleDict({"a": model(), "b": model()})
    share(both["b"], both["a"], ["encoder"])
    return both


ENCODER = ("a.encoder.weight", "b.encoder.weight")


def kinds(diagnoses):
    return [diagnosis.kind for diagnosis in diagnoses]


def test_nothing_to_report(pair):
    optimizer = torch.optim.Adam(pair.parameters())
    expected = shared_parameters(pair)
    assert check_sharing(pair, optimizers=optimizer, expected=expected, checkpoint=pair.state_dict()) == []
    assert check_sharing(pair["a"], pair["b"], optimizers=[optimizer]) == []
    assert check_sharing(copy.deepcopy(pair), expected=expected) == []


def test_equal_by_accident_is_not_reported():
    def norm():
        return nn.Sequential(nn.LayerNorm(3), nn.LayerNorm(3), nn.Linear(3, 3), nn.Linear(3, 3))

    net = norm()
    nn.init.zeros_(net[2].bias)
    nn.init.zeros_(net[3].bias)
    assert check_sharing(net) == []
    assert check_sharing(net, norm()) == []
    assert check_sharing(nn.Sequential(nn.LazyLinear(2), nn.LazyLinear(2))) == []
    assert check_sharing(nn.ParameterList([torch.ones(0, 2), torch.ones(0, 2)])) == []


def test_halves_of_one_piece_of_memory_do_not_overlap():
    whole = torch.arange(6.0)
    net = nn.Module()
    net.x, net.y = nn.Parameter(whole[:3]), nn.Parameter(whole[3:])
    assert check_sharing(net) == []
    net.z = nn.Parameter(whole[2:4])
    assert [f.names for f in check_sharing(net)] == [("x", "z"), ("y", "z")]
    assert set(kinds(check_sharing(net))) == {"memory"}


def test_a_copy_of_one_model(pair):
    expected = shared_parameters(pair)
    pair["b"] = copy.deepcopy(pair["b"])
    diagnoses = check_sharing(pair)
    assert kinds(diagnoses) == ["equal", "equal"]
    assert diagnoses[0].names == ENCODER
    assert str(diagnoses[0]) == (
        "'a.encoder.weight' and 'b.encoder.weight' hold equal values but are two parameters: they will drift apart "
        "with the next step (a deep copy of one model, or a loaded checkpoint, does this); call share(...) again, or "
        "leave it if they should only start equal"
    )
    with torch.no_grad():
        for parameter in pair["b"].parameters():
            parameter += torch.randn_like(parameter)
    assert check_sharing(pair) == []  # by values nothing shows any more
    diagnoses = check_sharing(pair, expected=expected)
    assert kinds(diagnoses) == ["expected", "expected"]
    assert "should be one parameter and are 2" in str(diagnoses[0])
    share(pair["b"], pair["a"], ["encoder"])
    assert check_sharing(pair, expected=expected) == []


def test_any_number_of_copies_is_one_diagnosis():
    torch.manual_seed(0)
    one = nn.Linear(4, 3)
    (weight, bias) = check_sharing(one, *(copy.deepcopy(one) for _ in range(3)))
    assert weight.names == ("0.weight", "1.weight", "2.weight", "3.weight")
    assert "are 4 parameters" in str(weight)
    assert bias.names == ("0.bias", "1.bias", "2.bias", "3.bias")


def test_copies_that_are_meant_are_not_reported():
    """Layers that torch itself starts equal, an average, a frozen copy; but a copy of all of it is."""
    torch.manual_seed(0)
    stack = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 3, enable_nested_tensor=False)
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16), 2)
    assert check_sharing(nn.ModuleDict({"encoder": stack, "decoder": decoder})) == []
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 4))
    assert check_sharing(net, torch.optim.swa_utils.AveragedModel(net)) == []
    frozen = copy.deepcopy(net).requires_grad_(False)
    assert check_sharing(net, frozen) == check_sharing(frozen, copy.deepcopy(frozen)) == []
    assert len(check_sharing(net, copy.deepcopy(net))) == 4
    twice = check_sharing(stack, copy.deepcopy(stack))
    assert twice
    assert all(len(diagnosis.names) == 6 for diagnosis in twice)  # three layers, and their copies


def test_what_is_to_be_ignored_is(pair):
    pair["b"] = copy.deepcopy(pair["b"])
    assert kinds(check_sharing(pair)) == ["equal", "equal"]
    assert check_sharing(pair, ignore=["a.encoder", "b.encoder"]) == []
    (bias,) = check_sharing(pair, ignore=["a.encoder.weight", "b.encoder.weight"])
    assert bias.names == ("a.encoder.bias", "b.encoder.bias")
    assert kinds(check_sharing(pair, ignore=["a.encoder"])) == ["equal", "equal"]  # b's is not to be ignored
    with pytest.raises(ValueError, match=r"ignore names 'c', but the modules have 'a\.encoder\.weight'"):
        check_sharing(pair, ignore=["c"])
    with pytest.raises(ValueError, match=r"ignore must be a list of names, got the string 'a'; write \['a'\]"):
        check_sharing(pair, ignore="a")


def test_what_differs_beyond_the_first_look_is_not_equal():
    """A few entries are looked at before all are."""
    torch.manual_seed(0)
    x = torch.randn(100, 100)
    y = x.clone()
    y[0, 1] += 1
    assert check_sharing(nn.ParameterList([x, y])) == []
    assert kinds(check_sharing(nn.ParameterList([x, y, x.clone(), x.T.contiguous().T]))) == ["equal"]


def test_a_very_long_parameter_is_looked_at_within_its_length():
    """Places beyond 2^24 are not whole numbers in float32: one past the end was an error."""
    x = torch.zeros(2**24 + 4, dtype=torch.bfloat16)
    x[5], x[6] = 1, 2
    for end in (len(x), len(x) - 1):
        part = nn.Parameter(x[:end].clone())
        assert kinds(check_sharing(nn.ParameterList([part, part.detach().clone()]))) == ["equal"]


def test_most_parameters_are_hardly_read(monkeypatch):
    """All pairs of 800 weights took 11 seconds: now only what looks equal is compared."""
    torch.manual_seed(0)
    compared = []
    monkeypatch.setattr(torch, "equal", lambda x, y: compared.append(1) or bool((x == y).all()))
    many = nn.ParameterList([torch.randn(64, 64) for _ in range(200)])
    many.append(many[7].detach().clone())
    (diagnosis,) = check_sharing(many)
    assert diagnosis.names == ("7", "200")
    assert len(compared) == 1


def test_what_was_expected_is_told_once(pair):
    expected = shared_parameters(pair)
    pair["b"] = copy.deepcopy(pair["b"])
    assert kinds(check_sharing(pair, expected=expected)) == ["expected", "expected"]


def test_assign_leaves_two_parameters_in_one_memory(pair):
    pair.load_state_dict(pair.state_dict(), assign=True)
    diagnoses = check_sharing(pair)
    assert kinds(diagnoses) == ["memory", "memory"]
    assert diagnoses[0].names == ENCODER
    assert "steps the memory twice" in str(diagnoses[0])


def test_two_optimizers(pair):
    both = [torch.optim.SGD(one.parameters(), lr=0.1) for one in pair.values()]
    diagnoses = check_sharing(pair, optimizers=both)
    assert kinds(diagnoses) == ["twice", "twice"]
    assert diagnoses[0].names == ENCODER
    assert str(diagnoses[0]).startswith(
        "one parameter ('a.encoder.weight' and 'b.encoder.weight') is 2 times in optimizers 0 and 1: every step"
    )


def test_twice_in_one_optimizer(pair):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimizer = torch.optim.SGD([*pair["a"].parameters(), *pair["b"].parameters()], lr=0.1)
    diagnoses = check_sharing(pair, optimizers=optimizer)
    assert kinds(diagnoses) == ["twice", "twice"]
    assert "is 2 times in one optimizer" in str(diagnoses[0])


def test_sharing_after_the_optimizer_was_built():
    both = nn.ModuleDict({"a": model(), "b": model()})
    optimizer = torch.optim.SGD(both.parameters(), lr=0.1)
    share(both["b"], both["a"], ["encoder"])
    (diagnosis,) = check_sharing(both, optimizers=optimizer)
    assert diagnosis.kind == "stale"
    assert "steps 2 parameter(s)" in str(diagnosis)
    assert "(3, 4) and (3,)" in str(diagnosis)


def test_unsharing_after_the_optimizer_was_built(pair):
    optimizer = torch.optim.SGD(pair.parameters(), lr=0.1)
    unshare(pair["b"], ["encoder"])
    diagnoses = check_sharing(pair, optimizers=optimizer)
    assert kinds(diagnoses) == ["equal", "equal", "untrained"]
    assert diagnoses[-1].names == ("b.encoder.weight", "b.encoder.bias")
    for parameter in pair["b"]["encoder"].parameters():
        parameter.requires_grad_(False)
    assert check_sharing(pair, optimizers=optimizer) == []  # a frozen copy is meant


def test_a_codebook_made_after_the_optimizer():
    layer = nn.Linear(4, 3)
    optimizer = torch.optim.SGD([layer.bias], lr=0.1)
    tie(layer, "weight", TieSpec([0, 0, 1, 1], dim=1))
    (diagnosis,) = check_sharing(layer, optimizers=optimizer)
    assert (diagnosis.kind, diagnosis.names) == ("untrained", ("parametrizations.weight.original",))


def test_tying_after_the_optimizer_was_built():
    layer = nn.Linear(4, 3)
    optimizer = torch.optim.Adam(layer.parameters())
    tie(layer, "weight", TieSpec([0, 0, 1, 1], dim=1))
    assert kinds(check_sharing(layer, optimizers=optimizer)) == ["stale", "untrained"]
    assert check_sharing(layer, optimizers=torch.optim.Adam(layer.parameters())) == []


def test_another_shape_after_the_first_step():
    layer = nn.Linear(4, 3)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    layer.weight.data = torch.randn(3, 2)
    (diagnosis,) = check_sharing(layer, optimizers=optimizer)
    assert diagnosis.kind == "state"
    assert "has shape (3, 2), but optimizer 0 keeps a 'exp_avg' of shape (3, 4)" in str(diagnosis)


@pytest.mark.parametrize("undo", [False, True])
def test_tying_one_of_two_sharers(undo):
    """The other keeps what it reads; that they no longer share is said, also after the tie is undone."""
    net = nn.ModuleDict({"table": nn.Embedding(6, 4), "head": nn.Linear(4, 6, bias=False)})
    net["head"].weight = net["table"].weight
    tie(net["table"], "weight", TieSpec([0, 0, 1, 1, 2, 2], dim=0))
    if undo:
        untie(net["table"], "weight")
    (diagnosis,) = check_sharing(net)
    now = "table.weight" if undo else "table.parametrizations.weight.original"
    assert (diagnosis.kind, diagnosis.names) == ("replaced", (now, "head.weight"))
    assert f"'{now}' and 'head.weight' were one parameter until a tie was made or undone, and are 2" in str(diagnosis)
    assert [check_sharing(one) for one in net.values()] == [[], []]  # each by itself is sound
    unshare(net["head"], ["weight"])
    assert check_sharing(net) == []


def table_and_head():
    net = nn.ModuleDict({"table": nn.Embedding(6, 4), "head": nn.Linear(4, 6, bias=False)})
    net["head"].weight = net["table"].weight
    return net


SIX = TieSpec([0, 0, 1, 1, 2, 2], dim=0)


def test_tying_both_sharers_apart_and_then_together():
    net = table_and_head()
    expected = shared_parameters(net)
    for layer in net.values():
        tie(layer, "weight", SIX)
    codebooks = tuple(f"{name}.parametrizations.weight.original" for name in net)
    assert kinds(check_sharing(net)) == ["replaced"]
    with torch.no_grad():
        net["head"].weight = torch.randn(6, 4)  # no longer equal, and known all the same
    assert [(f.kind, f.names) for f in check_sharing(net)] == [("replaced", codebooks)]
    assert [(f.kind, f.names) for f in check_sharing(net, expected=expected)] == [("expected", codebooks)]
    share(net["head"], net["table"], ["parametrizations.weight.original"])
    assert check_sharing(net, expected=expected) == []


def test_sharing_again_after_untying():
    net = table_and_head()
    untie(tie(net["table"], "weight", SIX), "weight")
    share(net["table"], net["head"], ["weight"])
    assert check_sharing(net) == []


def test_a_weight_that_is_put_back_has_lost_nothing():
    layer = nn.Linear(4, 3)
    weight = layer.weight
    untie(tie(layer, "weight", TieSpec([0, 0, 1, 1], dim=1)), "weight")
    layer.weight = weight
    assert check_sharing(layer) == []


def tie_the_table(net):
    tie(net["table"], "weight", SIX)


def prune_the_head(net):
    prune.l1_unstructured(net["head"], "weight", amount=5)


def normalise_the_head(net):
    parametrizations.weight_norm(net["head"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (tie_the_table, r"are 2: 'table.weight' is 'table.parametrizations.weight.original' now; undo that"),
        (prune_the_head, r"are read in different ways: 'head.weight' is 'head.weight_orig' now; undo that"),
        (normalise_the_head, r"are 2: 'head.weight' is 'head.parametrizations.weight.original1' now; undo that"),
    ],
)
def test_what_was_expected_under_its_old_name(change, said):
    net = table_and_head()
    expected = shared_parameters(net)
    change(net)
    (diagnosis,) = check_sharing(net, expected=expected)
    assert diagnosis.kind == "expected"
    assert said in str(diagnosis)


def test_what_was_expected_of_codebooks_that_are_untied_now():
    net = nn.ModuleDict({name: tie(nn.Linear(4, 3), "weight", TieSpec([0, 0, 1, 1], dim=1)) for name in "ab"})
    share(net["b"], net["a"], ["parametrizations.weight.original"])
    expected = shared_parameters(net)
    for layer in net.values():
        untie(layer, "weight")
    assert [(f.kind, f.names) for f in check_sharing(net, expected=expected)] == [
        ("expected", ("a.weight", "b.weight"))
    ]
    share(net["b"], net["a"], ["weight"])
    assert check_sharing(net, expected=expected) == []


def test_what_a_model_declares():
    """As Hugging Face's transformers do: a name, and the name of what it is."""
    net = table_and_head()
    net.all_tied_weights_keys = {"head.weight": "table.weight", "gone.weight": "table.weight"}
    assert check_sharing(net) == check_sharing(nn.Sequential(net)) == []
    net["head"].weight = nn.Parameter(torch.randn(6, 4))
    assert [(f.kind, f.names) for f in check_sharing(net)] == [("declared", ("head.weight", "table.weight"))]
    (diagnosis,) = check_sharing(nn.Sequential(net))
    assert diagnosis.names == ("0.head.weight", "0.table.weight")
    share(net["head"], net["table"], ["weight"])
    tie(net["table"], "weight", SIX)
    (diagnosis,) = check_sharing(net)
    assert diagnosis.names == ("head.weight", "table.parametrizations.weight.original")


def test_untying_one_of_two_that_share_a_codebook():
    spec = TieSpec([0, 0, 1, 1], dim=1)
    net = nn.ModuleDict({name: tie(nn.Linear(4, 3), "weight", spec) for name in "ab"})
    share(net["b"], net["a"], ["parametrizations.weight.original"])
    untie(net["a"], "weight")
    (diagnosis,) = check_sharing(net)
    assert (diagnosis.kind, diagnosis.names) == ("replaced", ("a.weight", "b.parametrizations.weight.original"))


def test_two_devices(pair):
    pair["a"]["head"].to("meta")
    (diagnosis,) = check_sharing(pair)
    assert (diagnosis.kind, diagnosis.names) == ("device", ENCODER)
    assert "cpu and meta" in str(diagnosis)
    assert kinds(check_sharing(*pair.values())) == ["device"]
    unshare(pair["b"], ["encoder"])
    nn.init.normal_(pair["b"]["encoder"].weight)
    nn.init.normal_(pair["b"]["encoder"].bias)
    assert check_sharing(pair) == []  # one model on two devices that shares nothing


def test_moving_to_a_device_without_numbers_loses_sharing(pair):
    """torch 2.13 makes a new parameter at every place; so does building on meta and filling with to_empty."""
    expected = shared_parameters(pair)
    assert kinds(check_sharing(pair.to("meta"), expected=expected)) == ["expected", "expected"]


def test_a_checkpoint_of_models_that_did_not_share(pair):
    other = nn.ModuleDict({"a": model(), "b": model()}).state_dict()
    diagnoses = check_sharing(pair, checkpoint=other)
    assert kinds(diagnoses) == ["checkpoint", "checkpoint"]
    assert diagnoses[0].names == ENCODER
    assert "loading keeps the last" in str(diagnoses[0])
    assert check_sharing(pair, checkpoint={"a.encoder.weight": torch.zeros(3, 4)}) == []


def test_wrapped_before_tying(tmp_path):
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    try:
        net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
        wrapped = DistributedDataParallel(net)
        assert check_sharing(wrapped) == []
        assert hasattr(wrapped, "_module_parameters"), "torch renamed what check_sharing looks at"
        net[0].weight = nn.Parameter(torch.randn(3, 4))
        (diagnosis,) = check_sharing(wrapped)
        assert (diagnosis.kind, diagnosis.names) == ("ddp", ("module.0.weight",))
        wrapped = DistributedDataParallel(net)
        assert check_sharing(wrapped) == []
        tie(net[1], "weight", TieSpec([0, 0, 1], dim=1))
        (diagnosis,) = check_sharing(wrapped)
        assert (diagnosis.kind, diagnosis.names) == ("ddp", ("module.1.parametrizations.weight.original",))
        assert check_sharing(DistributedDataParallel(net)) == []
    finally:
        dist.destroy_process_group()


def test_many_names_are_cut_short():
    net = nn.Sequential(*(nn.Linear(2, 2) for _ in range(4)))
    (diagnosis,) = check_sharing(net, optimizers=torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1))[1:]
    assert len(diagnosis.names) == 8
    assert "'1.bias' and 4 more can be trained" in str(diagnosis)


def test_refused(pair):
    with pytest.raises(ValueError, match="at least one module, got none"):
        check_sharing()
    with pytest.raises(ValueError, match=r"expected names 'c\.weight', but the modules have 'a\.encoder\.weight', "):
        check_sharing(pair, expected=[("c.weight", "a.encoder.weight")])
    with pytest.raises(ValueError, match=r"groups of names, got the string 'a\.encoder\.weight'"):
        check_sharing(pair, expected=["a.encoder.weight"])


def test_nothing_is_changed(pair):
    before = copy.deepcopy(pair.state_dict())
    check_sharing(pair, expected=shared_parameters(pair))
    assert all(torch.equal(value, before[name]) for name, value in pair.state_dict().items())


def test_a_finding_prints_as_its_sentence():
    assert str(Diagnosis("stale", (), "a sentence")) == "a sentence"


def test_what_a_formula_filled_is_equal_by_accident():
    """Mamba's A_log: each layer starts with the logarithms of 1, 2, 3, ... in every row."""

    def ramps(rows, columns):
        filled = torch.log(torch.arange(1.0, columns + 1)).expand(rows, columns)
        return nn.ParameterList([nn.Parameter(sign * filled.clone()) for sign in (1, 1, -1, -1)])

    assert check_sharing(nn.ParameterList([torch.eye(4), torch.eye(4)])) == []
    assert check_sharing(ramps(64, 4)) == []
    assert check_sharing(ramps(1, 24)) == []
    assert kinds(check_sharing(ramps(1, 4))) == ["equal", "equal"]  # four numbers may be in order by chance
    broken = ramps(64, 4)
    with torch.no_grad():
        for one in broken:
            one[5, 1] += 10
    assert kinds(check_sharing(broken)) == ["equal", "equal"]
    assert check_sharing(nn.ParameterList([torch.ones(2, 2).to(torch.float8_e5m2) for _ in range(2)])) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_cast_of_one_of_two_sharers(dtype):
    net = model()
    net["tied"] = nn.Linear(4, 3)
    share(net["tied"], net["encoder"], ["weight"])
    net["tied"].weight = nn.Parameter(net["tied"].weight.detach().to(dtype))
    (found,) = check_sharing(net)
    assert found.kind == "rounded"
    assert found.names == ("encoder.weight", "tied.weight")
    assert "in fewer digits" in str(found)
    with torch.no_grad():
        net["tied"].weight[0, 0] += 1
    assert check_sharing(net) == []
    ones = nn.ModuleList([nn.LayerNorm(3), nn.LayerNorm(3).to(dtype)])
    assert check_sharing(ones) == []


def test_a_tied_layer_that_was_resized_around_its_weight():
    tied = nn.Sequential(tie(nn.Embedding(6, 4), "weight", TieSpec([0, 0, 1, 1], dim=1)), nn.Linear(4, 6))
    tie(tied[1], "weight", TieSpec([0, 1, 2, 2, 1, 0], dim=0))
    assert check_sharing(tied) == []
    tied[0].num_embeddings = 7
    tied[1].out_features = 7
    found = check_sharing(tied)
    assert kinds(found) == ["size", "size"]
    assert found[0].names == ("0.parametrizations.weight.original",)
    assert "'1.weight' is tied and of shape (6, 4), but its layer says (7, 4)" in str(found[1])
    entries = tie(nn.Linear(2, 2), "weight", TieSpec([[0, 1], [1, 0]], dim=None))
    turned = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 4, bias=False))
    tie(turned, ["0.weight", "1.weight"], [TieSpec(range(4), dim=1), TieSpec(range(4), dim=0)])
    assert check_sharing(entries) == check_sharing(turned) == []
