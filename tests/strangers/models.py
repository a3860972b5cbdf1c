"""Small models as other people build them: a language model by hand, and random ones of Hugging Face's transformers."""

import torch
import transformers
from torch import nn

from tyinglib import TieSpec, tie

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
WORDS = {"vocab_size": 40, "max_position_embeddings": 20}
SPECIAL = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}


class Language(nn.Module):
    """An embedding, a body, and a head that is the embedding once more."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Embedding(8, 4)
        self.body = nn.Linear(4, 4)
        self.head = nn.Linear(4, 8, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(torch.tanh(self.body(self.embed(x))))


WORD_TIE = TieSpec([0, 0, 1, 1, 2, 2, 3, -1], dim=0, factors=[1, -1, 1, 1, 1, 1, 1, 1])
BODY_TIE = TieSpec([0, 0, 1, 1], dim=1)


def tied_language(seed=0):
    """Two ties: words in pairs, in the embedding and the head at once; and the body's inputs."""
    model = Language(seed)
    tie(model, "embed.weight", WORD_TIE)
    return tie(model, "body.weight", BODY_TIE)


def gpt2():
    config = transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=40, n_positions=20, **SPECIAL)
    return transformers.GPT2LMHeadModel(config)


def llama(tied=True):
    config = transformers.LlamaConfig(**SIZES, **WORDS, **SPECIAL, num_key_value_heads=2, tie_word_embeddings=tied)
    return transformers.LlamaForCausalLM(config)


def untied_llama():
    return llama(tied=False)


def t5():
    sizes = {"d_model": 16, "d_ff": 32, "num_layers": 2, "num_heads": 2, "d_kv": 8, "vocab_size": 40}
    config = transformers.T5Config(**sizes, decoder_start_token_id=0, eos_token_id=1, pad_token_id=0)
    return transformers.T5ForConditionalGeneration(config)


def albert():
    return transformers.AlbertForMaskedLM(transformers.AlbertConfig(**SIZES, **WORDS, **SPECIAL, embedding_size=8))


def bert():
    return transformers.BertForMaskedLM(transformers.BertConfig(**SIZES, **WORDS, **SPECIAL))


def vit():
    config = transformers.ViTConfig(**SIZES, image_size=16, patch_size=4)
    return transformers.ViTForImageClassification(config)


def answers(model):
    """What a model says, in evaluation mode, to always the same."""
    model.eval()
    words = torch.arange(12).view(2, 6)
    with torch.no_grad():
        if isinstance(model, transformers.ViTForImageClassification):
            return model(torch.linspace(-1, 1, 768).view(1, 3, 16, 16)).logits
        if isinstance(model, transformers.T5ForConditionalGeneration):
            return model(input_ids=words, decoder_input_ids=words).logits
        return model(input_ids=words).logits
