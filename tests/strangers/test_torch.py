"""Ties and sharing under torch's own tools: transforms, compilers, exporters, norms, masks, averages."""

import copy
import shutil

import pytest
import torch
from models import BODY_TIE, WORD_TIE, Language, tied_language
from torch import nn
from torch.func import functional_call, grad, hessian, jacrev, stack_module_state, vmap
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel

from tyinglib import (
    TieSpec,
    check_sharing,
    count_parameters,
    dense_state,
    load_tied,
    save_tied,
    tie,
    tie_specs,
    untie,
    untied,
)

X = torch.arange(8)
TIES = {"embed.weight": WORD_TIE, "body.weight": BODY_TIE, "head.weight": WORD_TIE}


def shifted(model):
    """A copy with 1 added to every parameter, and its parameters by name."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    return other, {name: parameter + 1 for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("build", [Language, tied_language])
def test_functional_call(build):
    model = build()
    other, parameters = shifted(model)
    before = model(X)
    torch.testing.assert_close(functional_call(model, parameters, (X,)), other(X))
    assert torch.equal(model(X), before)
    assert check_sharing(model) == []


@pytest.mark.parametrize("build", [Language, tied_language])
def test_per_sample_gradients(build):
    model = build().double()
    parameters = dict(model.named_parameters())

    def loss(parameters, word):
        return functional_call(model, parameters, (word[None],)).square().sum()

    one_by_one = vmap(grad(loss), (None, 0))(parameters, X)
    model(X).square().sum().backward()
    for name, parameter in parameters.items():
        assert one_by_one[name].shape == (8, *parameter.shape)
        torch.testing.assert_close(one_by_one[name].sum(0), parameter.grad)


@pytest.mark.parametrize(
    "build",
    [
        tied_language,
        lambda seed: tie(Language(seed), "body.weight", BODY_TIE),
    ],
    ids=["two sharers", "one place"],
)
def test_an_ensemble_in_one_call(build):
    models = [build(seed) for seed in range(3)]
    parameters, buffers = stack_module_state(models)
    together = vmap(lambda values, labels: functional_call(models[0], (values, labels), (X,)))(parameters, buffers)
    torch.testing.assert_close(together, torch.stack([model(X) for model in models]))
    assert check_sharing(*models) == []


def test_the_hessian_in_a_codebook():
    layer = tie(nn.Linear(4, 1, bias=False), "weight", TieSpec([0, 0, 1, -1], dim=1))
    x, name = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), "parametrizations.weight.original"
    found = hessian(lambda phi: functional_call(layer, {name: phi}, (x,)).square().sum())(layer.get_parameter(name))
    pulled_back = torch.tensor([1.0 + 2.0, 3.0])  # S^T x
    torch.testing.assert_close(found[0, :, 0], 2 * torch.outer(pulled_back, pulled_back))


def test_jacobian_of_a_codebook():
    model = tied_language()
    jacobian = jacrev(lambda parameters: functional_call(model, parameters, (X,)))(dict(model.named_parameters()))
    assert jacobian["embed.parametrizations.weight.original"].shape == (8, 8, 4, 4)


class OneLayerTwice(nn.Module):
    """One layer under two names."""

    def __init__(self):
        super().__init__()
        self.first = self.second = nn.Linear(3, 3)

    def forward(self, x):
        return self.second(self.first(x))


@pytest.mark.parametrize("tied", [False, True])
def test_functional_call_of_a_shared_layer(tied):
    """The answer is right; but torch leaves its arguments in the model, and check_sharing says so."""
    model, x = OneLayerTwice(), torch.ones(2, 3)
    if tied:
        tie(model, "first.weight", TieSpec([0, 0, 1], dim=1))
    other, parameters = shifted(model)
    assert check_sharing(model) == []
    assert torch.equal(functional_call(model, parameters, (x,)), other(x))
    assert not any(isinstance(value, nn.Parameter) for value in model.parameters())
    (diagnosis,) = check_sharing(model)
    assert diagnosis.kind == "tensor"
    assert "functional_call" in str(diagnosis)
    assert set(diagnosis.names) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_and_plain_models_exchange_files(backend, tmp_path):
    model, path = tied_language(), tmp_path / "file"
    compiled = torch.compile(model, backend=backend)
    torch.testing.assert_close(compiled(X), model(X))
    compiled(X).sum().backward()
    assert model.embed.parametrizations.weight.original.grad is not None
    save_tied(compiled, path)
    plain = load_tied(Language(1), path)
    assert torch.equal(plain(X), model(X))
    save_tied(plain, path)
    again = torch.compile(Language(2), backend=backend)
    load_tied(again, path)
    torch.testing.assert_close(again(X), model(X))
    inside = nn.ModuleDict({"net": torch.compile(Language(3), backend=backend)})
    save_tied(nn.ModuleDict({"net": plain}), path)
    load_tied(inside, path)  # where a part is compiled
    assert torch.equal(inside["net"](X), model(X))
    assert check_sharing(again) == check_sharing(inside) == []


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of torch, about torch
def test_training_through_inductor():
    model, plain = tied_language(), tied_language()
    compiled = torch.compile(model)
    for one in (compiled, plain):
        optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            one(X).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(model(X), plain(X))
    assert torch.equal(model.head.weight, model.embed.weight)
    assert torch.equal(model.body.weight[:, ::2], model.body.weight[:, 1::2])
    assert (tie_specs(model), check_sharing(compiled)) == (TIES, [])


def test_a_tied_layer_that_is_itself_compiled():
    layer = tie(nn.Linear(4, 4), "weight", BODY_TIE)
    compiled, x = torch.compile(layer, backend="eager"), torch.ones(1, 4)
    before = layer(x)
    assert tie_specs(compiled) == {"_orig_mod.weight": BODY_TIE}
    with untied(compiled):
        assert tie_specs(layer) == {}
        assert torch.equal(layer(x), before)
    assert tie_specs(layer) == {"weight": BODY_TIE}
    assert torch.equal(compiled(x), before)


def test_the_dense_state_of_a_compiled_model_has_plain_names():
    model = tied_language()
    other = Language(1)
    other.load_state_dict(dense_state(torch.compile(model, backend="eager")))
    assert torch.equal(other(X), model(X))


def test_tied_after_compiling():
    model = Language()
    compiled = torch.compile(model, backend="eager")
    compiled(X)
    tie(model, "embed.weight", WORD_TIE)
    assert torch.equal(compiled(X), model(X))  # compiled anew


def test_export_keeps_the_codebook():
    model = tied_language().eval()
    program = torch.export.export(model, (X,))
    assert torch.equal(program.module()(X), model(X))
    shapes = {name: tuple(value.shape) for name, value in program.state_dict.items()}
    assert shapes["embed.parametrizations.weight.original"] == (4, 4)
    assert "embed.weight" not in shapes


def test_an_exported_file_keeps_the_codebook_and_what_it_loses_is_found(tmp_path):
    """torch keeps what is shared in one piece of memory, and makes a Parameter of each name."""
    model = Language().eval()
    torch.export.save(torch.export.export(model, (X,)), tmp_path / "plain.pt2")
    loaded = torch.export.load(tmp_path / "plain.pt2").module()
    assert torch.equal(loaded(X), model(X))
    assert [one.kind for one in check_sharing(loaded)] == ["memory"]
    model = tied_language().eval()
    torch.export.save(torch.export.export(model, (X,)), tmp_path / "tied.pt2")
    loaded = torch.export.load(tmp_path / "tied.pt2").module()
    assert torch.equal(loaded(X), model(X))
    assert {tuple(value.shape) for value in loaded.parameters()} == {tuple(value.shape) for value in model.parameters()}


def test_a_mask_over_a_tie_is_refused_in_words():
    model = tied_language()
    before = model(X)
    with pytest.raises(ValueError, match=r"'weight' is tied .* can't be pruned by a mask: untie it first"):
        prune.l1_unstructured(model.body, "weight", 2)
    assert torch.equal(model(X), before)
    assert tie_specs(model) == TIES
    untie(model, "body.weight")
    prune.l1_unstructured(model.body, "weight", 2)
    assert count_parameters(model.body).nonzero == 18


@pytest.mark.parametrize("norm", [parametrizations.weight_norm, parametrizations.orthogonal])
def test_what_cannot_stand_over_a_tie_is_refused_in_words(norm):
    """torch adds it, and the layer fails at its next forward."""
    model = tied_language()
    before = model(X)
    with pytest.raises(ValueError, match="can't stand over a tie"):
        norm(model.body, "weight")
    assert torch.equal(model(X), before)
    assert tie_specs(model) == TIES


@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.spectral_norm])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_older_norms_find_no_parameter_and_change_nothing(norm):
    model = tied_language()
    before = model(X)
    with pytest.raises(KeyError):
        norm(model.body, "weight")
    assert torch.equal(model(X), before)


def test_a_spectral_norm_over_a_tie_works_and_is_not_counted():
    model = tied_language()
    parametrizations.spectral_norm(model.body, "weight")
    weight = model.body.weight
    assert torch.equal(weight[:, 0], weight[:, 1])  # tied still, and trained as one
    model(X).square().sum().backward()
    assert model.body.parametrizations.weight.original.grad.shape == (4, 2)
    with pytest.raises(ValueError, match="a tie in one list with other parametrizations"):
        count_parameters(model)


def test_a_parameter_in_the_place_of_a_tied_weight_is_refused_in_words():
    """As tie_weights() of transformers and torch.nn.utils.fuse_conv_bn_eval put one there."""
    model = tied_language()
    with pytest.raises(ValueError, match="untie"):
        model.body.weight = nn.Parameter(torch.zeros(4, 4))
    assert tie_specs(model) == TIES


def test_fusing_a_batch_norm_into_a_tied_convolution():
    """Its rows are scaled apart, so that the tie can't stay: torch raises, and without the tie all is well."""
    torch.manual_seed(0)
    convolution = tie(nn.Conv2d(3, 4, 3), "weight", TieSpec([0, 0, 1, 1], dim=0)).eval()
    norm, x = nn.BatchNorm2d(4).eval(), torch.randn(1, 3, 5, 5)
    norm.weight.data.uniform_(0.5, 2)
    with pytest.raises((KeyError, ValueError)):
        nn.utils.fuse_conv_bn_eval(convolution, norm)
    fused = nn.utils.fuse_conv_bn_eval(untie(copy.deepcopy(convolution), "weight"), norm)
    torch.testing.assert_close(fused(x), norm(convolution(x)))


@pytest.mark.parametrize("name", ["self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight"])
def test_the_fast_path_of_an_encoder_layer_reads_the_tied_weight(name):
    torch.manual_seed(0)
    layer, x = nn.TransformerEncoderLayer(8, 2, 16, dropout=0, batch_first=True), torch.randn(2, 3, 8)
    tie(layer, name, TieSpec(torch.arange(8) // 2, dim=1))
    slow = layer(x)
    with torch.no_grad():
        fast = layer.eval()(x)
    torch.testing.assert_close(fast, slow)


def masked(layer):
    prune.l1_unstructured(layer, "weight", 5)


@pytest.mark.parametrize("change", [masked, parametrizations.weight_norm, parametrizations.spectral_norm])
def test_a_mask_or_a_norm_over_one_of_two_sharers_is_found(change):
    model = Language()
    change(model.head)
    found = check_sharing(model)
    if change is parametrizations.weight_norm:  # two new parameters: that they were one, only `expected` knows
        (diagnosis,) = check_sharing(model, expected=[("embed.weight", "head.weight")])
        assert diagnosis.kind == "expected"
        return
    (diagnosis,) = found
    assert diagnosis.kind == "form"
    assert "read in different ways" in str(diagnosis)
    change(model.embed)
    assert check_sharing(model) == []  # both alike


def test_a_copy_and_an_average_are_no_lost_sharing():
    model = tied_language()
    average, optimizer = AveragedModel(model), torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(X).square().sum().backward()
        optimizer.step()
        average.update_parameters(model)
    assert torch.equal(average.module.head.weight, average.module.embed.weight)
    assert tie_specs(average.module) == TIES
    assert check_sharing(model, optimizers=optimizer) == check_sharing(average) == []


def test_casting_one_of_two_casts_both():
    """torch changes a shared Parameter in place, so nothing is lost; the layer beside it now gets another dtype."""
    model = Language()
    model.head.half()
    assert model.embed.weight.dtype == torch.float16
    assert model.embed.weight is model.head.weight
    model = tied_language()
    model.head.half()
    assert model.embed.weight.dtype == torch.float16
    assert torch.equal(model.embed.weight, model.head.weight)
