"""Make the folder that everything runs in; or mend one whose making, or filling, was cut short.

python tools/make_venv.py .venv

When all of a package is there, pip writes down who installed it, in a file INSTALLER (RECORD, the list of files, comes
out of the package too, and perhaps first of all). Where pip itself lacks that, the folder is made again, by the Python
that made it. Another package without it is forgotten, so that pip installs it once more.

This file is read by the Python that it may have to refuse: nothing in it needs a new one.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOOK = """
import sys, sysconfig
print(*sys.version_info[:3])
print(sys._base_executable)
print(sysconfig.get_path("purelib"))
"""


def lowest():
    """The first release of Python that will do, as pyproject.toml has it: (3, 11, 0)."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return tuple(map(int, re.search(r'^requires-python = ">=(\d+\.\d+\.\d+)"$', text, re.M)[1].split(".")))


def refuse_if_older(version, whose, remedy):
    if version < lowest():
        needed, found = (".".join(map(str, numbers)) for numbers in (lowest(), version))
        sentence = f"Python {needed} or newer is needed, and {whose} is {found}; {remedy} make PYTHON=/path/to/python"
        raise SystemExit(sentence)


def look_into(folder):
    """The version of the folder's Python, the one it was made from, and where its packages lie; None if it fails."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    try:
        done = subprocess.run([str(python), "-c", LOOK], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    version, base, packages = done.stdout.decode().splitlines()
    return tuple(map(int, version.split())), base, Path(packages)


def main(folder):
    found = look_into(folder)
    if found:
        version, python, packages = found
        refuse_if_older(version, f"the one in {folder}", f"remove {folder}, then use")
        for info in packages.glob("*.dist-info"):
            if not (info / "INSTALLER").exists():
                print(f"==> {info.stem} was installed in part")
                shutil.rmtree(str(info))
        if any(packages.glob("pip-*.dist-info")):
            return 0
    else:
        python = sys.executable
        refuse_if_older(sys.version_info[:3], python, "use")
    return subprocess.run([python, "-m", "venv", *([] if found else ["--clear"]), str(folder)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
