"""Stand-ins for the model: they read the message as the system prompt says it is to be read, and
mark by rule.

No judge here understands code. The steady one marks a sample by its text alone; the others add the
faults that people find in real judges, so that a test can see whether the service's measures
against them work.
"""

from __future__ import annotations

import hashlib
import re
import statistics
from collections.abc import Callable, Sequence

CRITERIA = 4
_TASK = re.compile(r"^(?P<marker>#\d{6,}) task, .*$", re.MULTILINE)

Marks = tuple[int, ...]
Judge = Callable[[Sequence[str]], list[Marks]]
"""The codes in the order shown -> the marks of each."""


def read_samples(message: str) -> list[str]:
    """The codes of a message, in its order.

    Raises ValueError when it has not the form the system prompt describes.
    """
    task = _TASK.search(message)
    if task is None:
        raise ValueError("no task")
    marker = re.escape(task["marker"])
    parts = re.split(rf"^{marker} (\d+|end.*)$\n?", message[task.end() + 1 :], flags=re.MULTILINE)
    names, texts = parts[1::2], parts[2::2]
    count = len(names) - 1
    if names != [
        *map(str, range(1, count + 1)),
        f"end: mark {'1' if count == 1 else f'1 to {count}'}",
    ]:
        raise ValueError(f"parts {names}")
    return [text.removesuffix("\n") for text in texts[:-1]]


def marks_for(code: str) -> Marks:
    """The steady judge's marks: from 0 to 100, spread evenly, by nothing but the text."""
    digest = hashlib.sha256(code.encode()).digest()
    return tuple(int.from_bytes(digest[2 * at : 2 * at + 2]) % 101 for at in range(CRITERIA))


def steady(codes: Sequence[str]) -> list[Marks]:
    return [marks_for(code) for code in codes]


def position_biased(codes: Sequence[str]) -> list[Marks]:
    """Likes what it reads first: 5 marks less at each later place."""
    return [_clip(mark - 5 * place for mark in marks_for(code)) for place, code in enumerate(codes)]


def companion_leaning(codes: Sequence[str]) -> list[Marks]:
    """Marks on a curve: a sample loses 0.3 of what its companions have on average above the
    middle, and gains below.
    """
    steady_marks = steady(codes)
    leaning = []
    for place, marks in enumerate(steady_marks):
        others = steady_marks[:place] + steady_marks[place + 1 :]
        shift = (
            0.3 * (50 - statistics.fmean(sum(other) / CRITERIA for other in others))
            if others
            else 0.0
        )
        leaning.append(_clip(round(mark + shift) for mark in marks))
    return leaning


JUDGES: dict[str, Judge] = {
    "steady": steady,
    "position_biased": position_biased,
    "companion_leaning": companion_leaning,
}


def lines(marks: Sequence[Marks], *, explain: bool = False) -> list[str]:
    """The reply that the system prompt asks for."""
    reason = " clear names, one pass over the input, edge cases handled" if explain else ""
    return [
        f"{number} {' '.join(map(str, each))}{reason}" for number, each in enumerate(marks, start=1)
    ]


def as_json(marks: Sequence[Marks]) -> dict[str, list[list[int]]]:
    """The same under a schema."""
    return {"marks": [[number, *each] for number, each in enumerate(marks, start=1)]}


def _clip(values: object) -> Marks:
    return tuple(min(100, max(0, value)) for value in values)  # type: ignore[attr-defined]
