"""ONNX files keep codebook and labels, and onnxruntime says what the model says."""

import onnx
import onnxruntime
import pytest
import torch
from models import tied_language
from torch import nn

from tyinglib import TieSpec, save_tied, tie
from tyinglib.saving import export_onnx

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporter's own


def run(path, *inputs):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {entry.name: x.numpy() for entry, x in zip(session.get_inputs(), inputs, strict=True)}
    return torch.from_numpy(session.run(None, feed)[0])


def perceptron():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 10)).eval()
    return tie(net, "0.weight", TieSpec(torch.arange(784) % 33 - 1, dim=1))


def test_the_file_is_as_small_as_ours(tmp_path):
    net, x = perceptron(), torch.randn(3, 784)
    ours, size = save_tied(net, tmp_path / "ours"), export_onnx(net, (x,), tmp_path / "net.onnx")
    assert size == (tmp_path / "net.onnx").stat().st_size
    assert size < 1.05 * ours
    torch.testing.assert_close(run(tmp_path / "net.onnx", x), net(x).detach(), rtol=1e-5, atol=1e-5)


def test_torch_by_itself_writes_more(tmp_path):
    """Why there is a function: if this fails, it may go."""
    net, x = perceptron(), torch.randn(3, 784)
    torch.onnx.export(net, (x,), tmp_path / "net.onnx", dynamo=True, verbose=False, external_data=False)
    assert (tmp_path / "net.onnx").stat().st_size > 1.2 * export_onnx(net, (x,), tmp_path / "small.onnx")
    layer, x = tie(nn.Linear(16, 16, bias=False), "weight", TieSpec([0, 1] * 8, dim=1)).eval(), torch.randn(1, 16)
    torch.onnx.export(layer, (x,), tmp_path / "net.onnx", dynamo=True, verbose=False, external_data=False)
    assert [16, 16] in [list(entry.dims) for entry in onnx.load(tmp_path / "net.onnx").graph.initializer]
    export_onnx(layer, (x,), tmp_path / "small.onnx")
    assert [16, 2] in [list(entry.dims) for entry in onnx.load(tmp_path / "small.onnx").graph.initializer]


def test_any_number_of_rows(tmp_path):
    net = perceptron()
    rows = torch.export.Dim("rows")
    export_onnx(net, (torch.randn(3, 784),), tmp_path / "net.onnx", dynamic_shapes=({0: rows},))
    x = torch.randn(7, 784)
    torch.testing.assert_close(run(tmp_path / "net.onnx", x), net(x).detach(), rtol=1e-5, atol=1e-5)


def test_one_codebook_for_two_weights_is_stored_once(tmp_path):
    model, x = tied_language().eval(), torch.arange(8)
    export_onnx(model, (x,), tmp_path / "net.onnx")
    torch.testing.assert_close(run(tmp_path / "net.onnx", x), model(x).detach(), rtol=1e-5, atol=1e-5)
    stored = {entry.name: tuple(entry.dims) for entry in onnx.load(tmp_path / "net.onnx").graph.initializer}
    assert sorted(stored.values()) == [(4,), (4,), (4, 2), (4, 4), (8,), (8,)]  # bias and labels; codebooks; signs


def test_scales_are_no_integers(tmp_path):
    layer = tie(nn.Linear(4, 3), "weight", TieSpec([0, 0, 1, 1], dim=1, factors=[0.5, 1, 2, -3])).eval()
    x = torch.randn(2, 4)
    export_onnx(layer, (x,), tmp_path / "net.onnx")
    torch.testing.assert_close(run(tmp_path / "net.onnx", x), layer(x).detach(), rtol=1e-5, atol=1e-5)


def test_without_the_packages_it_says_which(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match="pip install onnx onnxscript"):
        export_onnx(nn.Linear(2, 2), (torch.zeros(1, 2),), tmp_path / "net.onnx")
