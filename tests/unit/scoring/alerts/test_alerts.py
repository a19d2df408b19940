"""Alerts on both databases: when they are raised, that each is posted once, and that none is in
the way of marking.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest

from markbook.config.settings import Alerts, Budget
from markbook.scoring.alerts import webhook
from markbook.scoring.alerts.monitor import PAUSES_MS, AlertMonitor
from markbook.scoring.alerts.webhook import DeliveryError, Webhook
from markbook.scoring.errors import StoreUnavailableError
from markbook.scoring.observability.metrics import Metrics
from markbook.scoring.store import Store
from markbook.scoring.store.alert_outbox import Alert, Delivery
from markbook.scoring.store.budget_days import DAY_MS, current_budget
from tests.fakes import RecordingTeacher
from tests.hook import SECRET, Hook, hook
from tests.unit.scoring.budgets.test_budget_periods import MIDNIGHT, Clock
from tests.unit.scoring.observability.test_metrics import Scraped

__all__ = ["hook"]

HOUR_MS = 3_600_000
NOON = MIDNIGHT - DAY_MS // 2
TOTAL = Budget(usd=1.0, per="day")
Replica = tuple[Store, AlertMonitor, Metrics]
Open = Callable[..., "asynccontextmanager[Replica]"]


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


@pytest.fixture
def replica(database_url: str, hook: Hook, clock: Clock, teacher: RecordingTeacher) -> Open:
    """`async with replica(...) as (store, monitor, metrics):` one of several services on the
    database.
    """

    @asynccontextmanager
    async def opened(
        low_agreement: Mapping[str, str] | None = None, **settings: object
    ) -> AsyncIterator[Replica]:
        store, metrics = Store(database_url, 10_000), Metrics()
        store.open("00" * 8, {}, 0)
        alerts = Alerts.model_validate({"webhook_url": hook.url, **settings})
        monitor = AlertMonitor(
            alerts, teacher, store, metrics.alerts, clock, lambda: low_agreement or {}
        )
        try:
            yield store, monitor, metrics
        finally:
            await monitor.close()
            await store.close()

    return opened


def reach(
    store: Store, nusd: int, clock: Clock, limit: Budget = TOTAL, scope: str = "total"
) -> None:
    store.money.watch.spent(current_budget(scope, limit, clock()), nusd, 0, clock())


def counted(metrics: Metrics, name: str, **labels: str) -> float:
    return Scraped(metrics.exposition().decode())(name, **labels)


async def test_a_replica_that_was_idle_since_yesterday_does_not_end_todays_alert(
    replica, hook, clock
):
    async with replica() as (one, first, _), replica() as (two, second, _):
        reach(two, 100_000_000, clock)
        for monitor in (first, second):
            await monitor.check()
        clock.now_ms = MIDNIGHT
        reach(one, 800_000_000, clock)
        await first.check()
        clock.now_ms += HOUR_MS
        await second.check()
        await second.check()
    assert [text.split()[1] for text in hook.texts] == ["80"]


async def test_a_budget_is_reported_once_per_level_and_period_by_all_replicas_together(
    replica, hook, clock
):
    async with replica() as (one, first, metrics), replica() as (two, second, others):
        for spent in (790_000_000, 800_000_000, 850_000_000, 900_000_000):
            reach(one, spent, clock)
            reach(two, spent, clock)
            await asyncio.gather(first.check(), second.check())
            await first.check()
        two.money.watch.exhausted(current_budget("total", TOTAL, clock()), clock())
        await second.check()
        clock.now_ms = MIDNIGHT  # a new day
        await first.check()
        reach(one, 800_000_000, clock)
        await asyncio.gather(first.check(), second.check())
        raised = counted(metrics, "alerts_total", kind="budget") + counted(
            others, "alerts_total", kind="budget"
        )
        posted = [
            counted(each, "alert_deliveries_total", outcome="ok") for each in (metrics, others)
        ]
    assert hook.texts == [
        "Markbook: 80 % of the budget of total per day ($1.00) is spent or set aside in 2026-11-28",
        "Markbook: 90 % of the budget of total per day ($1.00) is spent or set aside in 2026-11-28",
        "Markbook: the budget of total per day ($1.00) is exhausted in 2026-11-28: new samples "
        "are unscored, cached marks are still served",
        "Markbook: resolved: the budget of total per day ($1.00) in 2026-11-28 no longer applies: "
        "its period is over, or it was changed",
        "Markbook: 80 % of the budget of total per day ($1.00) is spent or set aside in 2026-11-29",
    ]
    assert (raised, sum(posted)) == (4, 5)
    assert {key: hook.bodies[0][key] for key in ("source", "kind", "at")} == {
        "source": "markbook",
        "kind": "budget",
        "at": "2026-11-28T12:00:00+00:00",
    }


async def test_a_process_that_starts_again_does_not_repeat_and_a_raised_limit_does(
    replica, hook, clock
):
    in_all = Budget(usd=1.0)
    for limit, spent in ((in_all, 0.8), (in_all, 0.8), (Budget(usd=2.0), 1.6)):
        async with replica() as (store, monitor, _):
            reach(store, round(spent * 1e9), clock, limit)
            await monitor.check()
    assert [text.partition(" is spent")[0] for text in hook.texts] == [
        "Markbook: 80 % of the budget of total ($1.00)",
        "Markbook: 80 % of the budget of total ($2.00)",
    ]


async def test_the_levels_are_those_of_the_configuration(database_url, clock):
    store = Store(database_url, 10_000, alert_percent=[29, 50])
    store.open("00" * 8, {}, 0)
    for spent in (289_999_999, 290_000_000, 499_999_999, 500_000_000, 990_000_000):
        reach(store, spent, clock)
        found = store.money.watch.current(clock()).get("total per day")
        assert (found and found.percent) == (
            None if spent < 290_000_000 else 29 if spent < 500_000_000 else 50
        )
    await store.close()


async def test_a_failed_delivery_is_tried_again_at_its_time_and_given_up_in_the_end(
    replica, hook, clock, caplog
):
    caplog.set_level("DEBUG")
    hook.statuses = [500, 404, 302, 429, 503]
    async with replica() as (store, monitor, metrics):
        reach(store, 800_000_000, clock)
        await monitor.check()
        for number, pause_ms in enumerate(PAUSES_MS, 1):
            assert len(hook.bodies) == number
            clock.now_ms += pause_ms - 1
            await monitor.check()
            assert len(hook.bodies) == number
            clock.now_ms += 1
            await monitor.check()
        clock.now_ms += HOUR_MS
        await monitor.check()
        outcomes = [
            counted(metrics, "alert_deliveries_total", outcome=each)
            for each in ("ok", "failed", "given_up")
        ]
    assert len(hook.bodies) == len(PAUSES_MS) + 1 == 5
    assert outcomes == [0, 4, 1]
    assert [text for text in caplog.messages if "not delivered" in text][-1] == (
        "alert not delivered to the webhook (HTTP status 503), attempt 5 of 5: given up"
    )
    assert SECRET not in caplog.text


async def test_a_webhook_that_comes_back_is_given_the_alert_once(replica, hook, clock, caplog):
    hook.statuses = [500]
    async with replica() as (one, first, _), replica() as (_, second, _):
        reach(one, 800_000_000, clock)
        await first.check()
        clock.now_ms += PAUSES_MS[0]
        await asyncio.gather(second.check(), first.check())
        clock.now_ms += HOUR_MS
        await asyncio.gather(second.check(), first.check())
    assert len(hook.bodies) == 2


async def test_what_a_replica_had_claimed_when_it_died_is_delivered_by_another(
    replica, hook, clock
):
    async with replica() as (dead, _, _), replica() as (_, monitor, _):
        await dead.alerts.add(Alert("e", "outage", "down"), clock(), repeat_ms=None, deliver=True)
        assert (await dead.alerts.claim(clock(), PAUSES_MS)).attempt == 1
        await monitor.check()
        assert hook.texts == []
        clock.now_ms += PAUSES_MS[0]
        await monitor.check()
    assert hook.texts == ["Markbook: down"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://nowhere.invalid/"])
async def test_an_address_where_nothing_listens_is_a_failed_delivery(replica, clock, caplog, url):
    async with replica(webhook_url=f"{url}{SECRET}") as (store, monitor, _):
        reach(store, 800_000_000, clock)
        await monitor.check()
    assert "alert not delivered to the webhook (ConnectError), attempt 1 of 5" in caplog.messages
    assert SECRET not in caplog.text


async def test_a_webhook_that_never_responds_is_left_after_a_while(hook, monkeypatch):
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.05)
    hook.gate.clear()
    posting = Webhook(hook.url)
    with pytest.raises(DeliveryError, match="Timeout"):
        await posting.post(Delivery(Alert("e", "outage", "down"), NOON, 1, is_last=False))
    await posting.close()


async def test_a_response_is_not_read(hook):
    hook.headers = {"Content-Length": str(10**12)}
    posting = Webhook(hook.url)
    await posting.post(
        Delivery(Alert("e", "outage", "5 < 6 <!channel>\x1b[2J"), NOON, 1, is_last=False)
    )
    await posting.close()
    assert hook.texts == ["Markbook: 5 ‹ 6 ‹!channel›\\x1b[2J"]


async def test_marking_does_not_wait_for_the_webhook(service, hook, database_url):
    hook.gate.clear()
    settings = {"alerts": {"webhook_url": hook.url}, "budgets": {"total": {"tokens": 111}}}
    sample = {"prompt": "Write f.", "language": "python", "code": "def f(a):\n    return a + 1\n"}
    async with service(settings, database_url=database_url) as http:
        first = await http.post("/score", json={"samples": [sample]})
        checking = asyncio.create_task(http._transport.app.state.markbook.alerts.check())
        await asyncio.to_thread(hook.came.wait, 60)
        again = await http.post("/score", json={"samples": [{**sample, "prompt": "Write f(a)."}]})
        stats = await http.get("/stats")
        assert not checking.done()
        hook.gate.set()
        await checking
    assert first.json()["results"][0]["status"] == "scored"
    assert again.json()["results"][0]["error"]["code"] == "budget_exhausted"
    assert stats.status_code == 200
    assert hook.texts[0].startswith("Markbook: 90 % of the budget of total (111 tokens) is spent")


async def test_without_a_webhook_alerts_are_counted_and_logged(replica, hook, clock, caplog):
    async with replica({"r1": "too low"}, webhook_url=None) as (store, monitor, metrics):
        reach(store, 800_000_000, clock)
        await monitor.check()
        found = [
            counted(metrics, "alerts_total", kind=kind)
            for kind in ("budget", "agreement", "outage")
        ]
        assert await store.alerts.claim(clock() + HOUR_MS, PAUSES_MS) is None
    assert found == [1, 1, 0]
    assert "80 % of the budget of total per day is spent or set aside" in caplog.messages
    assert hook.bodies == []


async def test_what_the_database_could_not_take_is_raised_when_it_is_back(
    replica, hook, clock, monkeypatch
):
    async with replica() as (store, monitor, _):
        reach(store, 800_000_000, clock)
        with monkeypatch.context() as patch:
            patch.setattr(store.alerts._database, "write", _unavailable)
            with pytest.raises(StoreUnavailableError):
                await monitor.check()
        await monitor.check()
    assert len(hook.bodies) == 1


async def _unavailable(*_: object) -> None:
    raise StoreUnavailableError("away")
