"""CONTRIBUTING's picture of the house is that of the code's own imports; and what one file keeps from the others."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "tyinglib"
FILES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in LIBRARY.rglob("*.py")}
ROOMS = {path.stem for path in LIBRARY.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()} - {
    "__init__",  # what every room is handed on by, and the shell's door
    "__main__",
}
PRIVATE_APIS = "tyinglib/_private_apis.py"
PUBLIC_ALL_THE_SAME = {"_asdict", "_fields", "_replace"}  # of a NamedTuple
SET_ON_SELF = "object.__setattr__(self, '"  # as frozen dataclasses do


def room_of(file):
    return Path(file).parts[1].removesuffix(".py")


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def imported(source):
    """Of each name that a file imports, in functions too: (the module it is looked for in, the name)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (("", alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports name the library: from tyinglib.x, not from .x"
            yield from ((str(node.module), alias.name) for alias in node.names)


def known(source):
    """The rooms that a file imports from."""
    paths = [f"{module}.{name}".lstrip(".").split(".") for module, name in imported(source)]
    return {path[1] for path in paths if path[0] == "tyinglib"}


def arrows():
    """Room -> the other rooms that its files import from; without the cellar, where every name is private."""
    found = {room: set() for room in ROOMS if not is_private(room)}
    for file, source in FILES.items():
        if (room := room_of(file)) in found:
            found[room] |= {other for other in known(source) if not is_private(other)} - {room}
    return found


def drawn(text):
    """The picture's arrows, from the top floor down; and what stands in the cellar."""
    picture = text.split("```")[1]
    found = re.findall(r"^(\w+) +->((?: \w+,?)*)(?:  .*)?$", picture, re.MULTILINE)
    (cellar,) = re.findall(r"^(_\w+(?:, _\w+)*)  ", picture, re.MULTILINE)
    return {room: set(re.findall(r"\w+", below)) for room, below in found}, set(cellar.split(", "))


def reached_for(source):
    """Private names of others: imported (but for the library's own modules), reached for, or spelled in a string."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    defined |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    defined |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    set_on_self = (node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node).startswith(SET_ON_SELF))
    defined |= {node.args[1].value for node in set_on_self}
    named = {id(node.value) for node in tree.body if isinstance(node, ast.Assign)}
    pieces = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for module, name in imported(source):
        path = f"{module}.{name}".lstrip(".").split(".")
        if path[0] != "tyinglib":
            yield from filter(is_private, path)
        elif is_private(name) and not ROOT.joinpath(*path).with_suffix(".py").exists():
            yield name
    for node in nodes:
        name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "value", None)
        if isinstance(node, ast.Constant) and (not str(name).isidentifier() or id(node) in named | pieces):
            continue
        if isinstance(name, str) and is_private(name) and name not in defined | PUBLIC_ALL_THE_SAME:
            yield name


def test_the_picture_is_that_of_the_imports():
    floors, cellar = drawn((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert floors == arrows()
    assert cellar == {room for room in ROOMS if is_private(room)}


def test_a_room_knows_only_rooms_below_it():
    """So there is no circle: the picture is an order, from the top floor down."""
    above = set()
    for room, below in drawn((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))[0].items():
        above.add(room)
        assert not below & above, f"{room} knows {below & above}, which stands above it"
    for file, source in FILES.items():
        if is_private(room_of(file)):
            assert all(map(is_private, known(source))), f"{file} knows a room: the cellar knows none"


def test_nothing_knows_the_book_and_the_book_no_cellar():
    assert [room for room, below in arrows().items() if "book" in below] == []
    assert [
        file for file, source in FILES.items() if room_of(file) == "book" and any(map(is_private, known(source)))
    ] == []


@pytest.mark.parametrize("file", sorted(FILES.keys() - {PRIVATE_APIS}))
def test_no_file_reaches_for_what_another_keeps_to_itself(file):
    assert list(reached_for(FILES[file])) == [], f"what torch or scikit-learn keeps private belongs in {PRIVATE_APIS}"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("from tyinglib.tying import _tie_of", "_tie_of"),
        ("from tyinglib import tying\ndef f(m):\n    return tying._tie_of(m)", "_tie_of"),
        ("def f(module):\n    return module._parameters", "_parameters"),
        ("def f(module):\n    return getattr(module, '_parameters')", "_parameters"),
        ("import torch._dynamo", "_dynamo"),
        ("from torch._C import Size", "_C"),
        ("from sklearn.utils.validation import _num_samples", "_num_samples"),
    ],
)
def test_reaching_is_noticed(source, name):
    assert list(reached_for(source)) == [name]


@pytest.mark.parametrize(
    "source",
    [
        "from tyinglib import _maps\nfrom tyinglib.saving import _state\nfrom tyinglib._checks import check_dim",
        "class A:\n    def f(self, other):\n        self._a = 1\n        return other._a, '_a'",
        "class A:\n    def f(self):\n        object.__setattr__(self, '_a', 1)\n        return vars(self)['_a']",
        "NAME = '_mark'\ndef f(x):\n    return getattr(x, NAME), f'{x}_l0'",
    ],
)
def test_what_is_ones_own_is_left_alone(source):
    assert list(reached_for(source)) == []
