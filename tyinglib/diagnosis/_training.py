"""What trains a model, and does not train each parameter once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tyinglib import _private_apis
from tyinglib.diagnosis._words import Named, listed, one_parameter, quoted
from tyinglib.diagnosis.diagnosis import Diagnosis


def stepped(named: Named, optimizers: Sequence[torch.optim.Optimizer]) -> Iterator[Diagnosis]:
    holders: dict[int, list[int]] = {}
    for number, optimizer in enumerate(optimizers):
        held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for parameter in held:
            holders.setdefault(id(parameter), []).append(number)
        stale = {id(parameter): tuple(parameter.shape) for parameter in held if id(parameter) not in named}
        if stale:
            yield Diagnosis(
                "stale",
                (),
                f"optimizer {number} steps {len(stale)} parameter(s) that the modules do not have, of shape "
                f"{listed(str(shape) for shape in stale.values())}: they were replaced after it was built (or belong "
                "to a module that was not given); build the optimizer after sharing, tying and fully_shard",
            )
    for key, (parameter, names) in named.items():
        numbers = holders.get(key, [])
        if len(numbers) > 1:
            where = f"optimizers {listed(str(n) for n in numbers)}" if len(set(numbers)) > 1 else "one optimizer"
            yield Diagnosis(
                "twice",
                tuple(names),
                f"{one_parameter(names)} is {len(numbers)} times in {where}: every step moves it that often, and "
                "weight decay shrinks it that often; give one optimizer the parameters() of one container of all "
                "models",
            )
        for number in dict.fromkeys(numbers):
            for what, state in optimizers[number].state.get(parameter, {}).items():
                if isinstance(state, Tensor) and state.ndim and state.shape != parameter.shape:
                    yield Diagnosis(
                        "state",
                        tuple(names),
                        f"{one_parameter(names)} has shape {tuple(parameter.shape)}, but optimizer {number} keeps a "
                        f"{what!r} of shape {tuple(state.shape)} for it: it changed its shape after the first step; "
                        "build the optimizer after that",
                    )
                    break
    unheld = [names[0] for key, (p, names) in named.items() if p.requires_grad and key not in holders]
    if optimizers and unheld:
        yield Diagnosis(
            "untrained",
            tuple(unheld),
            f"{quoted(unheld)} can be trained, but no optimizer holds it: it was made after the optimizer was built; "
            "build the optimizer after sharing and tying (or set requires_grad=False, if it should stay)",
        )


def wrapped_too_early(model: nn.Module, named: Named) -> Iterator[Diagnosis]:
    for module in model.modules():
        averaged = _private_apis.averaged(module)
        if not isinstance(module, DistributedDataParallel) or averaged is None:
            continue
        known = {id(parameter) for parameter in averaged}
        inside = {id(p) for p in module.parameters() if p.requires_grad} - known
        names = [named[key][1][0] for key in named if key in inside]
        if names:
            yield Diagnosis(
                "ddp",
                tuple(names),
                f"{quoted(names)} came into the model, or was tied, after DistributedDataParallel wrapped it: its "
                "gradient is not averaged, and the processes drift apart; share and tie first, wrap last",
            )


def apart(modules: Sequence[nn.Module], named: Named) -> Iterator[Diagnosis]:
    """A model with a shared parameter, and parameters on several devices."""
    models = modules
    if len(modules) == 1 and isinstance(modules[0], (nn.ModuleDict, nn.ModuleList)):
        models = list(modules[0].children())
    for one in models:
        mine = {id(parameter) for parameter in one.parameters()}
        devices = sorted({str(named[key][0].device) for key in mine})
        shared = [named[key][1] for key in named if key in mine and len(named[key][1]) > 1]
        if len(devices) > 1 and shared:
            yield Diagnosis(
                "device",
                tuple(shared[0]),
                f"a model that shares {quoted(shared[0])} is spread over {listed(devices)}: moving one of two models "
                "moves what they share; move one container of both",
            )


def checkpoint_differs(named: Named, checkpoint: Mapping[str, Tensor]) -> Iterator[Diagnosis]:
    for _, names in named.values():
        stored = [name for name in names if name in checkpoint]
        if any(not torch.equal(checkpoint[name], checkpoint[stored[0]]) for name in stored[1:]):
            yield Diagnosis(
                "checkpoint",
                tuple(stored),
                f"{quoted(stored)} are one parameter here and differ in the checkpoint: loading keeps the last and "
                "loses the others; load into models that do not share, choose or average, then share and train on",
            )
