"""Samples that only recognize their tests' inputs: a table of what is asked and expected in
place of a solution.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

_BLOCK = re.compile(r"^ {0,3}```[^\n]*\n(.*?)(?:^ {0,3}```|\Z)", re.MULTILINE | re.DOTALL)
_COMMON = frozenset(map(repr, (0, 1, -1, 2, "", [], {}, (), True, False, None)))
"""Literals that any solution may hold."""


def memorizes_tests(text: str, tests: Sequence[str]) -> bool:
    """Whether the code in `text` holds the inputs and the result of every informative test, and of
    at least two.

    A test is informative when it compares one call with a literal and not all its literals are
    common ones. Code that happens to hold some (limits of a scale, say) misses others.
    """
    telling = [found for test in tests if (found := _literals_of(test)) and not found <= _COMMON]
    if len(telling) < 2:
        return False
    block = _BLOCK.search(text)
    try:
        code = ast.parse(block[1] if block else text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    held = set(_literals(code))
    return all(found - _COMMON <= held for found in telling)


def _literals_of(test: str) -> set[str]:
    """What goes in and what has to come out; empty where the test has another form."""
    try:
        statement = ast.parse(test).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    if len(statement) != 1 or not isinstance(statement[0], ast.Assert):
        return set()
    match statement[0].test:
        case ast.Compare(left=ast.Call(args=arguments), ops=[ast.Eq()], comparators=[expected]):
            parts = [*arguments, expected]
            values = [_value(part) for part in parts]
            return {value for value in values if value is not None} if None not in values else set()
    return set()


def _literals(code: ast.Module) -> Iterator[str]:
    for node in ast.walk(code):
        if isinstance(node, ast.expr) and (value := _value(node)) is not None:
            yield value


def _value(node: ast.expr) -> str | None:
    """The literal as `repr` writes it; None for any other expression."""
    try:
        return repr(ast.literal_eval(node))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
