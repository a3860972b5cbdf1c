"""What the docstring of a public name must say. Each fault is a sentence: where, what is wrong, what to do.

numpydoc parses, and compares sections and parameters with the signature. Types of parameters stand in the annotations
only, and a summary may begin with a formula: those of its rules are left out. The rest is here: types of results,
shapes, exceptions (read off the code), examples, chapters and references.

A method may lean on another with the same parameters: the text before its sections then ends with
``As `Penalty.prox`.``
"""

import ast
import builtins
import doctest
import functools
import importlib
import inspect
import pkgutil
import re
import textwrap
import warnings
from dataclasses import dataclass
from typing import TypeVar

from numpydoc.docscrape import get_doc_object
from numpydoc.validate import Validator, validate

CHAPTERS = (
    "all",
    "One idea",
    "Tying from prior knowledge",
    "Two models, tied softly",
    "Two models, one set of weights",
    "Norm penalties",
    "The Lasso is unstable",
    "OWL and GrOWL",
    "GrOWL in a network",
    "Convolution",
    "Recurrence",
    "Sharing today",
)

WHAT_TO_DO = {  # the rules of numpydoc that hold here
    "GL01": "begin right after the quotes",
    "GL02": "close the quotes on a line of their own",
    "GL03": "leave one blank line between paragraphs, and none at the end",
    "GL05": "indent with spaces",
    "GL06": "use one of these sections, or write a paragraph",
    "GL07": "put the sections in this order",
    "GL08": "write one",
    "GL09": "say so first",
    "GL10": "write two colons",
    "SS01": "begin with one sentence that says what it is",
    "SS03": "end the first line with a full stop",
    "SS04": "begin at the margin",
    "SS06": "say it in one line; the rest is a paragraph of its own",
    "PR01": "name and describe each under Parameters, or lean on a method that does: 'As `other`.'",
    "PR02": "take them out, or spell them as the signature does",
    "PR03": "put them in the order of the signature",
    "PR05": "write `name : type` without a full stop, or no type",
    "PR07": "say what it is",
    "PR09": "end with a full stop",
    "PR10": "write `name : type`, or no type",
    "RT01": "add Returns with a type and what it holds, or lean on a method that does: 'As `other`.'",
    "RT02": "write the type alone on the first line",
    "RT03": "say below the type what it holds",
    "RT05": "end with a full stop",
    "YD01": "add Yields with a type and what it holds",
}
LEANING = ("PR01", "PR03", "RT01", "YD01")  # what a method that leans on another need not repeat

ARRAY = re.compile(r"\b(Tensor|ndarray|NDArray|Array|ArrayLike|Labels)\b")
# (), (n,), (n, d), (k * m, 3), (positions, out, *sizes)
TUPLE = r"\(\)|\((?:\*?\w+(?: \* \w+)*, ?)+(?:\*?\w+(?: \* \w+)*)?\)"
SHAPE = re.compile(rf"\bshapes?\b|\bscalars?\b|\bdimensions?\b|\bslices?\b|\bAs (?:in|for|given to) `|{TUPLE}", re.I)
LEANS_ON = re.compile(r"\bAs `([\w.]+)`\.$")  # at the end of what stands before the sections
CHAPTER = re.compile(r"\bChapters?: (.+?)\.(?: |$)")
REFERENCE = re.compile(r"\b(?:References?|Method|Source): .*?\b(?:1[89]|20)\d\d\b")


@dataclass(frozen=True)
class Name:
    """A public name: where it is found, what it is, and the class it belongs to."""

    path: str
    found: object
    owner: type | None = None

    @property
    def code(self):
        """The function, class or property, without wrappers."""
        found = self.found.__func__ if isinstance(self.found, (classmethod, staticmethod)) else self.found
        return found if isinstance(found, type) else inspect.unwrap(found)

    @property
    def function(self):
        """Where its annotations and its body are; None for a class."""
        if isinstance(self.code, (property, functools.cached_property)):
            return self.code.fget if isinstance(self.code, property) else self.code.func
        return None if isinstance(self.code, type) else self.code

    @property
    def is_attribute(self):
        """Whether it is read, not called."""
        return isinstance(self.code, (property, functools.cached_property))


def public_names(package):
    """Every public name of every room of a package, and what it takes from private rooms under its own name."""
    rooms = [package.__name__]
    rooms += [room.name for room in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    names = {}
    for room in rooms:
        if any(part.startswith("_") for part in room.split(".")):
            continue
        module = importlib.import_module(room)
        for key, value in vars(module).items():
            if not key.startswith("_") and _belongs(key, value, module):
                for name in members(Name(f"{room}.{key}".removeprefix(f"{package.__name__}."), value)):
                    names[name.path] = name
    return list(names.values())


def _belongs(key, value, module):
    home = getattr(value, "__module__", None) or ""
    documented = isinstance(value, type) or inspect.isfunction(inspect.unwrap(value) if callable(value) else value)
    private = any(part.startswith("_") for part in home.split("."))
    exported = private and _root(value) == module.__name__.split(".")[0] and key in getattr(module, "__all__", ())
    return documented and (home == module.__name__ or exported)


def members(name):
    """The name itself; for a class also its methods and properties, those of its private bases among them."""
    found = {name.path: name}
    for kind in name.found.__mro__ if isinstance(name.found, type) else ():
        if kind is name.found or (kind.__name__.startswith("_") and _root(kind) == _root(name.found)):
            for key, value in vars(kind).items():
                described = (property, functools.cached_property, classmethod, staticmethod)
                if not key.startswith("_") and (inspect.isfunction(value) or isinstance(value, described)):
                    found.setdefault(f"{name.path}.{key}", Name(f"{name.path}.{key}", value, name.found))
    return list(found.values())


class _Validator(Validator):
    """numpydoc's, which believes the annotation of a result, and asks a protocol for no parameters."""

    @property
    def signature_parameters(self):
        return () if getattr(self.obj, "_is_protocol", False) else super().signature_parameters

    @property
    def method_returns_something(self):
        return _annotation(self.obj) not in ("None", "NoReturn", "Never")


def faults(name, needs_reference=False):
    """What is wrong with the docstring of a name; empty if nothing is."""
    text = inspect.cleandoc(name.code.__doc__ or "")
    if not text or _is_generated(name.code):
        return [f"{name.path}: there is no docstring [GL08]: {WHAT_TO_DO['GL08']}"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unknown sections: rule GL06 names them
            doc = get_doc_object(name.code)
            errors = validate("", validator_cls=lambda obj_name: _Validator(doc))["errors"]
    except ValueError as error:
        return [
            f"{name.path}: the docstring cannot be parsed ({str(error).splitlines()[0]}): mend the section it names"
        ]
    found, leans = [], None
    if name.owner is not None and (pointer := _pointer(text)):
        leans, complaint = _leaned_on(name, pointer)
        found += [complaint] if complaint else []
    found += [
        f"{message} [{code}]: {WHAT_TO_DO[code]}"
        for code, message in errors
        if code in WHAT_TO_DO
        and not (leans and code in LEANING)
        and not (code == "RT01" and doc["Yields"])  # what `contextmanager` returns is told by Yields
    ]
    if not leans:
        found += [*_wrong_shapes(name, doc, text), *_wrong_result(name, doc)]
    found += _wrong_raises(name, doc, leans)
    if name.owner is None:
        found += [*_wrong_examples(name, text), *_wrong_sources(name, text, needs_reference)]
    return [f"{name.path}: {fault}" for fault in found]


def _leaned_on(name, pointer):
    """What a method leans on, and what is wrong with that."""
    other, owner = _look_up(pointer, inspect.getmodule(name.owner))
    if other is None:
        return None, f"leans on `{pointer}`, which is not there: name a method of this room, or in full"
    if name.function is not None and _parameters(name.function) != _parameters(other):
        return None, f"leans on `{pointer}`, which has other parameters: describe its own"
    if _pointer(inspect.cleandoc(other.__doc__ or "")):
        return None, f"leans on `{pointer}`, which leans on another: lean on that one"
    if _root(other) == _root(name.owner) and faults(Name(pointer, other, owner)):
        return None, f"leans on `{pointer}`, whose docstring has faults itself: mend that one first"
    return other, None


def _look_up(pointer, module):
    """A function by its dotted name, seen from a module, and what it is in; (None, None) if there is none."""
    first, *rest = pointer.split(".")
    places = [(getattr(module, first, None), rest)]
    for cut in range(len(rest), 0, -1):
        try:
            places.append((importlib.import_module(".".join([first, *rest][:cut])), [first, *rest][cut:]))
        except ImportError:
            continue
    for place, path in places:
        before = None
        for part in path:
            before, place = place, getattr(place, part, None)
        if callable(place):
            return inspect.unwrap(getattr(place, "__func__", place)), before
    return None, None


def _wrong_shapes(name, doc, text):
    if name.is_attribute:
        if ARRAY.search(_annotation(name.function)) and not SHAPE.search(text):
            yield "the shape is not stated: say (n,), 'scalar', or whose shape it has"
        return
    described = {
        part.strip().lstrip("*"): " ".join(lines)
        for names, _, lines in doc["Parameters"] + doc["Other Parameters"]
        for part in names.split(",")
    }
    for parameter, annotation in _annotations(name).items():
        if ARRAY.search(annotation) and parameter in described and not SHAPE.search(described[parameter]):
            yield f"parameter {parameter!r} is an array of no stated shape: say (n, d), 'any shape', or as which other"
    result = " ".join(" ".join([part.name, *part.desc]) for part in doc["Returns"] + doc["Yields"])
    if name.function and ARRAY.search(_annotation(name.function)) and result and not SHAPE.search(result):
        yield "the result is an array of no stated shape: say (n, d), 'scalar', or whose shape it has"


def _wrong_result(name, doc):
    if name.function is None or name.is_attribute or not doc["Returns"]:
        return
    annotation = _annotation(name.function)
    if annotation in ("None", "NoReturn", "Never"):
        yield "there is a Returns section, but it returns nothing: take the section out"
        return
    stated = " ".join(part.type or part.name for part in doc["Returns"])
    same = {"Array": "ndarray", "NDArray": "ndarray", "Self": name.owner.__name__ if name.owner else ""}
    expected = {same.get(word, _bound(name.function, word)) for word in re.findall(r"\w+", annotation)}
    if not expected & set(re.findall(r"\w+", stated)) and not expected & {"", "Any"}:
        yield f"Returns begins with {stated!r}, but the annotation is {annotation}: write that type alone on a line"


def _wrong_raises(name, doc, leans):
    stated = {part.type or part.name for part in doc["Raises"]}
    for part in doc["Raises"]:
        if not "".join(part.desc).strip():
            yield f"Raises does not say when {part.type}: add a sentence below it"
    if leans and _root(leans) == _root(name.owner):
        stated |= {part.type or part.name for part in get_doc_object(leans)["Raises"]}
    functions = [name.function] if name.function else _constructors(name.code)
    owner = name.owner or (name.code if isinstance(name.code, type) else None)
    possible = set().union(*(raised(function, owner) for function in functions))
    for exception in sorted(kind.__name__ for kind in possible if kind.__name__ not in stated):
        yield f"the code can raise {exception}, which is not under Raises: say there when"


def _wrong_examples(name, text):
    try:
        examples = doctest.DocTestParser().get_examples(text)
    except ValueError as error:
        yield f"the example cannot be read ({error}): write it as an interpreter shows it"
        return
    if not any(example.want for example in examples):
        yield "there is no example with a result: add Examples with '>>> ...' and what is printed"
    elif name.code.__name__ not in re.findall(r"\w+", " ".join(example.source for example in examples)):
        yield f"the example does not use {name.code.__name__}: show it"
    if any(doctest.SKIP in example.options for example in examples):
        yield "the example is skipped: write one that runs"


def _wrong_sources(name, text, needs_reference):
    chapters = CHAPTER.findall(_one_line(text))
    if not chapters:
        yield "no chapter is named: end with 'Chapter: One idea.', or another, or all"
    for chapter in (part.strip() for line in chapters for part in line.split(";")):
        if not chapter.startswith(CHAPTERS):
            yield f"{chapter!r} is no chapter: write one of {', '.join(CHAPTERS)}, divided by semicolons"
    if needs_reference and not REFERENCE.search(_one_line(text)):
        yield "no reference is given: write 'Reference: ...' with its authors, its year, and the place in it"


# What the code can raise.


def raised(function, owner=None, seen=frozenset()):
    """The exceptions of a function, and of what it calls in its own package.

    Calls of private functions count, and calls that hand on one of its own parameters: what a caller gives may be
    wrong there. Other calls are made with values that it made itself. What is caught does not count.
    """
    if function in seen:
        return set()
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError):  # made by dataclass
        return set()
    walk = _Walk(function, owner, seen | {function})
    for statement in tree.body[0].body:
        walk.into(statement, ())
    return walk.found


class _Walk:
    def __init__(self, function, owner, seen):
        self.function, self.owner, self.seen = function, owner, seen
        self.known = {**vars(builtins), **function.__globals__}
        self.given = set(inspect.signature(function).parameters) - {"self", "cls"}
        self.found = set()

    def into(self, node, caught):
        if isinstance(node, ast.Try):
            handled = tuple(kind for handler in node.handlers for kind in self.handled(handler))
            for child in node.body:
                self.into(child, caught + handled)
            for child in (*node.handlers, *node.orelse, *node.finalbody):
                self.into(child, caught)
            return
        if isinstance(node, ast.Raise) and node.exc is not None:
            kind = self.look_up(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)
            self.add({kind} if isinstance(kind, type) else set(), caught)
        if isinstance(node, ast.Call):
            self.add(self.called(node), caught)
        for child in ast.iter_child_nodes(node):
            self.into(child, caught)

    def add(self, kinds, caught):
        self.found |= {kind for kind in kinds if not issubclass(kind, caught)}

    def handled(self, handler):
        """What a handler keeps to itself: nothing, if it raises the same again."""
        again = (node for node in ast.walk(handler) if isinstance(node, ast.Raise))
        if any(node.exc is None or (isinstance(node.exc, ast.Name) and node.exc.id == handler.name) for node in again):
            return ()
        nodes = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        kinds = (BaseException if node is None else self.look_up(node) for node in nodes)
        return tuple(kind for kind in kinds if isinstance(kind, type))

    def look_up(self, node):
        """What a name, or a dotted name, stands for; None where only running could tell."""
        if isinstance(node, ast.Name):
            own = {"cls": self.owner, "self": self.owner}
            return own[node.id] if node.id in own else None if node.id in self.given else self.known.get(node.id)
        if isinstance(node, ast.Attribute):
            place = self.look_up(node.value)
            return getattr(place, node.attr, None) if isinstance(place, type) or inspect.ismodule(place) else None
        return None

    def called(self, node):
        """The exceptions of what is called here, if they count."""
        target = self.look_up(node.func)
        target = inspect.unwrap(getattr(target, "__func__", target)) if target is not None else None
        if not (isinstance(target, type) or inspect.isfunction(target)) or _root(target) != _root(self.function):
            return set()
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        arguments = [a.value if isinstance(a, ast.Starred) else a for a in arguments]
        names = {a.id for a in arguments if isinstance(a, ast.Name)}
        room = (target.__module__ or "").split(".")[-1]
        if not (target.__name__.startswith("_") or room.startswith("_") or names & self.given):
            return set()
        if isinstance(target, type):
            return set().union(*(raised(part, target, self.seen) for part in _constructors(target)))
        of_self = isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
        return raised(target, self.owner if of_self and node.func.value.id in ("self", "cls") else None, self.seen)


def _constructors(kind):
    found = []
    for name in ("__new__", "__init__", "__post_init__"):
        function = inspect.unwrap(getattr(kind, name, None) or object.__init__)
        if inspect.isfunction(function) and _root(function) == _root(kind):
            found.append(function)
    return found


# Small things.


def _root(found):
    return (getattr(found, "__module__", None) or "").split(".")[0]


def _one_line(text):
    return " ".join(text.split())


def _pointer(text):
    """The method that a docstring leans on, or None."""
    found = LEANS_ON.search(_one_line(re.split(r"\n\n\w[\w ]*\n-{3,}\n", text)[0]))
    return found and found[1]


def _parameters(function):
    return [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]


def _plain(annotation):
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _annotation(function):
    """The annotation of the result, as text."""
    return _plain(inspect.signature(function).return_annotation)


def _bound(function, word):
    """For a type variable what its types have in common, by name; any other word as it is."""
    meant = getattr(function, "__globals__", {}).get(word)
    return meant.__bound__.__name__ if isinstance(meant, TypeVar) and meant.__bound__ else word


def _annotations(name):
    """The annotation of each parameter, as text."""
    signature = inspect.signature(name.code)
    return {key: _plain(parameter.annotation) for key, parameter in signature.parameters.items()}


def _is_generated(code):
    """Whether the docstring was made by dataclass or NamedTuple: the signature, and nothing else."""
    return isinstance(code, type) and code.__doc__.startswith(f"{code.__name__}(")
