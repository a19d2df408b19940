"""Code quality of Python: leftovers, shape, names, habits, work without effect."""

from __future__ import annotations

import ast
import builtins
import io
import re
import tokenize
from collections.abc import Iterator

from markbook.scoring.teachers.static.findings import Finding, product, same
from markbook.scoring.teachers.static.submission import Submission

_HIDEABLE = frozenset(name for name in dir(builtins) if name.islower() and not name.startswith("_"))
_SHORT_NAMES = frozenset("abcdijkmnsxyz_")
_LINE = 100  # characters
_STATEMENTS = 25
_DEPTH = 3  # blocks inside each other


def quality(submission: Submission, reasons: list[str]) -> float:
    """In [0, 1]. Raises tokenize.TokenError for incomplete code."""
    parts = (_leftovers, _idle_statements, _shape, _names, _habits)
    return product((finding for part in parts for finding in part(submission)), reasons)


def comments(code: str) -> list[str]:
    """Raises tokenize.TokenError for incomplete code."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return [token.string for token in tokens if token.type == tokenize.COMMENT]


def _leftovers(submission: Submission) -> Iterator[Finding]:
    read = {node.id for node in ast.walk(submission.tree) if isinstance(node, ast.Name)}
    asked = submission.function
    for number, statement in enumerate(submission.tree.body):
        match statement:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ):
                if asked not in ast.walk(statement) and (name == asked.name or name not in read):
                    yield 0.7, f"{name} is defined beside what was asked and not used"
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                if not {(alias.asname or alias.name).split(".")[0] for alias in names} <= read:
                    yield 0.85, "imports what it does not use"
            case ast.Assign() | ast.AnnAssign():
                pass
            case ast.Expr(value=ast.Constant()) if number == 0:
                pass
            case _:
                yield 0.75, "statements are left outside the function"


def _idle_statements(submission: Submission) -> Iterator[Finding]:
    for node in submission.nodes:
        yield from _idle_statement(node, submission.asked.returns)


def _idle_statement(node: ast.AST, returns: bool) -> Iterator[Finding]:
    match node:
        case ast.Call(func=ast.Name(id="print" | "input" as name)) if returns:
            yield 0.7, f"calls {name} inside the function"
        case ast.Expr(value=ast.Call() | ast.Await() | ast.Yield() | ast.YieldFrom()):
            pass
        case ast.Expr():
            yield 0.8, "an expression without effect"
        case ast.Pass():
            yield 0.9, "a pass is left"


def _shape(submission: Submission) -> Iterator[Finding]:
    for line in submission.code.splitlines():
        if len(line) > _LINE:
            yield 0.9, f"a line is longer than {_LINE} characters"
    statements = sum(isinstance(node, ast.stmt) for node in submission.nodes)
    if statements > _STATEMENTS:
        yield _STATEMENTS / statements, f"longer than {_STATEMENTS} statements"
    remarks = len(comments(submission.code))
    if remarks > statements:
        yield statements / remarks, "more comments than statements"
    depth = _depth(submission.body)
    if depth > _DEPTH:
        yield 0.8 ** (depth - _DEPTH), f"blocks nested deeper than {_DEPTH}"
    for block in [
        submission.body,
        *(block for node in submission.nodes for block in _own_blocks(node)),
    ]:
        if any(
            isinstance(statement, ast.Return | ast.Raise | ast.Continue | ast.Break)
            for statement in block[:-1]
        ):
            yield 0.6, "statements that are never reached"


def _names(submission: Submission) -> Iterator[Finding]:
    given = {*submission.parameters, *submission.asked.parameters}
    stored = {
        node.id
        for node in submission.nodes
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    for name in sorted(stored - given):
        if len(name) == 1 and name not in _SHORT_NAMES:
            yield 0.95, "names of one letter"
        if len(name) > 30:
            yield 0.9, "names longer than 30 characters"
        if not re.fullmatch(r"[a-z0-9_]+|[A-Z0-9_]+", name):
            yield 0.95, "names that are not in snake_case"
        if name in _HIDEABLE:
            yield 0.85, f"{name} hides the built-in of that name"
    for name in sorted(submission.flow.idle):
        yield 0.85, f"{name} is set and does not matter for the result"


def _habits(submission: Submission) -> Iterator[Finding]:
    """Bad habits, and operations with a fixed outcome, which look like work."""
    for node in submission.nodes:
        yield from _fixed_operation(node)
        yield from _fixed_branch(node)
        match node:
            case ast.ExceptHandler(type=None):
                yield 0.8, "catches every exception"
            case ast.Global() | ast.Nonlocal():
                yield 0.8, "changes names outside the function"
    if any(
        isinstance(default, ast.List | ast.Dict | ast.Set)
        for default in submission.function.args.defaults
    ):
        yield 0.8, "a default that calls share"


def _fixed_operation(node: ast.AST) -> Iterator[Finding]:
    match node:
        case ast.Compare(
            ops=[ast.Eq() | ast.NotEq()], comparators=[ast.Constant(value=None | True | False)]
        ):
            yield 0.9, "compares with == where `is` or nothing is meant"
        case ast.Compare(left=left, comparators=[right, *_]) if same(left, right):
            yield 0.6, "compares a value with itself"
        case ast.BinOp(
            left=left, op=ast.Sub() | ast.Div() | ast.FloorDiv() | ast.Mod(), right=right
        ) if same(left, right):
            yield 0.6, "takes a value from itself"
        case ast.Assign(targets=[ast.Name(id=target)], value=ast.Name(id=source)) if (
            target == source
        ):
            yield 0.7, "assigns a name to itself"


def _fixed_branch(node: ast.AST) -> Iterator[Finding]:
    match node:
        case ast.If(test=ast.Constant()) | ast.IfExp(test=ast.Constant()):
            yield 0.6, "a test whose outcome is fixed"
        case ast.If(body=body, orelse=orelse) if same_all(body, orelse):
            yield 0.6, "both branches are the same"
        case ast.IfExp(body=left, orelse=right) if same(left, right):
            yield 0.6, "both branches are the same"


def same_all(first: list[ast.stmt], second: list[ast.stmt]) -> bool:
    return len(first) == len(second) and all(map(same, first, second))


def _depth(block: list[ast.stmt]) -> int:
    return max((_statement_depth(statement) for statement in block), default=0)


def _statement_depth(statement: ast.stmt) -> int:
    match statement:
        case ast.If(body=body, orelse=[ast.If() as chained]):  # elif reads as the same level
            return max(1 + _depth(body), _statement_depth(chained))
    return max((1 + _depth(block) for block in _own_blocks(statement)), default=0)


def _own_blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """The blocks of statements right inside a statement."""
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list) and block:
            yield block
    for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        yield part.body
