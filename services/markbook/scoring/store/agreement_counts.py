"""Counts of samples judged by both the teacher and their tests, by percent of the teacher's
correctness.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from markbook.scoring.store.marks import NewMark
from markbook.scoring.types import CORRECTNESS


class JudgedKind(NamedTuple):
    """Samples that the teacher and their tests have judged alike: the key columns of
    agreement_rollups.

    `profile`: of the judgment. `passed`: all tests. `percent`: the teacher's own correctness.
    """

    profile: bytes
    language: str
    passed: bool
    percent: int


OnJudged = Callable[[JudgedKind], None]


def percent_of(correctness: float) -> int:
    """Whole hundredths, all that a teacher marks in; finer ones are rounded down, so that 0.499
    is not 0.5.
    """
    return math.floor(correctness * 100 + 1e-6)  # 0.29 * 100 is 28.999999999999996


def judged_kinds(marks: Sequence[NewMark]) -> list[JudgedKind]:
    """Those of the marks whose samples have shown whether they are right."""
    kinds: list[JudgedKind] = []
    for mark in marks:
        if mark.passed is not None:
            name = mark.fingerprint
            percent = percent_of(mark.criteria[CORRECTNESS])
            kinds.append(
                JudgedKind(bytes.fromhex(name.profile), name.language, mark.passed, percent)
            )
    return kinds
