"""accelerate, Lightning and peft with a tied model."""

import accelerate
import lightning
import peft
import pytest
import torch
from models import BODY_TIE, WORD_TIE, Language, gpt2, tied_language
from torch.utils.data import DataLoader, TensorDataset

from tyinglib import ProxSGD, check_sharing, load_tied, share, tie, tie_specs, untie

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs
X = torch.arange(8)


@pytest.mark.parametrize("build", [Language, tied_language])
def test_accelerate(build, tmp_path):
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    accelerator = accelerate.Accelerator(cpu=True)
    prepared, prepared_optimizer = accelerator.prepare(model, optimizer)
    accelerator.backward(prepared(X).square().sum())
    prepared_optimizer.step()
    accelerator.save_model(prepared, tmp_path)  # leaves out one of two names
    by_theirs, by_ours = build(1), build(2)
    accelerate.load_checkpoint_in_model(by_theirs, tmp_path)
    load_tied(by_ours, tmp_path / "model.safetensors")
    for other in (by_theirs, by_ours):
        assert torch.equal(other(X), model(X))
        assert check_sharing(other) == []
    accelerator.save_state(tmp_path / "state")
    accelerator.backward(prepared(X).square().sum())
    prepared_optimizer.step()
    moved = model(X)
    accelerator.load_state(tmp_path / "state")
    assert torch.equal(model(X), by_ours(X))
    assert not torch.equal(model(X), moved)
    assert check_sharing(model, optimizers=optimizer) == []


def test_accelerates_finder_sees_the_codebook():
    (found,) = accelerate.utils.find_tied_parameters(tied_language())
    assert found == ["embed.parametrizations.weight.original", "head.parametrizations.weight.original"]


def test_accelerates_empty_models():
    with accelerate.init_empty_weights():
        model = Language()
    assert model.head.weight is not model.embed.weight  # it loses what is shared
    share(model.head, model.embed, ["weight"])
    tie(model, "embed.weight", WORD_TIE)
    tie(model, "body.weight", BODY_TIE)
    assert model.head.weight.is_meta
    model.to_empty(device="cpu")
    model.load_state_dict(tied_language().state_dict())
    assert torch.equal(model(X), tied_language()(X))


class Lightning(lightning.LightningModule):
    """A tied model under Lightning, trained by our optimizer."""

    def __init__(self):
        super().__init__()
        self.net = tied_language()

    def training_step(self, batch, _):
        return self.net(batch[0]).square().sum()

    def configure_optimizers(self):
        return ProxSGD(self.parameters(), lr=0.01, momentum=0.9)


def fit(module, epochs, folder, **settings):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", enable_checkpointing=False, default_root_dir=folder, **quiet
    )
    trainer.fit(module, DataLoader(TensorDataset(X), batch_size=4), **settings)
    return trainer


def test_lightning_resumes_where_it_stopped(tmp_path):
    through, half, resumed = Lightning(), Lightning(), Lightning()
    fit(through, 4, tmp_path)
    fit(half, 2, tmp_path).save_checkpoint(tmp_path / "half.ckpt")
    trainer = fit(resumed, 4, tmp_path, ckpt_path=tmp_path / "half.ckpt")
    assert torch.equal(resumed.net(X), through.net(X))
    assert not torch.equal(resumed.net(X), half.net(X))
    assert len(tie_specs(resumed)) == 3
    assert check_sharing(resumed, optimizers=trainer.optimizers) == []
    loaded = Lightning.load_from_checkpoint(tmp_path / "half.ckpt")
    assert torch.equal(loaded.net(X), half.net(X))


def adapted(model, target):
    torch.manual_seed(0)
    config = peft.LoraConfig(target_modules=[target], r=2, init_lora_weights=False)
    return peft.inject_adapter_in_model(config, model)


def test_lora_over_a_tied_layer_trains_and_its_merge_is_warned_of():
    """merge() writes into a weight that is made anew at each reading: peft says nothing, and the adapter is lost."""
    model = tied_language()
    before = model(X)
    adapted(model, "body")
    assert not torch.equal(model(X), before)
    assert len(tie_specs(model)) == 3
    (diagnosis,) = check_sharing(model)
    assert diagnosis.kind == "adapter"
    assert "untie it before merging" in str(diagnosis)
    with_adapter = model(X)
    model.body.merge()
    assert torch.equal(model(X), before)  # lost: if this fails, peft has mended it, and the warning may go
    model.body.unmerge()
    untie(model, "body.base_layer.weight")
    assert check_sharing(model) == []
    model.body.merge()
    torch.testing.assert_close(model(X), with_adapter)


@pytest.mark.parametrize("target", ["embed", "head"])
def test_lora_on_one_of_two_sharers_is_found(target):
    model = adapted(Language(), target)
    (diagnosis,) = check_sharing(model)
    assert diagnosis.kind == "adapter"
    assert "in one place otherwise than in another" in str(diagnosis)
    with_adapter = model(X)
    model.get_submodule(target).merge()
    assert not torch.allclose(model(X), with_adapter)  # merging changed the other place too


def gpt2_with(**settings):
    torch.manual_seed(0)
    return peft.get_peft_model(gpt2(), peft.LoraConfig(r=2, **settings))


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["wte", "lm_head"]},  # an adapter of its own over each
        {"target_modules": ["c_attn"], "modules_to_save": ["lm_head"]},  # a copy of the head, trained
    ],
    ids=["two adapters", "a copy"],
)
def test_sharers_that_peft_adapts_apart_are_one_finding(settings):
    (diagnosis,) = check_sharing(gpt2_with(**settings))
    assert diagnosis.kind == "adapter"
    assert diagnosis.names[0].startswith("base_model.model.transformer.wte.")
    assert diagnosis.names[1].startswith("base_model.model.lm_head.")
    assert "ensure_weight_tying=True" in str(diagnosis)


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["c_attn"]},
        {"target_modules": ["c_attn"], "trainable_token_indices": [1, 2]},
        {"target_modules": ["c_attn"], "modules_to_save": ["lm_head"], "ensure_weight_tying": True},
    ],
    ids=["elsewhere", "some words", "one copy"],
)
def test_sharers_that_peft_adapts_together_are_no_fault(settings):
    assert check_sharing(gpt2_with(**settings)) == []


def test_a_tied_layer_that_peft_copies():
    model = peft.get_peft_model(tied_language(), peft.LoraConfig(target_modules=["head"], modules_to_save=["body"]))
    body = {name.removeprefix("base_model.model.body.") for name in tie_specs(model) if ".body." in name}
    assert body == {"original_module.weight", "modules_to_save.default.weight"}


def test_two_adapters_that_are_each_others_transpose_are_stepped_twice():
    """peft makes two Parameters in one piece of memory: plain descent adds their gradients, Adam steps two times."""
    model = gpt2_with(target_modules=["wte", "lm_head"], ensure_weight_tying=True)
    assert [one.kind for one in check_sharing(model)] == ["memory", "memory"]


def test_an_adapter_that_takes_a_part_out_of_a_tied_weight_changes_the_model():
    """PiSSA should leave the outputs as they are: peft writes the rest into a weight that is made anew."""
    model = Language()
    before = model(X)
    config = peft.LoraConfig(target_modules=["body"], r=2, init_lora_weights="pissa")
    torch.testing.assert_close(peft.inject_adapter_in_model(config, model)(X), before)
    model = tied_language()
    before = model(X)
    assert not torch.allclose(peft.inject_adapter_in_model(config, model)(X), before)  # if this fails, peft mended it
    (diagnosis,) = check_sharing(model)
    assert "PiSSA" in str(diagnosis)


def test_lora_beside_sharers_is_no_fault():
    assert check_sharing(adapted(Language(), "body")) == []
