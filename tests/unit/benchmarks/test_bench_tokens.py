"""The rows of bench-tokens for tasks with tests: the samples are what they are called, and the
arithmetic by hand.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from benchmarks import tested_workload, tokens_tested
from benchmarks.tested_workload import WRONG, describe_tested, expected, partly_right, wrong
from benchmarks.tokens_measured import Row
from benchmarks.tokens_tested import Priced, price, table, verdicts
from benchmarks.workload import FAULTS, Report, ScoredRequest, sound
from markbook.scoring.teachers.anthropic.pricing import Tokens

REPORT = Report("top_visits", "sum", low=10, shown=2)
ROWS = [("north", 12), ("east", 20), ("south", 9), ("north", 8), ("west", 12), ("north", 10)]


def run(answer: ScoredRequest) -> list[bool]:
    """The tests of code that is known: in a namespace each."""
    passed = []
    for test in answer.tests:
        try:
            space: dict[str, object] = {"__name__": "sample"}
            for text in (answer.code, test):
                exec(compile(text, "sample", "exec", dont_inherit=True), space)
        except (AssertionError, ValueError):
            passed.append(False)
        else:
            passed.append(True)
    return passed


@pytest.mark.parametrize(
    ("statistic", "lines"),
    [
        ("sum", ["north: 22", "east: 20"]),
        ("max", ["east: 20", "north: 12"]),
        ("min", ["east: 20", "west: 12"]),
        ("count", ["north: 2", "east: 1"]),
    ],
)
def test_what_a_task_asks_for(statistic, lines):
    assert expected(replace(REPORT, statistic=statistic), ROWS) == lines


def test_right_answers_pass_and_every_wrong_one_fails_one_of_its_tests():
    answers = partly_right(1.0, lambda answer: False, tasks=24, per_task=2, left_out=0)
    found = Counter()
    for number, answer in enumerate(answers):
        assert run(answer) == [True] * 3
        spoiled = wrong(random.Random(number), answer, lambda answer: False)
        found[spoiled.fault] += 1
        assert not all(run(spoiled)), f"{spoiled.fault}:\n{spoiled.code}"
    assert found.keys() == WRONG.keys()


def test_exactly_the_wanted_share_is_right_and_half_of_the_others_broken():
    fewer, more = (partly_right(share, lambda answer: False, tasks=10) for share in (0.25, 0.75))
    assert [sum(answer.fault is None for answer in answers) for answers in (fewer, more)] == [
        10,
        28,
    ]  # of 38
    assert (
        sum(answer.fault in FAULTS for answer in fewer)
        == sum(answer.fault in WRONG for answer in fewer)
        == 14
    )
    assert {answer.task for answer in fewer} == {answer.task for answer in more}
    assert describe_tested(fewer) == (
        "38 samples of 10 tasks in Python with 3 tests each: 10 right, 14 broken, 14 complete and "
        "wrong"
    )


def test_what_a_fault_left_right_is_broken_again():
    [answer] = sound(random.Random(0), ["python"], 1, 1)
    verdicts = iter([True, True, False])
    spoiled = tested_workload.broken_for_sure(
        random.Random(0), answer, lambda answer: next(verdicts)
    )
    assert spoiled.fault in FAULTS
    assert not [*verdicts]


def rows() -> list[Row]:
    before = Row("before", 10, 10, Tokens(30_000, 90), 2_000)
    without = Row("ours without tests", 10, 4, Tokens(2_000, 80), 1_500, rejected=2)
    ours = Row(
        "ours with tests",
        10,
        2,
        Tokens(1_000, 40, cache_read=2_000),
        1_000,
        rejected=2,
        passed=4,
        failed=4,
    )
    return [before, without, ours]


def test_the_table_and_what_is_asked_of_it():
    priced = Priced(0.40, rows())
    # 1,000 + 2,000 / 10 of 30,000 tokens; $0.10 a million in, $0.50 out: 0.00014 for 10 samples, 4
    # of them right
    assert [*table([priced])][-1] == (
        "| 40% | ours with tests | 0.20 | 300 | 4.0 | 120 | 96.0% | 0.0140 | 0.0350 |"
    )
    assert [*verdicts([priced])] == [
        "40% pass: input 96.0% below before by price (at least 95%: holds), 40.0% below ours "
        "without tests, 1.20 x the code of those that passed; 2 rejected by the tier, 4 failed "
        "their tests, 4 passed"
    ]
    dearer = [*rows()[:2], replace(rows()[2], tokens=Tokens(1_600, 40))]
    assert "94.7% below before by price (at least 95%: DOES NOT HOLD)" in next(
        verdicts([Priced(0.40, dearer)])
    )
    assert "(at least" not in next(verdicts([Priced(0.10, dearer)]))


async def test_figures_of_another_share_are_not_told(monkeypatch):
    found = iter(rows())

    async def measure(*_):
        return [next(found)]

    monkeypatch.setattr(tokens_tested, "measure", measure)
    answers = partly_right(0.5, lambda answer: False, tasks=3)  # 5 of 10 right, and 4 passed
    with pytest.raises(
        SystemExit, match="4 samples passed their tests instead of 5, 0 could not be run"
    ):
        await price(None, 0.5, answers)
