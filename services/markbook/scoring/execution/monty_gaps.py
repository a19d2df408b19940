"""What Monty lacks or does otherwise than CPython: a test that needs it is not a failure of the
tested code.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
from dataclasses import dataclass

from markbook.scoring.execution.guest.name_resolution import bound_names

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
_OF_MODULE = re.compile(
    r"module '(\w+)[\w.]*' has no attribute|cannot import name '\w+' from '(\w+)"
)
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
class UnsupportedFeatures:
    """Features of the tested code that the sandbox implements differently, found by static
    analysis.
    """

    lazy: str | None = None
    """A generator, `map`, `zip`, … that is stored or returned: a list in the sandbox, so even a
    pass proves nothing.
    """
    sets: bool = False
    """Sets, whose iteration order differs in the sandbox."""
    templates: bool = False
    """Replacements such as `\\1_`, which the sandbox's regular expressions parse differently."""
    adds_in_place: bool = False
    """`+=`, which extends a list by any iterable only in CPython."""
    classes: frozenset[str] = frozenset()
    """Classes defined in the code: the sandbox lacks some special methods."""
    bound: frozenset[str] = frozenset()
    """All names that the code binds."""
    hidden: str | None = None
    """`eval`, `exec`: what runs is not in the source, so even a pass proves nothing."""

    def may_bind(self, names: frozenset[str]) -> str | None:
        """One of `names` that the code may have rebound, or None."""
        return min(names if self.hidden else names & self.bound, default=None)

    def explain_error(self, error: BaseException) -> str | None:
        """Why the sandbox cannot run this code, judging by `error`; None when CPython would fail
        as well.
        """
        text = str(error)[:500]
        if isinstance(error, NotImplementedError):
            return text if _PARSER.search(text) else None
        if isinstance(error, RuntimeError) and text.startswith("Internal error in monty"):
            return text
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

    def explain_difference(self, expected: str, got: str) -> str | None:
        """Why a wrong value may be due to the sandbox; both values as shown in the message."""
        if self.templates:
            return r"a replacement such as \1_ is parsed differently in the sandbox"
        if self.sets and expected != got and sorted(expected) == sorted(got):
            return "the iteration order of a set differs in the sandbox"
        return None

    def _of_type_error(self, text: str) -> str | None:
        if "'list' object is not an iterator" in text:
            return text
        if self.adds_in_place and "can only concatenate list" in text:
            return text
        return text if any(f"'{name}'" in text for name in self.classes) else None


def find_unsupported(code: str, tree: ast.Module) -> UnsupportedFeatures:
    """The features of `code` (syntax tree `tree`) that the sandbox implements differently."""
    nodes = list(ast.walk(tree))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    bound = frozenset(bound_names(tree))
    own_nodes = [
        node
        for node in tree.body
        if not (isinstance(node, ast.ImportFrom) and node.module == "collections")
    ]
    return UnsupportedFeatures(
        lazy=_Lazy(nodes, frozenset(bound_names(ast.Module(own_nodes, [])))).reason(),
        sets=bool(names & {"set", "frozenset"})
        or any(isinstance(node, ast.Set | ast.SetComp) for node in nodes),
        templates=_TEMPLATE.search(code) is not None,
        adds_in_place=any(isinstance(node, ast.AugAssign) for node in nodes),
        classes=frozenset(node.name for node in nodes if isinstance(node, ast.ClassDef)),
        bound=bound,
        hidden="eval and exec run code that is not in the source"
        if names & {"eval", "exec"}
        else None,
    )


class _Lazy:
    """Finds lazy values that are not fully consumed where they are created."""

    def __init__(self, nodes: list[ast.AST], bound: frozenset[str]) -> None:
        self._nodes = nodes
        self._parents = {child: node for node in nodes for child in ast.iter_child_nodes(node)}
        self._names = [node for node in nodes if isinstance(node, ast.Name)]
        # a function that the code itself names `list` or `join` may pass the value on
        self._functions = (_CONSUMERS | _LAZY) - bound
        self._methods = _CONSUMING_METHODS - bound

    def reason(self) -> str | None:
        for node in self._nodes:
            called = (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in _LAZY
            )
            if isinstance(node, ast.GeneratorExp) or called:
                kept = not self._is_consumed(node)
            else:  # `m = map` may be called anywhere
                kept = isinstance(node, ast.Name) and node.id in _LAZY and not self._is_called(node)
            if kept:
                return f"line {getattr(node, 'lineno', 0)}: a lazy value is a list in the sandbox"
        return None

    def _is_called(self, node: ast.Name) -> bool:
        parent = self._parents[node]
        return not isinstance(node.ctx, ast.Load) or (
            isinstance(parent, ast.Call) and parent.func is node
        )

    def _is_consumed(self, node: ast.AST) -> bool:
        parent = self._parents[node]
        if isinstance(parent, ast.For | ast.AsyncFor | ast.comprehension):
            return parent.iter is node
        if isinstance(parent, ast.Compare):
            return all(isinstance(each, ast.In | ast.NotIn) for each in parent.ops)
        if isinstance(parent, ast.Starred | ast.Expr):
            return True
        if isinstance(parent, ast.Assign):
            target = parent.targets[0]
            if isinstance(target, ast.Name):  # kept under a name that is read once, to be consumed
                uses = [use for use in self._names if use.id == target.id and use is not target]
                is_last = len(uses) == 1 and not isinstance(self._parents[uses[0]], ast.Assign)
                return is_last and self._is_consumed(uses[0])
            return isinstance(target, ast.Tuple | ast.List)
        if isinstance(parent, ast.Call):
            if isinstance(parent.func, ast.Attribute):
                return parent.func.attr in self._methods
            return isinstance(parent.func, ast.Name) and parent.func.id in self._functions
        return False
