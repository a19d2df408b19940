"""A Python sample prepared for its marks: the tree, the function that answers the task, and its
data flow.
"""

from __future__ import annotations

import ast
import difflib
from dataclasses import dataclass

from markbook.scoring.parser_warnings import suppress_warnings
from markbook.scoring.teachers.static.flow import Flow, Function, read_parameters, trace
from markbook.scoring.teachers.static.task import TaskRequirements


@dataclass(frozen=True, slots=True)
class Submission:
    code: str
    tree: ast.Module
    asked: TaskRequirements
    function: Function
    flow: Flow
    nodes: tuple[ast.AST, ...]
    """Every node of the function's body, its docstring left out."""

    @property
    def parameters(self) -> list[str]:
        return read_parameters(self.function)

    @property
    def body(self) -> list[ast.stmt]:
        return body_of(self.function)

    def recursion(self) -> list[ast.Call]:
        """The calls of the function to itself."""
        return [
            node
            for node in self.nodes
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == self.function.name
        ]


def read_submission(code: str, asked: TaskRequirements) -> Submission | None:
    """None: it defines no function.

    Raises SyntaxError, ValueError, RecursionError, MemoryError, as ast.parse does.
    """
    with suppress_warnings():
        tree = ast.parse(code)
    functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
    if not functions:
        return None
    # of two functions with one name the later one counts, as in Python
    function = max(reversed(functions), key=lambda one: name_likeness(one.name, asked.name))
    nodes = tuple(node for statement in body_of(function) for node in ast.walk(statement))
    return Submission(code, tree, asked, function, trace(function, returns=asked.returns), nodes)


def body_of(function: Function) -> list[ast.stmt]:
    """The function's statements without its docstring."""
    return function.body[1:] if ast.get_docstring(function) is not None else function.body


def name_likeness(name: str, asked: str | None) -> float:
    """1 for the name asked for, at most 0.6 for another one."""
    return (
        1.0 if asked in (None, name) else 0.6 * difflib.SequenceMatcher(None, name, asked).ratio()
    )
