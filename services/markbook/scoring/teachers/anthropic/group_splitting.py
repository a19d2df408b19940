"""Splits a group into several requests: long groups into parts, failed samples for a retry
alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markbook.contract import ErrorCode
from markbook.scoring.types import Judgment, ScoringFailure

MAX_CHARS_PER_BATCH = 160_000
"""Characters of code per request: below the models' context windows and long-context price
steps.
"""

_ASK_AGAIN = (ErrorCode.REPLY_TRUNCATED, ErrorCode.REPLY_UNREADABLE)


def split_by_length(order: Sequence[int], codes: Sequence[str]) -> Iterator[list[int]]:
    """`order` as one part, or as several where the samples are too long for one request."""
    part: list[int] = []
    chars = 0
    for index in order:
        chars += len(codes[index])
        if part and chars > MAX_CHARS_PER_BATCH:
            yield part
            part, chars = [], len(codes[index])
        part.append(index)
    yield part


def is_answered(outcome: Judgment | ScoringFailure) -> bool:
    return isinstance(outcome, Judgment) or outcome.code in (*_ASK_AGAIN, ErrorCode.TEACHER_REFUSED)


def worth_asking_again(outcome: Judgment | ScoringFailure, shown: int) -> bool:
    """Whether a sample of a request with `shown` samples is worth a retry alone."""
    if isinstance(outcome, Judgment):
        return False
    return outcome.code in _ASK_AGAIN or (outcome.code is ErrorCode.TEACHER_REFUSED and shown > 1)
