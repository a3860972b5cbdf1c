r"""Is what should be one weight still one weight? Sharing is S = (I; I), and PyTorch does not know of S.

Two models share by holding the very same `nn.Parameter`. Nothing in PyTorch writes that down, so a copy, an assignment,
an optimizer or a wrapper can undo it without a word. `check_sharing` looks for the traces.
"""

from tyinglib.diagnosis.checking import check_sharing
from tyinglib.diagnosis.diagnosis import Diagnosis
from tyinglib.diagnosis.files import check_file

__all__ = ["Diagnosis", "check_file", "check_sharing"]
