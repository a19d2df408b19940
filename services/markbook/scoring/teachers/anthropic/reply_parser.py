"""The teacher's reply -> criteria for each sample, or a typed failure.

The reply is one line per sample, `NUMBER MARK MARK …`, marks from 0 to 100. Measured on the newer
tokenizer this is 10 tokens per sample, compact JSON 11, JSON with named fields 27 to 46; and it
needs no structured output, which bills a hidden prompt and which other servers lack
(docs/decisions/0001-reply-form.md).

Models add decoration: fences, bullets, `1:`, commas, `80/100`, a greeting. What is unambiguous is
accepted, since a refused reply is paid for again, sample by sample. Possible shifts, quotations,
other scales and orders are refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markbook.contract import ErrorCode
from markbook.scoring.types import Judgment, ScoringFailure

Outcome = Judgment | ScoringFailure

_NUMBER = re.compile(
    r"(?:sample\s{0,3})?(?:#\s{0,3})?(?P<number>\d{1,6})(?:\s*[:)|]|\.(?=\s)|(?=[\s,;]|$))",
    re.ASCII | re.I,
)
_MARK = re.compile(
    r"(?P<mark>\d{1,6})(?P<decimals>\.0{1,6})?(?:\s*/\s*100|\s*%)?(?=[\s,;|]|\.?\s*$|$)", re.ASCII
)
_AFTER_NUMBER = re.compile(r"\s*(?:[,;|]\s*|(?<=\s)[-–—]\s+)?")
_AFTER_MARK = re.compile(r"\s*(?:[,;|]\s*)?")  # no dash: `70 - 80` is a range
_DECORATION = str.maketrans("", "", "*`")
_BULLET = re.compile(r"^[-•]\s+")
_DASH = re.compile(r"^[-–—]\s+")
_FENCE = re.compile(r"^`{3,}\s*\w*$")
_RULE_CHARS = frozenset(" \t|:-=")
MAX_PROSE_CHARS = 200
"""Characters of a line of greeting or of a closing remark; longer text is not skipped."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A line with marks.

    `rest`: text behind the marks that were looked for. `decimals`: marks written as `80.0`.
    """

    number: int
    marks: tuple[int, ...]
    rest: str
    decimals: tuple[int, ...]


class _UnreadableReplyError(Exception):
    """No line of the reply can be trusted."""


def reply_tokens(count: int, criteria: int, *, explain: bool, constrained: bool = False) -> int:
    """Room for a whole reply about `count` samples, in output tokens: three per number, and a
    reason if requested.

    `constrained`: in JSON, with two more per number for what is around it.
    """
    return 16 + count * ((5 if constrained else 3) * (criteria + 1) + (48 if explain else 0))


def read_reply(
    text: str, count: int, criteria: Sequence[str], *, cut: bool = False, explain: bool = False
) -> tuple[Outcome, ...]:
    """One outcome for each of the samples 1 to `count`, in their order.

    Never raises, never guesses.

    `cut`: the reply ended at the token limit, so a last line without its line break may lack digits
    and does not count. A number outside of lines with marks, or of a sample that was not shown,
    makes the whole reply unreadable: marks may be shifted, or quoted out of a sample. A number that
    is repeated, or wrong marks, cost that sample only.
    """
    lines = text.split(
        "\n"
    )  # not splitlines(): a reason may hold what that takes for the end of a line
    if cut:
        lines.pop()  # what comes after the last line feed: nothing, or a line that may lack digits
    try:
        found = _read_lines(lines, count, criteria, explain=explain)
    except _UnreadableReplyError as error:
        return (ScoringFailure(ErrorCode.REPLY_UNREADABLE, str(error)),) * count
    missing = ScoringFailure(
        ErrorCode.REPLY_TRUNCATED if cut else ErrorCode.REPLY_UNREADABLE,
        "the teacher's reply ended before this sample"
        if cut
        else "the teacher's reply has no line for this sample",
    )
    return tuple(found.get(number, missing) for number in range(1, count + 1))


def _read_lines(
    lines: Sequence[str], count: int, criteria: Sequence[str], *, explain: bool
) -> dict[int, Outcome]:
    read: list[_Line] = []
    prose_at: list[int] = []
    for line in map(str.strip, lines):
        if not line or _FENCE.match(line) or _RULE_CHARS.issuperset(line):
            continue
        if any(char.isdigit() for char in line):
            read.append(_read_line(line, len(criteria), explain=explain))
        else:
            _check_prose(line, criteria)
            prose_at.append(len(read))
    _check_scale(read)
    if prose_at:
        _check_complete(read, prose_at, count)
    found: dict[int, Outcome] = {}
    for each in read:
        if not 1 <= each.number <= count:
            raise _UnreadableReplyError(
                f"the teacher's reply names a sample that was not shown: {each.number}"
            )
        found[each.number] = (
            _failure(f"the teacher's reply marks sample {each.number} twice", each)
            if each.number in found
            else _outcome(each, count, criteria)
        )
    return found


def _read_line(line: str, marks: int, *, explain: bool) -> _Line:
    """Raises _UnreadableReplyError for a line with a digit that is no line of marks."""
    plain = _BULLET.sub("", line.translate(_DECORATION).strip()).strip("|").strip()
    found = _NUMBER.match(plain)
    if found is None:
        raise _UnreadableReplyError(
            f"the teacher's reply has a line of another form: {line[:80]!r}"
        )
    at = _AFTER_NUMBER.match(plain, found.end()).end()  # type: ignore[union-attr]
    values: list[int] = []
    decimals: list[int] = []
    while (not explain or len(values) < marks) and (mark := _MARK.match(plain, at)):
        values.append(int(mark["mark"]))
        if mark["decimals"]:
            decimals.append(int(mark["mark"]))
        at = _AFTER_MARK.match(plain, mark.end()).end()  # type: ignore[union-attr]
    rest = plain[at:].strip()
    if not explain and rest not in ("", "."):
        raise _UnreadableReplyError(
            f"the teacher's reply has a line of another form: {line[:80]!r}"
        )
    return _Line(
        int(found["number"]), tuple(values), _DASH.sub("", rest) if explain else "", tuple(decimals)
    )


def _outcome(line: _Line, count: int, criteria: Sequence[str]) -> Outcome:
    if len(line.marks) != len(criteria) or max(line.marks) > 100:
        return _failure(f"the teacher's reply is not {len(criteria)} marks from 0 to 100", line)
    values = {name: mark / 100 for name, mark in zip(criteria, line.marks, strict=True)}
    reason = " ".join(line.rest.split())
    return Judgment(values, (reason,) if reason else (), line.number, count)


def _check_prose(line: str, criteria: Sequence[str]) -> None:
    """A greeting, a closing remark or a table's head is skipped; a head with criteria in another
    order is not.
    """
    places = {name.casefold(): place for place, name in enumerate(criteria)}
    words = re.findall(r"\w+", line.casefold().replace("-", "_"))
    named = [places[word] for word in words if word in places]
    if len(line) > MAX_PROSE_CHARS or named != sorted(named):
        raise _UnreadableReplyError(
            f"the teacher's reply has a line of another form: {line[:80]!r}"
        )


def _check_scale(lines: Sequence[_Line]) -> None:
    """`1.0` is 1 of 100 or all of 1: only another mark above 1 in the same reply shows the
    scale.
    """
    decimals = [mark for line in lines for mark in line.decimals]
    if decimals and max(decimals) <= 1:
        raise _UnreadableReplyError(
            "the teacher's reply has marks like 1.0, on a scale that is not clear"
        )


def _check_complete(lines: Sequence[_Line], prose_at: Sequence[int], count: int) -> None:
    """Beside other text, lines count only if they are all there, in order and in one block:
    nothing is a quotation.
    """
    in_one_block = all(at in (0, len(lines)) for at in prose_at)
    if not in_one_block or [line.number for line in lines] != list(range(1, count + 1)):
        raise _UnreadableReplyError(
            "the teacher's reply has other text between or beside incomplete lines of marks"
        )


def _failure(what: str, line: _Line) -> ScoringFailure:
    shown = " ".join(map(str, (line.number, *line.marks)))
    return ScoringFailure(ErrorCode.REPLY_UNREADABLE, f"{what}: {shown[:80]!r}")
