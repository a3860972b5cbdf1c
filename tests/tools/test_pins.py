"""The pins can be had together, and the library's lower bounds too: on the first Python that will do, on each system.

A resolver asks the registry, unless it has asked before: what a release needs doesn't change. Without one, these tests
are skipped.
"""

import os
import re
import subprocess
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

uv = pytest.importorskip("uv", reason="the resolver comes with the requirements: make install")

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOWEST = PROJECT["requires-python"].removeprefix(">=")
PINS = [  # of the book and of the tests, which are installed together
    line
    for file in ("requirements.txt", "requirements-test.txt")
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines()
    if re.match(r"[\w.-]+==", line)
]
NO_REGISTRY = ("Failed to fetch", "error sending request", "tcp connect", "dns error", "timed out", "Could not connect")


RANGES = [*PROJECT["dependencies"], *(one for extra in PROJECT["optional-dependencies"].values() for one in extra)]
PLACES = [(LOWEST, "linux"), (LOWEST, "macos"), (LOWEST, "windows"), ("3.12.0", "linux"), ("3.13.0", "linux")]
QUESTIONS = {
    **{f"the pins, Python {python}, {system}": (PINS, python, system) for python, system in PLACES},
    # each of them exactly, on the first Python
    "the lower bounds": ([bound.replace(">=", "==") for bound in RANGES], LOWEST, "linux"),
    # what was pinned once (it wants 3.11.5), and a bound that stood there once
    "a pin that is too new": (["soupsieve==4.1.2"], "3.11.0", "linux"),
    "a bound that is too low": (["numpy==2.0", "scipy==1.12"], "3.11.0", "linux"),
}


def resolve(wanted, python, system):
    """What a resolver says to `wanted`: the names and versions that fit it, or why there are none."""
    options = f"-q --no-config --no-header --no-annotate --only-binary :all: --python-version {python}"
    command = [uv.find_uv_bin(), "pip", "compile", *options.split(), "--python-platform", system, "-"]
    around = os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"}  # the first for which there is a torch of this version
    for known in (["--offline"], []):
        done = subprocess.run(
            [*command, *known], input="\n".join(wanted), env=around, capture_output=True, encoding="utf-8", check=False
        )
        if done.returncode == 0:
            break
    return done.stdout.split(), done.stderr


@pytest.fixture(scope="module")
def answers():
    """All questions at once: nearly all the time goes by waiting for the registry."""
    with ThreadPoolExecutor(len(QUESTIONS)) as pool:
        return dict(zip(QUESTIONS, pool.map(lambda question: resolve(*question), QUESTIONS.values()), strict=True))


@pytest.fixture
def answer(answers, request):
    found, why = answers[request.param]
    if any(sign in why for sign in NO_REGISTRY):
        pytest.skip("no registry can be reached")
    return found, why


def plain(pin):
    return re.sub(r"[-_.]+", "-", pin).lower()


@pytest.mark.parametrize("answer", [name for name in QUESTIONS if name.startswith("the ")], indirect=True)
def test_they_can_be_had_together(answer, request):
    wanted = QUESTIONS[request.node.callspec.params["answer"]][0]
    found, why = answer
    assert why == ""
    if wanted is PINS:
        assert {plain(pin) for pin in PINS} <= {plain(one) for one in found}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("a pin that is too new", "soupsieve==4.1.2 depends on Python>=3.11.5"),
        ("a bound that is too low", "scipy==1.12.0 depends on numpy>=1.22.4,<1.29.0"),
    ],
    indirect=["answer"],
)
def test_what_could_not_be_had_is_noticed(answer, reason):
    found, why = answer
    assert found == []
    assert reason in why
