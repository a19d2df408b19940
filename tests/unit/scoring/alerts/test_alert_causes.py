"""What raises an alert besides a budget, on both databases: outages, unscored samples, and
agreement.
"""

from __future__ import annotations

import asyncio

import pytest

from markbook.contract import ErrorCode
from markbook.scoring.alerts.causes import SHARE_EVERY_MS
from markbook.scoring.store import RequestLine
from markbook.scoring.teachers.protocol import Outage
from tests.hook import hook
from tests.unit.scoring.alerts.test_alerts import HOUR_MS, NOON, clock, counted, replica

__all__ = ["clock", "hook", "replica"]


def line(request_id: str, at_ms: int, samples: int, unscored: int) -> RequestLine:
    marked = samples - unscored
    codes = {ErrorCode.TEACHER_UNAVAILABLE.value: unscored} if unscored else {}
    return RequestLine(request_id, "demo", at_ms, samples, 0, 0, marked, 0, 0, codes, 0)


async def test_an_outage_is_repeated_after_the_hours_that_are_set(replica, hook, clock, teacher):
    async with (
        replica(repeat_hours=2.0) as (_, first, metrics),
        replica(repeat_hours=2.0) as (_, second, _),
    ):
        await first.check()
        teacher.down = Outage(NOON / 1000, "529 overloaded_error")
        await asyncio.gather(first.check(), second.check())
        clock.now_ms += 2 * HOUR_MS - 1
        await asyncio.gather(first.check(), second.check())
        assert len(hook.bodies) == 1
        clock.now_ms += 1
        await asyncio.gather(first.check(), second.check())
        assert len(hook.bodies) == 2
        teacher.down = None
        clock.now_ms += 9 * HOUR_MS
        await first.check()
        raised = counted(metrics, "alerts_total", kind="outage")
    assert (
        hook.texts
        == ["Markbook: the teacher is down, its last calls all failed: 529 overloaded_error"] * 2
    )
    assert raised in (0, 1, 2)


@pytest.mark.parametrize(
    ("samples", "unscored", "share", "raised"),
    [
        (49, 49, 0.1, False),
        (50, 5, 0.1, False),
        (50, 6, 0.1, True),
        (50, 0, 0.0, False),
        (50, 1, 0.0, True),
        (50, 50, None, False),
    ],
)
async def test_both_sides_of_the_share_of_unscored_samples(
    replica, hook, clock, caplog, samples, unscored, share, raised
):
    async with replica(unscored_share=share) as (store, monitor, _):
        await store.ledger.count([line("r1", NOON - 60_000, samples, unscored)])
        await monitor.check()
    expected = (
        f"{100 * unscored / samples:.1f} % of 50 samples of the last 10 minutes are unscored: "
        f"teacher_unavailable {unscored}"
    )
    assert hook.texts == ([f"Markbook: {expected}"] if raised else [])
    assert caplog.messages.count(expected) == raised


async def test_the_share_is_of_the_last_minutes_and_of_all_replicas(replica, hook, clock):
    async with (
        replica(window_minutes=5.0) as (one, first, _),
        replica(window_minutes=5.0) as (two, second, _),
    ):
        await one.ledger.count(
            [line("old", NOON - 6 * 60_000, 100, 100), line("r1", NOON - 60_000, 40, 2)]
        )
        await asyncio.gather(first.check(), second.check())
        assert hook.texts == []  # 40 samples are too few, and the old ones are not counted
        await two.ledger.count([line("r2", NOON - 60_000, 40, 10)])
        clock.now_ms += SHARE_EVERY_MS - 1
        await asyncio.gather(first.check(), second.check())
        assert hook.texts == []  # not looked at yet
        clock.now_ms += 1
        await asyncio.gather(first.check(), second.check())
    assert hook.texts == [
        "Markbook: 15.0 % of 80 samples of the last 5 minutes are unscored: teacher_unavailable 12"
    ]


async def test_a_run_whose_teacher_disagrees_with_tests_is_reported_once_per_repeat_hours(
    replica, hook, clock
):
    low: dict[str, str] = {}
    async with replica(low) as (_, first, _), replica(low) as (_, second, _):
        await first.check()
        assert hook.texts == []
        low["r1"] = "the teacher agrees with tests on 0.50"
        await asyncio.gather(first.check(), second.check())
        low["r2"] = "the teacher agrees with tests on 0.40"
        clock.now_ms += HOUR_MS - 1
        await asyncio.gather(first.check(), second.check())
        clock.now_ms += 1
        await asyncio.gather(first.check(), second.check())
    one, two = (f"Markbook: run {run}: {text}" for run, text in low.items())
    assert hook.texts == [one, two, one]
