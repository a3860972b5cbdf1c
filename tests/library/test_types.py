"""What a type checker tells the library's users: a tied layer stays the layer that it was."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
api = pytest.importorskip("mypy.api", reason="the type checker comes with the requirements: make install")

CONSUMER = """
import torch
from torch import nn
from tyinglib import TieSpec, find_ties, load_tied, tie, untie

layer: nn.Linear = tie(nn.Linear(4, 3), "weight", TieSpec(torch.tensor([0, 0, 1, 1]), dim=1))
free: nn.Linear = untie(layer, "weight")
again: nn.Linear = tie(free, "weight", find_ties(free.weight, dim=1))
model: nn.Sequential = load_tied(nn.Sequential(nn.Linear(4, 3)), "model.safetensors")
"""


def complaints(tmp_path, source):
    path = tmp_path / "consumer.py"
    path.write_text(source, encoding="utf-8")
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache"), "--strict"]
    said, errors, code = api.run([*options, str(path)])
    assert code in (0, 1), said + errors
    return [] if code == 0 else said.splitlines()[:-1]


def test_a_layer_keeps_its_type(tmp_path):
    assert complaints(tmp_path, CONSUMER) == []


def test_another_type_is_noticed(tmp_path):
    said = complaints(tmp_path, CONSUMER.replace("free: nn.Linear", "free: nn.Conv2d"))
    assert any("Conv2d" in line for line in said)
