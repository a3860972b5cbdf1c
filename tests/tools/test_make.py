"""make: an install that was cut short is mended, an old Python is refused, and what the caller sets is no program."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="needs make, links and signals")


@pytest.fixture
def project(tmp_path):
    """As much of the project as an install reads; it has no requirements, so that no registry is asked."""
    (tmp_path / "tools").mkdir()
    for name in ("Makefile", "pyproject.toml", "tools/make_venv.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "requirements.txt").touch()
    return tmp_path


def make(project, *options):
    command = ["make", "install", f"PYTHON={sys.executable}", *options]
    return subprocess.run(command, cwd=project, capture_output=True, encoding="utf-8", check=False)


def works(project):
    inside = project / ".venv/bin"
    pip = subprocess.run([inside / "python", "-m", "pip", "check"], capture_output=True, check=False)
    return pip.returncode == 0 and (inside / "activate").exists() and (project / ".venv/.installed").exists()


def test_what_the_reader_makes_installs_nothing_for_the_tests():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    needs = dict(re.findall(r"^([a-z-]+):([^#\n]*)", text, re.M))
    assert [target for target, needed in needs.items() if "installed-test" in needed] == [
        "test-library",
        "benchmark-finding-shared",
    ]
    assert "requirements-test.txt $(VENV)/.installed" in re.search(r"^\$\(VENV\)/\.installed-test:(.*)$", text, re.M)[1]


@posix
def test_a_making_that_was_killed_is_mended(project):
    command = [sys.executable, "-m", "venv", ".venv"]
    process = subprocess.Popen(command, cwd=project, start_new_session=True)
    end = time.monotonic() + 600
    while not list(project.glob(".venv/lib/*/site-packages/pip")):  # pip is being unpacked
        assert time.monotonic() < end, "the folder was not begun"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not works(project)
    done = make(project)
    assert done.returncode == 0, done.stderr
    assert works(project)


@posix
@pytest.mark.parametrize("left", ["no pip", "a Python that is gone"])
def test_what_was_left_is_filled(project, left):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", ".venv"], cwd=project, check=True)
    if left == "a Python that is gone":
        for name in ("python", "python3"):
            (project / ".venv/bin" / name).unlink()
            (project / ".venv/bin" / name).symlink_to("/no/such/python")
    done = make(project)
    assert done.returncode == 0, done.stderr
    assert works(project)


@posix
def test_a_package_that_was_installed_in_part_is_forgotten_and_no_other(project):
    assert make(project).returncode == 0
    (packages,) = project.glob(".venv/lib/*/site-packages")
    for name, files in {
        "whole-1.dist-info": ("METADATA", "INSTALLER"),
        "part-1.dist-info": ("METADATA", "RECORD"),
    }.items():
        (packages / name).mkdir()
        for file in files:
            (packages / name / file).write_text("Metadata-Version: 2.1\nName: x\nVersion: 1\n", encoding="utf-8")
    (project / ".venv/.installed").unlink()
    done = make(project)
    assert done.returncode == 0, done.stderr
    assert "part-1 was installed in part" in done.stdout
    assert (packages / "whole-1.dist-info").exists()
    assert not (packages / "part-1.dist-info").exists()


@posix
def test_an_older_python_is_refused_in_a_sentence(project):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", ".venv"], cwd=project, check=True)
    text = (project / "pyproject.toml").read_text(encoding="utf-8")
    (project / "pyproject.toml").write_text(re.sub(r">=3\.\d+\.\d+", ">=4.1.0", text), encoding="utf-8")
    mine = ".".join(map(str, sys.version_info[:3]))
    inside = make(project)
    assert inside.returncode != 0
    assert f"Python 4.1.0 or newer is needed, and the one in .venv is {mine}; remove .venv" in inside.stderr
    shutil.rmtree(project / ".venv")
    outside = make(project)
    assert outside.returncode != 0
    assert f"Python 4.1.0 or newer is needed, and {sys.executable} is {mine}; use make PYTHON=" in outside.stderr
    assert not (project / ".venv").exists()
    assert "use make PYTHON=" in make(project, "PYTHON=").stdout


def test_old_pythons_can_read_the_file_that_refuses_them():
    import ast

    source = (ROOT / "tools/make_venv.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 6))
    assert "from __future__" not in source


def test_one_lowest_release_everywhere():
    (lowest,) = re.findall(
        r'^requires-python = ">=(\d+\.\d+\.\d+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M
    )
    assert f"Python {lowest} or newer" in (ROOT / "README.md").read_text(encoding="utf-8")


@posix
def test_help_names_every_target_that_says_what_it_does():
    said = re.findall(r"^([a-z-]+):.*## (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    done = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    lines = [re.sub(r" +", " ", line).strip() for line in done.stdout.splitlines()]
    assert [f"make {target} {text}" for target, text in said] == lines[1:]


@posix
@pytest.mark.parametrize("user", [0, 1000])
def test_jupyterlab_opens_for_root_too(project, user):
    """With a program in place of JupyterLab, and one in place of id."""
    programs = project / ".venv/bin"
    programs.mkdir(parents=True)
    for name, text in {"jupyter": 'echo "$@"', "id": f"echo {user}"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    (project / ".venv/.installed").touch()
    around = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(["make", "-s", "lab"], cwd=project, env=around, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["lab", *(["--allow-root"] if user == 0 else []), "book"]


TITLES = [
    '"; touch pwned; "',
    "'; touch pwned; '",
    "`touch pwned`",
    "$(touch pwned)",
    "$(shell touch pwned)",
    "a $HOME, $$5 \\ %",
]


@posix
@pytest.mark.parametrize("text", TITLES)
@pytest.mark.parametrize(
    "target",
    [
        ["new-chapter", "NUMBER", "NAME", "TITLE"],
        ["test-matrix", "SETTING", "CHAPTER"],
        ["slides", "CHAPTER"],
        ["notebooks", "CHAPTER"],
        ["release-check", "INDEX"],
        ["benchmark-growl", "DATA", "SIZE"],
        ["benchmark-growl-table", "DATA", "DEVICE"],
        ["benchmark-growl-deeper", "DATA", "FASHION"],
    ],
    ids=lambda target: target[0],
)
def test_what_the_caller_sets_reaches_the_program_as_it_is(project, target, text):
    """With a program that notes its arguments in place of Python."""
    programs = project / ".venv/bin"
    programs.mkdir(parents=True)
    (programs / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    (programs / "python").chmod(0o755)
    (project / ".venv/.installed").touch()
    name, *given = target
    command = ["make", "-s", name, *(f"{variable}={text}" for variable in given)]
    done = subprocess.run(command, cwd=project, capture_output=True, encoding="utf-8", check=True)
    assert not (project / "pwned").exists()
    words = [text, *text.split()]  # of chapters there may be several
    assert sum(line.removeprefix("--title=") in words for line in done.stdout.splitlines()) >= len(given)


def test_no_recipe_reads_what_the_caller_sets():
    """But to ask whether it is there."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (given,) = re.findall(r"^GIVEN := (.*)$", text, re.M)
    named = set(re.findall(r"\$\((?:if \$\()?([A-Z]+)\)?", "".join(re.findall(r"^\t.*$", text, re.M))))
    assert named <= {*given.split(), "BIN", "PEERS", "PYTHON", "VENV", "FRESH", "MAKEFILE"}
    for name in given.split():
        assert f"$({name})" not in text.replace(f"$(if $({name}),", "")
