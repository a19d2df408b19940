"""Proves C++ invalid. The grammar alone cannot, since macros and conditionals are not part of it.

tree-sitter finds errors in half of the headers of any large C++ project. Brackets and quotes, once
the preprocessor's conditionals are carried out, are sure; so is a file that ends in the middle of a
declaration, and one that a single semicolon would mend.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice

from tree_sitter import Node

from markbook.scoring.heuristics.grammars import error_nodes, is_valid, kinds
from markbook.scoring.heuristics.lexing import Scan, scan, without_comments

_IF = frozenset({"if", "ifdef", "ifndef"})
_ELSE = frozenset({"elif", "else", "elifdef", "elifndef"})
_DIRECTIVES = kinds(
    """if ifdef ifndef elif else elifdef elifndef endif define undef include include_next import line error warning
    pragma ident sccs assert unassert embed"""
)
_INCLUDED = re.compile(r"\s*(?:<[^>\n]+>|\"[^\"\n]+\"|[A-Za-z_]\w*)")


def preprocessor_variants(text: str) -> Iterator[tuple[str, Scan]] | None:
    """The text with the first branch of each conditional taken, then with the last, each with its
    scan.

    None: the conditionals do not match up. No reading at all: a macro opens or closes brackets out
    of sight.
    """
    whole = scan(text, "cpp")
    found = whole.directives
    if any(match["word"] == "define" and _is_lopsided(match["rest"]) for match in found):
        return iter(())
    words = {match["word"] for match in found}
    if whole.spanning or not words & (_IF | _ELSE | {"endif"}):
        return iter([(text, whole)])
    first, last = _take(text, found, 0), _take(text, found, -1)
    if first is None or last is None:
        return None
    return ((branch, scan(branch, "cpp")) for branch in dict.fromkeys((first, last)))


def _is_lopsided(macro: str) -> bool:
    return any(
        macro.count(opening) != macro.count(closing) for opening, closing in ("()", "[]", "{}")
    )


def _take(text: str, found: Sequence[re.Match[str]], branch: int) -> str | None:
    """The text with that branch of every conditional, without directives; None if the
    conditionals do not match.
    """
    kept: list[str] = []
    groups: list[
        list[list[str]]
    ] = []  # open conditionals, each with the text of its branches so far
    at = 0
    for match in found:
        (groups[-1][-1] if groups else kept).append(text[at : match.start()])
        at, word = match.end(), match["word"]
        if word in _IF:
            groups.append([[]])
        elif word in _ELSE and groups:
            groups[-1].append([])
        elif word in _ELSE or (word == "endif" and not groups):
            return None
        elif word == "endif":
            branches = groups.pop()
            (groups[-1][-1] if groups else kept).extend(branches[branch])
    return None if groups else "".join((*kept, text[at:]))


def ends_in_directive(text: str) -> bool:
    """Whether the last line is an incomplete directive: `#inc`, `#include <vec`."""
    if not text.rstrip().rpartition("\n")[2].lstrip().startswith("#"):
        return False
    found = scan(text, "cpp").directives
    if not found or found[-1].end() < len(text.rstrip()):
        return False
    word, rest = found[-1]["word"], found[-1]["rest"]
    return word not in _DIRECTIVES or (word == "include" and not _INCLUDED.match(rest))


_DEFINED = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z_]\w*")
_PROTOTYPE = re.compile(r"^\s*[A-Za-z_][\w:<>*&,]*\s+[\w:<>*&,\s]*\([^()]*\)$")
_ENDS_OPEN = re.compile(r"[-+*/%=<&|^!?:,.~]$")


def is_cut_off(text: str, bare: str, end: int) -> bool:
    """Whether the last token cannot end a C++ file: an operator, or a name that is not a macro.

    `bare` is a reading of the text, `end` where the last thing in it that is no comment ends.
    """
    line = bare[:end].rpartition("\n")[2][-_LINE_CHARS:]
    if not line or line.lstrip().startswith("#") or line.endswith((";", "}")):
        return False
    if _ENDS_OPEN.search(line):
        return True
    if line.endswith(")") and not _PROTOTYPE.match(line):
        return False
    defined = set(_DEFINED.findall(text))
    return not any(name.isupper() or name in defined for name in _NAME.findall(line))


_MACRO_LINE = re.compile(r"^\s*[A-Z_][A-Z0-9_]*\s*(?:\(.*\))?\s*$")
_MACRO_NAME = re.compile(r"(?:[A-Za-z]\w*_)?[A-Z][A-Z0-9_]+")
_LAST_NAME = re.compile(r"\b\w+\s*\Z")
_BEGINS_STATEMENT = re.compile(
    r"(?:[;{})]|\belse|\bdo|\bcase\b[^;{}?]*:|\bdefault\s*:|^\s*\w+\s*:|^\s*#.*)\s*\Z", re.M
)
_BODY_ON_A_LINE = re.compile(r"\)[^(){};]*\{.*\}$")
_HEAD = re.compile(
    r"^\s*(?:\}?\s*else\s+)?(?:if|for|while|switch|catch)\s*(?:constexpr\s*)?\((?:[^()]|\([^()]*\))*\)$"
)
_SENTENCE_END = re.compile(r"[\w)\]}\"']$")
_WORDS_ONLY = re.compile(r"^(?:[\w\s:*&,~]|<(?!<)|>(?!>))*$")
_EXPRESSION_HEAD = re.compile(
    r"^\s*(?:return|break|continue|using|throw|goto|co_return|co_yield)\b"
)
_LINE_CHARS = 400  # longer lines are not looked into
_STATEMENT_LINES = 20  # as far up a macro's call is followed
_FAULTS_OF_ONE = 3  # what one missing semicolon makes of the tree


def lacks_one_semicolon(text: str, root: Node, deadline: float) -> bool:
    """Whether adding one `;` at the end of a line makes the whole text parse.

    `root`: its tree, with errors.

    Not where a macro stands alone on a line, nor after what may be a macro as a statement: it may
    bring its own.
    """
    found = list(islice(error_nodes(root), _FAULTS_OF_ONE + 1))
    if len(found) > _FAULTS_OF_ONE:
        return False
    lines = text.split("\n")
    macros = set(_DEFINED.findall(text))
    rows = dict(row for fault in found for row in _rows_before(lines, fault))
    if any(len(code) > _LINE_CHARS or _MACRO_LINE.match(code) for code in rows.values()):
        return False
    for row, code in rows.items():
        if not _may_lack_semicolon(code, macros, in_body=_in_body(root, row)):
            continue
        statement = (
            code.rstrip("} ") if _BODY_ON_A_LINE.search(code) else code
        )  # or it is an initializer's end
        if _ends_in_macro("\n".join([*lines[max(0, row - _STATEMENT_LINES) : row], statement])):
            continue
        mended = [*lines[:row], code + ";", *lines[row + 1 :]]
        if is_valid("\n".join(mended), "cpp", deadline):
            return True
    return False


def _ends_in_macro(text: str) -> bool:
    """Whether the last statement of `text` is a macro name or a macro call: `FOO(a, b)`,
    `Py_RETURN_NONE`.
    """
    text = without_comments(text, "cpp").rstrip()
    at = len(text)
    if text.endswith(")"):
        depth = 0
        for at in range(len(text) - 1, -1, -1):
            depth += {")": 1, "(": -1}.get(text[at], 0)
            if depth == 0:
                break
    name = _LAST_NAME.search(text[:at])
    if name is None or not _MACRO_NAME.fullmatch(name.group().rstrip()):
        return False
    return (
        _BEGINS_STATEMENT.search(text[max(0, name.start() - _LINE_CHARS) : name.start()])
        is not None
    )


def _code_of(line: str) -> str:
    """The line without a trailing comment."""
    code, mark, comment = line.partition("//")
    if mark and '"' not in comment:
        line = code
    line = line.rstrip()
    return line[: line.rfind("/*")].rstrip() if line.endswith("*/") and "/*" in line else line


def _rows_before(lines: list[str], fault: Node) -> Iterator[tuple[int, str]]:
    """The row of the error and the next non-empty row above it, each with its code."""
    row = min(fault.start_point.row, len(lines) - 1)
    yield row, _code_of(lines[row])
    coded = ((above, _code_of(lines[above])) for above in range(row - 1, -1, -1))
    yield from islice(((above, code) for above, code in coded if code), 1)


def _may_lack_semicolon(code: str, macros: set[str], *, in_body: bool) -> bool:
    if not _SENTENCE_END.search(code) or code.lstrip().startswith("#") or _HEAD.match(code):
        return False
    if not macros.isdisjoint(_NAME.findall(code)):
        return False
    # outside of a body `static noinline` above a function, or the end of a call, may be a macro's
    may_be_macro = _WORDS_ONLY.match(code) or (code.endswith(")") and not _PROTOTYPE.match(code))
    return in_body or _EXPRESSION_HEAD.match(code) is not None or not may_be_macro


def _in_body(root: Node, row: int) -> bool:
    node = root.descendant_for_point_range((row, 0), (row, 0))
    while node is not None and node.type != "compound_statement":
        node = node.parent
    return node is not None
