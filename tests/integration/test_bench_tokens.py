"""The token benchmark on a small workload: its sums are the emulator's bill, its arithmetic is
right.
"""

from __future__ import annotations

import pytest

from benchmarks import tokens as bench
from benchmarks.workload import CODE_TOKENS, FAULTS, TASK_TOKENS, workload
from markbook.scoring.teachers.anthropic.pricing import Tokens, cost_usd
from tests.emulator.server import Emulator
from tests.emulator.tokens import estimate, exact

ROW = bench.Row("one", 10, 5, Tokens(1000, 100, 10_000, 2000), floor=3000)


@pytest.fixture(scope="module")
def answers():
    return workload(tasks=4, left_out=1)


def test_the_workload_has_the_shape_it_promises(answers):
    assert answers == workload(tasks=4, left_out=1)
    assert len(answers) == len({(answer.task, answer.code) for answer in answers}) == 15
    assert len({answer.task for answer in answers}) == 4
    assert {answer.language for answer in answers} == {"python", "cpp", "rust"}
    assert all(exact(answer.task) in TASK_TOKENS for answer in answers)
    assert all(exact(answer.code) in CODE_TOKENS for answer in answers if answer.fault is None)
    assert [answer.fault in FAULTS for answer in answers].count(True) == round(0.35 * 15) == 5
    assert not any(
        "$" in answer.task or "?d" in answer.code or "?c" in answer.code for answer in answers
    )


async def test_the_rows_are_what_was_billed(answers, emulator: Emulator):
    before, uncached, start, ours, whole, again = await bench.rows(
        emulator, answers, count=estimate
    )
    assert [row.calls for row in (before, uncached, start)] == [15, 15, 15]
    assert (ours.calls, whole.calls) == (4, 4)
    assert (again.tokens, again.calls, again.floor, again.rejected) == (
        Tokens(),
        0,
        0,
        ours.rejected,
    )
    assert before.floor == start.floor == sum(exact(answer.code) for answer in answers)
    assert (
        ours.floor
        == sum(exact(code) for entry in emulator.log for code in entry.codes)
        < before.floor
    )
    assert sum(len(entry.codes) for entry in emulator.log) + ours.rejected == 15

    # the emulator's own prices, call by call
    assert cost_usd(ours.tokens, bench.HAIKU) == pytest.approx(
        sum(entry.dollars() for entry in emulator.log)
    )
    assert (before.tokens.cache_read, before.tokens.cache_write) == (0, 0)
    assert uncached.tokens.input == start.tokens.sent > start.input_at_price
    assert whole.tokens.sent > ours.tokens.sent


async def test_the_hidden_prompt_is_billed_in_every_call(answers, emulator: Emulator):
    [without] = await bench.measure(emulator, bench.BEFORE, answers, ["x"], count=estimate)
    billing = {"count": estimate, "structured_output_overhead": 250, "overhead_always": True}
    [bare] = await bench.measure(emulator, bench.BEFORE, answers, ["x"], **billing)
    assert bare.tokens.sent - without.tokens.sent == 250 * 15


def test_a_row_by_hand():
    # 1,000 + 10,000 at a tenth + 2,000 at 1.25; 100 of output at 5
    assert ROW.input_at_price == pytest.approx(4500)
    assert ROW.all_at_price == pytest.approx(5000)
    # 5,000 at 0.10 a million; at 2.00 cache reads cost a twentieth, so 4,500: dollars for 100 times
    # as many samples
    assert (
        list(bench.table([ROW]))[-1]
        == "| one | 0.50 | 1,300 | 10.0 | 450 | 500 | 0.0500 | 0.900 | 300 |"
    )
    assert bench.uncached(ROW, "bare").input_at_price == pytest.approx(13_000)
