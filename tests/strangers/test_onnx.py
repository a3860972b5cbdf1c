"""ONNX files keep codebook and labels, and onnxruntime says what the model says."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from models import gpt2, tied_language
from torch import nn

from tyinglib import TieSpec, save_tied, tie
from tyinglib.saving import export_onnx

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporter's own


def run(path, *inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
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


def test_any_number_of_rows_in_evaluation_mode_and_each_layers_mode_here(tmp_path):
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.9), nn.BatchNorm1d(4))
    tie(net, "0.weight", TieSpec([0, 0, 1, -1], dim=1))
    net[2].eval()
    export_onnx(net, torch.randn(3, 4), tmp_path / "net.onnx", dynamic_shapes=({0: "rows"},))
    assert [module.training for module in net] == [True, True, False]
    x = torch.randn(7, 4)
    torch.testing.assert_close(run(tmp_path / "net.onnx", x), net.eval()(x).detach(), rtol=1e-5, atol=1e-5)


def test_labels_of_many_groups_take_as_many_bytes_as_they_need_and_onnxruntime_says_nothing(tmp_path, capfd):
    groups = {"200": np.uint8, "300": np.uint16}
    layers = {k: tie(nn.Linear(600, 2), "weight", TieSpec(torch.arange(600) % int(k), dim=1)) for k in groups}
    net, x = nn.ModuleDict(layers), torch.randn(2, 600)
    net.forward = lambda x: layers["200"](x) + layers["300"](x)
    export_onnx(net, x, tmp_path / "net.onnx")
    stored = {entry.name: entry.data_type for entry in onnx.load(tmp_path / "net.onnx").graph.initializer}
    for k, kind in groups.items():
        assert onnx.helper.tensor_dtype_to_np_dtype(stored[f"{k}.parametrizations.weight.0.labels_small"]) == kind
    capfd.readouterr()
    torch.testing.assert_close(run(tmp_path / "net.onnx", x), net.forward(x).detach(), rtol=1e-5, atol=1e-5)
    assert capfd.readouterr().err == ""


def test_what_cannot_be_exported_leaves_the_file_that_is_there(tmp_path):
    class Odd(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    (tmp_path / "net.onnx").write_bytes(b"before")
    with pytest.raises(torch.onnx.OnnxExporterError):
        export_onnx(Odd(), torch.ones(2), tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").read_bytes() == b"before"


def test_one_codebook_for_two_weights_is_stored_once(tmp_path):
    model, x = tied_language().eval(), torch.arange(8)
    export_onnx(model, (x,), tmp_path / "net.onnx")
    torch.testing.assert_close(run(tmp_path / "net.onnx", x), model(x).detach(), rtol=1e-5, atol=1e-5)
    stored = {entry.name: tuple(entry.dims) for entry in onnx.load(tmp_path / "net.onnx").graph.initializer}
    assert sorted(stored.values()) == [(4,), (4,), (4, 2), (4, 4), (8,), (8,)]  # bias and labels; codebooks; signs


class Logits(nn.Module):
    """What a model of transformers says, without what goes with it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, words):
        return self.model(input_ids=words, use_cache=False).logits


def test_a_transformer(tmp_path, capfd):
    model, words = gpt2(), torch.arange(6).view(1, 6)
    dense = export_onnx(Logits(model), words, tmp_path / "dense.onnx")
    for name, weight in list(model.named_parameters()):
        if weight.ndim == 2:
            tie(model, name, TieSpec(torch.arange(weight.shape[1]) // 4, dim=1))
    weights = sum(4 * weight.numel() for weight in model.parameters())
    size = export_onnx(Logits(model), words, tmp_path / "net.onnx")
    assert weights < size < dense
    assert "CastLike" not in {node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node}
    capfd.readouterr()
    said = run(tmp_path / "net.onnx", words)
    assert capfd.readouterr().err == ""
    torch.testing.assert_close(said, model.eval()(words).logits.detach(), rtol=1e-5, atol=1e-5)


def test_scales_are_no_integers(tmp_path):
    layer = tie(nn.Linear(4, 3), "weight", TieSpec([0, 0, 1, 1], dim=1, factors=[0.5, 1, 2, -3])).eval()
    x = torch.randn(2, 4)
    export_onnx(layer, (x,), tmp_path / "net.onnx")
    torch.testing.assert_close(run(tmp_path / "net.onnx", x), layer(x).detach(), rtol=1e-5, atol=1e-5)


def test_without_the_packages_it_says_which(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match="pip install onnx onnxscript"):
        export_onnx(nn.Linear(2, 2), (torch.zeros(1, 2),), tmp_path / "net.onnx")
