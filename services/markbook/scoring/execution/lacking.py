"""What Monty lacks or does otherwise than CPython: for want of that a test is no failure of the tested code."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass

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
_CONSUMING_METHODS = frozenset(["extend", "fromkeys", "intersection", "join", "union", "update"])
_NAME = re.compile(r"name '(\w+)' is not defined")
_MODULE = re.compile(r"No module named '(\w+)")
_OF_MODULE = re.compile(r"module '(\w+)[\w.]*' has no attribute|cannot import name '\w+' from '(\w+)")
_OF_TYPE = re.compile(r"(?:type object )?'([\w.]+)'(?: object)? has no attribute '(\w+)'")
_PARSER = re.compile(r"not (?:yet )?support|not supported|not implemented")
_TEMPLATE = re.compile(r"\\[1-9][A-Za-z_]")
_TYPES: dict[str, type] = {
    "NoneType": type(None),
    "function": type(re.sub),
    "re.Match": re.Match,
    "re.Pattern": re.Pattern,
}


@dataclass(frozen=True)
class Lacking:
    """What of the tested code the sandbox does otherwise. Found once a sample, from its text alone."""

    lazy: str | None = None
    """A generator, `map`, `zip`, … that is kept or returned: a list here, so that even a pass proves nothing."""
    sets: bool = False
    """Sets, whose order is another one here."""
    templates: bool = False
    """Replacements such as `\\1_`, which this sandbox's regular expressions read otherwise."""
    adds_in_place: bool = False
    """`+=`, which extends a list by any iterable only under CPython."""
    classes: frozenset[str] = frozenset()
    """Classes that are defined: their special methods are not all known here."""

    def of_error(self, error: BaseException) -> str | None:
        """Why the sandbox cannot run this, where `error` says so; None when CPython would have failed as well."""
        text = str(error)[:500]
        if isinstance(error, NotImplementedError):
            return text if _PARSER.search(text) else None
        if isinstance(error, ImportError | AttributeError):
            found = _MODULE.search(text) or _OF_MODULE.search(text)
            if found is not None:
                return text if set(found.groups()) & sys.stdlib_module_names else None
        if isinstance(error, NameError):
            found = _NAME.search(text)
            return text if found is not None and hasattr(builtins, found[1]) else None
        if isinstance(error, AttributeError) and (found := _OF_TYPE.search(text)):
            kind = _TYPES.get(found[1]) or getattr(builtins, found[1], None)
            return text if kind is not None and hasattr(kind, found[2]) else None
        return self._of_type_error(text) if isinstance(error, TypeError) else None

    def of_difference(self, expected: str, got: str) -> str | None:
        """Why a wrong value may come from the sandbox; both as the message shows them."""
        if self.templates:
            return r"a replacement such as \1_ is read otherwise here"
        if self.sets and expected != got and sorted(expected) == sorted(got):
            return "the order of a set is another one here"
        return None

    def _of_type_error(self, text: str) -> str | None:
        if "'list' object is not an iterator" in text:
            return text
        if self.adds_in_place and "can only concatenate list" in text:
            return text
        return text if any(f"'{name}'" in text for name in self.classes) else None


def find_lacking(code: str, tree: ast.Module) -> Lacking:
    """What the sandbox does otherwise in `code`, whose tree is `tree`."""
    nodes = list(ast.walk(tree))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return Lacking(
        lazy=_lazy_value(nodes),
        sets=bool(names & {"set", "frozenset"}) or any(isinstance(node, ast.Set | ast.SetComp) for node in nodes),
        templates=_TEMPLATE.search(code) is not None,
        adds_in_place=any(isinstance(node, ast.AugAssign) for node in nodes),
        classes=frozenset(node.name for node in nodes if isinstance(node, ast.ClassDef)),
    )


def _lazy_value(nodes: list[ast.AST]) -> str | None:
    parents = {child: node for node in nodes for child in ast.iter_child_nodes(node)}
    names = [node for node in nodes if isinstance(node, ast.Name)]
    for node in nodes:
        lazy = isinstance(node, ast.GeneratorExp) or (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _LAZY
        )
        if lazy and not _is_consumed(node, parents[node], parents, names):
            return f"line {getattr(node, 'lineno', 0)}: a lazy value is a list here"
    return None


def _is_consumed(node: ast.AST, parent: ast.AST, parents: Mapping[ast.AST, ast.AST], names: list[ast.Name]) -> bool:
    if isinstance(parent, ast.For | ast.AsyncFor | ast.comprehension):
        return parent.iter is node
    if isinstance(parent, ast.Starred | ast.Compare | ast.Expr):
        return True
    if isinstance(parent, ast.Assign):
        target = parent.targets[0]
        if isinstance(target, ast.Name):  # kept under a name that is read once, to be consumed
            uses = [use for use in names if use.id == target.id and use is not target]
            return (
                len(uses) == 1
                and not isinstance(parents[uses[0]], ast.Assign)
                and _is_consumed(uses[0], parents[uses[0]], parents, names)
            )
        return isinstance(target, ast.Tuple | ast.List)
    if isinstance(parent, ast.Call):
        if isinstance(parent.func, ast.Attribute):
            return parent.func.attr in _CONSUMING_METHODS
        return isinstance(parent.func, ast.Name) and parent.func.id in _CONSUMERS | _LAZY
    return False
