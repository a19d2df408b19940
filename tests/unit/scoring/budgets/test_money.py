"""Budgets on both databases: reserved before, settled after, never overspent together, at the
bound if cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from markbook.config.settings import Budgets
from markbook.scoring.api.stats import sum_counters
from markbook.scoring.budgets.limiter import RunBudgetLimiter
from markbook.scoring.store import OWNER, CallContext, Store
from markbook.scoring.store.budgets import BudgetExceededError
from markbook.scoring.store.database import Database
from markbook.scoring.types import TeacherCall
from tests.fakes import RecordingTeacher, StepClock

LEASE = 10_000
BOUND = TeacherCall("m", "reserved", 1000, 200, cost_usd=0.01)
BILL = TeacherCall("m", "end_turn", 100, 20, cost_usd=0.001)


@pytest.fixture
async def replicas(database_url: str) -> AsyncIterator[list[Store]]:
    stores = [Store(database_url, LEASE) for _ in range(2)]
    for store in stores:
        store.open("00" * 8, {}, 0)
    yield stores
    for store in stores:
        await store.close()


def purse(
    store: Store, clock: StepClock, run: str = "a", **budgets: dict[str, object]
) -> RunBudgetLimiter:
    settings = Budgets.model_validate(budgets)
    return RunBudgetLimiter(store, CallContext(run, "ab" * 8, 4), settings, clock)


async def settle(paying: RunBudgetLimiter, reservation: str) -> None:
    await paying.settle(reservation, BOUND, BILL)
    await paying.wait_settled()


async def counters(store: Store, run: str = "a"):
    return sum_counters(await store.ledger.sums(OWNER))[1][run]


async def test_the_bill_takes_the_place_of_the_bound(replicas, clock):
    store = replicas[0]
    paying = purse(store, clock)
    reservation = await paying.reserve(BOUND)
    assert await store.money.spent(OWNER) == {
        "total": (10_000_000, 1200),
        "run a": (10_000_000, 1200),
    }
    await settle(paying, reservation)
    assert await store.money.spent(OWNER) == {"total": (1_000_000, 120), "run a": (1_000_000, 120)}
    block = await counters(store)
    assert (
        block.teacher_calls,
        block.api_tokens_sent,
        block.cost_usd,
        block.usage_unknown_calls,
    ) == (1, 100, 0.001, 0)
    assert paying.bills == [BILL]


@pytest.mark.parametrize(
    ("budget", "fits", "over", "why"),
    [
        ({"total": {"usd": 0.02}}, 2, "total", "is exhausted (all $0.02 spent)"),
        (
            {"total": {"usd": 0.019999999}},
            1,
            "total",
            "has $0.009999999 of $0.019999999 left, and the next call may cost up to $0.01",
        ),
        (
            {"total": {"usd": 0.01043}},
            1,
            "total",
            "has $0.00043 of $0.01043 left, and the next call may cost up to $0.01",
        ),
        ({"total": {"tokens": 2400}}, 2, "total", "is exhausted (all 2,400 tokens spent)"),
        (
            {"total": {"tokens": 2399}},
            1,
            "total",
            "has 1,199 tokens of 2,399 tokens left, and the next call may cost up to 1,200 tokens",
        ),
        ({"per_run": {"usd": 0.01}}, 1, "run a", "is exhausted (all $0.01 spent)"),
        (
            {"per_run": {"usd": 0.0}, "runs": {"a": {"tokens": 1200}}},
            1,
            "run a",
            "is exhausted (all 1,200 tokens spent)",
        ),
        ({"per_run": {"usd": 0.0}}, 0, "run a", "is exhausted (all $0.00 spent)"),
    ],
)
async def test_both_sides_of_a_budgets_end(replicas, clock, budget, fits, over, why):
    paying = purse(replicas[0], clock, **budget)
    for _ in range(fits):
        await paying.reserve(BOUND)
    before = await replicas[0].money.spent(OWNER)
    with pytest.raises(BudgetExceededError) as caught:
        await paying.reserve(BOUND)
    assert caught.value.detail == f"the budget of {over} {why}: see budgets in /stats"
    assert await replicas[0].money.spent(OWNER) == before  # what did not fit is charged nowhere


async def test_a_run_out_of_money_leaves_another_run_alone(replicas, clock):
    budget = {"runs": {"a": {"usd": 0.0}}}
    with pytest.raises(BudgetExceededError):
        await purse(replicas[0], clock, "a", **budget).reserve(BOUND)
    await purse(replicas[0], clock, "b", **budget).reserve(BOUND)


async def test_replicas_together_do_not_overspend(replicas, clock):
    budget = {"total": {"usd": 0.05}, "per_run": {"usd": 0.03}}
    purses = [purse(replicas[turn % 2], clock, "ab"[turn % 3 == 0], **budget) for turn in range(24)]
    results = await asyncio.gather(
        *(each.reserve(BOUND) for each in purses), return_exceptions=True
    )
    assert sum(isinstance(result, str) for result in results) == 5
    assert all(isinstance(result, str | BudgetExceededError) for result in results)
    spent = await replicas[0].money.spent(OWNER)
    assert spent["total"] == (50_000_000, 6000)
    assert max(spent["run a"][0], spent["run b"][0]) <= 30_000_000


async def test_a_call_whose_owner_died_stays_charged_at_its_bound(replicas, clock):
    dead, alive = replicas
    paying = purse(dead, clock)
    reservation = await paying.reserve(BOUND)
    await alive.money.renew(clock.now_ms + LEASE)
    assert sum_counters(await alive.ledger.sums(OWNER))[1] == {}
    await alive.money.renew(clock.now_ms + LEASE + 1)
    block = await counters(alive)
    assert (
        block.usage_unknown_calls,
        block.usage_unknown_tokens,
        block.usage_unknown_cost_usd,
    ) == (1, 1200, 0.01)
    assert (block.api_tokens_sent, block.cost_usd) == (0, 0.0)
    assert (await alive.money.spent(OWNER))["total"] == (10_000_000, 1200)
    await settle(paying, reservation)  # it was only slow: the bill is known after all
    block = await counters(alive)
    assert (
        block.teacher_calls,
        block.usage_unknown_calls,
        block.api_tokens_sent,
        block.cost_usd,
    ) == (1, 0, 100, 0.001)
    assert (await alive.money.spent(OWNER))["total"] == (1_000_000, 120)


async def test_what_a_stopping_service_leaves_open_is_booked_at_once(sqlite_url, clock):
    store = Store(sqlite_url, LEASE)
    store.open("00" * 8, {}, 0)
    await purse(store, clock).reserve(BOUND)
    await store.close()
    again = Store(sqlite_url, LEASE)
    assert (await counters(again)).usage_unknown_calls == 1
    await again.close()


async def test_a_bill_that_is_settled_twice_is_charged_once(replicas, clock):
    """The answer to a commit can be lost: the same settlement comes again."""
    paying = purse(replicas[0], clock)
    reservation = await paying.reserve(BOUND)
    for _ in range(2):
        await settle(paying, reservation)
    assert await replicas[0].money.spent(OWNER) == {
        "total": (1_000_000, 120),
        "run a": (1_000_000, 120),
    }
    assert (await counters(replicas[0])).teacher_calls == 1


async def test_a_bill_is_written_meanwhile_and_before_the_next_call(replicas, clock):
    store = replicas[0]
    paying = purse(store, clock, total={"usd": 0.012})
    for _ in range(3):  # the third bound fits beside two bills, not beside another bound
        await paying.settle(await paying.reserve(BOUND), BOUND, BILL)
    with pytest.raises(BudgetExceededError):
        await paying.reserve(BOUND)
    assert paying.pop_unwritten() == []
    assert (await store.money.spent(OWNER))["total"] == (3_000_000, 360)
    assert (await counters(store)).teacher_calls == 3


class Lingering(RecordingTeacher):
    """Has its bill before its marks, which then come too late to be written with it."""

    async def mark(self, group, purse):
        marks = await super().mark(group, purse)
        await asyncio.sleep(0)
        return marks


@pytest.mark.parametrize("by", [RecordingTeacher, Lingering])
async def test_a_reply_waits_for_its_bill(service, database_url, monkeypatch, by):
    """Written with its marks, or, where the marks came later, by itself."""
    insist, gate, kept, held = Database.write_with_retry, asyncio.Event(), asyncio.Event(), []

    async def late(self, work):
        if not held:
            held.append(work)
            if by is RecordingTeacher:
                kept.set()
            await gate.wait()
            await insist(self, work)
        else:
            await insist(self, work)
            kept.set()

    monkeypatch.setattr(Database, "write_with_retry", late)
    sample = {
        "prompt": "Write add(a, b).",
        "language": "python",
        "code": "def add(a, b):\n    return a + b\n",
    }
    async with service(database_url=database_url, by=by()) as http:
        asked = asyncio.create_task(http.post("/score", json={"samples": [sample]}))
        await kept.wait()
        for _ in range(3):  # time enough for a reply that does not wait
            await http.get("/stats")
        assert not asked.done()
        gate.set()
        assert (await asked).json()["usage"]["teacher_calls"] == 1
        assert (await http.get("/stats")).json()["totals"]["teacher_calls"] == 1
