"""What the names in tests and their setup refer to. Pure functions of their text."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Sequence

MODULES = frozenset(
    [
        "cmath",
        "collections",
        "copy",
        "datetime",
        "decimal",
        "fractions",
        "functools",
        "heapq",
        "itertools",
        "json",
        "math",
        "operator",
        "random",
        "re",
        "statistics",
        "string",
        "sys",
        "time",
        "typing",
    ]
)
"""Modules that a test may name without importing them: the tested code's import of them is not
trusted.
"""
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What `ast.parse` raises for a text that is no Python, or too deeply nested to be read."""
BUILTINS = frozenset(dir(builtins)) - {
    "True",
    "False",
    "None",
    "__debug__",
    "__name__",
    "__doc__",
    "__spec__",
}
PREDICATES = frozenset(
    [
        "endswith",
        "isalnum",
        "isalpha",
        "isascii",
        "isdecimal",
        "isdigit",
        "isidentifier",
        "islower",
        "isnumeric",
        "isprintable",
        "isspace",
        "issubset",
        "issuperset",
        "istitle",
        "isupper",
        "startswith",
    ]
)
"""Methods of strings and sets that answer yes or no: where a test asks one, a plain value has to
answer.
"""


def bound_names(tree: ast.AST) -> set[str]:
    """Names that `tree` assigns, defines or imports, at whatever depth."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            names.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            names.add(node.rest)
    return names


def imported_names(tree: ast.AST) -> set[str]:
    """Names that `tree` imports: what they stand for is no value of the tested code."""
    return {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


def called_names(tree: ast.Module) -> set[str]:
    """Names that a test calls, or binds to another name, and does not define: the tested code is
    to define them.
    """
    calls = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    aliases = {
        node.value.id
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name)
    }
    return (calls | aliases) - bound_names(tree) - BUILTINS


def class_names(trees: Sequence[ast.AST]) -> frozenset[str]:
    """Classes that tests call by name (a capital first): their objects may answer for themselves,
    no others may.

    What tests import is not the tested code's: an object that takes such a name is a lie.
    """
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {node.func.id for node in calls if isinstance(node.func, ast.Name)}
    imported = set().union(*(imported_names(tree) for tree in trees))
    return frozenset(name for name in names - imported - BUILTINS if name[:1].isupper())


def tested_builtins(setup: ast.Module, tests: Sequence[ast.Module]) -> frozenset[str]:
    """Builtin names that are the tested code's own, as in `assert sum(10, 15) == 6` where a task
    asks for a `sum`.

    That is so where the tests name nothing else that the code could define; then it is the
    innermost call.
    """
    bound = (
        bound_names(setup).union(*(bound_names(test) for test in tests))
        if tests
        else bound_names(setup)
    )
    trees = [setup, *tests]
    loads = {
        node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)
    } - bound
    aliases = {
        node.value.id
        for node in setup.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name)
    }
    if aliases:  # `candidate = sum`
        return frozenset(aliases & BUILTINS)
    if loads - BUILTINS - MODULES:
        return frozenset()
    for tree in tests:
        calls = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        for call in reversed(calls):  # ast.walk goes level by level: the last is among the deepest
            assert isinstance(call.func, ast.Name)
            return frozenset({call.func.id} & BUILTINS)
    return frozenset()


def shown_setup(setup: ast.Module) -> str:
    """What of the setup the tested code may use: its imports, and classes that are no more than
    their methods.

    Helpers and data stay with the tests: expected values are among them, or a solution to compare
    with.
    """
    imports_and_classes: list[ast.stmt] = [
        node
        for node in setup.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.ClassDef) and _only_methods(node))
    ]
    return ast.unparse(ast.Module(imports_and_classes, []))


def _only_methods(node: ast.ClassDef) -> bool:
    methods = ast.FunctionDef | ast.AsyncFunctionDef | ast.AnnAssign | ast.Pass
    if any(isinstance(each, ast.Assert) for each in ast.walk(node)):
        return False
    return all(
        isinstance(each, methods)
        or (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
        for each in node.body
    )
