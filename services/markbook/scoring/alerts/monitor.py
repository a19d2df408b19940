"""Raises alerts and delivers them to the webhook, in a task of its own: no request waits for it.

Each event is raised once across replicas: that of a budget once per level and period, others at
most once per `alerts.repeat_hours`. The end of its cause is reported once, too, by whichever
replica notices it. A delivery that fails is tried again, PAUSES_MS apart, by any replica.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping

import httpx

from markbook.config.settings import Alerts
from markbook.scoring.alerts.causes import QUIET_MS, Cause, Causes
from markbook.scoring.alerts.webhook import DeliveryError, Webhook
from markbook.scoring.errors import StoreUnavailableError
from markbook.scoring.observability.alert_counts import AlertCounts
from markbook.scoring.store import ActiveAlert, Store
from markbook.scoring.teachers.protocol import Teacher

log = logging.getLogger("markbook")

CHECK_S = 5.0
"""Seconds between checks."""
PAUSES_MS = (30_000, 60_000, 120_000, 240_000)
"""From each attempt at a delivery to the next: five attempts in seven and a half minutes, then it
is given up. Each is longer than `webhook.TIMEOUT_S`, so that no two replicas try at a time.
"""
RENEW_EVERY_MS = 30_000
"""Milliseconds between notes that a cause lasts."""
_HOUR_MS = 3_600_000


class AlertMonitor:
    """`clock_ms` returns Unix milliseconds. `low_agreement`: the runs in which teacher and tests
    agree too little, and that in words. `transport` replaces the network in tests.
    """

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
        self._store = store
        self._counts = counts
        self._clock_ms = clock_ms
        url = settings.webhook_url
        self._webhook = None if url is None else Webhook(url.get_secret_value(), transport)
        self._repeat_ms = round(settings.repeat_hours * _HOUR_MS)
        self._causes = Causes(settings, teacher, store, low_agreement)
        self._raised: dict[str, int] = {}  # event -> when this process last tried to raise it
        self._renewed: dict[str, int] = {}  # cause -> when this process last noted that it lasts
        self._resolves_from_ms: int | None = None

    async def run(self) -> None:
        """Check every CHECK_S seconds, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                await self.check()
            except StoreUnavailableError as error:
                log.debug("alerts wait for the database: %s", error)

    async def check(self) -> None:
        """Raise what is new, report what has ended and deliver what is due.

        Raises StoreUnavailableError; what was missed comes next time.
        """
        now_ms = self._clock_ms()
        try:
            causes = await self._causes.find(now_ms)
            for cause in causes:
                await self._raise(cause, now_ms)
            self._forget_all_but(causes)
            await self._resolve({cause.active.cause for cause in causes}, now_ms)
            await self._deliver()
        except StoreUnavailableError:
            self._resolves_from_ms = None
            raise

    async def close(self) -> None:
        if self._webhook is not None:
            await self._webhook.close()

    async def _raise(self, cause: Cause, now_ms: int) -> None:
        alert, active = cause.alert, cause.active
        repeat_ms = None if alert.kind == "budget" else self._repeat_ms
        last_ms = self._raised.get(alert.event)
        if last_ms is not None and (repeat_ms is None or now_ms < last_ms + repeat_ms):
            await self._renew(active, now_ms)
            return
        is_new = await self._store.alerts.add(
            alert, now_ms, repeat_ms=repeat_ms, deliver=self._webhook is not None, active=active
        )
        self._raised[alert.event] = now_ms
        if not is_new:  # it may have been raised before this process started, or by another replica
            await self._renew(active, now_ms)
            return
        self._renewed[active.cause] = now_ms
        self._counts.raised(alert.kind)
        if alert.kind == "unscored":  # the others are logged where they are noticed
            log.warning("%s", alert.text)

    async def _renew(self, active: ActiveAlert, now_ms: int) -> None:
        if active.kind == "budget":  # it is known from the start until when it lasts
            return
        last_ms = self._renewed.get(active.cause)
        if last_ms is None or now_ms >= last_ms + RENEW_EVERY_MS:
            await self._store.alerts.renew(active)
            self._renewed[active.cause] = now_ms

    def _forget_all_but(self, causes: Collection[Cause]) -> None:
        """So that a cause that comes back is raised again, where the store finds that its end
        was reported.
        """
        events = {each.alert.event for each in causes}
        names = {each.active.cause for each in causes}
        self._raised = {event: at_ms for event, at_ms in self._raised.items() if event in events}
        self._renewed = {name: at_ms for name, at_ms in self._renewed.items() if name in names}

    async def _resolve(self, present: Collection[str], now_ms: int) -> None:
        """Report the end of causes that are not `present`.

        Not at once after a start, or after the database was away: other replicas, and this one,
        first have to notice what lasts.
        """
        if self._resolves_from_ms is None:
            self._resolves_from_ms = now_ms + QUIET_MS
        lasting = Counter[str]()
        for active in await self._store.alerts.active():
            is_over = active.cause not in present and now_ms >= self._resolves_from_ms
            if not (is_over and await self._causes.has_ended(active, now_ms)):
                lasting[active.kind] += 1
            elif await self._store.alerts.resolve(
                active, now_ms, deliver=self._webhook is not None
            ):
                self._counts.resolved(active.kind)
                log.info("alert resolved: %s", active.ended)
        self._counts.lasting(lasting)

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
