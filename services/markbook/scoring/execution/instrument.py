"""A test as the sandbox is given it: its asserts hand their values out, its builtins are the real
ones.

The test and its setup become the body of one function, whose variables the tested code cannot
reach: what it calls are its parameters. `assert a == b` evaluates both sides and hands them to the
host, which compares copies (`compare.py`) before the tested code's own `__eq__` can change them. In
every other place where an object of the tested code could answer for itself (operators, arguments
of builtins, methods of containers, truth) a guard asks the host whether it is plain data, when all
operands are there and nothing else can change them. See `rewriting.py`.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from markbook.scoring.execution.guest.name_resolution import (
    BUILTINS,
    MODULES,
    bound_names,
    imported_names,
)
from markbook.scoring.execution.rewriting import Rewriter

NEEDED = frozenset(["isinstance", "list", "repr"])
"""Builtins that the helpers use."""
HOST = ("check", "equal", "method", "verdict", "done")
"""What the host answers; see `monty_sample.py`."""
PLAIN = "plain"
"""A tuple of the types whose values are plain data whatever they hold."""


@dataclass(frozen=True)
class Instrumented:
    """A test's source for the sandbox, and the real builtins that it wants under their secret
    names.

    `doubtful`: builtins it names that cannot be handed into the sandbox: the tested code may have
    its own.
    """

    source: str
    builtins: Mapping[str, str]
    doubtful: frozenset[str]


class Instrumenter:
    """Instruments the tests of one sample. What they share is made once.

    `supported`: builtins that can be handed into the sandbox; `own`: those that the tested code
    defines itself.
    """

    def __init__(
        self, setup: ast.Module, supported: frozenset[str], own: frozenset[str], secret: str
    ) -> None:
        self._secret = secret
        self._own = own
        self._bound = bound_names(setup)
        self._real = {name: f"{name}_{secret}" for name in supported - own - self._bound}
        self._trusted = imported_names(setup) | _aliases(setup, {*self._real, *MODULES})
        self._loads = _loads(setup)
        self._above = _indented(
            [*ast.parse(_helpers(secret)).body, *self._rewritten(setup, set(), set())]
        )

    def instrument(self, test: ast.Module) -> Instrumented:
        """The source of `test` for the sandbox. Changes the tree."""
        s, bound = self._secret, bound_names(test)
        loads = self._loads | _loads(test)
        modules = sorted((loads & MODULES) - bound - self._bound)
        known = {*modules, *self._trusted, *imported_names(test)}
        trusted = known | _aliases(test, {*self._real, *known})
        used = (loads & set(self._real)) - bound | (self._loads & set(self._real)) | NEEDED
        given = [
            *(f"{name}_{s}" for name in sorted(used)),
            f"{PLAIN}_{s}",
            *(f"{name}_{s}" for name in HOST),
        ]
        lines = [
            f"def run_{s}({', '.join(given)}):",
            *(f"    import {name}" for name in modules),
            self._above,
            _indented(self._rewritten(test, bound, trusted)),
            f"    done_{s}()",
            f"run_{s}({', '.join(given)})",
        ]
        source = "\n".join(lines)
        doubtful = (loads & BUILTINS) - set(self._real) - self._own - bound - self._bound
        return Instrumented(source, {f"{name}_{s}": name for name in used}, frozenset(doubtful))

    def _rewritten(self, tree: ast.Module, bound: set[str], trusted: set[str]) -> list[ast.stmt]:
        real = {name: secret for name, secret in self._real.items() if name not in bound}
        rewritten: ast.Module = Rewriter(self._secret, real, trusted | self._trusted).visit(tree)
        return rewritten.body


def _indented(body: list[ast.stmt]) -> str:
    """The text of a function's body; strings of several lines stay as they are."""
    function = ast.parse("def function(): pass").body[0]
    function.body = body or function.body  # type: ignore[attr-defined]
    return ast.unparse(ast.fix_missing_locations(function)).split("\n", 1)[1]


def _loads(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _aliases(tree: ast.AST, trusted: set[str]) -> set[str]:
    """Other names for builtins and for what is in modules: `close = math.isclose`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name | ast.Attribute):
            value: ast.expr = node.value
            while isinstance(value, ast.Attribute):
                value = value.value
            if isinstance(value, ast.Name) and value.id in trusted:
                found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def _helpers(s: str) -> str:
    """Helpers that run in the sandbox around the host's answers; plain values need no guard.

    `show` catches everything: the repr of a value of the tested code may raise whatever it likes.
    """
    return f"""def guard_{s}(value, strict=True):
    if value is not None and not isinstance_{s}(value, {PLAIN}_{s}) and check_{s}(value, strict):
        check_{s}(list_{s}(value), strict)
    return value
def guards_{s}(strict, args, kwargs):
    for each in args:
        guard_{s}(each, strict)
    for each in kwargs.values():
        guard_{s}(each, strict)
def method_guard_{s}(value, name, args, kwargs):
    if value is None or isinstance_{s}(value, {PLAIN}_{s}):
        guards_{s}(False, args, kwargs)
    elif method_{s}(value, name):
        guards_{s}(False, args, kwargs)
def alike_{s}(left, right):
    if isinstance_{s}(left, {PLAIN}_{s}) and isinstance_{s}(right, {PLAIN}_{s}):
        return True
    return equal_{s}(left, right)
def show_{s}(value):
    try:
        return repr_{s}(value)[:400]
    except:
        return 'a value whose repr fails'"""
