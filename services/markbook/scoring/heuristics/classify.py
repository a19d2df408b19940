"""READ FIRST: one sample's way through the tier, from text to proof."""

from __future__ import annotations

import time
from types import CodeType
from typing import NamedTuple

from tree_sitter import Node

from markbook.scoring.heuristics import cpython, semicolons, structure, syntax, text
from markbook.scoring.heuristics.grammars import Undecided, known, parse, parse_unmended
from markbook.scoring.heuristics.lexing import without_comments
from markbook.scoring.heuristics.reasons import REASONS

PASSED = 1.0
SCORES = {code: score for code, (score, _) in REASONS.items()}

BUDGET_S = 0.05
"""Seconds of CPU a sample may take before it is left undecided."""
MAX_CHARS = 200_000
"""Longer code is not parsed, only read as text."""
SHORT = 10
"""Visible characters: less than this, without an assignment, is no program in the seven languages."""


class HeuristicResult(NamedTuple):
    """`score` 1.0 with no reasons: nothing is proven, ask the teacher. Else 0.0 to 0.05 and what is proven."""

    score: float
    reasons: tuple[str, ...]


UNPROVEN = HeuristicResult(PASSED, ())


def judge(code: str, task: str, language: str, *, budget_s: float = BUDGET_S) -> HeuristicResult:
    """Whether it is proven that no teacher need see `code`. It raises nothing; what it cannot decide in time passes.

    `code` is extracted, `language` canonical: of an unknown one only the text is read. The same sample gets the same
    judgement, unless the budget ends first.
    """
    try:
        return result_of_finding(code, task, language, budget_s)
    except Undecided:
        return UNPROVEN


def result_of_finding(code: str, task: str, language: str, budget_s: float) -> HeuristicResult:
    """As `judge`, but raises Undecided when `budget_s` seconds of CPU are not enough to say."""
    reason = _reason(code, task, language, time.thread_time() + budget_s)
    return UNPROVEN if reason is None else HeuristicResult(SCORES[reason], (reason,))


def _reason(code: str, task: str, language: str, deadline: float) -> str | None:
    if not code:
        return "empty"
    seen = text.visible(code)
    if not seen:
        return "whitespace"
    if unit := text.repeated(seen):
        return _repetition(unit, language)
    if text.echoes(seen, task):
        return "echoes_task"
    if not known(language):
        return "refusal" if text.refuses(seen) and text.is_prose(seen) else None
    if len("".join(seen.split(maxsplit=SHORT))) < SHORT and "=" not in seen:  # words beyond that need no counting
        return "too_short"
    if len(code) > MAX_CHARS:
        raise Undecided("too long to parse")
    code = code.removeprefix("\ufeff")
    if language == "python":
        return _no_python(code, task, deadline)
    return _unreadable(code, task, language, deadline)


def _repetition(unit: str, language: str) -> str:
    if "\n" not in unit:
        return "repeated_characters"
    if known(language) and not without_comments(unit, language).strip():
        return "repeated_comment"
    return "repeated_line" if unit.count("\n") == 1 else "repeated_block"


def _no_python(code: str, task: str, deadline: float) -> str | None:
    module = cpython.compiled(code)
    if fault := syntax.python_fault(code, module, deadline):
        return _no_code(code, "python") or fault
    if structure.leaves_out(code):
        return "elided"
    shows_work = isinstance(module, CodeType) and cpython.has_variables(module)
    if shows_work and not structure.may_end_in_half_a_word(code):
        return None  # as nearly always: a tree, which could say no more, takes half as long again
    root = parse_unmended(code, "python", deadline)
    return None if root is None or root.has_error else _no_answer(code, task, "python", root)


def _unreadable(code: str, task: str, language: str, deadline: float) -> str | None:
    # what proves C++ broken needs the mended tree
    root = parse(code, language, deadline) if language == "cpp" else parse_unmended(code, language, deadline)
    is_sound = root is not None and not root.has_error
    if not is_sound and language in semicolons.LANGUAGES and (ended := semicolons.inserted(code, language)) != code:
        root = parse_unmended(ended, language, deadline)
        is_sound = root is not None and not root.has_error
        code = ended if is_sound else code
    if not is_sound:
        fault = _no_code(code, language) or syntax.fault(code, task, language, root, deadline)
        if fault:
            return fault
    if structure.leaves_out(code):
        return "elided"
    return _no_answer(code, task, language, root) if root is not None and is_sound else None


def _no_code(code: str, language: str) -> str | None:
    """What a text that does not parse is instead."""
    if text.refuses(code):
        return "refusal"
    return "prose" if text.is_prose(code) and text.is_prose(without_comments(code, language)) else None


def _no_answer(code: str, task: str, language: str, root: Node) -> str | None:
    if structure.is_comments(root):
        return "comments_only"
    if fault := syntax.leniency(code, language, root):
        return fault
    if structure.is_stub(root, task):
        return "stub"
    return "cut_off" if structure.ends_in_half_a_word(code, task, language, root) else None
