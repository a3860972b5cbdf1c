"""Killed, out of space, forbidden, or two at once: a file that is being written is the old one or the new one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

ROOT = Path(__file__).resolve().parents[2]
TRIES = int(os.environ.get("FAULT_TRIES", "40"))
posix = pytest.mark.skipif(os.name != "posix", reason="kills and limits as POSIX has them")


@pytest.fixture(scope="module")
def found():
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("writers.py"), str(TRIES)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@posix
def test_killed_at_any_moment(found):
    killed = found["killed"]
    assert killed["broken"] == 0
    assert killed["old"] + killed["new"] == TRIES
    assert killed["old"] > 0, "no writer was killed before it had written: nothing was tested"
    assert killed["new"] > 0, "no writer got as far as the new file: nothing was tested"


@posix
def test_two_writers_at_once(found):
    assert found["two writers"]["broken"] == 0
    assert found["two writers"]["first"] + found["two writers"]["second"] == TRIES


@posix
@pytest.mark.parametrize("where", ["too large", "full disk", "read only"])
def test_a_write_that_fails_is_an_error_and_leaves_the_old_file(found, where):
    if isinstance(found[where], str):
        pytest.skip(found[where])
    expected = {"too large": "EFBIG", "full disk": "ENOSPC", "read only": "EACCES"}[where]
    assert found[where]["error"] == expected
    assert found[where]["old file"] is True
    assert found[where]["left beside it"] == 0
    assert found[where].get("read-only disk", "EROFS") == "EROFS"


@posix
def test_a_folder_that_cannot_be_read_gets_the_new_file(found):
    """It was an error, after the old file had been replaced."""
    assert found["unlisted"] == {"error": 0, "new file": True, "left beside it": 0}


CELLS = """
import pathlib, time
pathlib.Path("started").touch()
time.sleep(600)
"""


@posix
@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
def test_make_notebooks_cut_short_leaves_the_notebook(tmp_path, how):
    """The real program, in a copy with one short chapter, ended while the chapter runs."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "book").mkdir()
    program = tmp_path / "tools/run_notebooks.py"
    program.write_bytes((ROOT / "tools/run_notebooks.py").read_bytes())
    chapter = tmp_path / "book/01-short.ipynb"
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell(CELLS)]), chapter)
    before = chapter.read_bytes()
    process = subprocess.Popen([sys.executable, program], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 600
    while not (tmp_path / "book/started").exists():
        assert time.monotonic() < end, "the cell did not start"
        assert process.poll() is None, "the program ended"
        time.sleep(0.05)
    process.send_signal(getattr(signal, how))
    assert process.wait(timeout=300) != 0
    assert chapter.read_bytes() == before
    assert [path.name for path in (tmp_path / "book").glob("*.ipynb*")] == ["01-short.ipynb"]


MEASURE = """
import os, sys, time
from pathlib import Path
from benchmarks.resumable import measure

def job(number):
    print(number, flush=True)
    if number == 4 and len(sys.argv) > 2:
        time.sleep(600)  # to be killed in
    return {"square": number**2}

measure(Path(sys.argv[1]), {str(n): (lambda n=n: job(n)) for n in range(20)}, steps=3)
"""


@posix
def test_a_benchmark_killed_goes_on_where_it_was(tmp_path):
    results = tmp_path / "results.json"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", MEASURE, str(results)]
    process = subprocess.Popen([*command, "stops"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    for _ in range(5):
        process.stdout.readline()
    process.kill()
    process.stdout.close()
    process.wait()
    kept = len(json.loads(results.read_text(encoding="utf-8"))["results"])
    assert kept == 4
    again = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert again.stdout.split() == [str(number) for number in range(kept, 20)]
    whole = json.loads(results.read_text(encoding="utf-8"))["results"]
    assert whole == {str(number): {"square": number**2} for number in range(20)}
