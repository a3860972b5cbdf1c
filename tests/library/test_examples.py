"""The examples that a reader copies first: they run, and do what they say."""

import re
from pathlib import Path

import torch

from tyinglib import tie_specs

ROOT = Path(__file__).parents[2]


def run(page, after, monkeypatch, folder):
    """What the names of the first block of Python behind a heading stand for, after it has run in a folder."""
    text = (ROOT / page).read_text(encoding="utf-8").split(after, 1)[1]
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    monkeypatch.chdir(folder)
    torch.manual_seed(0)
    names = {}
    exec(compile(code, page, "exec"), names)
    return names


def test_readme(monkeypatch, tmp_path, capsys):
    names = run("README.md", "## The library alone", monkeypatch, tmp_path)
    model, small, spec = names["model"], names["small"], names["spec"]
    alive = int((spec.labels >= 0).sum())
    assert alive < 64  # some are pruned
    assert spec.n_groups < alive  # some are tied
    assert tie_specs(model) == {"0.weight": spec}
    x, y = (names[name][names["test"]] for name in "xy")
    torch.testing.assert_close(small(x), model(x))
    assert (model(x).argmax(1) == y).double().mean() > 0.9  # and it has learned something
    counts = re.findall(r"total=(\d+), nonzero=\d+, unique=(\d+)", capsys.readouterr().out)
    before, tied, compacted = [(int(total), int(unique)) for total, unique in counts]
    assert before[0] == tied[0] == 64 * 32 + 32 + 32 * 10 + 10
    assert before[1] > tied[1]
    assert compacted[1] == tied[1] <= compacted[0] < before[0]
    assert (tmp_path / "model.safetensors").stat().st_size < 4 * before[1]


def test_the_librarys_page(monkeypatch, tmp_path):
    names = run("book/library.md", "# The library", monkeypatch, tmp_path)
    model, small = names["model"], names["small"]
    x = torch.randn(5, 64)
    torch.testing.assert_close(small(x), model(x))
