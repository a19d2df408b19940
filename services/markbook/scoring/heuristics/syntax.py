"""Invalid code: what parsers and bracket matching prove, and the most specific reason for it."""

from __future__ import annotations

import re
import time

from tree_sitter import Node, Query, QueryCursor

from markbook.scoring.heuristics import cpp, cpython
from markbook.scoring.heuristics.grammars import (
    COMMENTS,
    LANGUAGES,
    UndecidedError,
    is_valid,
    kinds,
    parse_strict,
)
from markbook.scoring.heuristics.keywords import likely_languages
from markbook.scoring.heuristics.lexing import Scan, scan

# Valid text that the grammars are known not to read: newer syntax, unstable features, rare forms.
# Where a text has any of it, an error in the tree alone proves nothing.
_GAPS = {
    "java": r"\bimport\s+module\b | \{[^{}]*;\s*(?:super|this)\s*\(",
    "javascript": r"\baccessor\s | \bimport\s+(?:defer|source)\b",
    "go": r"^\s*\w+:\s*;",
    "typescript": r"""\bexport\s+type\s*\* | [<,]\s*(?:in|out|const)\s+\w | ^\s*(?:in|out)\s+\w | \busing\s+\w
        | ^\s*[<>] | >` | ^\s*in\??: | \baccessor\s | \bimport\s+(?:defer|source)\b""",
    "rust": r"""\bdyn\s+' | \bbox\s+["\w(] | \bimpl\b[^{;]{0,200}\bconst\s | [~\[]const\b | \bauto\s+trait\b
        | \bmacro\s+\w | \(&_\) | \#!?\[[^\]]{0,200}\]\s*(?:move\s*)?\| | \bsafe\s+(?:fn|static)\b | \buse\s*<
        | \byeet\b | \$\{ | <-\s*\d | \bwhere\s+[(\[] | \btype\s+\w+\s*:[^;=]{0,200}=""",
}
_GAP_PATTERNS = {
    language: re.compile(pattern, re.MULTILINE | re.VERBOSE) for language, pattern in _GAPS.items()
}
_OTHER_LANGUAGE_S = 0.005

_MACRO_STATEMENTS = Query(LANGUAGES["rust"], "(block (macro_invocation) @macro)")
_MAY_RUN_ON = re.compile(
    r"^(?![ \t]*#)[^\n]*[)\]][ \t]*\n\s*[\w#]", re.MULTILINE
)  # but for attributes
_GO_IMPORTS = Query(LANGUAGES["go"], "(import_spec) @import")
_GO_PREAMBLE = COMMENTS | kinds("package_clause import_declaration")
_GO_DECLARATIONS = kinds(
    """package_clause import_declaration function_declaration method_declaration type_declaration var_declaration
    const_declaration"""
)


def python_fault(code: str, compiled: cpython.Compiled, deadline: float) -> str | None:
    """Why CPython's compiler rejects `code`, or None if it does not. Raises UndecidedError."""
    reason = cpython.fault(code, compiled, lambda: is_valid(code, "python", deadline))
    if not reason:
        return None
    reading = scan(code, "python")
    # in a string the compiler says no more than that it does not end
    in_string = reading.spanning or reading.quote is not None
    ends_early = in_string or not reading.open or cpython.is_incomplete(code)
    return (
        _wrong_language(code, "python", deadline)
        or _scan_fault(reading, code, ends_early=bool(ends_early))
        or reason
    )


def fault(code: str, task: str, language: str, root: Node | None, deadline: float) -> str | None:
    """Why `code`, in which the grammar found an error, is not valid `language`; None if that is not
    proven.

    `root` is None where parsing stopped at the error (never in C++). Raises UndecidedError past the
    deadline.
    """
    reason = _fault(code, language, root, deadline)
    if (
        reason == "stray_bracket"
        and (opened := scan(task, language).open)
        and task[opened[-1]] == "{"
    ):
        # it may close what the task's own code opened
        return None if is_valid(f"{task}\n{code}", language, deadline) else reason
    return reason


def _fault(code: str, language: str, root: Node | None, deadline: float) -> str | None:
    if language == "cpp":
        assert root is not None
        return _wrong_language(code, language, deadline) or _cpp_fault(code, root, deadline)
    if not (language == "javascript" and _has_gap(code, language)) and (
        foreign := _wrong_language(code, language, deadline)
    ):
        return foreign  # newer JavaScript would read as TypeScript
    return _scan_fault(scan(code, language), code) or (
        None if _has_gap(code, language) else "syntax_error"
    )


def _has_gap(code: str, language: str) -> bool:
    return _GAP_PATTERNS[language].search(code) is not None


def accepted_by_parser_only(code: str, language: str, root: Node) -> str | None:
    """Errors that the grammars accept and the languages' compilers reject."""
    if language == "cpp" and cpp.ends_in_directive(code):
        return "cut_off"
    if language == "rust" and _MAY_RUN_ON.search(code):
        macros = QueryCursor(_MACRO_STATEMENTS).captures(root).get("macro", ())
        return "missing_separator" if any(map(_runs_on, macros)) else None
    if language == "go":
        kinds = {child.type for child in root.named_children}
        if kinds & _GO_DECLARATIONS and kinds - _GO_DECLARATIONS - COMMENTS:
            return "syntax_error"  # beside declarations no statement stands outside of a function
        if kinds <= _GO_PREAMBLE and _imports_for_use(root):
            # an import that nothing uses is illegal, and there is nothing yet to use it
            return "cut_off"
    return None


def _imports_for_use(root: Node) -> bool:
    """Whether a Go file imports a package under a name (not `_`, `.` or cgo's "C")."""
    for spec in QueryCursor(_GO_IMPORTS).captures(root).get("import", ()):
        name, path = spec.child_by_field_name("name"), spec.child_by_field_name("path")
        if (
            (name is None or name.type == "package_identifier")
            and path is not None
            and path.text != b'"C"'
        ):
            return True
    return False


def _runs_on(macro: Node) -> bool:
    """Whether a macro call in parentheses or brackets is a statement without its semicolon."""
    after = macro.next_named_sibling
    while after is not None and after.type in COMMENTS:
        after = after.next_named_sibling
    return after is not None and macro.children[-1].children[0].type in "(["


def _cpp_fault(code: str, root: Node, deadline: float) -> str | None:
    found = cpp.preprocessor_variants(code)
    if found is None:
        return "unclosed_conditional"
    reason = None
    for bare, reading in found:
        reason = _scan_fault(reading, code)
        if reason is None:
            if cpp.ends_in_directive(code) or cpp.is_cut_off(code, bare, reading.end):
                return "cut_off"
            return "missing_separator" if cpp.lacks_one_semicolon(code, root, deadline) else None
    return reason  # no reading closes what it opens


def _scan_fault(reading: Scan, code: str, *, ends_early: bool = True) -> str | None:
    """`ends_early`: whether more text could complete it, as far as known."""
    if reading.is_balanced:
        return None
    if (
        ends_early
        and (reading.open or reading.spanning)
        and not code.endswith(("\n", "}", ";", ")", "]"))
    ):
        return "cut_off"
    if reading.spanning:
        return "unclosed_comment" if reading.spanning == "comment" else "unclosed_quote"
    if reading.quote is not None:
        return "unclosed_quote"
    return "unclosed_bracket" if reading.open else "stray_bracket"


def _wrong_language(code: str, language: str, deadline: float) -> str | None:
    """`wrong_language` if a language that the text resembles parses it without an error."""
    for other in likely_languages(code, language):
        if _is_python(code) if other == "python" else _is_language(code, other, deadline):
            return "wrong_language"
    return None


def _is_python(code: str) -> bool:
    return cpython.fault(code, cpython.compile_code(code), lambda: False) is None


def _is_language(code: str, language: str, deadline: float) -> bool:
    patience = time.thread_time() + _OTHER_LANGUAGE_S
    try:
        root = parse_strict(code, language, min(deadline, patience))
    except UndecidedError:
        if deadline < patience:
            raise
        return False  # mending is what takes long, and what needs mending is not that language
    return (
        root is not None
        and not root.has_error
        and any(child.type not in COMMENTS for child in root.named_children)
    )
