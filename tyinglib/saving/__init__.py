"""On disk as in memory: a tie is stored as its codebook and its labels, a shared Parameter once."""

from tyinglib.saving.dense import dense_state
from tyinglib.saving.load import load_tied
from tyinglib.saving.onnx_file import export_onnx
from tyinglib.saving.save import save_tied

__all__ = ["dense_state", "export_onnx", "load_tied", "save_tied"]
