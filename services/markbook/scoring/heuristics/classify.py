"""READ FIRST: classifies one sample.

It is rejected only on proof that it cannot be a working answer.
"""

from __future__ import annotations

import time
from types import CodeType
from typing import NamedTuple

from tree_sitter import Node

from markbook.scoring.heuristics import cpython, semicolons, structure, syntax, text
from markbook.scoring.heuristics.grammars import UndecidedError, is_supported, parse, parse_strict
from markbook.scoring.heuristics.lexing import without_comments
from markbook.scoring.heuristics.reasons import REASONS

PASSED = 1.0
SCORES = {code: score for code, (score, _) in REASONS.items()}

BUDGET_S = 0.05
"""CPU seconds per sample; past that it is left undecided and passes."""
MAX_CHARS = 200_000
"""Longer code is not parsed; only the checks on plain text apply."""
MIN_CHARS = 10
"""Visible characters.

Shorter text without an assignment is not a program in any of the seven languages.
"""


class HeuristicResult(NamedTuple):
    """`score` 1.0 without reasons: nothing proven, the teacher decides.

    Else 0.0 to 0.05 and reason codes.
    """

    score: float
    reasons: tuple[str, ...]


UNPROVEN = HeuristicResult(PASSED, ())


def classify(code: str, task: str, language: str, *, budget_s: float = BUDGET_S) -> HeuristicResult:
    """Reject `code` if that can be proven without a teacher.

    Raises nothing; what is undecided in time passes.

    `code` is the extracted code, `language` its canonical name; for an unknown language only checks
    on plain text apply. The result is deterministic unless the CPU budget runs out.
    """
    try:
        return classify_or_raise(code, task, language, budget_s)
    except UndecidedError:
        return UNPROVEN


def classify_or_raise(code: str, task: str, language: str, budget_s: float) -> HeuristicResult:
    """As `classify`, but raises UndecidedError when `budget_s` CPU seconds are not enough to
    decide.
    """
    reason = _reason(code, task, language, time.thread_time() + budget_s)
    return UNPROVEN if reason is None else HeuristicResult(SCORES[reason], (reason,))


def _reason(code: str, task: str, language: str, deadline: float) -> str | None:
    if not code:
        return "empty"
    seen = text.visible_text(code)
    if not seen:
        return "whitespace"
    if unit := text.repeated_unit(seen):
        return _repetition_reason(unit, language)
    if text.repeats_task(seen, task):
        return "echoes_task"
    if not is_supported(language):
        return "refusal" if text.is_refusal(seen) and text.is_prose(seen) else None
    return _supported_reason(code, seen, task, language, deadline)


def _supported_reason(
    code: str, seen: str, task: str, language: str, deadline: float
) -> str | None:
    """For code in a language whose syntax is known. `seen`: its visible text."""
    if (
        len("".join(seen.split(maxsplit=MIN_CHARS))) < MIN_CHARS and "=" not in seen
    ):  # no need to split the rest
        return "too_short"
    if len(code) > MAX_CHARS:
        raise UndecidedError("too long to parse")
    code = code.removeprefix("\ufeff")
    if language == "python":
        return _python_reason(code, task, deadline)
    return _grammar_reason(code, task, language, deadline)


def _repetition_reason(unit: str, language: str) -> str:
    if "\n" not in unit:
        return "repeated_characters"
    if is_supported(language) and not without_comments(unit, language).strip():
        return "repeated_comment"
    return "repeated_line" if unit.count("\n") == 1 else "repeated_block"


def _python_reason(code: str, task: str, deadline: float) -> str | None:
    module = cpython.compile_code(code)
    if fault := syntax.python_fault(code, module, deadline):
        return _non_code_reason(code, "python") or fault
    if structure.is_elided(code):
        return "elided"
    shows_work = isinstance(module, CodeType) and cpython.has_variables(module)
    if shows_work and not structure.may_be_cut_in_word(code):
        return (
            None  # the common case: the syntax tree could add nothing and costs half as much again
        )
    root = parse_strict(code, "python", deadline)
    return (
        None if root is None or root.has_error else _incomplete_reason(code, task, "python", root)
    )


def _grammar_reason(code: str, task: str, language: str, deadline: float) -> str | None:
    # the checks that prove C++ invalid need the tree with error recovery
    root = (
        parse(code, language, deadline)
        if language == "cpp"
        else parse_strict(code, language, deadline)
    )
    is_sound = root is not None and not root.has_error
    if (
        not is_sound
        and language in semicolons.LANGUAGES
        and (ended := semicolons.insert_semicolons(code, language)) != code
    ):
        root = parse_strict(ended, language, deadline)
        is_sound = root is not None and not root.has_error
        code = ended if is_sound else code
    if not is_sound:
        fault = _non_code_reason(code, language) or syntax.fault(
            code, task, language, root, deadline
        )
        if fault:
            return fault
    if structure.is_elided(code):
        return "elided"
    return _incomplete_reason(code, task, language, root) if root is not None and is_sound else None


def _non_code_reason(code: str, language: str) -> str | None:
    """Why text that does not parse is not code at all: a refusal or prose; None if neither."""
    if text.is_refusal(code):
        return "refusal"
    return (
        "prose" if text.is_prose(code) and text.is_prose(without_comments(code, language)) else None
    )


def _incomplete_reason(code: str, task: str, language: str, root: Node) -> str | None:
    if structure.is_comments(root):
        return "comments_only"
    if fault := syntax.accepted_by_parser_only(code, language, root):
        return fault
    if structure.is_stub(root, task):
        return "stub"
    return "cut_off" if structure.is_cut_in_word(code, task, language, root) else None
