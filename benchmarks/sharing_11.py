"""The longer runs of chapter 11: tied embeddings, shared layers, grouped heads, in a small language model.

`make benchmark-sharing` runs it, half an hour on one core; it goes on where it stopped. The chapter draws
results/sharing_11.json.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from resumable import measure
from torch import Tensor

from tyinglib import count_parameters
from tyinglib.book.datasets import plays, words
from tyinglib.book.language import LanguageModel, encode, fit, perplexity, vocabulary
from tyinglib.nn import WAYS, pool_heads

RESULTS = Path(__file__).with_name("results") / "sharing_11.json"
WORDS, LITTLE, LR, SEEDS = 2000, 60_000, 0.006, range(3)
STEPS, UPTRAINING = 600, 20
SMALL = {"words": 1000, "width": 32, "length": 32}  # all runs but those on little text
LAYER_STEPS, HEAD_STEPS = 400, 200
WATCH = (25, 50, 100, 200, 300, 400, 500, 600)
ALL_PARTS = ("norm1", "attention", "norm2", "feed_forward")
EMBEDDINGS: dict[str, dict[str, Any]] = {
    "untied": {},
    "tied": {"tied": True},
    "tied, wider": {"tied": True, "width": 84, "hidden": 383},  # as many parameters as untied
}
LAYERS: dict[str, dict[str, Any]] = {
    "none": {"layers": 4},
    "attention": {"layers": 4, "shared": ("attention",)},
    "feed-forward": {"layers": 4, "shared": ("feed_forward",)},
    "all": {"layers": 4, "shared": ALL_PARTS},
    "one layer": {"layers": 1},
}


def texts(size: int = WORDS) -> dict[str, Tensor]:
    """The plays in numbers of words; the vocabulary is the training text's `size` most frequent words."""
    parts = {part: words(text) for part, text in plays()._asdict().items()}
    numbers = vocabulary(parts["train"], size)
    return {part: encode(text, numbers) for part, text in parts.items()}


def trained(
    text: dict[str, Tensor], train: Tensor, settings: dict[str, Any], seed: int, watch_at: Sequence[int] = WATCH
) -> dict[str, Any]:
    """Validation perplexity on the way; test perplexity once, of the weights that validation chose."""
    torch.manual_seed(seed)
    model = LanguageModel(**({"words": WORDS} | settings))
    curve: list[float] = []
    best: dict[str, Tensor] = {}

    def watch(step: int) -> None:
        curve.append(perplexity(model, text["validation"]))
        if curve[-1] == min(curve):
            best.update(copy.deepcopy(model.state_dict()))

    fit(model, train, steps=watch_at[-1], lr=LR, seed=seed, watch=watch, watch_at=watch_at)
    model.load_state_dict(best)
    return {
        "parameters": count_parameters(model).unique,
        "steps": watch_at,
        "validation": _short(curve),
        "test, chosen": round(perplexity(model, text["test"]), 2),
    }


def heads(text: dict[str, Tensor], seed: int) -> dict[str, Any]:
    """Models with fewer key and value heads: trained so, and made from a trained one, before and after more steps."""
    part = len(text["validation"]) // 4  # each perplexity takes as long as many steps
    text = text | {"validation": text["validation"][:part]}
    result: dict[str, Any] = {"trained": {}, "converted": {}}
    for kv_heads in (1, 2, 4):
        torch.manual_seed(seed)
        model = LanguageModel(**SMALL, tied=True, kv_heads=kv_heads)
        fit(model, text["train"], steps=HEAD_STEPS, lr=LR, seed=seed)
        result["trained"][str(kv_heads)] = round(perplexity(model, text["validation"]), 2)
    result["more"] = _uptrained(copy.deepcopy(model), text, seed)
    for kv_heads in (2, 1):
        for how in WAYS:
            torch.manual_seed(seed)
            fewer = copy.deepcopy(model)
            for block in fewer.blocks:
                block.attention = pool_heads(block.attention, kv_heads, how)
            at_once = perplexity(fewer, text["validation"])
            result["converted"][f"{kv_heads}, {how}"] = [round(at_once, 2), _uptrained(fewer, text, seed)]
    return result


def _uptrained(model: LanguageModel, text: dict[str, Tensor], seed: int) -> float:
    fit(model, text["train"], steps=UPTRAINING, lr=LR / 6, seed=1000 + seed)
    return round(perplexity(model, text["validation"]), 2)


def _short(values: Sequence[float]) -> list[float]:
    return [round(value, 2) for value in values]


def main() -> None:
    """Run what is missing in the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="measure all again")
    fresh = parser.parse_args().fresh
    torch.set_num_threads(1)
    text, small = texts(), texts(SMALL["words"])
    little, train = text["train"][:LITTLE], small["train"]
    jobs: dict[str, partial[Any]] = {f"heads, {seed}": partial(heads, small, seed) for seed in SEEDS}
    for seed in SEEDS:
        for name, settings in EMBEDDINGS.items():
            if name != "tied, wider":
                once = partial(trained, small, train, SMALL | settings, seed, WATCH[:5])
                jobs[f"embeddings, all: {name}, {seed}"] = once
    jobs |= {
        f"layers: {name}, {seed}": partial(
            trained, small, train, SMALL | {"tied": True} | settings, seed, (LAYER_STEPS,)
        )
        for seed in SEEDS
        for name, settings in LAYERS.items()
    }
    jobs |= {
        f"embeddings, little: {name}, {seed}": partial(trained, text, little, settings, seed)
        for seed in SEEDS
        for name, settings in EMBEDDINGS.items()
    }
    about = {"words": WORDS, "little": LITTLE, "all": len(train), "lr": LR, "steps": STEPS}
    about |= {"small": SMALL, "layer steps": LAYER_STEPS, "head steps": HEAD_STEPS, "uptraining": UPTRAINING}
    measure(RESULTS, jobs, fresh=fresh, **about)


if __name__ == "__main__":
    main()
