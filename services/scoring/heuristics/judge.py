"""READ FIRST: one sample's way through the tier, from text to proof."""

from __future__ import annotations

import time
from typing import NamedTuple

from services.scoring.heuristics import structure, syntax, text
from services.scoring.heuristics.grammars import Undecided, known, parse
from services.scoring.heuristics.lexing import without_comments

PASSED = 1.0
BROKEN = 0.02
DEGENERATE = 0.0
CUT_OFF = 0.05

SCORES = {
    "empty": DEGENERATE,
    "whitespace": DEGENERATE,
    "too_short": DEGENERATE,
    "refusal": DEGENERATE,
    "echoes_task": DEGENERATE,
    "repetition": DEGENERATE,
    "prose": DEGENERATE,
    "comments_only": DEGENERATE,
    "stub": DEGENERATE,
    "wrong_language": BROKEN,
    "unclosed_bracket": BROKEN,
    "stray_bracket": BROKEN,
    "unclosed_quote": BROKEN,
    "unclosed_comment": BROKEN,
    "unclosed_conditional": BROKEN,
    "missing_separator": BROKEN,
    "indentation": BROKEN,
    "syntax_error": BROKEN,
    "cut_off": CUT_OFF,
}
"""Every reason and its mark. Nothing there is worth nothing; code that breaks off was on its way."""

BUDGET_S = 0.05
MAX_CHARS = 200_000
SHORT = 10


class Judgement(NamedTuple):
    """`score` 1.0 with no reasons: nothing is proven, ask the teacher. Else 0.0 to 0.05 and what is proven."""

    score: float
    reasons: tuple[str, ...]


UNPROVEN = Judgement(PASSED, ())


def judge(code: str, task: str, language: str, *, budget_s: float = BUDGET_S) -> Judgement:
    """Whether it is proven that no teacher need see `code`. Never raises; what it cannot decide in time passes.

    `code` is extracted, `language` canonical: an unknown one is judged by its text alone.
    """
    try:
        reason = find(code, task, language, budget_s)
    except Undecided:
        return UNPROVEN
    return UNPROVEN if reason is None else Judgement(SCORES[reason], (reason,))


def find(code: str, task: str, language: str, budget_s: float) -> str | None:
    """The reason to reject, or nothing. Raises Undecided when `budget_s` seconds are not enough to say."""
    deadline = time.thread_time() + budget_s
    if not code:
        return "empty"
    seen = text.visible(code)
    if not seen:
        return "whitespace"
    if text.repeats(seen):
        return "repetition"
    if text.refuses(seen):
        return "refusal"
    if text.echoes(seen, task):
        return "echoes_task"
    if not known(language):
        return None
    if len("".join(seen.split())) < SHORT and "=" not in seen:
        return "too_short"
    if len(code) > MAX_CHARS:
        raise Undecided("too long to parse")
    return _parsed(code.removeprefix("\ufeff"), task, language, deadline)


def _parsed(code: str, task: str, language: str, deadline: float) -> str | None:
    if language == "python" and (reason := syntax.python_fault(code, deadline)):
        return "prose" if _is_prose(code, language) else reason
    root = parse(code, language, deadline)
    if root.has_error:
        if language == "python":
            return None  # its compiler knows better
        return "prose" if _is_prose(code, language) else syntax.fault(code, language, root, deadline)
    if structure.is_comments(root):
        return "comments_only"
    if reason := syntax.leniency(code, language, root):
        return reason
    if structure.is_stub(root, task):
        return "stub"
    return "cut_off" if structure.ends_in_half_a_word(code, task, language, root) else None


def _is_prose(code: str, language: str) -> bool:
    return text.is_prose(code) and text.is_prose(without_comments(code, language))
