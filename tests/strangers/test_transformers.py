"""Hugging Face's transformers: small random models of several kinds, without a download."""

import copy
from pathlib import Path

import pytest
import torch
import transformers
from models import albert, answers, bert, gpt2, llama, t5, untied_llama, vit

from tyinglib import TieSpec, check_sharing, dense_state, load_tied, save_tied, tie, tie_specs, untie, untied

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

KINDS = {
    gpt2: "transformer.wte.weight",
    llama: "model.embed_tokens.weight",
    untied_llama: "lm_head.weight",
    t5: "shared.weight",
    albert: "albert.embeddings.word_embeddings.weight",
    bert: "bert.embeddings.word_embeddings.weight",
    vit: "vit.layers.0.attention.q_proj.weight",
}
SHARING = {gpt2: 2, llama: 2, untied_llama: 1, t5: 4, albert: 2, bert: 2, vit: 1}  # places of that weight
kinds = pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
with_words = pytest.mark.parametrize("build", [one for one in KINDS if one is not vit], ids=lambda one: one.__name__)


def tied(build):
    """The model, with rows of its largest matrix in pairs, under all the names that it has."""
    torch.manual_seed(0)
    model, name = build(), KINDS[build]
    rows = model.get_parameter(name).shape[0]
    return tie(model, name, TieSpec(torch.arange(rows) // 2, dim=0))


@kinds
def test_a_fresh_model_is_sound(build):
    assert check_sharing(build()) == []


@kinds
def test_every_place_is_tied_and_trained(build):
    model = tied(build)
    assert len(tie_specs(model)) == SHARING[build]
    assert check_sharing(model) == []
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    words = torch.arange(12).view(2, 6)
    for _ in range(2):
        if build is vit:
            loss = model(torch.randn(1, 3, 16, 16), labels=torch.tensor([1])).loss
        elif build is t5:
            loss = model(input_ids=words, labels=words).loss
        else:
            loss = model(input_ids=words, labels=words).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name in tie_specs(model):
        weight = model.get_submodule(name.rpartition(".")[0]).weight
        assert torch.equal(weight[::2], weight[1::2])
    assert check_sharing(model, optimizers=optimizer) == []


@kinds
def test_saved_and_loaded_bit_for_bit(build, tmp_path):
    """The way for whoever has tyinglib: save_tied, the configuration beside it, load_tied."""
    model = tied(build)
    save_tied(model, tmp_path / "model.safetensors")
    model.config.save_pretrained(tmp_path)
    again = type(model)(type(model.config).from_pretrained(tmp_path))
    load_tied(again, tmp_path / "model.safetensors")
    assert torch.equal(answers(again), answers(model))
    assert tie_specs(again) == tie_specs(model)


@kinds
def test_save_pretrained_in_full_for_everybody(build, tmp_path):
    """The way for those who have none: weights in full, and from_pretrained knows nothing of ties."""
    model = tied(build)
    model.save_pretrained(tmp_path, state_dict=dense_state(model))
    again = type(model).from_pretrained(tmp_path)
    assert torch.equal(answers(again), answers(model))
    assert (tie_specs(again), check_sharing(again)) == ({}, [])
    assert sum(p.numel() for p in again.parameters()) == sum(p.numel() for p in build().parameters())


@with_words  # of ViT, the names on disk are those of an older version
def test_load_tied_reads_what_save_pretrained_wrote(build, tmp_path):
    torch.manual_seed(0)
    model = build()
    model.save_pretrained(tmp_path)
    torch.manual_seed(1)
    again = load_tied(build(), tmp_path / "model.safetensors")
    assert torch.equal(answers(again), answers(model))


@with_words
def test_tie_weights_is_refused_by_the_model_or_does_no_harm(build):
    """transformers sets the shared weights anew by their plain names; the tie holds them together already."""
    model = tied(build)
    before, specs = answers(model), tie_specs(model)
    if SHARING[build] == 1:
        model.tie_weights()
    else:
        with pytest.raises((AttributeError, ValueError)):
            model.tie_weights()
    assert torch.equal(answers(model), before)
    assert tie_specs(model) == specs
    assert check_sharing(model) == []


@with_words
def test_to_resize_untie_resize_and_tie(build):
    model = tied(build)
    untie(model, KINDS[build])
    model.resize_token_embeddings(44)
    tie(model, KINDS[build], TieSpec(torch.arange(44) // 2, dim=0))
    head = model.get_output_embeddings().weight
    assert torch.equal(head[::2], head[1::2])
    assert KINDS[build] not in dict(model.named_parameters(remove_duplicate=False))
    assert answers(model).shape[-1] == 44
    assert check_sharing(model) == []


@with_words
def test_untied_for_a_while_it_is_resized_and_tied_to_itself(build):
    """With columns in pairs, which other words do not change."""
    torch.manual_seed(0)
    model, name = build(), KINDS[build]
    tie(model, name, TieSpec(torch.arange(model.get_parameter(name).shape[1]) // 2, dim=1))
    before = answers(model)
    with untied(model):
        model.tie_weights()
    assert torch.equal(answers(model), before)
    assert len(tie_specs(model)) == SHARING[build]
    for words in (44, 40):
        with untied(model):
            model.resize_token_embeddings(words)
        head = model.get_output_embeddings().weight
        assert torch.equal(head[:, ::2], head[:, 1::2])
        assert torch.equal(answers(model)[..., :40], before)
        assert check_sharing(model) == []


def test_an_embedding_resized_while_tied_is_found():
    """transformers writes the new rows into a weight that is made anew, and says nothing."""
    model = untied_llama()
    tie(model, "model.embed_tokens.weight", TieSpec(torch.arange(16) // 2, dim=1))
    model.resize_token_embeddings(44)
    (diagnosis,) = check_sharing(model)
    assert diagnosis.kind == "size"
    with pytest.raises(IndexError):
        model(torch.tensor([[43]]))


@with_words
def test_resized_while_tied_it_is_found(build):
    """transformers swaps the embedding, then fails: sharing is lost, and check_sharing says which."""
    model = tied(build)
    if SHARING[build] == 1:
        model.resize_token_embeddings(44)
        assert tie_specs(model) == {}  # the tied head was replaced by a plain one
        return
    with pytest.raises((AttributeError, ValueError)):
        model.resize_token_embeddings(44)
    assert {one.kind for one in check_sharing(model)} == {"declared"}


class Keeping(transformers.Trainer):
    """A Trainer whose checkpoints keep ties; its own refuses shared codebooks, or writes what nobody reads."""

    def _save(self, output_dir=None, state_dict=None):
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        save_tied(self.model, Path(output_dir) / "model.safetensors")
        self.model.config.save_pretrained(output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        load_tied(model or self.model, Path(resume_from_checkpoint) / "model.safetensors")


def test_trainer_resumes_from_its_checkpoint(tmp_path):
    words = [{"input_ids": torch.arange(6) + start, "labels": torch.arange(6) + start} for start in range(8)]
    quiet = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "per_device_train_batch_size": 4, "max_steps": 4}

    def trainer(kind, model, **settings):
        arguments = transformers.TrainingArguments(tmp_path, **quiet, **settings)
        return kind(model, arguments, train_dataset=words)

    with pytest.raises(RuntimeError, match="shared tensors"):  # if this fails, there is no need of another Trainer
        trainer(transformers.Trainer, tied(gpt2), save_steps=2).train()
    through, resumed = tied(gpt2), tied(gpt2)
    trainer(Keeping, through, save_steps=2).train()
    trainer(Keeping, resumed, save_strategy="no").train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert torch.equal(answers(resumed), answers(through))
    assert len(tie_specs(resumed)) == 2
    assert check_sharing(resumed) == []


@kinds
def test_a_copy_has_its_own_tie(build):
    model = tied(build)
    other = copy.deepcopy(model)
    untie(other, KINDS[build])
    assert torch.equal(answers(other), answers(model))
    assert len(tie_specs(model)) == SHARING[build]


TINY = {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 16, "num_attention_heads": 2, "vocab_size": 40}
FOR_BOTH_SIDES = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
IMAGES = {key: size for key, size in TINY.items() if key != "vocab_size"} | {"image_size": 16, "patch_size": 8}
WAVES = {"conv_dim": [8], "conv_stride": [2], "conv_kernel": [3], "num_feat_extract_layers": 1}
WAVES |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
PARTS = {"text_config": TINY, "vision_config": IMAGES}
MORE = {
    "BartForConditionalGeneration": FOR_BOTH_SIDES | HEADS | {"vocab_size": 40, "pad_token_id": 1},
    "WhisperForConditionalGeneration": FOR_BOTH_SIDES | HEADS | {"vocab_size": 60, "pad_token_id": 1},
    "MixtralForCausalLM": TINY | {"num_local_experts": 2, "num_key_value_heads": 2},
    "DebertaV2ForMaskedLM": TINY,
    "CLIPModel": PARTS,
    "MambaForCausalLM": TINY | {"state_size": 8},
    "Mamba2ForCausalLM": TINY | {"state_size": 8, "num_heads": 16, "head_dim": 2, "n_groups": 1},
    "RwkvForCausalLM": TINY,
    "XLNetLMHeadModel": {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 16, "vocab_size": 40},
    "SwinForImageClassification": {"image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [2], "num_heads": [2]},
    "Wav2Vec2ForCTC": TINY | WAVES,
    "ViTMAEForPreTraining": IMAGES | {"decoder_hidden_size": 16, "decoder_num_attention_heads": 2},
}


@pytest.mark.parametrize("name", MORE)
def test_other_fresh_models_are_sound(name):
    kind = getattr(transformers, name)
    model = kind(kind.config_class(**MORE[name]))
    assert check_sharing(model) == []
