"""Every field of every configuration is read somewhere: every option has an effect.

The sources are searched, not run. A field counts as read by `base.field` where the name `base` holds the configuration:
a parameter or a field annotated with it, or what was assigned from one. Reads in code that handles every
field do not count: `__post_init__`, which checks it, an `identity`, which compares it, and `getattr` in a loop, which
does either or copies it.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("vae_core", "export", "jobs")
PASSING = ("__post_init__", "identity", "_identity")


@dataclass
class Configuration:
    """A dataclass of options."""

    name: str
    room: str  # its folder
    fields: list[str]
    bases: list[str]


@dataclass
class Module:
    """What a source says about names: each expression goes by its last one, `c` for `a.b.c`."""

    path: str
    configurations: list[Configuration] = field(default_factory=list)
    reads: set[tuple[str, str]] = field(default_factory=set)  # (base, attribute)
    annotated: set[tuple[str, str]] = field(default_factory=set)  # (name, word of its annotation), of parameters
    fields: set[tuple[str, str]] = field(default_factory=set)  # the same of a class's fields
    assigned: set[tuple[str, str]] = field(default_factory=set)  # (target, value)
    passed: set[tuple[str, str]] = field(default_factory=set)  # (base, class) of `base.passed_to(class, …)`

    def holders(self, kinds: set[str], rooms: set[str], fields: set[str]) -> set[str]:
        """The names that hold a configuration of one of `kinds`; in their `rooms` also `fields`, which hold one."""
        here = any(self.path.startswith(f"{room}/") for room in rooms)
        found = {name for name, word in self.annotated | self.fields if word in kinds} | (fields if here else set())
        if any(each.name in kinds for each in self.configurations):
            found.add("self")
        while more := {target for target, value in self.assigned if value in found | kinds} - found:
            found |= more
        return found


def scan(path: str, text: str) -> Module:
    module = Module(path)
    is_options = Path(path).name in ("options.py", "config.py")
    for node in walk(ast.parse(text)):
        match node:
            case ast.ClassDef(name=name, decorator_list=decorators):
                fields = [line for line in node.body if isinstance(line, ast.AnnAssign) and is_field(line)]
                module.fields |= {(last(line.target), word) for line in fields for word in words(line.annotation)}
                is_data = "dataclass" in " ".join(map(ast.unparse, decorators))
                if is_data and (is_options or name.endswith(("Config", "Options"))):
                    names = [last(line.target) for line in fields]
                    module.configurations.append(
                        Configuration(name, str(Path(path).parent), names, [last(base) for base in node.bases])
                    )
            case ast.arg(arg=name, annotation=ast.expr() as annotation):
                module.annotated |= {(name, word) for word in words(annotation)}
            case ast.AnnAssign(target=target, annotation=annotation):
                module.annotated |= {(last(target), word) for word in words(annotation)}
            case ast.Assign(targets=targets, value=value):
                values = (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,)
                module.assigned |= {(last(target), last(each)) for target in targets for each in values}
            case ast.Call(func=ast.Attribute(value=base, attr="passed_to"), args=[job, *_]):
                module.passed.add((last(base), last(job)))
            case ast.Attribute(value=base, attr=attribute, ctx=ast.Load()):
                module.reads.add((last(base), attribute))
    return module


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it, except for the functions that handle every field."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.FunctionDef) and child.name in PASSING):
            yield from walk(child)


def is_field(line: ast.AnnAssign) -> bool:
    return "ClassVar" not in ast.unparse(line.annotation)


def words(annotation: ast.expr) -> set[str]:
    """The names in an annotation, also where it is written as a string."""
    return set(
        "".join(letter if letter.isalnum() or letter == "_" else " " for letter in ast.unparse(annotation)).split()
    )


def last(node: ast.expr) -> str:
    """The last name of an expression: `c` of `a.b.c` and of `a.b.c(…)`; none of others."""
    match node:
        case ast.Call(func=func):
            return last(func)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def unread(sources: Mapping[str, str]) -> list[str]:
    """The fields, as `Class.field`, that no source (path → text) reads."""
    modules = [scan(path, text) for path, text in sources.items()]
    every = {each.name: each for module in modules for each in module.configurations}
    read: set[tuple[str, str]] = set()
    passed: set[tuple[str, str]] = set()
    for name in every:
        kinds = with_subclasses(name, every.values())
        # A job's options are used in its room; those of vae_core everywhere.
        rooms = {every[kind].room if "/" in every[kind].room else each for kind in kinds for each in PACKAGES}
        fields = {of for module in modules for of, word in module.fields if word in kinds}
        for module in modules:
            holders = module.holders(kinds, rooms, fields)
            read |= {(name, attribute) for base, attribute in module.reads if base in holders}
            passed |= {(name, job) for base, job in module.passed if base in holders}
    # A field passed on to another configuration is read if that one's field of the same name is.
    read |= {(name, attribute) for name, job in passed for of, attribute in read if of == job}
    # A field redeclared by a subclass is read if that of its base is.
    read |= {(kind, attribute) for name, attribute in read for kind in with_subclasses(name, every.values())}
    return [f"{each.name}.{of}" for each in every.values() for of in each.fields if (each.name, of) not in read]


def with_subclasses(name: str, every: Iterable[Configuration]) -> set[str]:
    names = {name}
    while more := {each.name for each in every if names & set(each.bases)} - names:
        names |= more
    return names


def test_every_option_is_read() -> None:
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    sources = {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}
    assert len([path for path in sources if path.endswith("/options.py")]) >= 8
    assert unread(sources) == []


OPTIONS = """
@dataclass(frozen=True)
class WalkOptions:
    speed: float = 1.0
    def __post_init__(self):
        for name in ("speed",):
            assert getattr(self, name) > 0
        assert self.speed > 0
"""


@pytest.mark.parametrize(
    ("job", "is_read"),
    [
        ("def walk(where): return where.options.speed\nclass Task:\n    options: WalkOptions", True),
        ("mine = WalkOptions() if fast else slow\nprint(mine.speed)", True),
        ("def walk(options: WalkOptions): return options.speed", True),
        ("def walk(options: 'WalkOptions | None'): return options.speed", True),
        ("class Task:\n    options: WalkOptions\n    def do(self): return self.options.speed", True),
        ("def walk(options: WalkOptions):\n    mine = options\n    return mine.speed", True),
        ("mine = WalkOptions()\nprint(mine.speed)", True),
        ("def walk(options: WalkOptions, car: Car): return car.speed", False),
        ("def walk(options: WalkOptions): return [getattr(options, name) for name in ('speed',)]", False),
        ("class Task:\n    options: WalkOptions\n    def identity(self): return self.options.speed", False),
        ("def walk(options: WalkOptions): options.speed = 3", False),
        ("def walk(options: WalkOptions): return options.passed_to(RunOptions)", False),
        (
            "@dataclass\nclass RunOptions:\n    speed: float\n"
            "def walk(options: WalkOptions): return options.passed_to(RunOptions)\n"
            "def run(options: RunOptions): return options.speed",
            True,
        ),
    ],
)
def test_what_reading_is(job: str, is_read: bool) -> None:
    found = unread({"jobs/walk/options.py": OPTIONS, "jobs/walk/job.py": job})
    assert ("WalkOptions.speed" not in found) == is_read


def test_other_jobs_options_that_are_called_alike_do_not_count() -> None:
    task = "class Task:\n    options: {}\n    def do(self): {}"
    sources = {
        "jobs/walk/options.py": OPTIONS,
        "jobs/walk/task.py": task.format("WalkOptions", "..."),
        "jobs/run/task.py": task.format("RunOptions", "return self.options.speed"),
    }
    assert unread(sources) == ["WalkOptions.speed"]


def test_a_subclass_is_read_where_its_base_is() -> None:
    options = "@dataclass\nclass Base:\n    a: int\n@dataclass\nclass Job(Base):\n    b: int\n"
    job = "def run(options: Job): return options.a\ndef base(options: Base): ..."
    assert unread({"jobs/options.py": options, "jobs/job.py": job}) == ["Job.b"]
    anew = options.replace("b: int", "a: int = 3")
    assert unread({"jobs/options.py": anew, "jobs/job.py": job.replace("options: Job", "options: Base")}) == []
