"""A test as the sandbox is given it: its asserts hand their values out, its builtins are the real ones.

The test and its setup become the body of one function, whose variables the tested code cannot reach. `assert a == b`
evaluates both sides and calls the host with them, which compares them there (`compare.py`). In every other place
where an object of the tested code could answer for itself (operators, arguments of builtins, truth) a guard asks the
host whether it is plain data. Builtins are called by names that the tested code cannot know, so it can shadow none.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
"""Modules that a test may name without importing them: the tested code's import of them is not trusted."""
NEWLINE = "\n"
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What `ast.parse` raises for a text that is no Python, or too deeply nested to be read."""
_BUILTINS = frozenset(dir(builtins)) - {"True", "False", "None", "__debug__"}
_OPERATORS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.In: "in", ast.NotIn: "not in", ast.Is: "is", ast.IsNot: "is not",
}  # fmt: skip


@dataclass(frozen=True)
class Instrumented:
    """A test's source for the sandbox, and the real builtins that it wants under their secret names."""

    source: str
    builtins: dict[str, str]


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
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


def called_names(tree: ast.Module) -> set[str]:
    """Names that a test calls, or binds to another name, and does not define: the tested code is to define them."""
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    aliases = {node.value.id for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name)}
    return (calls | aliases) - bound_names(tree) - _BUILTINS


def class_names(trees: Iterable[ast.AST]) -> frozenset[str]:
    """Classes that tests call by name (a capital first): their objects may answer for themselves, no others may."""
    calls = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call))
    names = (node.func.id for node in calls if isinstance(node.func, ast.Name))
    return frozenset(name for name in names if name[:1].isupper() and name not in _BUILTINS)


def tested_builtins(setup: ast.Module, tests: Sequence[ast.Module]) -> frozenset[str]:
    """Builtin names that are the tested code's own, as in `assert sum(10, 15) == 6` where a task asks for a `sum`.

    That is so where the tests name nothing else that the code could define; then it is the innermost call.
    """
    bound = bound_names(setup).union(*(bound_names(test) for test in tests)) if tests else bound_names(setup)
    trees = [setup, *tests]
    loads = {node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)} - bound
    aliases = {
        node.value.id for node in setup.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name)
    }
    if aliases:  # `candidate = sum`
        return frozenset(aliases & _BUILTINS)
    if loads - _BUILTINS - MODULES:
        return frozenset()
    for tree in tests:
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        for call in reversed(calls):  # ast.walk goes level by level: the last is among the deepest
            assert isinstance(call.func, ast.Name)
            return frozenset({call.func.id} & _BUILTINS)
    return frozenset()


class Instrumenter:
    """Instruments the tests of one sample. What they share is made once.

    `supported`: builtins that can be handed into the sandbox; `own`: those that the tested code defines itself.
    """

    def __init__(self, setup: ast.Module, supported: frozenset[str], own: frozenset[str], secret: str) -> None:
        self._secret = secret
        self._real = {name: f"{name}_{secret}" for name in supported - own - bound_names(setup)}
        self._bound = bound_names(setup)
        self._modules = _imported(setup)
        self._setup_loads = _loads(setup)
        self._setup = self._rewritten(setup, set())

    def instrument(self, test: ast.Module) -> Instrumented:
        """The source of `test` for the sandbox. Changes the tree."""
        bound = bound_names(test)
        loads = self._setup_loads | _loads(test)
        modules = sorted((loads & MODULES) - bound - self._bound)
        body = [*_helpers(self._secret, modules), *self._setup, *self._rewritten(test, bound, modules)]
        lines = "\n".join(f"    {line}" for line in body)
        source = f"def run_{self._secret}():\n{lines}\n    pass\nrun_{self._secret}()"
        used = ((loads & set(self._real)) - bound) | (self._setup_loads & set(self._real)) | {"isinstance", "repr"}
        return Instrumented(source, {f"{name}_{self._secret}": name for name in used})

    def _rewritten(self, tree: ast.Module, bound: set[str], modules: Iterable[str] = ()) -> list[str]:
        real = {name: secret for name, secret in self._real.items() if name not in bound}
        rewriter = _Rewriter(self._secret, real, {*modules, *self._modules, *_imported(tree)})
        return ast.unparse(ast.fix_missing_locations(rewriter.visit(tree))).split("\n") if tree.body else []


def _loads(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _imported(tree: ast.AST) -> set[str]:
    """Modules imported whole: what is read from them is no value of the tested code."""
    names = (bound_names(node) for node in ast.walk(tree) if isinstance(node, ast.Import))
    return set().union(*names)


def _helpers(s: str, modules: Sequence[str]) -> list[str]:
    return f"""{"".join(f"import {name}{NEWLINE}" for name in modules)}\
def guard_{s}(value):
    if value is not None and not isinstance_{s}(value, plain_{s}):
        check_{s}(value)
    return value
def show_{s}(value):
    try:
        return repr_{s}(value)[:400]
    except Exception:
        return 'a value whose repr fails'""".split(NEWLINE)


class _Rewriter(ast.NodeTransformer):
    def __init__(self, secret: str, real: dict[str, str], modules: set[str]) -> None:
        self._secret = secret
        self._real = real
        self._modules = modules

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if isinstance(node.ctx, ast.Load) and node.id in self._real:
            return ast.Name(self._real[node.id], ast.Load())
        return node

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        s, test = self._secret, node.test
        if isinstance(test, ast.Compare) and len(test.ops) == 1 and not self._nested(test):
            operator = _OPERATORS[type(test.ops[0])]
            left, right = test.left, test.comparators[0]
            both = operator in ("==", "is", "is not")
            first = self.visit(left) if both else self._guarded(left)
            second = self.visit(right) if both else self._guarded(right)
            lines = f"left_{s} = LEFT\nright_{s} = RIGHT\nsame_{s} = left_{s} {operator} right_{s}\n"
            values = f"left_{s}, right_{s}" if operator == "==" else "None, None"
            lines += f"if same_{s} is True:\n    verdict_{s}({operator!r}, True, {values})\n"
            lines += f"else:\n    verdict_{s}({operator!r}, False, show_{s}(left_{s}), show_{s}(right_{s}))"
            made = ast.parse(lines).body
            made[0].value, made[1].value = first, second  # type: ignore[attr-defined]
            return made
        lines = f"same_{s} = TRUTH\nif same_{s}:\n    verdict_{s}('', True, None, None)\n"
        lines += f"else:\n    verdict_{s}({ast.unparse(test)!r}, False, show_{s}(same_{s}), None)"
        made = ast.parse(lines).body
        made[0].value = self._guarded(test)  # type: ignore[attr-defined]
        return made

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        return ast.BinOp(self._guarded(node.left), node.op, self._guarded(node.right))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        return ast.UnaryOp(node.op, self._guarded(node.operand))

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        return ast.BoolOp(node.op, [self._guarded(each) for each in node.values])

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        if all(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
            return self._children(node)
        return ast.Compare(self._guarded(node.left), node.ops, [self._guarded(each) for each in node.comparators])

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        return ast.IfExp(self._guarded(node.test), self.visit(node.body), self.visit(node.orelse))

    def visit_If(self, node: ast.If) -> ast.stmt:
        test = self._guarded(node.test)
        self.generic_visit(node)
        node.test = test
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        value = self._guarded(node.value) if isinstance(node.ctx, ast.Load) else self.visit(node.value)
        return ast.Subscript(value, self.visit(node.slice), node.ctx)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """Arguments of the tested code go to it as they are, those of builtins and modules are guarded."""
        root = _root(node.func)
        theirs = isinstance(node.func, ast.Name) and root not in self._real
        args = [self.visit(each) if theirs else self._guarded(each) for each in node.args]
        keywords = [
            ast.keyword(each.arg, self.visit(each.value) if theirs else self._guarded(each.value))
            for each in node.keywords
        ]
        return ast.Call(self.visit(node.func), args, keywords)

    def _guarded(self, node: ast.expr) -> ast.expr:
        root = _root(node)
        visited: ast.expr = self.visit(node)
        if root is None or root in self._real or root in self._modules:
            return visited
        return ast.Call(ast.Name(f"guard_{self._secret}", ast.Load()), [visited], [])

    def _children(self, node: ast.expr) -> ast.expr:
        visited = self.generic_visit(node)
        assert isinstance(visited, ast.expr)
        return visited

    @staticmethod
    def _nested(node: ast.AST) -> bool:
        return any(isinstance(each, ast.NamedExpr | ast.Await | ast.Yield) for each in ast.walk(node))


def _root(node: ast.expr) -> str | None:
    """The name at the bottom of `f(x)[0].y`: `f`. None where there is none (`[1].count(x)`, a sum)."""
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None
