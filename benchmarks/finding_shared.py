"""How long it takes to look for shared weights, and what is seen: `make benchmark-finding-shared`."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import find_tied_parameters
from resumable import keep
from safetensors.torch import _find_shared_tensors as find_shared_tensors
from timing import machine, medians, side_by_side
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from tyinglib import check_sharing

RESULTS = Path(__file__).parent / "results" / "finding_shared.json"


def by_names(model: nn.Module) -> list[list[str]]:
    """What a line of torch sees: Parameters with several names."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [group for group in names.values() if len(group) > 1]


FINDERS: dict[str, Callable[[nn.Module], int]] = {
    "torch, by names": lambda model: len(by_names(model)),
    "accelerate": lambda model: len(find_tied_parameters(model)),
    "safetensors": lambda model: sum(len(group) > 1 for group in find_shared_tensors(model.state_dict())),
    "check_sharing": lambda model: len(check_sharing(model)),
}


def many_small() -> nn.Module:
    """800 weights of 64 x 64: two of them are one Parameter, two others equal copies, as after a deepcopy."""
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(64, 64, bias=False) for _ in range(800)))
    model[1].weight = model[0].weight
    model[3].weight = nn.Parameter(model[2].weight.detach().clone())
    return model


def seven_billion() -> nn.Module:
    """LLaMA's layers at their full size, without memory; embedding and head are one Parameter."""
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(tie_word_embeddings=True))
        model.lm_head.weight = model.model.embed_tokens.weight  # meta tensors are made anew
    return model


@contextmanager
def from_a_file(model: nn.Module) -> Iterator[nn.Module]:
    """The same with values that lie in a memory-mapped file of its size, each weight with ends of its own."""
    shapes = {id(parameter): parameter for parameter in model.parameters()}
    size = 2 * sum(parameter.numel() for parameter in shapes.values())
    with tempfile.TemporaryFile() as file:
        file.truncate(size)  # sparse: it takes no room until it is written to
        memory, place, filled = mmap.mmap(file.fileno(), size), 0, {}
        for number, (key, parameter) in enumerate(shapes.items()):
            n = parameter.numel()
            values = torch.frombuffer(memory, dtype=torch.bfloat16, count=n, offset=2 * place).view(parameter.shape)
            values.view(-1)[0], values.view(-1)[-1] = number % 200, number // 200 + 1  # bfloat16 counts to 256
            filled[key], place = nn.Parameter(values), place + n
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                setattr(module, name, filled[id(parameter)])
        yield model


def measure(model: nn.Module, repeats: int) -> dict[str, Any]:
    """Times of all finders, side by side, and how many groups each finds."""
    functions = {name: (lambda find=find: find(model)) for name, find in FINDERS.items()}
    times = medians(side_by_side(functions, repeats=repeats), "torch, by names")
    weights = sum(parameter.numel() for parameter in model.parameters())
    return {"weights": weights, "times": times, "found": {name: find(model) for name, find in FINDERS.items()}}


def main() -> None:
    """All models, one after the other."""
    results = {
        "800 weights of 64 x 64": measure(many_small(), 7),
        "LLaMA's sizes, on meta": measure(seven_billion(), 5),
    }
    with from_a_file(seven_billion()) as model:
        results["LLaMA's sizes, in a mapped file"] = measure(model, 3)
    keep(RESULTS, {"machine": machine(), "results": results})


if __name__ == "__main__":
    main()
