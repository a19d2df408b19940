"""Python, by the interpreter that would run it: its compiler is surer than any grammar, but
knows no newer syntax.
"""

from __future__ import annotations

import ast
import builtins
import codeop
import inspect
import re
import symtable
import sys
from collections.abc import Callable
from types import CodeType

from markbook.scoring.parser_warnings import suppress_warnings

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

Compiled = CodeType | SyntaxError | ValueError | None

_INCOMPLETE = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | codeop.PyCF_ALLOW_INCOMPLETE_INPUT  # type: ignore[attr-defined]
_HALF = re.compile(r"(?:\w+|!|(?<!\.)\.{1,2}|(?<=\w)\s*:)\Z")
"""What more text may make another token of: half a word, `!=`, `...`, `:=`."""
_NEVER_CLOSED = re.compile(r"'[(\[{]' was never closed|expected 'else' after 'if' expression")

_OWN_NAMES = {*dir(builtins), "__file__"}


def compile_code(code: str) -> Compiled:
    """Compile `code` as a module: the code object, the error, or None where it is nested too
    deeply to decide.
    """
    with suppress_warnings():
        try:
            module: CodeType = compile(
                code, "<sample>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
            )
        except (SyntaxError, ValueError) as error:  # ValueError: null bytes, lone surrogates
            return error
        except (RecursionError, MemoryError, OverflowError):
            return None
    return module


def fault(code: str, compiled: Compiled, is_valid_in_newer: Callable[[], bool]) -> str | None:
    """Why CPython will not compile `code`: `indentation`, `syntax_error`, or None.

    `compiled` is the result of `compile_code`. Also None for code nested too deeply for this
    interpreter, and for syntax that only a newer Python may have, if the grammar accepts it
    (`is_valid_in_newer`, called only then).
    """
    if not isinstance(compiled, Exception) or (_is_newer(compiled) and is_valid_in_newer()):
        return None
    if code[:1].isspace() and not isinstance(
        compile_code("def _():\n" + code.lstrip("\r\n")), Exception
    ):
        return None  # an indented text may be the body of the function that the task began
    return "indentation" if isinstance(compiled, IndentationError) else "syntax_error"


def is_incomplete(code: str) -> bool:
    """Whether more text could make Python of `code`, which has an open bracket: what breaks it is
    that it ends.

    Its last token may be half of one, and is not held against it; nor is what only a newer Python
    may read.
    """
    begun = _HALF.sub("", code)
    with suppress_warnings():
        try:
            text = f"def _():\n{begun}" if begun[:1].isspace() else begun
            compile(text, "<sample>", "exec", flags=_INCOMPLETE, dont_inherit=True)
        except SyntaxError as error:
            # without its last word it may end in a place where the compiler has a better message
            # for the same
            return (
                error.msg == "incomplete input"
                or _NEVER_CLOSED.match(error.msg) is not None
                or _is_newer(error)
            )
        except (ValueError, RecursionError, MemoryError, OverflowError):
            return True
    return True


def has_variables(module: CodeType) -> bool:
    """Whether a function in it has a variable beside its parameters: then it is no stub, nor
    nothing but comments.
    """
    parts = [module]
    for part in parts:
        stars = bool(part.co_flags & inspect.CO_VARARGS) + bool(
            part.co_flags & inspect.CO_VARKEYWORDS
        )
        if part.co_nlocals > part.co_argcount + part.co_kwonlyargcount + stars:
            return True
        parts.extend(constant for constant in part.co_consts if isinstance(constant, CodeType))
    return False


def undefined_names(code: str) -> set[str]:
    """The names that `code`, which compiles, reads and neither defines nor finds among Python's
    own.

    None with `import *`: all names may come from there.
    """
    with suppress_warnings():
        module = symtable.symtable(code, "<sample>", "exec")
    tables = [module]
    for table in tables:
        tables.extend(table.get_children())
    symbols = [symbol for table in tables for symbol in table.get_symbols()]
    read = {
        symbol.get_name() for symbol in symbols if symbol.is_referenced() and symbol.is_global()
    }
    bound = {
        symbol.get_name()
        for symbol in symbols
        if symbol.is_assigned()
        or symbol.is_imported()
        or symbol.is_parameter()
        or symbol.is_namespace()
    }
    return set() if "import *" in code else read - bound - _OWN_NAMES


def _is_newer(error: SyntaxError | ValueError) -> bool:
    if not isinstance(error, SyntaxError):
        return False
    return any(
        pattern.search(said)
        for pattern in _NEWER_PATTERNS
        for said in (error.msg, error.text or "")
    )
