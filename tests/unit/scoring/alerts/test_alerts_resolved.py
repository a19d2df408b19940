"""The end of what raised an alert, on both databases: reported once, by one replica, and only
where it is known.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from markbook.config.settings import Budget
from markbook.scoring.alerts.causes import QUIET_MS, SHARE_EVERY_MS
from markbook.scoring.alerts.monitor import PAUSES_MS, RENEW_EVERY_MS
from markbook.scoring.errors import StoreUnavailableError
from markbook.scoring.store import Store, tables
from markbook.scoring.store.budget_days import current_budget
from markbook.scoring.store.rollups import build_rollups
from markbook.scoring.teachers.protocol import Outage
from tests.hook import hook
from tests.seeding import copy_rows
from tests.unit.scoring.alerts.test_alert_causes import line
from tests.unit.scoring.alerts.test_alerts import (
    HOUR_MS,
    NOON,
    _unavailable,
    clock,
    counted,
    reach,
    replica,
)
from tests.unit.scoring.budgets.test_budget_periods import MIDNIGHT

__all__ = ["clock", "hook", "replica"]

DOWN = Outage(NOON / 1000, "529 overloaded_error")
IS_DOWN = "Markbook: the teacher is down, its last calls all failed: 529 overloaded_error"
IS_UP = "Markbook: resolved: the teacher is up, it answers calls again"


async def call(store: Store, at_ms: int, *, failed: bool = False) -> None:
    """A call of any replica has ended."""
    row: dict[str, Any] = {
        "id": f"call {at_ms}",
        "run": "demo",
        "at_ms": at_ms,
        "model": "m",
        "outcome": "overloaded_error" if failed else "end_turn",
        "group_id": b"g",
        "samples": 1,
        "input_tokens": 1,
        "output_tokens": 1,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "billed_input_equivalent": 1.0,
        "cost_nusd": 1,
        "usage_unknown": False,
        "provider_request_id": None,
        "duration_ms": None,
        "failed": failed,
    }
    copy_rows(store._database.engine, tables.calls, [row])
    await store._database.write(lambda connection: build_rollups(calls=[row]).write(connection))


async def test_an_outage_that_ends_is_reported_once_by_all_replicas_together(
    replica, hook, clock, teacher, caplog
):
    caplog.set_level("INFO")
    async with replica() as (store, first, one), replica() as (_, second, two):
        teacher.down = DOWN
        await asyncio.gather(first.check(), second.check())
        assert counted(one, "alerts_active", kind="outage") == 1
        teacher.down = None
        await call(store, clock() + 1)
        clock.now_ms += QUIET_MS - 1
        await asyncio.gather(first.check(), second.check())
        assert hook.texts == [IS_DOWN]
        clock.now_ms += 1
        await asyncio.gather(first.check(), second.check())
        await asyncio.gather(first.check(), second.check())
        gauges = [counted(each, "alerts_active", kind="outage") for each in (one, two)]
        resolved = [counted(each, "alerts_resolved_total", kind="outage") for each in (one, two)]
    assert hook.texts == [IS_DOWN, IS_UP]
    assert (gauges, sum(resolved)) == ([0, 0], 1)
    assert caplog.messages.count("alert resolved: the teacher is up, it answers calls again") == 1
    fields = [{key: body[key] for key in ("status", "kind", "event")} for body in hook.bodies]
    assert fields == [
        {"status": status, "kind": "outage", "event": "outage"} for status in ("firing", "resolved")
    ]


async def test_an_outage_has_not_ended_before_a_call_was_answered(replica, hook, clock, teacher):
    async with replica() as (store, monitor, _):
        teacher.down = DOWN
        await monitor.check()
        teacher.down = None
        await call(store, clock() - 60_000)
        await call(store, clock() + 1, failed=True)
        clock.now_ms += HOUR_MS
        await monitor.check()
        assert hook.texts == [IS_DOWN]
        await call(store, clock())
        await monitor.check()
    assert hook.texts == [IS_DOWN, IS_UP]


async def test_a_replica_that_still_sees_the_cause_keeps_the_others_from_ending_it(
    replica, hook, clock, teacher
):
    low = {"r1": "the teacher agrees with tests on 0.50"}
    async with replica(low) as (_, seeing, _), replica({}) as (_, other, _):
        for _ in range(9):
            await asyncio.gather(seeing.check(), other.check())
            clock.now_ms += RENEW_EVERY_MS
        assert len(hook.texts) == 1
        low.clear()
        clock.now_ms += QUIET_MS - RENEW_EVERY_MS - 1
        await asyncio.gather(seeing.check(), other.check())
        assert len(hook.texts) == 1
        clock.now_ms += 1
        await asyncio.gather(seeing.check(), other.check())
    assert hook.texts[1:] == [
        "Markbook: resolved: run r1: the teacher's agreement with tests is no longer below "
        "rlaif.min_teacher_agreement"
    ]


async def test_a_restart_neither_repeats_the_end_nor_takes_its_own_ignorance_for_one(
    replica, hook, clock, teacher
):
    low = {"r1": "the teacher agrees with tests on 0.50"}
    async with replica(low) as (_, monitor, _):
        await monitor.check()
    clock.now_ms += HOUR_MS - 1
    async with replica({}) as (_, starting, _):
        await starting.check()
        clock.now_ms += QUIET_MS - 1
        await starting.check()
        assert len(hook.texts) == 1  # it has only just started
        clock.now_ms += 1
        await starting.check()
        assert len(hook.texts) == 2
    for _ in range(2):
        async with replica({}) as (_, again, _):
            await again.check()
            clock.now_ms += QUIET_MS
            await again.check()
    assert len(hook.texts) == 2


async def test_what_comes_back_after_its_end_was_reported_is_raised_again(
    replica, hook, clock, teacher
):
    async with replica() as (store, monitor, metrics):
        for _ in range(2):
            teacher.down = DOWN
            await monitor.check()
            teacher.down = None
            await call(store, clock() + 1)
            clock.now_ms += QUIET_MS
            await monitor.check()
        raised = counted(metrics, "alerts_total", kind="outage")
    assert hook.texts == [IS_DOWN, IS_UP, IS_DOWN, IS_UP]
    assert raised == 2


async def test_a_cause_that_comes_and_goes_is_one(replica, hook, clock, teacher):
    async with replica() as (store, monitor, _):
        for _ in range(20):
            teacher.down = DOWN
            await monitor.check()
            teacher.down = None
            await call(store, clock() + 1)
            clock.now_ms += QUIET_MS - 1
            await monitor.check()
    assert hook.texts == [IS_DOWN]


async def test_the_share_of_unscored_samples_ends_when_it_has_fallen(replica, hook, clock):
    async with replica() as (store, monitor, metrics):
        await store.ledger.count([line("r1", NOON - 60_000, 50, 6)])
        await monitor.check()
        await store.ledger.count([line("r2", NOON, 10, 0)])  # 6 of 60 are no more than 10 %
        for _ in range(3):
            clock.now_ms += SHARE_EVERY_MS
            await monitor.check()
        assert counted(metrics, "alerts_active", kind="unscored") == 0
    assert len(hook.texts) == 2
    assert hook.texts[1] == (
        "Markbook: resolved: no more than 10 % of the samples of the last 10 minutes are "
        "unscored, or there were fewer than 50"
    )


@pytest.mark.parametrize("limit", [Budget(usd=2.0), Budget(usd=1.0, tokens=5)])
async def test_a_budget_in_all_ends_when_calls_are_charged_to_another_limit(
    replica, hook, clock, limit
):
    in_all = Budget(usd=1.0)
    async with replica() as (store, monitor, metrics):
        reach(store, 1_000_000_000, clock, in_all)
        await monitor.check()
        clock.now_ms += 100 * HOUR_MS
        reach(store, 500_000_000, clock, in_all)  # a reservation was given back
        await monitor.check()
        assert (len(hook.texts), counted(metrics, "alerts_active", kind="budget")) == (1, 1)
        store.money.watch.spent(current_budget("run other", limit, clock()), 0, 0, clock())
        await monitor.check()
        assert len(hook.texts) == 1
        reach(store, 500_000_000, clock, limit)
        assert store.money.watch.current(clock()) == {}
        await monitor.check()
        await monitor.check()
        assert counted(metrics, "alerts_active", kind="budget") == 0
    assert hook.texts[1:] == [
        "Markbook: resolved: the budget of total ($1.00) no longer applies: its period is over, or "
        "it was changed"
    ]


async def test_a_day_of_a_budget_ends_at_midnight_also_after_a_restart(replica, hook, clock):
    async with replica() as (store, monitor, _):
        reach(store, 800_000_000, clock)
        reach(store, 900_000_000, clock)
        await monitor.check()
    async with replica() as (_, monitor, _):
        await monitor.check()
        clock.now_ms = MIDNIGHT - 1
        await monitor.check()
        assert len(hook.texts) == 1
        clock.now_ms = MIDNIGHT
        await monitor.check()
        await monitor.check()
    assert len(hook.texts) == 2


async def test_after_an_outage_of_the_database_other_replicas_are_waited_for(
    replica, hook, clock, teacher, monkeypatch
):
    low = {"r1": "the teacher agrees with tests on 0.50"}
    async with replica(low) as (_, first, _), replica({}) as (store, second, _):
        await asyncio.gather(first.check(), second.check())
        clock.now_ms += HOUR_MS - 1
        with monkeypatch.context() as patch:
            patch.setattr(store.alerts._database, "read", _unavailable)
            with pytest.raises(StoreUnavailableError):
                await second.check()
        await second.check()
        assert len(hook.texts) == 1
        await first.check()  # it still sees it
        clock.now_ms += QUIET_MS - 1
        await second.check()
    assert len(hook.texts) == 1


async def test_the_end_is_posted_after_its_alert_and_retried_as_any(replica, hook, clock, teacher):
    hook.statuses = [500, 500, 500, 200, 500]
    async with replica() as (store, monitor, _):
        teacher.down = DOWN
        await monitor.check()
        teacher.down = None
        await call(store, clock() + 1)
        for pause_ms in PAUSES_MS[:2]:
            clock.now_ms += pause_ms
            await monitor.check()
        clock.now_ms += QUIET_MS - PAUSES_MS[0] - PAUSES_MS[1]
        await monitor.check()  # its end is noted, and waits for the fourth attempt
        assert hook.texts == [IS_DOWN] * 3
        clock.now_ms += PAUSES_MS[2]
        await monitor.check()
        clock.now_ms += PAUSES_MS[0]
        await monitor.check()
        clock.now_ms += HOUR_MS
        await monitor.check()
    assert hook.texts == [IS_DOWN] * 4 + [IS_UP] * 2


async def test_without_a_webhook_the_end_is_logged_and_counted(replica, clock, caplog):
    caplog.set_level("INFO")
    low = {"r1": "too low"}
    async with replica(low, webhook_url=None) as (store, monitor, metrics):
        await monitor.check()
        low.clear()
        clock.now_ms += QUIET_MS
        await monitor.check()
        assert counted(metrics, "alerts_resolved_total", kind="agreement") == 1
        assert await store.alerts.claim(clock() + HOUR_MS, PAUSES_MS) is None
    assert len([text for text in caplog.messages if text.startswith("alert resolved: run r1")]) == 1


async def test_alerts_of_before_this_version_have_no_end_to_report(replica, hook, clock, teacher):
    """Their causes were not noted."""
    async with replica() as (store, monitor, _):
        teacher.down = DOWN
        alert = (await monitor._causes.find(clock()))[0].alert
        await store.alerts.add(alert, clock() - 2 * HOUR_MS, repeat_ms=HOUR_MS, deliver=False)
        teacher.down = None
        await monitor.check()
        await call(store, clock())
        clock.now_ms += QUIET_MS
        await monitor.check()
    assert hook.texts == []
