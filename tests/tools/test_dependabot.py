"""What Dependabot proposes can be installed together: what a held package holds back is held as well."""

import re
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
UPDATES = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text(encoding="utf-8"))["updates"]
IGNORED = {
    canonicalize_name(entry["dependency-name"]): SpecifierSet(",".join(entry["versions"]))
    for update in UPDATES
    if update["package-ecosystem"] == "pip"
    for entry in update.get("ignore", [])
}
PINS = {
    canonicalize_name(name): Version(version)
    for name, version in re.findall(
        r"^([\w.-]+)==(\S+)$",
        "".join((ROOT / f"requirements{of}.txt").read_text(encoding="utf-8") for of in ("", "-test")),
        re.M,
    )
}


def caps(package):
    """The pins that `package` holds back: name, and the first version that it will not have."""
    for requirement in map(Requirement, requires(package) or []):
        name = canonicalize_name(requirement.name)
        if name in PINS and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            for specifier in requirement.specifier:
                first = first_refused(specifier.operator, specifier.version)
                if first:
                    yield name, first


def first_refused(operator, version):
    numbers = Version(version.removesuffix(".*")).release
    if operator == "<":
        return Version(version)
    if operator == "<=" or (operator == "==" and not version.endswith(".*")):
        return Version(".".join(map(str, [*numbers, 1])))
    if operator == "~=":
        numbers = numbers[:-1]
    if operator in ("~=", "=="):
        return Version(".".join(map(str, [*numbers[:-1], numbers[-1] + 1])))
    return None


@pytest.mark.parametrize(
    ("specifier", "first"),
    [("<8", "8"), ("~=7.0", "8"), ("~=0.7.14", "0.8"), ("==0.16.1", "0.16.1.1"), ("==1.*", "2"), (">=3", None)],
)
def test_the_first_version_that_is_refused(specifier, first):
    (only,) = SpecifierSet(specifier)
    assert first_refused(only.operator, only.version) == (first and Version(first))


@pytest.mark.parametrize("package", sorted(IGNORED))
def test_what_a_held_package_holds_back_is_held(package):
    assert package in PINS
    assert PINS[package] not in IGNORED[package]
    try:
        held = list(caps(package))
    except PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    may_be_proposed = [f"{name} {first}" for name, first in held if first not in IGNORED.get(name, SpecifierSet("<0"))]
    assert may_be_proposed == []


def test_pins_move_together():
    for update in UPDATES:
        (group,) = update["groups"].values()
        assert group["patterns"] == ["*"]
