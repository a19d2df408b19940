"""Logs once per budget and period when it reaches a level (80 %, 90 %), and when a call no
longer fits.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markbook.config.settings import Budget
from markbook.scoring.store.budget_days import CurrentBudget

log = logging.getLogger("markbook")

LEVELS = (80, 90)
"""The default of `alerts.budget_percent`: reservations included."""
SPENT = 100


@dataclass(frozen=True, slots=True)
class BudgetAlert:
    """`percent`: the highest level that was reached; SPENT: a call did not fit.

    `since_ms`: Unix milliseconds.
    """

    percent: int
    since_ms: int
    budget: CurrentBudget

    def applies(self, now_ms: int) -> bool:
        period = self.budget.period
        return period is None or now_ms < period.end_ms


class BudgetWatch:
    """This process's alerts by the name of the budget.

    Each level is logged once per period; thread-safe.
    """

    def __init__(self, levels: Sequence[int] = LEVELS) -> None:
        self._levels = sorted(levels, reverse=True)
        self._alerts: dict[str, BudgetAlert] = {}
        self._known: dict[str, CurrentBudget] = {}

    def current(self, now_ms: int) -> Mapping[str, BudgetAlert]:
        """Without those of a day or month that is over."""
        return {name: alert for name, alert in dict(self._alerts).items() if alert.applies(now_ms)}

    def known(self, now_ms: int) -> Mapping[str, CurrentBudget]:
        """The budgets to which this process has charged a call, or tried to, as they were then.

        Without those of a day or month that is over.
        """
        known = dict(self._known).items()
        return {
            name: each for name, each in known if not each.period or now_ms < each.period.end_ms
        }

    def spent(self, budget: CurrentBudget, nusd: int, tokens: int, now_ms: int) -> None:
        """So much is spent, calls in progress included."""
        self._learn(budget)
        share = spent_share(budget.limit, nusd / 1e9, tokens)
        level = next((level for level in self._levels if share >= level / 100), None)
        if level is not None:
            self._reach(
                BudgetAlert(level, now_ms, budget),
                "%d %% of the budget of %s is spent or set aside",
            )

    def exhausted(self, budget: CurrentBudget, now_ms: int) -> None:
        """A call does not fit into what is left."""
        self._learn(budget)
        text = "%d %% of the budget of %s: new samples are unscored (budget_exhausted)"
        self._reach(BudgetAlert(SPENT, now_ms, budget), text)

    def _learn(self, budget: CurrentBudget) -> None:
        self._known[budget.name] = budget
        reached = self._alerts.get(budget.name)
        if (
            reached is not None and reached.budget != budget
        ):  # its limit was changed, or its period is over
            self._alerts.pop(budget.name, None)

    def _reach(self, alert: BudgetAlert, text: str) -> None:
        name = alert.budget.name
        known = self._alerts.get(name)
        if known is None or known.budget != alert.budget or known.percent < alert.percent:
            self._alerts[name] = alert
            log.warning(text, alert.percent, name)


def spent_share(limit: Budget, usd: float, tokens: int) -> float:
    """The share of a budget that is spent, of dollars or tokens whichever is larger; 0 without a
    limit.
    """
    shares = [usd / limit.usd] if limit.usd else []
    shares += [tokens / limit.tokens] if limit.tokens else []
    return max(shares, default=0.0)
