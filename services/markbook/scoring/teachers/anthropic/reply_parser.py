"""The teacher's reply -> criteria for each sample, or a typed failure.

The reply is one line per sample, `NUMBER MARK MARK …`, marks from 0 to 100. Measured on the newer tokenizer this is 10
tokens per sample, compact JSON 11, JSON with named fields 27 to 46; and it needs no structured output, which bills a
hidden prompt and which other servers lack (docs/decisions/reply-form.md).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from markbook.contract import ErrorCode
from markbook.scoring.types import Judgment, ScoringFailure

Outcome = Judgment | ScoringFailure

_is_number = re.compile(r"\d{1,6}", re.ASCII).fullmatch


def reply_tokens(count: int, criteria: int, *, explain: bool) -> int:
    """Room for a whole reply about `count` samples, in output tokens: three a number, and a reason if asked."""
    return 16 + count * (3 * (criteria + 1) + (48 if explain else 0))


def read_reply(
    text: str, count: int, criteria: Sequence[str], *, cut: bool = False, explain: bool = False
) -> tuple[Outcome, ...]:
    """One outcome for each of the samples 1 to `count`, in their order. Never raises, never guesses.

    `cut`: the reply ended at the token limit, so a last line without its line break may lack digits and does not count.
    A line of any other form, or the number of a sample that was not shown, makes the whole reply unreadable: marks
    could be shifted, or quoted out of a sample. A number that is repeated, or wrong marks, cost that sample only.
    """
    lines = text.split("\n")  # not splitlines(): a reason may hold what that takes for the end of a line
    if cut:
        lines.pop()  # what comes after the last line feed: nothing, or a line that may lack digits
    found: dict[int, Outcome] = {}
    for words in filter(None, map(str.split, lines)):
        numbers = [int(word) for word in takewhile(_is_number, words)]
        reason = words[1 + len(criteria) :] if explain else words[len(numbers) :]
        if not numbers or (reason and not explain):
            return (_unreadable("the teacher's reply has a line of another form", words),) * count
        number, marks = numbers[0], numbers[1 : 1 + len(criteria)] if explain else numbers[1:]
        if not 1 <= number <= count:
            return (_unreadable("the teacher's reply names a sample that was not shown", words),) * count
        if number in found:
            found[number] = _unreadable(f"the teacher's reply marks sample {number} twice", words)
        elif len(marks) != len(criteria) or max(marks) > 100:
            found[number] = _unreadable(f"the teacher's reply is not {len(criteria)} marks from 0 to 100", words)
        else:
            values = {name: mark / 100 for name, mark in zip(criteria, marks, strict=True)}
            found[number] = Judgment(values, (" ".join(reason),) if reason else (), number, count)
    missing = ScoringFailure(
        ErrorCode.REPLY_TRUNCATED if cut else ErrorCode.REPLY_UNREADABLE,
        "the teacher's reply ended before this sample" if cut else "the teacher's reply has no line for this sample",
    )
    return tuple(found.get(number, missing) for number in range(1, count + 1))


def _unreadable(what: str, words: Sequence[str]) -> ScoringFailure:
    line = " ".join(words)
    return ScoringFailure(ErrorCode.REPLY_UNREADABLE, f"{what}: {line[:80]!r}")
