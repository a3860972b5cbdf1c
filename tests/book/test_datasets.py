"""Data: the same everywhere, parts that do not overlap, origins beside the files."""

import hashlib
import random
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tyinglib.book import datasets
from tyinglib.book.datasets import (
    FASHION_CLASSES,
    _images,
    digits,
    fashion_mnist,
    fashion_small,
    plays,
    subset,
    tecator,
    words,
)
from tyinglib.book.datasets._sources import FASHION, MNIST, File, Source, cache_folder

DATA = Path(datasets.__file__).with_name("data")


def test_digits_are_split_without_overlap_and_evenly():
    parts = digits(dtype=torch.float64)
    assert [len(part.y) for part in parts] == [1000, 297, 500]
    rows = torch.cat([part.x for part in parts])
    assert len(rows) == 1797
    assert len(rows.unique(dim=0)) == 1797  # no image twice, so none in two parts
    for part in parts:
        assert part.y.bincount().min() > 0.8 * len(part.y) / 10
        assert 0 <= part.x.min() <= part.x.max() <= 1


def test_subsets_are_nested_balanced_and_differ_by_seed():
    train = digits().train
    small, large = subset(train, 20, seed=3), subset(train, 50, seed=3)
    assert torch.equal(large.x[:20], small.x)
    assert large.y.bincount().tolist() == [5] * 10
    assert not torch.equal(small.x, subset(train, 20, seed=4).x)
    for size in (0, 1001):
        with pytest.raises(ValueError, match=r"size must be 1\.\.1000"):
            subset(train, size, seed=0)
    with pytest.raises(
        ValueError, match=r"y must be one whole number a sample, got torch\.float.* of shape \(115, 3\)"
    ):
        subset(tecator().train, 10, seed=0)


def test_tecator_is_what_statlib_describes():
    spectra = tecator(repeats=True, dtype=torch.float64)
    assert [len(part.y) for part in spectra[:3]] == [129, 43, 43]
    x, y = (torch.cat([part[i] for part in spectra[:3]]) for i in (0, 1))
    # first, 130th and 173rd sample, and ends, as in the StatLib file
    assert x[0, [0, 1, 99]].tolist() == [2.61776, 2.61814, 2.8192]
    assert x[129, 0] == 3.0035
    assert x[172, [0, 99]].tolist() == [2.83385, 3.15905]
    assert y[[0, 129, 172]].tolist() == [[60.5, 22.5, 16.7], [54.1, 29.8, 15.7], [40.7, 47.7, 11.8]]
    assert spectra.responses == ("water", "fat", "protein")
    assert (y.min(0).values.tolist(), y.max(0).values.tolist()) == ([39.3, 0.9, 11.0], [76.6, 49.1, 21.8])
    assert spectra.wavelengths[[0, -1]].tolist() == [850.0, 1050.0]
    assert len(spectra.wavelengths) == x.shape[1] == 100
    correlations = x.T.corrcoef()[*torch.triu_indices(100, 100, 1)]
    assert len(correlations) == 4950
    assert correlations.min() > 0.96
    assert 2.3e6 < torch.linalg.cond((x - x.mean(0)) / x.std(0)) < 2.5e6


def test_tecator_has_each_meat_once():
    published, parts = tecator(repeats=True)[:3], tecator()[:3]
    assert [len(part.y) for part in parts] == [115, 32, 31]
    contents = torch.cat([part.y for part in parts])
    assert len(contents.unique(dim=0)) == len(contents) == 178
    assert len(torch.cat([part.x for part in parts]).unique(dim=0)) == 178
    for kept, all_of_it in zip(parts, published, strict=True):  # a part keeps its first of each meat, in order
        rows = [tuple(row) for row in torch.cat([all_of_it.y, all_of_it.x], 1).tolist()]
        places = [rows.index(tuple(row)) for row in torch.cat([kept.y, kept.x], 1).tolist()]
        assert places == sorted(places)
    seen = torch.cat([published[0].y, published[1].y])
    assert sum((row == seen).all(1).any().item() for row in published[2].y) == 11  # what the docstring says
    spectra = torch.cat([published[0].x, published[1].x])
    assert sum((row == spectra).all(1).any().item() for row in published[2].x) == 7


def test_fashion_small_is_even_and_has_no_image_twice():
    parts = fashion_small(dtype=torch.float64)
    assert [tuple(part.x.shape) for part in parts] == [(6000, 784), (1000, 784), (2000, 784)]
    for part in parts:
        assert part.y.bincount().tolist() == [len(part.y) // 10] * 10
        assert part.y.dtype == torch.int64
        assert (part.x.min(), part.x.max()) == (0, 1)
        assert part.x.mean() == pytest.approx(0.286, abs=0.003)  # of the whole set: .2860
    images = torch.cat([part.x for part in parts])
    assert len({bytes(image) for image in (images * 255).round().to(torch.uint8).numpy()}) == 9000
    assert len(FASHION_CLASSES) == 10
    # trousers (1) are dark at the sides, and ankle boots (9) have most of their ink below
    train = parts.train
    mean = torch.stack([train.x[train.y == c].mean(0).reshape(28, 28) for c in range(10)])
    assert mean[FASHION_CLASSES.index("trouser"), :, :6].max() < 0.1
    assert mean[9, 14:].sum() > 1.5 * mean[9, :14].sum()


def test_parts_of_a_whole_set(tmp_path):
    """As of MNIST and Fashion-MNIST, with images of one pixel, so that it can be made here."""
    labels, test_labels = ((np.arange(n) % 10).astype(np.uint8) for n in (60_000, 10_000))
    arrays = {"a": np.arange(60_000).astype(np.uint8), "b": labels, "c": test_labels + 100, "d": test_labels}
    for name, array in arrays.items():
        (tmp_path / name).write_bytes(bytes([0, 0, 8, 1]) + len(array).to_bytes(4, "big") + array.tobytes())
    files = [File(name, array.shape, sha256((tmp_path / name).read_bytes())) for name, array in arrays.items()]
    parts = _images._whole(Source("Made up", "made-up", tuple(files), ()), tmp_path, torch.float64)
    assert [tuple(part.x.shape) for part in parts] == [(50_000, 1), (10_000, 1), (10_000, 1)]
    for part in parts:
        assert part.y.bincount().tolist() == [len(part.y) // 10] * 10
    values = torch.cat([part.x for part in parts[:2]]).mul(255).round().to(torch.int64).flatten()
    assert torch.equal(values.bincount(), torch.as_tensor(arrays["a"].astype(np.int64)).bincount())
    # labels stay with their images
    assert torch.equal(parts.test.x.mul(255).round().flatten(), parts.test.y + 100.0)


@pytest.mark.parametrize(
    ("source", "mean", "load"), [(MNIST, 0.1307, datasets.mnist), (FASHION, 0.2860, datasets.fashion_mnist)]
)
def test_whole_sets_if_they_are_here(source, mean, load):
    here = [place for place in (source.installed, cache_folder() / source.key) if place]
    if all(source.missing(place) for place in here):
        pytest.skip(f"{source.title} is not on this machine")
    parts = load(dtype=torch.float32)
    assert [tuple(part.x.shape) for part in parts] == [(50_000, 784), (10_000, 784), (10_000, 784)]
    assert torch.cat([part.x for part in parts[:2]]).double().mean() == pytest.approx(mean, abs=5e-5)
    assert parts.test.y.bincount().sum() == 10_000
    if source is FASHION:  # the part in the package is the beginning of each
        for small, whole in zip(fashion_small(dtype=torch.float32), parts, strict=True):
            assert torch.equal(small.x, whole.x[: len(small.x)])
            assert torch.equal(small.y, whole.y[: len(small.y)])


def test_mnist1d_is_the_same_everywhere_and_leaves_random_numbers_alone():
    pytest.importorskip("mnist1d")
    random.seed(1)
    np.random.seed(2)  # noqa: NPY002 - the global one is what this is about
    torch.manual_seed(3)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    parts = datasets.mnist1d(dtype=torch.float64)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states  # noqa: NPY002
    assert [tuple(part.x.shape) for part in parts] == [(3500, 40), (500, 40), (1000, 40)]
    assert parts.train.y[:10].tolist() == [2, 6, 4, 5, 6, 6, 6, 0, 3, 1]
    assert parts.train.x[0, :3].tolist() == pytest.approx([-0.33200567, -0.47191037, -0.77869708], abs=1e-7)
    shuffled = datasets.mnist1d(shuffled=True, dtype=torch.float64)
    order = [int((parts.train.x == column[:, None]).all(0).nonzero()) for column in shuffled.train.x.T]
    assert sorted(order) == list(range(40)) != order
    for part, other in zip(parts, shuffled, strict=True):
        assert torch.equal(part.x[:, order], other.x)
        assert torch.equal(part.y, other.y)


def test_mnist1d_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mnist1d", None)
    monkeypatch.setitem(sys.modules, "mnist1d.data", None)
    with pytest.raises(ImportError, match=r"pip install mnist1d==0\.0\.2\.post1"):
        datasets.mnist1d()


def test_another_mnist1d_is_refused(monkeypatch):
    data = pytest.importorskip("mnist1d.data")

    def make(args):
        random.seed(args.seed)
        return {"x": np.ones((4000, 40)), "y": np.ones(4000), "x_test": np.ones((1000, 40)), "y_test": np.ones(1000)}

    monkeypatch.setattr(data, "make_dataset", make)
    state = random.getstate()
    with pytest.raises(RuntimeError, match="other data than the book"):
        datasets.mnist1d()
    assert random.getstate() == state  # after an error, too


def test_plays_do_not_overlap():
    texts = plays()
    assert [len(text) for text in texts] == [1_104_961, 138_749, 136_230]
    assert set(texts.train) >= set(texts.validation) | set(texts.test)
    assert len(set(texts.train)) == 69
    for text in texts:
        assert text.isascii()
        assert not re.search(r"\d|\r|\n{3}| \n|gutenberg", text, re.IGNORECASE)
    speeches = [{speech for speech in text.split("\n\n") if len(speech) > 80} for text in texts]
    assert not speeches[0] & (speeches[1] | speeches[2])
    assert not speeches[1] & speeches[2]


def test_words():
    assert words("") == []
    assert words("  O, Romeo!--wherefore\nART'st\t'tis 2nd_x?") == [
        *["o", ",", "romeo", "!", "-", "-", "wherefore", "\n", "art'st", "'", "tis", "2nd", "_", "x", "?"]
    ]
    tokens = words(plays().test)
    assert tokens.count("\n") == plays().test.count("\n")
    assert "".join(tokens) == re.sub(r"[ \t]", "", plays().test.lower())  # nothing but blanks is lost


@pytest.mark.parametrize("load", [digits, tecator, fashion_small, datasets.mnist1d, datasets.mnist, fashion_mnist])
def test_whole_numbers_cannot_hold_the_values(load):
    with pytest.raises(ValueError, match=r"dtype must be a floating-point one, such as .*, got torch\.int64"):
        load(dtype=torch.int64)


@pytest.mark.parametrize("load", [digits, tecator, fashion_small])
def test_dtypes(load):
    parts = load(dtype=torch.float32)
    assert parts.train.x.dtype == torch.float32
    assert load().train.x.dtype == torch.get_default_dtype()
    assert torch.equal(load(dtype=torch.float64).train.x.float(), parts.train.x)


@pytest.mark.parametrize("folder", sorted(DATA.iterdir()), ids=lambda folder: folder.name)
def test_each_file_has_its_origin_beside_it(folder):
    origin = (folder / "ORIGIN.txt").read_text(encoding="utf-8")
    assert "Licence:" in origin
    assert f"tools/make_data.py {folder.name}" in origin
    listed = dict(re.findall(r"^(\S+): .*?sha256\s+([0-9a-f]{64})", origin, re.MULTILINE | re.DOTALL))
    assert listed == {path.name: sha256(path.read_bytes()) for path in folder.iterdir() if path.name != "ORIGIN.txt"}


def sha256(content):
    return hashlib.sha256(content).hexdigest()
