"""Python, by the interpreter that would run it: its compiler is surer than any grammar, but knows no newer syntax."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import sys
from collections.abc import Callable

from services.scoring.quiet import quietly

# what later versions added: (version, pattern of the error's message or line)
_NEWER = (
    (
        (3, 12),
        r"^f-string|\b[fF][rR]?[\"']|\b[rR][fF][\"']"
        r"|^\s*type\s+\w+.*=|^\s*(?:async\s+)?def\s+\w+\s*\[|^\s*class\s+\w+\s*\[",
    ),
    ((3, 14), r"^multiple exception types must be parenthesized|\b[tT][rR]?[\"']|\b[rR][tT][\"']"),
)
_NEWER_PATTERNS = [re.compile(pattern) for version, pattern in _NEWER if sys.version_info < version]

_OWN_NAMES = {*dir(builtins), "__file__"}


def fault(code: str, newer_reads_it: Callable[[], bool]) -> str | None:
    """Why CPython will not compile `code`: `indentation`, `syntax_error`, or nothing.

    Nothing too for what only a newer Python may read, if a grammar of it does (`newer_reads_it`, asked only then), and
    for what is too deep for this one.
    """
    error = _compile(code)
    if error is None or (_is_newer(error) and newer_reads_it()):
        return None
    if code[:1].isspace() and _compile("def _():\n" + code.lstrip("\r\n")) is None:
        return None  # an indented text may be the body of the function that the task began
    return "indentation" if isinstance(error, IndentationError) else "syntax_error"


def undefined(code: str) -> set[str]:
    """The names that `code`, which compiles, reads and neither defines nor finds among Python's own.

    With `import *` that is none: they may all come from there.
    """
    with quietly():
        module = symtable.symtable(code, "<sample>", "exec")
    tables = [module]
    for table in tables:
        tables.extend(table.get_children())
    symbols = [symbol for table in tables for symbol in table.get_symbols()]
    read = {symbol.get_name() for symbol in symbols if symbol.is_referenced() and symbol.is_global()}
    bound = {
        symbol.get_name()
        for symbol in symbols
        if symbol.is_assigned() or symbol.is_imported() or symbol.is_parameter() or symbol.is_namespace()
    }
    return set() if "import *" in code else read - bound - _OWN_NAMES


def _compile(code: str) -> SyntaxError | ValueError | None:
    with quietly():
        try:
            compile(code, "<sample>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        except (SyntaxError, ValueError) as error:  # ValueError: null bytes, lone surrogates
            return error
        except (RecursionError, MemoryError, OverflowError):
            return None
    return None


def _is_newer(error: SyntaxError | ValueError) -> bool:
    if not isinstance(error, SyntaxError):
        return False
    return any(pattern.search(said) for pattern in _NEWER_PATTERNS for said in (error.msg, error.text or ""))
