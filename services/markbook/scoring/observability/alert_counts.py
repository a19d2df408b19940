"""Metrics of alerts: raised, resolved, lasting, and delivered to the webhook."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

_ALERT_KINDS = ("budget", "outage", "unscored", "agreement")


class AlertCounts:
    """Alerts that this process raised or tried to deliver; each is raised by one replica."""

    def __init__(self, registry: CollectorRegistry) -> None:
        raised = Counter("markbook_alerts", "Alerts raised, by kind.", ["kind"], registry=registry)
        self._raised = {kind: raised.labels(kind) for kind in _ALERT_KINDS}
        resolved = Counter(
            "markbook_alerts_resolved",
            "Alerts whose end was reported, by kind.",
            ["kind"],
            registry=registry,
        )
        self._resolved = {kind: resolved.labels(kind) for kind in _ALERT_KINDS}
        active = Gauge(
            "markbook_alerts_active",
            "Alerts of all replicas whose end was not reported yet, by kind.",
            ["kind"],
            registry=registry,
        )
        self._active = {kind: active.labels(kind) for kind in _ALERT_KINDS}
        what = "Deliveries of alerts to the webhook, by outcome."
        deliveries = Counter("markbook_alert_deliveries", what, ["outcome"], registry=registry)
        self._deliveries = {
            outcome: deliveries.labels(outcome) for outcome in ("ok", "failed", "given_up")
        }

    def raised(self, kind: str) -> None:
        self._raised[kind].inc()

    def resolved(self, kind: str) -> None:
        self._resolved[kind].inc()

    def lasting(self, numbers: Mapping[str, int]) -> None:
        """How many of each kind there are; kinds that are not named have none."""
        for kind, gauge in self._active.items():
            gauge.set(numbers.get(kind, 0))

    def delivery(self, outcome: str) -> None:
        self._deliveries[outcome].inc()
