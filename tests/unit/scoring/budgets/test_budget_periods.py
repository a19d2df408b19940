"""Budgets per day and per month on both databases: both sides of midnight, calls across it,
several replicas.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from markbook.config.settings import Budget, Budgets
from markbook.scoring.budgets.limiter import RunBudgetLimiter
from markbook.scoring.store import OWNER, CallContext, Store
from markbook.scoring.store.budget_days import DAY_MS, Period, current_budget, period_at
from markbook.scoring.store.budgets import BudgetExceededError
from tests.unit.scoring.api.test_keys import api_key
from tests.unit.scoring.budgets.test_money import BILL, BOUND, LEASE, replicas

__all__ = ["replicas"]


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


MIDNIGHT = at("2026-11-29")


class Clock:
    """Stays where it is put."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


def limiter(
    store: Store, clock: Clock, run: str = "a", **budgets: dict[str, object]
) -> RunBudgetLimiter:
    return RunBudgetLimiter(
        store, CallContext(run, "ab" * 8, 4), Budgets.model_validate(budgets), clock
    )


@pytest.mark.parametrize(
    ("per", "now", "name", "first", "end"),
    [
        ("day", "2026-11-28T00:00:00", "2026-11-28", "2026-11-28", "2026-11-29"),
        ("day", "2026-11-28T23:59:59.999", "2026-11-28", "2026-11-28", "2026-11-29"),
        ("day", "2026-11-29T00:00:00", "2026-11-29", "2026-11-29", "2026-11-30"),
        ("month", "2026-11-01T00:00:00", "2026-11", "2026-11-01", "2026-12-01"),
        ("month", "2026-11-30T23:59:59.999", "2026-11", "2026-11-01", "2026-12-01"),
        ("month", "2026-12-31T23:59:59.999", "2026-12", "2026-12-01", "2027-01-01"),
        ("month", "2027-01-01T00:00:00", "2027-01", "2027-01-01", "2027-02-01"),
        ("month", "2028-02-29T12:00:00", "2028-02", "2028-02-01", "2028-03-01"),
    ],
)
def test_where_a_period_begins_and_ends(per, now, name, first, end):
    assert period_at(per, at(now)) == Period(name, at(first) // DAY_MS, at(end) // DAY_MS)
    assert period_at(per, at(now)).end_ms == at(end)


@pytest.mark.parametrize(
    ("per", "last_ms"),
    [("day", MIDNIGHT - 1), ("month", at("2026-12-01") - 1)],
    ids=["day", "month"],
)
async def test_a_period_ends_at_midnight_and_the_next_one_is_whole(replicas, per, last_ms):
    clock = Clock(last_ms)
    paying = limiter(replicas[0], clock, total={"usd": 0.01, "per": per})
    await paying.reserve(BOUND)
    with pytest.raises(BudgetExceededError) as caught:
        await paying.reserve(BOUND)
    assert (
        caught.value.detail
        == f"the budget of total per {per} is exhausted (all $0.01 spent): see budgets in /stats"
    )
    clock.now_ms += 1
    await paying.reserve(BOUND)
    with pytest.raises(BudgetExceededError):
        await paying.reserve(BOUND)
    money = replicas[0].money
    assert (await money.spent(OWNER))["total"] == (20_000_000, 2400)
    for now_ms in (last_ms, clock.now_ms):
        assert await money.spent_in(OWNER, per, now_ms) == {
            "total": (10_000_000, 1200),
            "run a": (10_000_000, 1200),
        }


async def test_the_days_of_a_month_add_up(replicas):
    clock = Clock(at("2026-11-01"))
    paying = limiter(
        replicas[0],
        clock,
        total={"usd": 0.02, "per": "month"},
        recurring={"usd": 0.01, "per": "day"},
    )
    await paying.reserve(BOUND)
    with pytest.raises(BudgetExceededError, match="total per day is exhausted"):
        await paying.reserve(BOUND)
    clock.now_ms = at("2026-11-30T23:59:59.999")
    await paying.reserve(BOUND)
    clock.now_ms -= DAY_MS
    with pytest.raises(BudgetExceededError, match="total per month is exhausted"):
        await paying.reserve(BOUND)
    clock.now_ms = at("2026-12-01")
    await paying.reserve(BOUND)


async def test_a_call_across_midnight_belongs_to_the_day_on_which_it_was_reserved(replicas):
    clock = Clock(MIDNIGHT - 1)
    store, money = replicas[0], replicas[0].money
    paying = limiter(store, clock, per_run={"usd": 0.011, "per": "day"})
    reservation = await paying.reserve(BOUND)
    clock.now_ms = MIDNIGHT + 5_000
    await paying.settle(reservation, BOUND, BILL)
    await paying.wait_settled()
    assert (await money.spent_in(OWNER, "day", MIDNIGHT - 1))["run a"] == (1_000_000, 120)
    assert await money.spent_in(OWNER, "day", MIDNIGHT) == {}
    clock.now_ms = MIDNIGHT - 1
    await paying.reserve(BOUND)  # $0.001 and $0.01 are the day's $0.011
    with pytest.raises(BudgetExceededError):
        await paying.reserve(BOUND)
    clock.now_ms = MIDNIGHT
    await paying.reserve(BOUND)  # the new day has all of it


async def test_a_call_that_was_taken_for_dead_is_settled_on_its_own_day(replicas):
    dead, alive = replicas
    clock = Clock(MIDNIGHT - 1)
    paying = limiter(dead, clock, per_run={"usd": 1.0, "per": "day"})
    reservation = await paying.reserve(BOUND)
    await alive.money.renew(MIDNIGHT + LEASE + 1)
    assert (await alive.money.spent_in(OWNER, "day", MIDNIGHT - 1))["run a"] == (10_000_000, 1200)
    clock.now_ms = MIDNIGHT + LEASE + 2
    await paying.settle(reservation, BOUND, BILL)
    await paying.wait_settled()
    assert (await alive.money.spent_in(OWNER, "day", MIDNIGHT - 1))["run a"] == (1_000_000, 120)
    assert await alive.money.spent_in(OWNER, "day", MIDNIGHT) == {}


async def test_replicas_share_a_day(replicas):
    """Some of them already on the next day: each day has its own five calls, and a month both."""
    clocks = Clock(MIDNIGHT - 1), Clock(MIDNIGHT)
    budgets = {"total": {"usd": 0.08, "per": "month"}, "recurring": {"usd": 0.05, "per": "day"}}
    paying = [
        limiter(replicas[turn % 2], clocks[turn // 2 % 2], f"run-{turn}", **budgets)
        for turn in range(32)
    ]
    results = await asyncio.gather(
        *(each.reserve(BOUND) for each in paying), return_exceptions=True
    )
    assert all(isinstance(result, str | BudgetExceededError) for result in results)
    assert (
        sum(isinstance(result, str) for result in results) == 8
    )  # the month's, of two days with five each
    days = [
        (await replicas[0].money.spent_in(OWNER, "day", now))["total"][0]
        for now in (MIDNIGHT - 1, MIDNIGHT)
    ]
    assert max(days) <= 50_000_000
    assert (
        sum(days)
        == (await replicas[0].money.spent_in(OWNER, "month", MIDNIGHT))["total"][0]
        == 80_000_000
    )


async def test_a_keys_budget_may_have_a_period(replicas, database_url):
    store, clock = replicas[0], Clock(MIDNIGHT - 1)
    assert await store.keys.add(api_key("ann", "mb_ann", tokens=1200, per="day"))
    [key] = await store.keys.all()
    assert key.budget == Budget(tokens=1200, per="day")
    paying = RunBudgetLimiter(store, CallContext("a", "ab" * 8, 4, "ann"), Budgets(), clock, key)
    await paying.reserve(BOUND)
    with pytest.raises(BudgetExceededError, match="the budget of key ann per day is exhausted"):
        await paying.reserve(BOUND)
    clock.now_ms += 1
    await paying.reserve(BOUND)


def test_a_budget_that_recurs_is_per_day_unless_told_otherwise():
    budgets = Budgets.model_validate({"recurring": {"usd": 5.0}})
    assert (budgets.recurring.per, budgets.total.per, budgets.in_dollars()) == ("day", None, True)
    assert current_budget("total", budgets.recurring, MIDNIGHT).name == "total per day"
    assert current_budget("run a", Budget(usd=1.0), MIDNIGHT).name == "run a"


async def test_stats_metrics_and_the_page_show_the_period(service, clock, database_url):
    # a group of one sample is bound and billed at 100 tokens in and 10 out, at 150 millionths of a
    # dollar
    clock.now_ms = MIDNIGHT - 10_000
    settings = {
        "budgets": {
            "total": {"usd": 1.0},
            "recurring": {"usd": 0.0003},
            "runs": {"demo": {"tokens": 500}},
        }
    }
    sample = {"prompt": "Write f.", "language": "python"}
    async with service(settings, database_url=database_url) as http:

        async def score(name: str) -> dict[str, object]:
            code = f"def {name}(a):\n    return a + 1\n"
            answer = await http.post(
                "/score", json={"run": "demo", "samples": [{**sample, "code": code}]}
            )
            return answer.json()["results"][0]

        first = [(await score(name))["status"] for name in ("one", "two", "three")]
        spent, page = (await http.get("/stats")).json()["budgets"], (await http.get("/")).text
        metrics = (await http.get("/metrics")).text
        clock.now_ms = MIDNIGHT
        later, after = (await http.get("/stats")).json()["budgets"], (await http.get("/")).text
        again = (await score("three"))["status"]
    assert first == ["scored", "scored", "unscored"]
    numbers = {"spent_usd": 0.0003, "limit_usd": 1.0, "spent_tokens": 220, "limit_tokens": None}
    assert spent["total"] == {**numbers, "per": None}
    assert spent["total per day"] == {**spent["total"], "limit_usd": 0.0003, "per": "day"}
    assert 'markbook_budget_spent_ratio{scope="total per day"} 1.0' in metrics
    assert 'markbook_budget_spent_ratio{scope="total"} 0.0003' in metrics
    assert 'markbook_budget_spent_ratio{scope="run demo"} 0.44' in metrics
    assert 'markbook_budget_left_usd{scope="total per day"} 0.0' in metrics
    assert 'all runs <span class="quiet">this day</span>' in page
    assert "The budget of total per day is spent since" in page
    assert (later["total per day"]["spent_usd"], later["total"]["spent_usd"]) == (0.0, 0.0003)
    assert "The budget of total per day" not in after  # it is a new day
    assert again == "scored"
