"""A finding is a factor below 1 with a reason.

Marks are products of them, so removing a finding raises the mark.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Mapping, Sequence

from markbook.scoring.types import Judgment

Finding = tuple[float, str]

_REASONS = 12
_REASON_CHARS = 160


def product(findings: Iterable[Finding], reasons: list[str]) -> float:
    """In [0, 1]; the reasons are added to `reasons`, each once."""
    found = list(findings)
    reasons += dict.fromkeys(reason for _, reason in found)
    return math.prod(factor for factor, _ in found)


def same(first: ast.AST, second: ast.AST) -> bool:
    return ast.dump(first) == ast.dump(second)


def marked(marks: Mapping[str, float], reasons: Sequence[str]) -> Judgment:
    """Marks rounded to four places, and a few shortened reasons: they quote names, which may
    have any length.
    """
    short = (
        reason if len(reason) <= _REASON_CHARS else f"{reason[:_REASON_CHARS]}…"
        for reason in reasons[:_REASONS]
    )
    return Judgment({name: round(mark, 4) for name, mark in marks.items()}, tuple(short))
