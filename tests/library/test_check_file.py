"""check_file and ``python -m tyinglib check``: copies in checkpoints are told, one tensor under two names is none."""

import subprocess
import sys

import pytest
import safetensors.torch
import torch
from torch import nn

from tyinglib import TieSpec, save_tied, share, tie
from tyinglib.__main__ import main
from tyinglib.diagnosis import check_file


def two(shared):
    torch.manual_seed(0)
    both = nn.ModuleDict({"a": nn.Linear(4, 3), "b": nn.Linear(4, 3)})
    both["b"].load_state_dict(both["a"].state_dict())
    if shared:
        share(both["b"], both["a"], ["weight", "bias"])
    return both


@pytest.mark.parametrize("wrapped", [False, True])
def test_copies_in_what_torch_saved(tmp_path, wrapped):
    state = two(shared=False).state_dict()
    torch.save({"model": state, "epoch": 3} if wrapped else state, tmp_path / "x.pt")
    bias, weight = sorted(check_file(tmp_path / "x.pt"), key=lambda one: len(one.names[0]))
    prefix = "model." if wrapped else ""
    assert weight.names == (f"{prefix}a.weight", f"{prefix}b.weight")
    assert bias.names == (f"{prefix}a.bias", f"{prefix}b.bias")
    assert "stored 2 times, 48 bytes more than once" in str(weight)
    assert weight.kind == "stored"


def test_copies_in_safetensors(tmp_path):
    state = {key: value.clone() for key, value in two(shared=True).state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "x.safetensors")
    assert {one.names for one in check_file(tmp_path / "x.safetensors")} == {
        ("a.weight", "b.weight"),
        ("a.bias", "b.bias"),
    }


def test_what_is_stored_once_is_not_told(tmp_path):
    both = two(shared=True)
    torch.save(both.state_dict(), tmp_path / "shared.pt")
    safetensors.torch.save_model(both, tmp_path / "model.safetensors")
    save_tied(both, tmp_path / "tied.safetensors")
    layer = tie(nn.Linear(4, 3), "weight", TieSpec([0, 0, 1, 1], dim=1))
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    torch.save({"a": torch.zeros(3), "b": torch.zeros(3), "n": 1, "none": torch.zeros(0)}, tmp_path / "zeros.pt")
    for path in tmp_path.iterdir():
        assert check_file(path) == [], path.name


def test_what_is_no_checkpoint_is_named(tmp_path):
    for name in ("x.safetensors", "x.pt"):
        (tmp_path / name).write_bytes(b"hello" * 9)
        with pytest.raises(ValueError, match=rf"{name} is no "):
            check_file(tmp_path / name)
    torch.save(nn.Linear(2, 2), tmp_path / "code.pt")  # a pickle of a class: code would run
    with pytest.raises(ValueError, match="without running code"):
        check_file(tmp_path / "code.pt")
    with pytest.raises(FileNotFoundError):
        check_file(tmp_path / "none.pt")


def test_the_shell(tmp_path, capsys):
    torch.save(two(shared=False).state_dict(), tmp_path / "copies.pt")
    torch.save(two(shared=True).state_dict(), tmp_path / "one.pt")
    assert main(["check", str(tmp_path / "one.pt")]) == 0
    assert capsys.readouterr().out.endswith("one.pt: nothing is stored twice\n")
    assert main(["check", str(tmp_path / "one.pt"), str(tmp_path / "copies.pt")]) == 1
    assert "copies.pt: 'a.weight' and 'b.weight' hold equal values" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "none.pt"), str(tmp_path / "copies.pt")]) == 2
    assert "none.pt: there is no such file" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([])
    command = [sys.executable, "-m", "tyinglib", "check", str(tmp_path / "copies.pt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "stored 2 times" in done.stdout
