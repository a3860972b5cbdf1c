"""Models that know of their ties: transformers, accelerate, peft."""

import accelerate
import peft
import pytest
import torch
import transformers
from reported_models import TIE, TiedLM, kinds
from reports import report
from safetensors.torch import load_file, save_file

from tyinglib import check_sharing, share, shared_parameters, unshare
from tyinglib.diagnosis import check_file

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers for names of yesterday
TIED = ("model.embed_tokens.weight", "lm_head.weight")
WORDS = torch.tensor([[1, 2, 3]])


@pytest.fixture(autouse=True)
def quiet():
    """No bars, and no advice about settings."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def llama(*, tied=True):
    """A random one, so small that nobody would want it."""
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=20,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            max_position_embeddings=16,
            tie_word_embeddings=tied,
        )
    )


def trained_apart(model):
    """Adapted with both ends of it trained: what check_sharing finds before the first step, and the merged model."""
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"])
    with pytest.warns(UserWarning, match="tie_word_embeddings"):
        adapted = peft.get_peft_model(model, settings)
    found = check_sharing(adapted)
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=0.5)
    adapted(WORDS).logits.square().sum().backward()
    optimizer.step()
    with pytest.warns(UserWarning, match="no longer tied after merging"):
        return found, adapted.merge_and_unload()


def comes_back(model, folder):
    """Whether what is saved and loaded answers as before."""
    model.save_pretrained(folder)
    loaded = transformers.LlamaForCausalLM.from_pretrained(folder)
    return torch.allclose(loaded(WORDS).logits, model(WORDS).logits)


@report(
    "huggingface/accelerate",
    3668,
    "Inside `init_empty_weights`, assigning one layer's weight to another does not tie them.",
    today="still so",
    here="reported by",
    by=("check_sharing", "share"),
)
def test_init_empty_weights_unties():
    with accelerate.init_empty_weights():
        model = TiedLM()
    shows = not model.is_tied
    assert [found.names for found in check_sharing(model, expected=[TIE])] == [TIE]
    share(model.head, model.emb, ["weight"])
    assert check_sharing(model, expected=[TIE]) == []
    return shows


@report(
    "huggingface/accelerate",
    2807,
    "`save_state` leaves out the second name of a shared weight, and `load_state` misses it.",
    today="mended",
    here="no alarm from",
    by=("check_sharing", "shared_parameters"),
)
def test_a_state_of_a_tied_model(tmp_path):
    accelerator = accelerate.Accelerator(cpu=True)
    model = accelerator.prepare(TiedLM())
    before = model.emb.weight.detach().clone()
    accelerator.save_state(tmp_path)
    with torch.no_grad():
        model.emb.weight.zero_()
    try:
        accelerator.load_state(tmp_path)
    except RuntimeError:
        return True
    assert shared_parameters(model) == [TIE]
    assert check_sharing(model, expected=[TIE]) == []
    return not torch.equal(model.head.weight, before)


@report(
    "huggingface/peft",
    2018,
    "Merging an adapter of the head of a tied model changes the embedding as well.",
    today="still so",
    here="works with",
    by=("unshare", "check_sharing"),
)
def test_merging_an_adapter_of_a_tied_head():
    settings = peft.LoraConfig(r=2, target_modules=["lm_head"], init_lora_weights=False)

    def merged(model):
        before = model.model.embed_tokens.weight.detach().clone()
        model = peft.get_peft_model(model, settings).merge_and_unload()
        assert not torch.equal(model.lm_head.weight, before)
        return torch.equal(model.model.embed_tokens.weight, before)

    apart = llama()
    unshare(apart.lm_head, ["weight"])
    assert kinds(check_sharing(apart)) == {"declared"}, "the model says that they are one"
    apart.config.tie_word_embeddings = False
    assert merged(apart)
    with pytest.warns(UserWarning, match="tie_word_embeddings"):
        return not merged(llama())


@report(
    "huggingface/peft",
    2777,
    "Embedding and head of a tied model that are both trained become two; loaded again, the head is the embedding.",
    today="mended",
    here="reported by",
    by=("check_sharing",),
)
def test_both_ends_are_trained_and_merged(tmp_path):
    found, merged = trained_apart(llama())
    assert "equal" in [one.kind for one in found]
    return not comes_back(merged, tmp_path)


@report(
    "huggingface/transformers",
    45127,
    "After new words, an adapter and a merge, a tied model that is loaded again repeats one word for ever.",
    today="mended",
    here="reported by",
    by=("check_sharing", "check_file"),
)
def test_new_words_an_adapter_and_a_merge(tmp_path):
    model = llama()
    model.resize_token_embeddings(22)
    assert check_sharing(model, expected=[TIED]) == []
    found, merged = trained_apart(model)
    assert "equal" in [one.kind for one in found]
    shows = not comes_back(merged, tmp_path)
    assert check_file(tmp_path / "model.safetensors") == []
    return shows


@report(
    "huggingface/transformers",
    42612,
    "A checkpoint with a head and an embedding that differ is tied all the same, and its head is lost.",
    today="mended",
    here="reported by",
    by=("check_sharing",),
)
def test_a_checkpoint_that_contradicts_its_settings(tmp_path):
    model = llama(tied=False)
    model.config.tie_word_embeddings = True
    model.config.save_pretrained(tmp_path)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert [(one.kind, set(one.names)) for one in check_sharing(llama(), checkpoint=state)] == [
        ("checkpoint", set(TIED))
    ]
    loaded = transformers.LlamaForCausalLM.from_pretrained(tmp_path)
    return not torch.equal(loaded.lm_head.weight, model.lm_head.weight)


@report(
    "huggingface/transformers",
    41038,
    "A file that has the head, and the embedding as another name of it, is loaded with an embedding without values.",
    today="mended",
    here="no alarm from",
    by=("check_sharing",),
)
def test_a_file_with_the_name_of_the_head_alone(tmp_path):
    model = llama()
    model.config.save_pretrained(tmp_path)
    first, second = TIED
    state = {name: value.clone() for name, value in model.state_dict().items() if name != first}
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt", first: second})
    assert first not in load_file(tmp_path / "model.safetensors")
    loaded = transformers.LlamaForCausalLM.from_pretrained(tmp_path)
    assert check_sharing(loaded, expected=[TIED]) == []
    return not torch.equal(loaded.model.embed_tokens.weight, model.lm_head.weight)
