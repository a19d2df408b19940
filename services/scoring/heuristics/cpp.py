"""What proves C++ broken: its grammar alone does not, for macros and conditionals are no part of it.

tree-sitter finds errors in half of the headers of any large C++ project. Brackets and quotes, once the preprocessor's
conditionals are carried out, are sure; so is a file that ends in the middle of a declaration, and one that a single
semicolon would mend.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from tree_sitter import Node

from services.scoring.heuristics.grammars import faults, kinds, parse
from services.scoring.heuristics.lexing import CPP_OPAQUE, Scan, scan

_IF = frozenset({"if", "ifdef", "ifndef"})
_ELSE = frozenset({"elif", "else", "elifdef", "elifndef"})
_DIRECTIVES = kinds(
    """if ifdef ifndef elif else elifdef elifndef endif define undef include include_next import line error warning
    pragma ident sccs assert unassert embed"""
)
_DIRECTIVE = re.compile(
    rf"{CPP_OPAQUE}|^[ \t]*#[ \t]*(?P<word>\w*)(?P<rest>(?:[^\n\\/]|\\\r?\n|\\|/\*(?s:.*?)\*/|/)*+)", re.MULTILINE
)
_INCLUDED = re.compile(r"\s*(?:<[^>\n]+>|\"[^\"\n]+\"|[A-Za-z_]\w*)")


def _directives(text: str) -> list[re.Match[str]]:
    return [match for match in _DIRECTIVE.finditer(text) if match.group("word") is not None]


def readings(text: str) -> Iterator[tuple[str, Scan]] | None:
    """The text with each first branch of its conditionals taken, then each last, and what the scanner says of it.

    None: the conditionals do not match up.
    """
    found = _directives(text)
    words = {match.group("word") for match in found}
    if not words & _IF:
        bare = None if words & (_ELSE | {"endif"}) else "".join(_pieces(text, found))
        return None if bare is None else iter([(bare, scan(bare, "cpp"))])
    first, last = _take(text, found, 0), _take(text, found, -1)
    if first is None or last is None:
        return None
    return ((branch, scan(branch, "cpp")) for branch in dict.fromkeys((first, last)))


def _pieces(text: str, found: list[re.Match[str]]) -> Iterator[str]:
    at = 0
    for match in found:
        yield text[at : match.start()]
        at = match.end()
    yield text[at:]


def _take(text: str, found: list[re.Match[str]], branch: int) -> str | None:
    kept: list[str] = []
    groups: list[list[list[str]]] = []  # open conditionals, each with the text of its branches so far
    for piece, match in zip(_pieces(text, found), [*found, None], strict=True):
        (groups[-1][-1] if groups else kept).append(piece)
        word = match.group("word") if match else ""
        if word in _IF:
            groups.append([[]])
        elif word in _ELSE and groups:
            groups[-1].append([])
        elif word in _ELSE or (word == "endif" and not groups):
            return None
        elif word == "endif":
            branches = groups.pop()
            (groups[-1][-1] if groups else kept).extend(branches[branch])
    return None if groups else "".join(kept)


def ends_in_directive(text: str) -> bool:
    """Whether the last line is a directive that breaks off: `#inc`, `#include <vec`."""
    if not text.rstrip().rpartition("\n")[2].lstrip().startswith("#"):
        return False
    found = _directives(text)
    if not found or found[-1].end() < len(text.rstrip()):
        return False
    word, rest = found[-1].group("word"), found[-1].group("rest")
    return word not in _DIRECTIVES or (word == "include" and not _INCLUDED.match(rest))


_DEFINED = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z_]\w*")
_PROTOTYPE = re.compile(r"^\s*[A-Za-z_][\w:<>*&,]*\s+[\w:<>*&,\s]*\([^()]*\)$")
_ENDS_OPEN = re.compile(r"[-+*/%=<&|^!?:,.~]$")


def breaks_off(text: str, bare: str, end: int) -> bool:
    """Whether the last thing said cannot be the end of a C++ file: an operator, or a name that is no macro.

    `bare` is the text without its directives, `end` where the last thing in it that is no comment ends.
    """
    line = bare[:end].rpartition("\n")[2]
    if not line or line.endswith((";", "}")):
        return False
    if _ENDS_OPEN.search(line):
        return True
    if line.endswith(")") and not _PROTOTYPE.match(line):
        return False
    defined = set(_DEFINED.findall(text))
    return not any(name.isupper() or name in defined for name in _NAME.findall(line))


_NO_STATEMENT = re.compile(r"^\s*(?:\#|[A-Z_][A-Z0-9_]*\s*(?:\(.*\))?$)")
_HEAD = re.compile(r"^\s*(?:\}?\s*else\s+)?(?:if|for|while|switch|catch)\s*(?:constexpr\s*)?\((?:[^()]|\([^()]*\))*\)$")
_TRAILING_COMMENT = re.compile(r"\s*(?://[^\"]*|/\*[^\"]*\*/\s*)$")
_SENTENCE_END = re.compile(r"[\w)\]}\"']$")
_WORDS_ONLY = re.compile(r"^(?:[\w\s:*&,~]|<(?!<)|>(?!>))*$")
_EXPRESSION_HEAD = re.compile(r"^\s*(?:return|break|continue|using|throw|goto|co_return|co_yield)\b")
_FAULTS_OF_ONE = 3  # what one missing semicolon makes of the tree


def one_semicolon_short(text: str, root: Node, deadline: float) -> bool:
    """Whether one `;` at the end of a line makes the whole text parse. `root` is the text's, errors and all.

    Lines that may be a macro's are not tried: a macro brings its own.
    """
    found = list(islice(faults(root), _FAULTS_OF_ONE + 1))
    if len(found) > _FAULTS_OF_ONE:
        return False
    lines = text.split("\n")
    macros = set(_DEFINED.findall(text))
    for row in dict.fromkeys(row for fault in found for row in _rows_before(lines, fault)):
        if (end := _statement_end(lines[row], macros, in_body=_in_body(root, row))) is None:
            continue
        mended = [*lines[:row], f"{lines[row][:end]};{lines[row][end:]}", *lines[row + 1 :]]
        if not parse("\n".join(mended), "cpp", deadline).has_error:
            return True
    return False


def _rows_before(lines: list[str], fault: Node) -> Iterator[int]:
    """The row of the fault and the row with something on it above that."""
    row = min(fault.start_point.row, len(lines) - 1)
    yield row
    above = next((at for at in range(row - 1, -1, -1) if _TRAILING_COMMENT.sub("", lines[at]).strip()), None)
    if above is not None:
        yield above


def _statement_end(line: str, macros: set[str], *, in_body: bool) -> int | None:
    """Where in the line a semicolon may be missing."""
    code = _TRAILING_COMMENT.sub("", line).rstrip()
    if not _SENTENCE_END.search(code) or _NO_STATEMENT.match(code) or _HEAD.match(code):
        return None
    if not macros.isdisjoint(_NAME.findall(code)):
        return None
    # outside of any body `static noinline` above a function, or the end of a call, may be a macro's
    if (
        not in_body
        and not _EXPRESSION_HEAD.match(code)
        and (_WORDS_ONLY.match(code) or (code.endswith(")") and not _PROTOTYPE.match(code)))
    ):
        return None
    return len(code)


def _in_body(root: Node, row: int) -> bool:
    node = root.descendant_for_point_range((row, 0), (row, 0))
    while node is not None and node.type not in ("compound_statement", "field_declaration_list"):
        node = node.parent
    return node is not None
