"""What only Linux has, or has otherwise: text is read and written as UTF-8, and every file can be loaded on Windows."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path for folder in ("tyinglib", "tools", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)
TEXT_MODE = re.compile(r"[rwax]\+?t?\+?")
# what the modules os and signal lack on Windows; and modules that it lacks
NOT_THERE = re.compile(
    r"os\.(fork\w*|[gs]ete?[ug]id|getpgid|killpg|setsid|nice|mkfifo|statvfs|chown|uname|getloadavg|sched_\w+|wait\w*)"
    r"|signal\.(SIGKILL|SIGALRM|SIGHUP|SIGUSR[12]|SIGXFSZ|SIGXCPU|SIGPIPE|SIGCHLD|alarm|setitimer)"
    r"|socket\.AF_UNIX"
)
NO_MODULES = {"fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "posix", "syslog"}


def text_without_encoding(tree):
    """The lines of calls that open text in the encoding of the system: cp1252 on many a Windows."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or any(keyword.arg == "encoding" for keyword in call.keywords):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        inside = [part for one in [*call.args, *call.keywords] for part in ast.walk(one)]
        literals = [part.value for part in inside if isinstance(part, ast.Constant)]
        modes = [value for value in literals if isinstance(value, str) and re.fullmatch(r"[rwaxbt+]{1,3}", value)]
        in_text = any(TEXT_MODE.fullmatch(mode) for mode in modes)
        if (
            name in ("read_text", "write_text")
            or (name in ("open", "fdopen", "NamedTemporaryFile") and in_text)
            or (isinstance(call.func, ast.Name) and name == "open" and not modes)
            or (isinstance(call.func, ast.Attribute) and name == "open" and not call.args and not call.keywords)
        ):
            yield call.lineno


def at_import(node):
    """The parts of a file that run when it is loaded: of functions, not the bodies, but decorators and defaults."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            parts = [*child.decorator_list, *child.args.defaults, *filter(None, child.args.kw_defaults)]
        elif isinstance(child, ast.Lambda):
            parts = []
        else:
            parts = [child]
        for part in parts:
            yield part
            yield from at_import(part)


def not_on_windows(nodes):
    for node in nodes:
        if isinstance(node, ast.Import):
            missing = any(alias.name in NO_MODULES for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            missing = node.module in NO_MODULES or any(
                NOT_THERE.fullmatch(f"{node.module}.{alias.name}") for alias in node.names
            )
        else:
            missing = isinstance(node, ast.Attribute) and NOT_THERE.fullmatch(ast.unparse(node))
        if missing:
            yield node.lineno


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def name(path):
    return path.relative_to(ROOT).as_posix()


def test_text_is_utf_8_everywhere():
    assert [f"{name(path)}:{line}" for path in FILES for line in text_without_encoding(parsed(path))] == []


def test_every_file_can_be_loaded_on_windows():
    assert [f"{name(path)}:{line}" for path in FILES for line in not_on_windows(at_import(parsed(path)))] == []


def test_the_library_the_tools_and_the_benchmarks_ask_for_nothing_that_windows_lacks():
    served = "tools/sphinx_ext/typesetter.py"  # Sphinx's typesetter itself takes a port there, and never comes here
    files = [path for path in FILES if not name(path).startswith("tests/") and name(path) != served]
    assert [f"{name(path)}:{line}" for path in files for line in not_on_windows(ast.walk(parsed(path)))] == []


def test_what_notebooks_read_without_an_encoding_is_plain():
    assert [path.name for path in (ROOT / "benchmarks/results").iterdir() if not path.read_bytes().isascii()] == []


@pytest.mark.parametrize(
    "source",
    [
        "path.read_text()",
        "path.write_text('a')",
        "open(path)",
        "open(path, 'w')",
        "path.open()",
        "path.open('a')",
        "gzip.open(path, 'rt')",
    ],
)
def test_text_in_the_encoding_of_the_system_is_noticed(source):
    assert list(text_without_encoding(ast.parse(source))) == [1]


@pytest.mark.parametrize(
    "source",
    [
        "path.read_text(encoding='utf-8')",
        "open(path, 'rb')",
        "path.open('xb')",
        "open(path, 'r+b' if start else 'wb')",
        "tarfile.open(path)",
        "os.open(path, os.O_RDONLY)",
    ],
)
def test_bytes_and_utf_8_are_left_alone(source):
    assert list(text_without_encoding(ast.parse(source))) == []


def test_what_windows_lacks_is_noticed_where_it_is_loaded():
    source = "import fcntl\n@mark(signal.SIGKILL)\ndef f(x=os.getuid()):\n    os.fork()\n    import resource\n"
    assert sorted(set(not_on_windows(at_import(ast.parse(source))))) == [1, 2, 3]
    assert sorted(set(not_on_windows(ast.walk(ast.parse(source))))) == [1, 2, 3, 4, 5]
