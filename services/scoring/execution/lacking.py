"""What Monty lacks and CPython has: an error for want of that is no failure of the tested code."""

from __future__ import annotations

import ast
import builtins
import re
import sys

_CONSUMERS = frozenset(
    [
        "all",
        "any",
        "dict",
        "frozenset",
        "list",
        "max",
        "min",
        "set",
        "sorted",
        "sum",
        "tuple",
        "bytes",
        "bytearray",
        "Counter",
        "deque",
    ]
)
_LAZY = frozenset(["enumerate", "filter", "map", "reversed", "zip"])
_NAME = re.compile(r"name '(\w+)' is not defined")
_MODULE = re.compile(r"No module named '(\w+)")
_OF_MODULE = re.compile(r"module '(\w+)[\w.]*' has no attribute|cannot import name '\w+' from '(\w+)")
_OF_TYPE = re.compile(r"'(\w+)' object has no attribute '(\w+)'")
_PARSER = re.compile(r"not (?:yet )?support|not supported|not implemented")


def lacking(error: BaseException) -> str | None:
    """Why the sandbox cannot run this, where `error` says so; None when CPython would have failed as well."""
    text = str(error)[:500]
    if isinstance(error, NotImplementedError) and _PARSER.search(text):
        return text
    if isinstance(error, ImportError | AttributeError):
        found = _MODULE.search(text) or _OF_MODULE.search(text)
        if found is not None:
            return text if set(found.groups()) & sys.stdlib_module_names else None
    if isinstance(error, NameError) and (found := _NAME.search(text)):
        return text if hasattr(builtins, found[1]) else None
    if isinstance(error, AttributeError) and (found := _OF_TYPE.search(text)):
        kind = getattr(builtins, found[1], None) or {"NoneType": type(None), "function": type(lacking)}.get(found[1])
        return text if kind is not None and hasattr(kind, found[2]) else None
    return None


def lazy_value(code: ast.AST) -> str | None:
    """A generator, `map`, `zip`, … in `code` that is kept or returned: Monty makes lists of them, CPython does not."""
    parents = {child: node for node in ast.walk(code) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(code):
        lazy = isinstance(node, ast.GeneratorExp) or (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _LAZY
        )
        if lazy and not _is_consumed(node, parents[node]):
            return f"line {getattr(node, 'lineno', 0)}: a lazy value is a list here"
    return None


def _is_consumed(node: ast.AST, parent: ast.AST) -> bool:
    if isinstance(parent, ast.For | ast.AsyncFor | ast.comprehension):
        return parent.iter is node
    if isinstance(parent, ast.Starred | ast.Compare | ast.Expr):
        return True
    if isinstance(parent, ast.Assign):
        return isinstance(parent.targets[0], ast.Tuple | ast.List)
    if isinstance(parent, ast.Call):
        if isinstance(parent.func, ast.Attribute):
            return parent.func.attr in ("join", "extend", "update", "union", "intersection", "fromkeys")
        return isinstance(parent.func, ast.Name) and parent.func.id in _CONSUMERS | _LAZY
    return False
