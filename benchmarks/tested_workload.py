"""Python samples with tests, of which exactly a wanted share passes: the workload's tasks, answers
and faults.

A right answer passes by construction. Of those that fail one half is broken as in the workload, the
other half is complete, parses, and does something else than the task says.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from benchmarks.workload import FAULTS, Report, ScoredRequest, broken, sound

Passes = Callable[[ScoredRequest], bool]
"""Whether an answer passes its tests.

Code that a fault has hit may do so: the fault can be in a comment.
"""

_SMALLEST_FIRST = ((r"\(-(\w+\[)", r"(\1"), ("reverse=True", "reverse=False"))
_AT_THE_LIMIT = ((r"value < (\d+)", r"value <= \1"), (r">= (\d+|LOWEST)\b", r"> \1"))
_ONE_TOO_FEW = ((r"\[:(\d+|SHOWN)\]", r"[:\1 - 1]"),)
_WITHOUT_BLANK = ((r": \{", r":{"),)
WRONG = {
    "sorted the other way": _SMALLEST_FIRST,
    "off by one at the limit": _AT_THE_LIMIT,
    "one line too few": _ONE_TOO_FEW,
    "another form of the lines": _WITHOUT_BLANK,
}
"""How complete answers are wrong: patterns, one of which each template has, and their
replacements.
"""

_REDUCE: dict[str, Callable[[Sequence[int]], int]] = {
    "sum": sum,
    "max": max,
    "min": min,
    "count": len,
}


def partly_right(
    share: float,
    passes: Passes,
    tasks: int = 88,
    per_task: int = 4,
    left_out: int = 2,
    seed: int = 0,
) -> list[ScoredRequest]:
    """As `workload`, in Python alone and with tests, which a share of `share` passes. Before some
    of them are spoiled the answers are the same for every share.
    """
    draw = random.Random(seed)
    answers = sound(draw, ["python"], tasks, per_task)[: tasks * per_task - left_out]
    answers = [replace(answer, tests=assertions(answer.report)) for answer in answers]
    failing = draw.sample(range(len(answers)), len(answers) - round(share * len(answers)))
    for place, index in enumerate(failing):
        answers[index] = (broken_for_sure if place % 2 == 0 else wrong)(
            draw, answers[index], passes
        )
    return answers


def broken_for_sure(draw: random.Random, answer: ScoredRequest, passes: Passes) -> ScoredRequest:
    """Broken repeatedly until its tests fail."""
    spoiled = broken(draw, answer)
    while passes(spoiled):
        spoiled = broken(draw, answer)
    return spoiled


def wrong(draw: random.Random, answer: ScoredRequest, _passes: Passes) -> ScoredRequest:
    """Complete, and wrong in a way that one of its tests is about."""
    fault = draw.choice(list(WRONG))
    code = answer.code
    for pattern, other in WRONG[fault]:
        code = re.sub(pattern, other, code)
    assert code != answer.code, f"nothing to spoil for {fault!r} in:\n{code}"
    return replace(answer, code=code, fault=fault)


def assertions(report: Report) -> tuple[str, ...]:
    """Three tests of one task: the order, the limit, and how many lines there are."""
    low = report.low
    order = [
        ("north", 5),
        ("south", 9),
        ("south", 2),
        ("east", 9),
        ("west", 1),
        ("west", 1),
        ("west", 1),
    ]
    limit = [("north", 0), ("north", -1), ("south", 0), ("east", -1), ("south", 3)]
    length = [(f"hill {number}", number + 1) for number in range(report.shown + 2)]
    return tuple(
        _test(report, [(name, low + more) for name, more in rows])
        for rows in (order, limit, length)
    )


def _test(report: Report, rows: Sequence[tuple[str, int]]) -> str:
    lines = [f"{day};{name};{value}" for day, (name, value) in enumerate(rows, start=1)]
    return f"assert {report.function}({lines!r}) == {expected(report, rows)!r}"


def expected(report: Report, rows: Sequence[tuple[str, int]]) -> list[str]:
    """What the task asks for."""
    values: defaultdict[str, list[int]] = defaultdict(list)
    for name, value in rows:
        if value >= report.low:
            values[name].append(value)
    numbers = {name: _REDUCE[report.statistic](those) for name, those in values.items()}
    names = sorted(numbers, key=lambda name: (-numbers[name], name))
    return [f"{name}: {numbers[name]}" for name in names[: report.shown]]


def describe_tested(answers: Sequence[ScoredRequest]) -> str:
    """The shape of such a workload in one line."""
    faults = Counter(answer.fault for answer in answers if answer.fault is not None)
    broken_ones = sum(faults[fault] for fault in FAULTS)
    wrong_ones = sum(faults[fault] for fault in WRONG)
    return (
        f"{len(answers)} samples of {len({answer.task for answer in answers})} tasks in Python "
        f"with {len(answers[0].tests)} tests each: {len(answers) - broken_ones - wrong_ones} "
        f"right, {broken_ones} broken, {wrong_ones} complete and wrong"
    )
