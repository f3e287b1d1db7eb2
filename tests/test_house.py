"""Conventions that hold for every module."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOST_PARAMETERS = 6


def functions(module: ast.AST) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """Every function of a module, nested ones too, and whether it is a method."""
    for node in ast.walk(module):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield child, isinstance(node, ast.ClassDef)


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef, is_method: bool) -> int:
    """The number of parameters that a caller may pass, without `self` and `cls`.

    None for the `forward(ctx, …)` of a torch.autograd.Function, which takes tensors one by one: gradients come back so.
    """
    given = function.args
    if given.args and given.args[0].arg == "ctx":
        return 0
    count = len([*given.posonlyargs, *given.args, *given.kwonlyargs])
    is_static = any(isinstance(each, ast.Name) and each.id == "staticmethod" for each in function.decorator_list)
    return count - (is_method and not is_static)


@pytest.mark.parametrize("package", ["vae_core", "export", "jobs", "benchmarks"])
def test_no_function_takes_more_than_six_parameters(package: str) -> None:
    long = []
    for path in sorted((ROOT / package).rglob("*.py")):
        for function, is_method in functions(ast.parse(path.read_text())):
            if (count := parameters(function, is_method)) > MOST_PARAMETERS:
                long.append(f"{path.relative_to(ROOT)}:{function.lineno} {function.name} takes {count}")
    assert not long, "\n".join(long)


def test_parameters_are_counted() -> None:
    module = ast.parse(
        "def plain(a, b=1, *, c): ...\n"
        "class Thing:\n"
        "    def method(self, a): ...\n"
        "    @staticmethod\n"
        "    def static(a, b): ...\n"
        "    def outer(self):\n"
        "        def inner(a, b, c, d): ...\n"
        "class Gradient(Function):\n"
        "    @staticmethod\n"
        "    def forward(ctx, a, b): ...\n"
    )
    counted = {function.name: parameters(function, is_method) for function, is_method in functions(module)}
    assert counted == {"plain": 3, "method": 1, "static": 2, "outer": 0, "inner": 4, "forward": 0}
