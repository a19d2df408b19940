"""A test as the sandbox is given it: its asserts hand their values out, its builtins are the real ones.

The test and its setup become the body of one function, whose variables the tested code cannot reach. `assert a == b`
evaluates both sides and calls the host with them, which compares them there (`compare.py`). In every other place
where an object of the tested code could answer for itself (operators, arguments of builtins, truth) a guard asks the
host whether it is plain data. Builtins are called by names that the tested code cannot know, so it can shadow none.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markbook.scoring.execution.guest.names import MODULES, bound_names

NEWLINE = "\n"
_OPERATORS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.In: "in", ast.NotIn: "not in", ast.Is: "is", ast.IsNot: "is not",
}  # fmt: skip


@dataclass(frozen=True)
class Instrumented:
    """A test's source for the sandbox, and the real builtins that it wants under their secret names."""

    source: str
    builtins: dict[str, str]


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
