"""Logs once when a budget reaches 80 %, 90 %, and when a call no longer fits."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from markbook.config.settings import Budget

log = logging.getLogger("markbook")

LEVELS = (90, 80)
"""Percent spent, reservations included, at which a warning is due."""
SPENT = 100


@dataclass(frozen=True, slots=True)
class BudgetAlert:
    """`percent`: the highest level that was reached; SPENT: a call did not fit. `since_ms`: Unix milliseconds."""

    percent: int
    since_ms: int


class BudgetWatch:
    """This process's alerts by scope. Each level of a scope is logged once; thread-safe."""

    def __init__(self) -> None:
        self._alerts: dict[str, BudgetAlert] = {}

    @property
    def alerts(self) -> Mapping[str, BudgetAlert]:
        return dict(self._alerts)

    def spent(self, scope: str, limit: Budget, nusd: int, tokens: int, now_ms: int) -> None:
        """So much of `limit` is spent, calls in progress included."""
        shares = [nusd / (limit.usd * 1e9)] if limit.usd else []
        shares += [tokens / limit.tokens] if limit.tokens else []
        percent = 100 * max(shares, default=0.0)
        level = next((level for level in LEVELS if percent >= level), None)
        if level is not None:
            self._reach(scope, level, now_ms, "%d %% of the budget of %s is spent or set aside")

    def exhausted(self, scope: str, now_ms: int) -> None:
        """A call does not fit into what is left."""
        self._reach(scope, SPENT, now_ms, "%d %% of the budget of %s: new samples are unscored (budget_exhausted)")

    def _reach(self, scope: str, percent: int, now_ms: int, text: str) -> None:
        known = self._alerts.get(scope)
        if known is None or known.percent < percent:
            self._alerts[scope] = BudgetAlert(percent, now_ms)
            log.warning(text, percent, scope)
