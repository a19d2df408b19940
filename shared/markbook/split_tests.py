"""Splits a test function such as HumanEval's `check(candidate)` into tests that each run by
themselves.
"""

from __future__ import annotations

import ast


def split_check(source: str, entry_point: str) -> tuple[str, list[str]]:
    """Setup and tests of `source`, which defines a function of one argument that gets `entry_point`
    and asserts.

    Each assert of the function's body is a test, after the assignments and definitions above it; a
    loop with asserts is one test. A source without such a function is one test as a whole.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "", [source] if source.strip() else []
    check = next(
        (
            node
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and len(node.args.args) == 1
        ),
        None,
    )
    if check is None or any(
        isinstance(node, ast.Return | ast.Yield | ast.Await) for node in _own(check)
    ):
        return "", [source] if source.strip() else []
    name = check.args.args[0].arg
    setup = [node for node in tree.body if node is not check and not _is_idle(node, check.name)]
    if name != entry_point:
        setup.append(ast.parse(f"{name} = {entry_point}").body[0])
    above: list[ast.stmt] = []
    tests: list[str] = []
    for node in check.body:
        if any(isinstance(each, ast.Assert) for each in ast.walk(node)):
            if not (
                isinstance(node, ast.Assert)
                and isinstance(node.test, ast.Constant)
                and node.test.value
            ):
                tests.append(_source([*above, node]))
        elif not _is_idle(node, check.name):
            above.append(node)
    return _source(setup), tests


def _own(function: ast.FunctionDef) -> list[ast.AST]:
    """The function's nodes, those of functions within it left out."""
    found: list[ast.AST] = []
    left: list[ast.AST] = list(function.body)
    while left:
        node = left.pop()
        found.append(node)
        if not isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            left += ast.iter_child_nodes(node)
    return found


def _is_idle(node: ast.stmt, check: str) -> bool:
    """Whether a statement does nothing for a test: a docstring, `pass`, a print, METADATA, the
    call of `check`.
    """
    if isinstance(node, ast.Expr):
        called = node.value.func if isinstance(node.value, ast.Call) else None
        return isinstance(node.value, ast.Constant) or (
            isinstance(called, ast.Name) and called.id in (check, "print")
        )
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id == "METADATA"
    return isinstance(node, ast.Pass)


def _source(nodes: list[ast.stmt]) -> str:
    return ast.unparse(ast.Module(nodes, []))
