"""Every cell of every chapter, run again in many settings and compared strictly: the same outputs everywhere?

    python tools/test_matrix.py [--setting PART] [--chapter PART] [--workers 2] [--fresh] [--list]

Each pair of setting and chapter is a job of its own; what has run is kept in benchmarks/results/matrix.json, and a
run that was cut short goes on. A pair runs again when the chapter's code or outputs, or the library, have changed.
Other Pythons and torches are installed by uv into .venv-matrix/NAME, where they can be had (gigabytes each: torch with
CUDA); where not, the table says so. There the library's tests run too.
"""

from __future__ import annotations

import argparse
import ast
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/results/matrix.json"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Setting:
    """What differs from a plain run."""

    name: str
    environment: dict[str, str] = field(default_factory=dict)
    python: str = ""  # another Python, by its number
    torch: str = ""  # another torch; "newest" asks for no number
    home: str = ""  # "read-only"
    folder: str = ""  # a copy of the book in a folder of this name


LIBRARY = "library"  # a job like a chapter: the library's tests
# What should change nothing is changed several things at a time: only if a setting differs must they be told apart.
SETTINGS = [
    *(
        Setting(
            f"{n} thread{'s' * (n > 1)}, torch's vector instructions: {level}",
            dict.fromkeys(THREADS, str(n)) | {"ATEN_CPU_CAPABILITY": level},
        )
        for n, level in ((1, "avx512"), (2, "avx2"), (4, "default"))
    ),
    Setting(
        "kernels of other processors: oneDNN SSE 4.1, MKL compatible, OpenBLAS Nehalem",
        {"ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE", "OPENBLAS_CORETYPE": "Nehalem"},
    ),
    Setting(
        "hash seed 1, locale tr_TR, time zone Pacific/Chatham, a folder with spaces and other letters",
        {"PYTHONHASHSEED": "1", "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "TZ": "Pacific/Chatham"},
        folder="das Buch 重み ğ",
    ),
    Setting(
        "hash seed 2, locale ja_JP, time zone America/St_Johns, a home that can't be written (MPLCONFIGDIR set)",
        {"PYTHONHASHSEED": "2", "LC_ALL": "ja_JP.UTF-8", "LANG": "ja_JP.UTF-8", "TZ": "America/St_Johns"},
        home="read-only",
    ),
    *(Setting(f"Python {number}", python=number) for number in ("3.12", "3.13")),
    Setting("oldest torch", torch="oldest"),
    Setting("newest torch", torch="newest"),
]


def oldest_torch() -> str:
    """The number that pyproject.toml claims."""
    return re.search(r'"torch>=([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))[1]


def supported(setting: Setting) -> str:
    """Why the setting means nothing here; empty if it does."""
    level = setting.environment.get("ATEN_CPU_CAPABILITY", "default")
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    if level != "default" and {"avx2": "avx2", "avx512": "avx512f"}[level] not in flags:
        return f"this processor has no {level}"
    locale = setting.environment.get("LC_ALL", "")
    if locale:
        ask = shutil.which("locale")  # Windows has none
        known = subprocess.run([ask, "-a"], capture_output=True, text=True, check=False).stdout.lower() if ask else ""
        if locale.lower().replace("utf-8", "utf8") not in known:
            return "this system does not have the locale"
    return ""


def python_for(setting: Setting) -> Path | str:
    """The interpreter of an environment that fits, installed if need be; or why there is none."""
    if not (setting.python or setting.torch) or setting.python == f"{sys.version_info[0]}.{sys.version_info[1]}":
        return Path(sys.executable)
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        return "uv is not there: pip install uv"
    folder = ROOT / ".venv-matrix" / (setting.python or f"torch-{setting.torch}")
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if (folder / "installed").exists():
        return python
    wanted = (ROOT / "requirements.txt").read_text(encoding="utf-8").replace("-e .", "")
    if setting.torch:
        version = "torch" if setting.torch == "newest" else f"torch=={oldest_torch()}"
        wanted = re.sub(r"^torch==.*$", version, wanted, flags=re.M)
        wanted = re.sub(r"^sympy==.*$", "sympy", wanted, flags=re.M)  # whichever this torch asks for
    number = setting.python or f"{sys.version_info[0]}.{sys.version_info[1]}"
    steps = (
        [uv, "venv", "-q", "--clear", "--python", number, folder],
        [uv, "pip", "install", "-q", "--python", python, "-r", "-"],
    )
    for command in steps:
        done = subprocess.run(command, input=wanted, capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines()
            return f"could not be installed here: {said[-1] if said else command}"[:200]
    (folder / "installed").touch()
    return python


def run(setting: Setting, job: str, python: Path) -> dict[str, object]:
    """One chapter in one setting; or the library's tests."""
    with tempfile.TemporaryDirectory() as name:
        root = ROOT
        if setting.folder:
            root = Path(name) / setting.folder
            for part in ("book", "tyinglib", "tests", "benchmarks/results"):
                shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
            for part in ("conftest.py", "pyproject.toml"):
                shutil.copy(ROOT / part, root / part)
        own = {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
        environment = os.environ | dict.fromkeys(THREADS, "1") | own | setting.environment
        if job == LIBRARY:  # notebooks choose their own
            environment["MPLBACKEND"] = "agg"
        if setting.home:  # /dev/null: folders below it can't be made, not even by root, who may write everywhere else
            # Matplotlib would say on stderr that its cache went elsewhere: so it is told where
            environment |= {"HOME": os.devnull, "XDG_CACHE_HOME": f"{os.devnull}/cache", "MPLCONFIGDIR": name}
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        notebook = ["-p", "no:warnings", "--nbval", "--nbval-sanitize-with", "tests/sanitize.cfg", f"book/{job}.ipynb"]
        command += ["tests/library"] if job == LIBRARY else notebook
        start = time.monotonic()
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        seconds = round(time.monotonic() - start)
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    verdict = "same" if done.returncode == 0 else "differs"
    told = "" if done.returncode == 0 else done.stdout[-2000:] + done.stderr[-500:]
    return {"verdict": verdict, **counts, "with": versions(python), "seconds": seconds, "told": told}


@functools.cache
def versions(python: Path) -> str:
    """Of Python and PyTorch in an environment: "newest" alone says little a year later."""
    code = "import platform, torch; print(f'Python {platform.python_version()}, torch {torch.__version__}')"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def code_of(path: Path) -> bytes:
    """A file without comments and docstrings: they change no result."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree).encode()


def fingerprint(job: str) -> str:
    """Of the chapter's code and outputs, or the library's tests, and of the library: a change makes a result old."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "tyinglib").rglob("*.py")):
        digest.update(code_of(path))
    if job == LIBRARY:
        for path in sorted((ROOT / "tests" / "library").glob("*.py")):
            digest.update(code_of(path))
    else:
        cells = json.loads((ROOT / "book" / f"{job}.ipynb").read_text(encoding="utf-8"))["cells"]
        for cell in cells:
            if cell["cell_type"] == "code":
                ignored = "nbval-ignore-output" in cell["metadata"].get("tags", [])
                digest.update(json.dumps([cell["source"], [] if ignored else cell["outputs"]]).encode())
    return digest.hexdigest()[:16]


def keep(results: dict[str, dict[str, dict[str, object]]]) -> None:
    unfinished = RESULTS.with_suffix(".tmp")
    unfinished.write_text(
        json.dumps({"machine": platform.platform(), "results": results}, indent=1) + "\n", encoding="utf-8"
    )
    os.replace(unfinished, RESULTS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", default="", help="part of a setting's name")
    parser.add_argument("--chapter", default="", help="part of a chapter's name")
    parser.add_argument("--workers", type=int, default=2, help="how many at once")
    parser.add_argument("--fresh", action="store_true", help="run again what has run")
    parser.add_argument("--list", action="store_true", help="the settings, and what is known")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text(encoding="utf-8"))["results"] if RESULTS.exists() else {}
    settings = [setting for setting in SETTINGS if options.setting in setting.name]
    chapters = [path.stem for path in sorted((ROOT / "book").glob("*.ipynb"))]
    if not any(options.chapter in job for job in [*chapters, LIBRARY]) or not settings:
        print("nothing has such a name")
        return 2
    with ThreadPoolExecutor(options.workers) as pool:
        waiting = {}
        for setting in settings:
            known = results.setdefault(setting.name, {})
            if options.list:
                said = [entry["verdict"] for entry in known.values()]
                print(f"{setting.name:96} {len(said)} run, {said.count('differs')} differ")
                continue
            python = supported(setting) or python_for(setting)
            for job in [*chapters, *([LIBRARY] if setting.python or setting.torch else [])]:
                old, now = known.get(job, {}), fingerprint(job)
                if options.chapter not in job:
                    continue
                if isinstance(python, str):
                    known[job] = {"of": now, "verdict": "not run", "told": python}
                elif options.fresh or old.get("of") != now or old["verdict"] == "not run":
                    waiting[pool.submit(run, setting, job, python)] = (known, job, now, setting.name)
        for done in as_completed(waiting):
            known, job, now, name = waiting[done]
            known[job] = {"of": now, **done.result()}
            keep(results)
            print(f"{name:96} {job:22} {known[job]['verdict']} {known[job]['seconds']}", flush=True)
    if not options.list:
        keep(results)
    differ = [entry for of_one in results.values() for entry in of_one.values() if entry["verdict"] == "differs"]
    return 1 if differ and not options.list else 0


if __name__ == "__main__":
    sys.exit(main())
