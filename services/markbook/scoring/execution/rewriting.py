"""The rewriting of a test for the sandbox: every operation on a value goes through a guard of
`instrument.py`.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

_SIGNS: dict[type[ast.AST], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.In: "in", ast.NotIn: "not in", ast.Is: "is", ast.IsNot: "is not",
}  # fmt: skip
_ASKS_NOTHING = frozenset(["callable", "id", "isinstance", "print", "repr", "str", "type"])
"""Builtins that reveal nothing of what is expected to an object."""
_TAKES_ALL = frozenset(
    [
        *(
            "bool",
            "dict",
            "enumerate",
            "filter",
            "frozenset",
            "getattr",
            "hasattr",
            "iter",
            "len",
            "list",
            "map",
        ),
        *("next", "range", "reversed", "set", "setattr", "sorted", "tuple", "zip"),
    ]
)
"""Builtins for which an iterator is as good as a list: what comes out is looked at where it is
used.
"""
_GIVES_PLAIN = frozenset(
    ["abs", "bool", "chr", "float", "hash", "int", "isinstance", "len", "ord", "repr", "str"]
)
"""Builtins whose value is plain data, where their arguments are."""
_COMPARES_NOTHING = frozenset(
    ["append", "clear", "copy", "extend", "insert", "items", "keys", "reverse", "values"]
)
"""Methods of containers that ask their elements nothing."""


class Rewriter(ast.NodeTransformer):
    """`real`: the secret names of builtins; `trusted`: names of modules and of what is in them."""

    def __init__(self, secret: str, real: dict[str, str], trusted: set[str]) -> None:
        self._s = secret
        self._real = real
        self._trusted = trusted
        self._in_class = False

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if isinstance(node.ctx, ast.Load) and node.id in self._real:
            return _name(self._real[node.id])
        return node

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        s, test = self._s, node.test
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            sign = _SIGNS[type(test.ops[0])]
            lines = f"left_{s} = LEFT\nright_{s} = RIGHT\n"
            if sign == "==":
                lines += f"same_{s} = alike_{s}(left_{s}, right_{s})\n"
            elif sign not in ("is", "is not"):
                lines += f"guard_{s}(left_{s})\nguard_{s}(right_{s})\n"
            lines += f"if (left_{s} {sign} right_{s}) is True:\n"
            same = f"same_{s}" if sign == "==" else "True"
            lines += f"    verdict_{s}({sign!r}, {same}, None, None)\n"
            lines += (
                f"else:\n    verdict_{s}({sign!r}, False, show_{s}(left_{s}), show_{s}(right_{s}))"
            )
            made = ast.parse(lines).body
            made[0].value = self.visit(test.left)  # type: ignore[attr-defined]
            made[1].value = self.visit(test.comparators[0])  # type: ignore[attr-defined]
            return made
        lines = f"same_{s} = TRUTH\nif same_{s}:\n    verdict_{s}('', True, None, None)\n"
        lines += f"else:\n    verdict_{s}({ast.unparse(test)!r}, False, show_{s}(same_{s}), None)"
        made = ast.parse(lines).body
        made[0].value = self._guarded(test)  # type: ignore[attr-defined]
        return made

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        if _is_still(node.right):
            return ast.BinOp(self._guarded(node.left), node.op, self._guarded(node.right))
        left, right = self._names("left", "right")
        return self._checked(
            [left, right], ast.BinOp(left, node.op, right), [node.left, node.right]
        )

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        return ast.UnaryOp(node.op, self._guarded(node.operand))

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        return ast.BoolOp(node.op, [self._guarded(each) for each in node.values])

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        """`a < b < c` evaluates `c` only where `a < b`, and `b` once."""
        if all(_is_still(each) for each in node.comparators):
            return ast.Compare(
                self._guarded(node.left),
                node.ops,
                [self._guarded(each) for each in node.comparators],
            )
        return self._compared(
            self.visit(node.left), node.ops, [self.visit(each) for each in node.comparators]
        )

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        return ast.IfExp(self._guarded(node.test), self.visit(node.body), self.visit(node.orelse))

    def visit_If(self, node: ast.If) -> ast.stmt:
        test = self._guarded(node.test)
        self.generic_visit(node)
        node.test = test
        return node

    def visit_While(self, node: ast.While) -> ast.stmt:
        test = self._guarded(node.test)
        self.generic_visit(node)
        node.test = test
        return node

    def visit_Match(self, node: ast.Match) -> ast.stmt:
        subject = self._guarded(node.subject)
        self.generic_visit(node)
        node.subject = subject
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.comprehension:
        ifs = [self._guarded(each) for each in node.ifs]
        return ast.comprehension(self.visit(node.target), self.visit(node.iter), ifs, node.is_async)

    def visit_AugAssign(self, node: ast.AugAssign) -> list[ast.stmt]:
        """What `x -= y` changes is looked at as in `x - y`; its parts are evaluated once."""
        target = node.target
        of, index, value = self._names("of", "index", "value")
        made: list[ast.stmt] = []
        if isinstance(target, ast.Attribute):
            made, target = (
                [_set(of, self.visit(target.value))],
                ast.Attribute(of, target.attr, ast.Store()),
            )
        elif isinstance(target, ast.Subscript) and not isinstance(target.slice, ast.Slice):
            made = [
                _set(of, self.visit(target.value)),
                _set(index, self.visit(target.slice)),
                self._guard(of),
            ]
            target = ast.Subscript(of, index, ast.Store())
        looked_at = ast.parse(ast.unparse(target), mode="eval").body
        made += [_set(value, self.visit(node.value)), self._guard(looked_at), self._guard(value)]
        return [*made, ast.AugAssign(target, node.op, value)]

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        if not isinstance(node.ctx, ast.Load) or self._is_trusted(node.value):
            return ast.Subscript(self.visit(node.value), self.visit(node.slice), node.ctx)
        if _is_still(node.slice):
            return ast.Subscript(self._guarded(node.value), self._guarded(node.slice), node.ctx)
        value, index, last, step = self._names("value", "index", "last", "step")
        if not isinstance(node.slice, ast.Slice):
            return self._checked(
                [value, index], ast.Subscript(value, index, ast.Load()), [node.value, node.slice]
            )
        bounds = [node.slice.lower, node.slice.upper, node.slice.step]
        names = [index, last, step]
        part = ast.Slice(
            *(name if bound else None for name, bound in zip(names, bounds, strict=True))
        )
        given = [(name, bound) for name, bound in zip(names, bounds, strict=True) if bound]
        return self._checked(
            [value, *(name for name, _ in given)],
            ast.Subscript(value, part, ast.Load()),
            [node.value, *(bound for _, bound in given)],
        )

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """Arguments of the tested code go to it as they are, those of builtins, modules and
        methods are guarded.
        """
        func, s = node.func, self._s
        args, keywords = (
            [self.visit(each) for each in node.args],
            [self._keyword(each) for each in node.keywords],
        )
        if isinstance(func, ast.Attribute) and not self._is_trusted(func.value):
            if func.attr in _COMPARES_NOTHING:
                return ast.Call(self.visit(func), args, keywords)
            value = _name(f"value_{s}")
            guard = f"method_guard_{s}(value_{s}, {func.attr!r}, args_{s}, kwargs_{s})"
            call = f"value_{s}.{func.attr}(*args_{s}, **kwargs_{s})"
            return self._lambda(
                [value], f"({guard}, {call})[1]", [self.visit(func.value), *args], keywords
            )
        is_real = isinstance(func, ast.Name) and func.id in self._real
        if not is_real and not (
            isinstance(func, ast.Name | ast.Attribute) and self._is_trusted(func)
        ):
            return ast.Call(self.visit(func), args, keywords)
        name = func.id if isinstance(func, ast.Name) else ""
        if name in _ASKS_NOTHING or not (args or keywords):
            return ast.Call(self.visit(func), args, keywords)
        guard = f"guards_{s}({name not in _TAKES_ALL and is_real}, args_{s}, kwargs_{s})"
        call = f"{ast.unparse(self.visit(func))}(*args_{s}, **kwargs_{s})"
        return self._lambda([], f"({guard}, {call})[1]", args, keywords)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.stmt:
        outside, self._in_class = self._in_class, True
        self.generic_visit(node)
        self._in_class = outside
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.stmt:
        outside, self._in_class = self._in_class, False
        node.returns = None
        self.generic_visit(node)
        self._in_class = outside
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        """In a class the annotation stays: a dataclass reads it."""
        node.value = self.visit(node.value) if node.value else None
        if self._in_class:
            return node
        return ast.Assign([node.target], node.value) if node.value else ast.Pass()

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(node.arg)

    def _guard(self, node: ast.expr) -> ast.stmt:
        return ast.Expr(ast.Call(_name(f"guard_{self._s}"), [node], []))

    def _keyword(self, node: ast.keyword) -> ast.keyword:
        return ast.keyword(node.arg, self.visit(node.value))

    def _compared(
        self, left: ast.expr, ops: Sequence[ast.cmpop], others: Sequence[ast.expr]
    ) -> ast.expr:
        first, second = self._names("left", "right")
        compared: ast.expr = ast.Compare(first, [ops[0]], [second])
        if not isinstance(ops[0], ast.Is | ast.IsNot):
            compared = self._after_guards([first, second], compared)
        if len(ops) > 1:
            compared = ast.BoolOp(
                ast.And(), [compared, self._compared(second, ops[1:], others[1:])]
            )
        return ast.Call(ast.Lambda(_parameters([first, second]), compared), [left, others[0]], [])

    def _checked(
        self, names: Sequence[ast.Name], result: ast.expr, operands: Sequence[ast.expr]
    ) -> ast.expr:
        """`result`, of operands under `names`, once all of them are there and are found to be
        plain data.
        """
        body = self._after_guards(names, result)
        return ast.Call(
            ast.Lambda(_parameters(names), body), [self.visit(each) for each in operands], []
        )

    def _after_guards(self, names: Sequence[ast.Name], result: ast.expr) -> ast.expr:
        guards = [ast.Call(_name(f"guard_{self._s}"), [name], []) for name in names]
        return ast.Subscript(ast.Tuple([*guards, result], ast.Load()), ast.Constant(-1), ast.Load())

    def _lambda(
        self,
        names: Sequence[ast.Name],
        body: str,
        args: list[ast.expr],
        keywords: list[ast.keyword],
    ) -> ast.expr:
        parameters = _parameters(names)
        parameters.vararg, parameters.kwarg = (
            ast.arg(f"args_{self._s}"),
            ast.arg(f"kwargs_{self._s}"),
        )
        return ast.Call(ast.Lambda(parameters, ast.parse(body, mode="eval").body), args, keywords)

    def _guarded(self, node: ast.expr) -> ast.expr:
        visited: ast.expr = self.visit(node)
        if isinstance(
            node, ast.Constant | ast.Compare | ast.JoinedStr | ast.BinOp | ast.UnaryOp | ast.BoolOp
        ):
            return visited  # of plain data comes plain data
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in _GIVES_PLAIN & {*self._real}
        ):
            return visited
        return ast.Call(_name(f"guard_{self._s}"), [visited], [])

    def _is_trusted(self, node: ast.expr) -> bool:
        """Whether it is a module or a builtin, or an attribute of one."""
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and (node.id in self._trusted or node.id in self._real)

    def _names(self, *names: str) -> list[ast.Name]:
        return [_name(f"{name}_{self._s}") for name in names]


def _is_still(node: ast.expr) -> bool:
    """Whether nothing happens when it is evaluated: what was found plain before is so after."""
    return isinstance(node, ast.Constant | ast.Name)


def _name(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _set(target: ast.Name, value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name(target.id, ast.Store())], value)


def _parameters(names: Sequence[ast.Name]) -> ast.arguments:
    return ast.arguments(
        posonlyargs=[],
        args=[ast.arg(name.id) for name in names],
        kwonlyargs=[],
        kw_defaults=[],
        defaults=[],
    )
