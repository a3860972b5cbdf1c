"""Files as a stranger could make them, and everything of a model that a refused one may not change."""

import contextlib
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch.nn.parameter import is_lazy

from tyinglib import load_tied
from tyinglib.saving import _tied_file


def bits(tensor):
    if tensor is None or is_lazy(tensor) or tensor.is_meta:
        return None
    return bytes(tensor.detach().resolve_conj().cpu().contiguous().flatten().view(torch.uint8).numpy().data)


def photograph(model):
    """Objects, values bit for bit, order, classes, ties, sharing, gradients, flags, hooks, memory."""
    seen = []
    for prefix, module in model.named_modules(remove_duplicate=False):
        seen.append((prefix, id(module), type(module), module.training, list(module.__dict__)))
        seen.append([(key, list(held)) for key, held in module.__dict__.items() if "hooks" in key])
        seen.append([id(held) for held in module.__dict__.get("_flat_weights", [])])
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is None:
                seen.append((name, None))
                continue
            place = None if is_lazy(tensor) else (tensor.untyped_storage().data_ptr(), tensor.shape, tensor.stride())
            seen.append((name, id(tensor), tensor.dtype, tensor.requires_grad, place, bits(tensor)))
            seen.append((id(tensor.grad), bits(tensor.grad)))
    return seen


def refused(path, message, model):
    """load_tied refuses, in few words, and the model is as it was."""
    before = photograph(model)
    with pytest.raises(ValueError, match=message) as error:
        load_tied(model, path)
    assert photograph(model) == before
    assert len(str(error.value)) < 1500


def rewrite(path, change):
    """Change the tensors or the metadata, and make the hash right again."""
    data = Path(path).read_bytes()
    tensors = safetensors.torch.load(data)
    metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    change(tensors, metadata)
    metadata["sha256"] = _tied_file.digest(tensors, metadata)
    Path(path).write_bytes(safetensors.torch.save(tensors, metadata))


def edit(what, change):
    """A change, for `rewrite`, of the ties or the aliases."""

    def edited(_tensors, metadata):
        found = json.loads(metadata[what])
        change(found)
        metadata[what] = json.dumps(found)

    return edited


def with_header(path, change):
    """Change the header as such, and leave the hash."""
    data = Path(path).read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    change(header)
    text = json.dumps(header).encode()
    Path(path).write_bytes(len(text).to_bytes(8, "little") + text + data[end:])


@contextlib.contextmanager
def memory_within(limit):
    """The process takes at most so many bytes more meanwhile, as the system counts. Linux only."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("asks Linux for the most memory that the process had")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the most until now
    before = _memory("VmRSS")
    yield
    assert _memory("VmHWM") - before < limit


def _memory(what):
    (line,) = [
        line for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines() if line.startswith(what)
    ]
    return 1024 * int(line.split()[1])
