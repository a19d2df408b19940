"""Raises alerts and delivers them to the webhook, in a task of its own: no request waits for it.

Each event is raised once across replicas: that of a budget once per level and period, others at most once per
`alerts.repeat_hours`. A delivery that fails is tried again, PAUSES_MS apart, by whichever replica is there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping

import httpx

from markbook.config.settings import Alerts
from markbook.scoring.alerts.webhook import DeliveryError, Webhook
from markbook.scoring.errors import StoreUnavailableError
from markbook.scoring.observability.metrics import AlertCounts
from markbook.scoring.store import OWNER, Alert, BudgetAlert, CounterTotals, Store
from markbook.scoring.teachers.protocol import Teacher

log = logging.getLogger("markbook")

CHECK_S = 5.0
"""Seconds between checks."""
SHARE_EVERY_MS = 60_000
"""Milliseconds between looks at the share of unscored samples, which reads the ledger's sums."""
PAUSES_MS = (30_000, 60_000, 120_000, 240_000)
"""From each attempt at a delivery to the next: five attempts in seven and a half minutes, then it is given up. Each is
longer than `webhook.TIMEOUT_S`, so that no two replicas try at a time."""
_HOUR_MS = 3_600_000


class AlertMonitor:
    """`clock_ms` returns Unix milliseconds. `low_agreement`: the runs in which teacher and tests agree too little, and
    that in words. `transport` replaces the network in tests."""

    def __init__(
        self,
        settings: Alerts,
        teacher: Teacher,
        store: Store,
        counts: AlertCounts,
        clock_ms: Callable[[], int],
        low_agreement: Callable[[], Mapping[str, str]],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = settings
        self._teacher = teacher
        self._store = store
        self._counts = counts
        self._clock_ms = clock_ms
        url = settings.webhook_url
        self._webhook = None if url is None else Webhook(url.get_secret_value(), transport)
        self._repeat_ms = round(settings.repeat_hours * _HOUR_MS)
        self._raised: dict[str, int] = {}  # event -> when this process last tried to raise it
        self._share_at_ms = 0
        self._low_agreement = low_agreement

    async def run(self) -> None:
        """Check every CHECK_S seconds, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                await self.check()
            except StoreUnavailableError as error:
                log.debug("alerts wait for the database: %s", error)

    async def check(self) -> None:
        """Raise what is new and deliver what is due. Raises StoreUnavailableError; what was missed comes next time."""
        now_ms = self._clock_ms()
        for alert in [*self._budgets(now_ms), *self._outage(), *self._disagreement(), *await self._unscored(now_ms)]:
            await self._raise(alert, now_ms)
        await self._deliver()

    async def close(self) -> None:
        if self._webhook is not None:
            await self._webhook.close()

    async def _raise(self, alert: Alert, now_ms: int) -> None:
        repeat_ms = None if alert.kind == "budget" else self._repeat_ms
        last_ms = self._raised.get(alert.event)
        if last_ms is not None and (repeat_ms is None or now_ms < last_ms + repeat_ms):
            return
        is_new = await self._store.alerts.add(alert, now_ms, repeat_ms=repeat_ms, deliver=self._webhook is not None)
        self._raised[alert.event] = now_ms
        if is_new:
            self._counts.raised(alert.kind)
            if alert.kind == "unscored":  # the others are logged where they are noticed
                log.warning("%s", alert.text)

    async def _deliver(self) -> None:
        """Post all that is due. A failed attempt is due again later, so this ends."""
        if self._webhook is None:
            return
        while (delivery := await self._store.alerts.claim(self._clock_ms(), PAUSES_MS)) is not None:
            try:
                await self._webhook.post(delivery)
            except DeliveryError as error:
                self._counts.delivery("given_up" if delivery.is_last else "failed")
                text = "alert not delivered to the webhook (%s), attempt %d of %d%s"
                end = ": given up" if delivery.is_last else ""
                log.warning(text, error, delivery.attempt, len(PAUSES_MS) + 1, end)
            else:
                self._counts.delivery("ok")
                await self._store.alerts.delivered(delivery)

    def _budgets(self, now_ms: int) -> Iterator[Alert]:
        for name, reached in self._store.money.watch.current(now_ms).items():
            yield Alert(_budget_event(name, reached), "budget", _budget_text(name, reached))

    def _outage(self) -> Iterator[Alert]:
        if outage := self._teacher.outage():
            yield Alert("outage", "outage", f"the teacher is down, its last calls all failed: {outage.cause}")

    def _disagreement(self) -> Iterator[Alert]:
        for run, text in sorted(self._low_agreement().items()):
            yield Alert(f"agreement in run {run}", "agreement", f"run {run}: {text}")

    async def _unscored(self, now_ms: int) -> list[Alert]:
        """Of all replicas: from the ledger's sums."""
        most = self._settings.unscored_share
        if most is None or now_ms < self._share_at_ms + SHARE_EVERY_MS:
            return []
        since_ms = now_ms - round(self._settings.window_minutes * 60_000)
        sums = await self._store.ledger.sums(OWNER, since_ms, by_source=False)
        self._share_at_ms = now_ms
        total = CounterTotals()
        for tally in sums.tallies.values():
            total.add(tally)
        samples, unscored = total.counts["samples"], total.counts["unscored"]
        if samples < self._settings.min_samples or unscored <= most * samples:
            return []
        codes = ", ".join(f"{code} {count:,}" for code, count in total.failures.most_common())
        share = f"{100 * unscored / samples:.1f} % of {samples:,} samples"
        text = f"{share} of the last {self._settings.window_minutes:g} minutes are unscored: {codes}"
        return [Alert("unscored", "unscored", text)]


def _budget_event(name: str, reached: BudgetAlert) -> str:
    """A budget that is raised in the configuration is another one: its levels are reached again."""
    limit, period = reached.budget.limit, reached.budget.period
    limits = f"usd {limit.usd} tokens {limit.tokens}"
    return f"budget of {name}, {limits}, {period.name if period else 'in all'}: {reached.percent} %"


def _budget_text(name: str, reached: BudgetAlert) -> str:
    limit, period = reached.budget.limit, reached.budget.period
    limits = [] if limit.usd is None else [f"${limit.usd:,.2f}"]
    limits += [] if limit.tokens is None else [f"{limit.tokens:,} tokens"]
    within = f" in {period.name}" if period else ""
    if reached.percent == 100:
        return (
            f"the budget of {name} ({' or '.join(limits)}) is exhausted{within}: new samples are unscored, "
            "cached marks are still served"
        )
    return f"{reached.percent} % of the budget of {name} ({' or '.join(limits)}) is spent or set aside{within}"
