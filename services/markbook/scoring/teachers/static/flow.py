"""Data flow from a function's parameters to its result: names depend on assignments and
conditions.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

RESULT = "<result>"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Flow:
    """`reached`: every name that the result depends on.

    `idle`: names assigned that it does not depend on.
    """

    reached: frozenset[str]
    idle: frozenset[str]


def trace(function: Function, *, returns: bool) -> Flow:
    """Follow names backwards from what is returned or yielded, or, for a task without a return
    value, printed.
    """
    sources: dict[str, set[str]] = {}
    for target, names in _edges(function.body, frozenset(), returns):
        sources.setdefault(target, set()).update(names)
    reached, waiting = {RESULT}, [RESULT]
    while waiting:
        fresh = sources.get(waiting.pop(), set()) - reached
        reached |= fresh
        waiting += fresh
    stored = {
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return Flow(frozenset(reached), frozenset(stored - reached - {"_"}))


def _edges(
    body: Iterable[ast.stmt], control: frozenset[str], returns: bool
) -> Iterator[tuple[str, frozenset[str]]]:
    for statement in body:
        if isinstance(statement, Function):
            yield (
                statement.name,
                names_in(statement).difference(read_parameters(statement)) | control,
            )
            continue
        own = [
            child
            for child in ast.iter_child_nodes(statement)
            if isinstance(child, ast.expr | ast.withitem)
        ]
        read = control.union(*map(names_in, own))
        for expression in own:
            for node in ast.walk(expression):
                yield from _edges_within(node, read, returns)
        if isinstance(statement, ast.Return):
            yield RESULT, read
        for target in _targets(statement):
            yield from ((name, read) for name in _base(target))
        yield from _edges(_blocks(statement), read, returns)


def _edges_within(
    node: ast.AST, read: frozenset[str], returns: bool
) -> Iterator[tuple[str, frozenset[str]]]:
    """Those of one node of an expression; `read`: the names that its statement reads."""
    if isinstance(node, ast.Yield | ast.YieldFrom):
        yield RESULT, read
    elif isinstance(node, ast.NamedExpr):
        yield node.target.id, read
    elif isinstance(node, ast.comprehension):
        yield from ((name, names_in(node.iter)) for name in _base(node.target))
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        # a method may change the object it is called on
        yield from ((name, read) for name in _base(node.func))
    elif isinstance(node, ast.Call) and not returns:
        yield RESULT, read


def _targets(statement: ast.stmt) -> list[ast.expr]:
    if isinstance(statement, ast.Assign):
        return statement.targets
    if isinstance(statement, ast.AnnAssign | ast.AugAssign | ast.For | ast.AsyncFor):
        return [statement.target]
    if isinstance(statement, ast.With | ast.AsyncWith):
        return [item.optional_vars for item in statement.items if item.optional_vars]
    return []


def _base(target: ast.expr) -> Iterator[str]:
    """The names that an assignment to `target` changes: `a` for `a[i].b`, each of `a, b`."""
    while isinstance(target, ast.Attribute | ast.Subscript | ast.Starred):
        target = target.value
    if isinstance(target, ast.Tuple | ast.List):
        for element in target.elts:
            yield from _base(element)
    elif isinstance(target, ast.Name):
        yield target.id


def _blocks(statement: ast.stmt) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.stmt):
            yield child
        elif isinstance(child, ast.ExceptHandler | ast.match_case):
            yield from child.body


def names_in(node: ast.AST) -> frozenset[str]:
    """The names that an expression reads."""
    read = (
        child
        for child in ast.walk(node)
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Load)
    )
    return frozenset(name.id for name in read)


def read_parameters(function: Function) -> list[str]:
    arguments = function.args
    several = [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *several]
    return [argument.arg for argument in every if argument.arg != "self"]


def always_ends(body: list[ast.stmt]) -> bool:
    """Whether every path through `body` ends in a return of a value or in a raise."""
    last = body[-1]
    if isinstance(last, ast.Return):
        return last.value is not None
    if isinstance(last, ast.If):
        return bool(last.orelse) and always_ends(last.body) and always_ends(last.orelse)
    if isinstance(last, ast.With | ast.AsyncWith):
        return always_ends(last.body)
    if isinstance(last, ast.While):
        return isinstance(last.test, ast.Constant) and bool(last.test.value)
    if isinstance(last, ast.Try):
        ends = [last.orelse or last.body, *(handler.body for handler in last.handlers)]
        return all(map(always_ends, ends)) or bool(last.finalbody and always_ends(last.finalbody))
    if isinstance(last, ast.Match):
        catch_all = any(
            isinstance(case.pattern, ast.MatchAs)
            and case.pattern.pattern is None
            and not case.guard
            for case in last.cases
        )
        return catch_all and all(always_ends(case.body) for case in last.cases)
    return isinstance(last, ast.Raise)
