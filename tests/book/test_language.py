"""The small language model: what is shared is one Parameter, nothing sees the future, the cache changes nothing."""

import math

import pytest
import torch

from tyinglib import count_parameters, shared_parameters, tie
from tyinglib.book.language import LanguageModel, encode, fit, perplexity, vocabulary
from tyinglib.nn import WAYS, Attention, align_heads, head_spec, pool_heads
from tyinglib.selection import project

SMALL = {"width": 16, "heads": 4, "layers": 3, "length": 12}


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)  # conftest.py puts it back
    torch.manual_seed(0)


@pytest.fixture
def ids():
    return torch.randint(20, (2, 12), generator=torch.Generator().manual_seed(1))


def attention(kv_heads=4):
    return Attention(16, heads=4, kv_heads=kv_heads)


def test_frequent_words_come_first_and_the_others_are_unknown():
    numbers = vocabulary(["b", "a", "a", "b", "c"], 3)
    assert numbers == {"<unknown>": 0, "b": 1, "a": 2}
    assert encode(["a", "c", "b"], numbers).tolist() == [2, 0, 1]
    with pytest.raises(ValueError, match="at least 2"):
        vocabulary(["a"], 1)


@pytest.mark.parametrize("settings", [{}, {"tied": True}, {"kv_heads": 1}, {"shared": ["attention", "norm1"]}])
def test_no_position_sees_what_comes_after_it(ids, settings):
    model = LanguageModel(20, **SMALL, **settings)
    changed = ids.clone()
    changed[:, 7] = (changed[:, 7] + 1) % 20
    moved = (model(ids) - model(changed)).abs().amax((0, 2)) > 1e-9
    assert moved.tolist() == [False] * 7 + [True] * 5


@pytest.mark.parametrize("pieces", [[12], [1] * 12, [5, 7], [11, 1]])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_a_cache_changes_no_output(ids, kv_heads, pieces):
    model = LanguageModel(20, **SMALL, kv_heads=kv_heads)
    cache = []
    logits = torch.cat([model(part, cache) for part in ids.split(pieces, dim=1)], dim=1)
    assert torch.allclose(logits, model(ids), atol=1e-12)
    assert len(cache) == 3
    assert cache[0][0].shape == cache[2][1].shape == (2, kv_heads, 12, 4)


def test_a_text_that_is_too_long_is_refused(ids):
    model, cache = LanguageModel(20, **SMALL), []
    model(ids, cache)
    with pytest.raises(ValueError, match="may have 12 words, got 13"):
        model(ids[:, :1], cache)


def test_what_is_shared_is_one_parameter():
    parts = ["norm1", "attention", "norm2", "feed_forward"]
    model = LanguageModel(20, **SMALL, tied=True, shared=parts)
    assert model.output.weight is model.embedding.weight
    free = count_parameters(LanguageModel(20, **{**SMALL, "layers": 1}, tied=True))
    assert count_parameters(model).unique == free.unique
    assert all(len(names) in (2, 3) for names in shared_parameters(model))
    some = LanguageModel(20, **SMALL, shared=["attention"])
    names = [f"blocks.{n}.attention.query.weight" for n in range(3)]
    assert tuple(names) in shared_parameters(some)
    assert len(shared_parameters(some)) == 4
    assert shared_parameters(LanguageModel(20, **SMALL)) == []


def test_training_learns_and_equal_seeds_give_equal_pieces():
    text = torch.arange(200) % 5
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(LanguageModel(5, width=8, heads=2, layers=1, length=6))
    seen = []
    for model, seed in zip(models, (3, 3), strict=True):
        fit(model, text, steps=30, batch=4, seed=seed, watch=seen.append, watch_at=(1, 30))
    assert seen == [1, 30, 1, 30]
    assert torch.equal(models[0].output.weight, models[1].output.weight)
    assert perplexity(models[0], text) < 3
    with pytest.raises(ValueError, match="longer than a piece of 6 words, got 6"):
        fit(models[0], text[:6], steps=1)


def test_perplexity_is_that_of_one_forward_pass():
    model = LanguageModel(20, **SMALL)
    text = torch.randint(20, (40,))
    x, y = text[:36].view(3, 12), text[1:37].view(3, 12)
    loss = torch.nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
    assert perplexity(model, text) == pytest.approx(math.exp(loss.item()))
    assert perplexity(model, text, batch=1) == pytest.approx(math.exp(loss.item()))
    with pytest.raises(ValueError, match="longer than a piece of 12 words, got 12"):
        perplexity(model, text[:12])


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_fewer_heads_are_all_heads_under_a_tie(kv_heads):
    full, x = attention(), torch.randn(2, 5, 16)
    pooled = pool_heads(full, kv_heads)
    spec = head_spec(16, 4, kv_heads)
    for name in ("key", "value"):
        weight = getattr(full, name).weight.detach()
        tie(getattr(full, name), "weight", spec)
        assert torch.allclose(getattr(full, name).weight, project(weight, spec.labels, dim=0))
    assert torch.allclose(full(x)[0], pooled(x)[0], atol=1e-12)


def test_ways_to_pool():
    full = attention()
    heads = full.key.weight.view(4, 4, 16)
    assert torch.equal(pool_heads(full, 2, "first").key.weight.view(2, 4, 16), heads[[0, 2]])
    assert torch.allclose(pool_heads(full, 1).value.weight, full.value.weight.view(4, 4, 16).mean(0))
    for how in WAYS:
        pooled = pool_heads(full, 2, how)
        if how != "aligned":
            assert torch.equal(pooled.query.weight, full.query.weight)
            assert torch.equal(pooled.output.weight, full.output.weight)
    assert not torch.equal(pool_heads(full, 2, "random").key.weight, pool_heads(full, 2, "first").key.weight)


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_aligned_heads_compute_the_same_and_come_closer_to_the_first(kv_heads):
    full, x = attention(), torch.randn(2, 5, 16)
    turned = align_heads(full, kv_heads)
    assert torch.allclose(full(x)[0], turned(x)[0], atol=1e-12)
    first = torch.arange(4) // (4 // kv_heads) * (4 // kv_heads)

    def distance(layer):
        heads = layer.weight.detach().view(4, 4, 16)
        return (heads - heads[first]).flatten(1).norm(dim=1)

    for name in ("key", "value"):
        before, after = distance(getattr(full, name)), distance(getattr(turned, name))
        assert ((after < before) == (before > 0)).all()


def test_heads_that_differ_by_a_turn_only_are_aligned_without_loss():
    full, x = attention(), torch.randn(2, 5, 16)
    with torch.no_grad():
        for layer in (full.key, full.value):
            heads = layer.weight.view(4, 4, 16)
            for head in heads[1:]:
                head.copy_(torch.linalg.qr(torch.randn(4, 4)).Q @ heads[0])
    assert torch.allclose(full(x)[0], pool_heads(full, 1, "aligned")(x)[0], atol=1e-10)
    assert not torch.allclose(full(x)[0], pool_heads(full, 1, "mean")(x)[0], atol=1e-2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Attention(10, 4, 4), "heads must divide the width"),
        (lambda: head_spec(16, 4, 3), "kv_heads the heads, got width 16, heads 4 and kv_heads 3"),
        (lambda: head_spec(16, 4, 0), "kv_heads 0"),
        (lambda: pool_heads(attention(2), 1), "as many key heads as query heads, 4, got 2"),
        (lambda: align_heads(attention(2), 1), "as many key heads as query heads, 4, got 2"),
        (lambda: align_heads(attention(), 3), "kv_heads the heads"),
        (lambda: pool_heads(attention(), 2, "best"), "mean, first, random, aligned, got 'best'"),
    ],
)
def test_bad_numbers_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
