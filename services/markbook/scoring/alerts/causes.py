"""What raises alerts: budgets, an outage, unscored samples, low agreement; and when each of them
has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from markbook.config.settings import Alerts
from markbook.scoring.store import OWNER, ActiveAlert, Alert, BudgetAlert, CounterTotals, Store
from markbook.scoring.store.budget_days import CurrentBudget
from markbook.scoring.teachers.protocol import Teacher

SHARE_EVERY_MS = 60_000
"""Milliseconds between looks at the share of unscored samples, which reads the ledger's sums."""
QUIET_MS = 120_000
"""Milliseconds without a cause, in any replica, until its end is reported: one that comes and goes
is reported once. Longer than any replica takes to note again that it lasts."""
_WITHOUT_END_MS = 2**62
"""Until when a budget without a period stays spent."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A condition that holds now: the alert that it raises, and what ends it."""

    alert: Alert
    active: ActiveAlert


class Causes:
    """`low_agreement`: the runs in which teacher and tests agree too little, and that in words."""

    def __init__(
        self,
        settings: Alerts,
        teacher: Teacher,
        store: Store,
        low_agreement: Callable[[], Mapping[str, str]],
    ) -> None:
        self._settings = settings
        self._teacher = teacher
        self._store = store
        self._low_agreement = low_agreement
        self._share_at_ms = 0
        self._share: list[Cause] = []

    async def find(self, now_ms: int) -> list[Cause]:
        """The conditions that hold, as this process knows them. Raises StoreUnavailableError."""
        budgets = self._store.money.watch.current(now_ms).values()
        found = [*map(_budget, budgets), *self._outage(now_ms), *self._disagreement(now_ms)]
        return [*found, *await self._unscored(now_ms)]

    async def has_ended(self, active: ActiveAlert, now_ms: int) -> bool:
        """Whether a cause that is not among those of `find` has ended, in all replicas.

        Raises StoreUnavailableError.

        Not seeing it is not enough: a process that has just started has seen nothing yet.
        """
        if active.kind == "budget":
            return now_ms >= active.until_ms or self._has_other_limits(active, now_ms)
        if now_ms < active.until_ms + QUIET_MS:
            return False
        return active.kind != "outage" or await self._answered_since(active.until_ms)

    def _has_other_limits(self, active: ActiveAlert, now_ms: int) -> bool:
        """Whether calls are charged to a budget of the same name with another limit or period.

        Charges of this process in a period that is over do not count.
        """
        known = self._store.money.watch.known(now_ms).values()
        return any(
            active.cause.startswith(_budget_prefix(each)) and active.cause != _budget_cause(each)
            for each in known
        )

    async def _answered_since(self, at_ms: int) -> bool:
        """Whether the teacher has answered a call of any replica."""
        counts = (await self._total(at_ms)).counts
        return counts["calls"] + counts["unknown_calls"] > counts["failed_calls"]

    async def _total(self, since_ms: int) -> CounterTotals:
        sums = await self._store.ledger.sums(OWNER, since_ms, by_source=False)
        total = CounterTotals()
        for tally in sums.tallies.values():
            total.add(tally)
        return total

    def _outage(self, now_ms: int) -> Iterator[Cause]:
        if outage := self._teacher.outage():
            text = f"the teacher is down, its last calls all failed: {outage.cause}"
            yield _lasting(
                "outage", "outage", text, "the teacher is up, it answers calls again", now_ms
            )

    def _disagreement(self, now_ms: int) -> Iterator[Cause]:
        for run, text in sorted(self._low_agreement().items()):
            ended = (
                f"run {run}: the teacher's agreement with tests is no longer below "
                "rlaif.min_teacher_agreement"
            )
            yield _lasting(
                f"agreement in run {run}", "agreement", f"run {run}: {text}", ended, now_ms
            )

    async def _unscored(self, now_ms: int) -> list[Cause]:
        """Of all replicas: from the ledger's sums, as they were at most SHARE_EVERY_MS ago."""
        most = self._settings.unscored_share
        if most is not None and now_ms >= self._share_at_ms + SHARE_EVERY_MS:
            self._share = [*await self._read_share(most, now_ms)]
            self._share_at_ms = now_ms
        return self._share

    async def _read_share(self, most: float, now_ms: int) -> list[Cause]:
        window = f"the last {self._settings.window_minutes:g} minutes"
        total = await self._total(now_ms - round(self._settings.window_minutes * 60_000))
        samples, unscored = total.counts["samples"], total.counts["unscored"]
        if samples < self._settings.min_samples or unscored <= most * samples:
            return []
        codes = ", ".join(f"{code} {count:,}" for code, count in total.failures.most_common())
        text = (
            f"{100 * unscored / samples:.1f} % of {samples:,} samples of {window} are unscored: "
            f"{codes}"
        )
        ended = (
            f"no more than {100 * most:g} % of the samples of {window} are unscored, or there "
            "were fewer than "
        )
        return [
            _lasting("unscored", "unscored", text, f"{ended}{self._settings.min_samples:,}", now_ms)
        ]


def _lasting(event: str, kind: str, text: str, ended: str, now_ms: int) -> Cause:
    return Cause(Alert(event, kind, text), ActiveAlert(event, kind, ended, now_ms))


def _budget(reached: BudgetAlert) -> Cause:
    """A budget that is raised in the configuration is another one: its levels are reached again."""
    budget, cause = reached.budget, _budget_cause(reached.budget)
    period = budget.period
    within = f" in {period.name}" if period else ""
    what = f"the budget of {budget.name} ({_limits(budget)})"
    text = f"{reached.percent} % of {what} is spent or set aside{within}"
    if reached.percent == 100:
        text = (
            f"{what} is exhausted{within}: new samples are unscored, cached marks are still served"
        )
    ended = f"{what}{within} no longer applies: its period is over, or it was changed"
    alert = Alert(f"{cause}: {reached.percent} %", "budget", text)
    return Cause(
        alert, ActiveAlert(cause, "budget", ended, period.end_ms if period else _WITHOUT_END_MS)
    )


def _budget_prefix(budget: CurrentBudget) -> str:
    return f"budget of {budget.name}, "


def _budget_cause(budget: CurrentBudget) -> str:
    limit, period = budget.limit, budget.period
    limits = f"usd {limit.usd} tokens {limit.tokens}"
    return f"{_budget_prefix(budget)}{limits}, {period.name if period else 'in all'}"


def _limits(budget: CurrentBudget) -> str:
    limit = budget.limit
    limits = [] if limit.usd is None else [f"${limit.usd:,.2f}"]
    limits += [] if limit.tokens is None else [f"{limit.tokens:,} tokens"]
    return " or ".join(limits)
