"""Budgets: an upper bound is reserved before each paid call and replaced by its cost after it,
atomically.

Concurrent calls, in one process or in several, cannot overspend a budget together. A call whose
owner dies stays charged at its bound and becomes a ledger line of unknown usage.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from sqlalchemy import Connection, and_, not_, or_, select, update

from markbook.config.settings import Budget
from markbook.contract import ErrorCode
from markbook.scoring.errors import TeacherError
from markbook.scoring.store import budget_days, tables
from markbook.scoring.store.budget_alerts import BudgetWatch
from markbook.scoring.store.budget_days import CurrentBudget, current_budget, period_at
from markbook.scoring.store.database import Database
from markbook.scoring.store.lease_clock import BATCH_OWNER, TOLERANCE_MS, LeaseClock
from markbook.scoring.store.permissions import Viewer
from markbook.scoring.store.settlement import (
    ORPHANED,
    TOTAL,
    CallContext,
    Settlement,
    add_spend,
    amounts,
    key_scope,
    ledger_line,
    write_orphans,
)
from markbook.scoring.store.statements import run
from markbook.scoring.types import TeacherCall

_INSERT_RESERVATION = (
    tables.reservations.insert()
)  # building a statement takes longer than running it


class BudgetExceededError(TeacherError):
    """The call's bound exceeds what is left of a budget, so the call was not made."""

    def __init__(self, scope: str, why: str) -> None:
        super().__init__(ErrorCode.BUDGET_EXHAUSTED, f"the budget of {scope} {why}")


class BudgetStore:
    """The reservations of one process, `owner`, and the balances of all scopes.

    Times are Unix milliseconds.
    """

    def __init__(
        self,
        database: Database,
        owner: str,
        lease_ms: int,
        clock: LeaseClock,
        alert_percent: Sequence[int],
    ) -> None:
        self._database = database
        self._owner = owner
        self._lease_ms = lease_ms
        self._clock = clock
        self._open: set[str] = set()
        self.watch = BudgetWatch(alert_percent)

    def reserve(
        self,
        connection: Connection,
        reservation: str,
        context: CallContext,
        bound: TeacherCall,
        limits: Mapping[str, Sequence[Budget]],
        now_ms: int,
        *,
        watched: bool = True,
    ) -> None:
        """Charge `bound` to every scope of `context`.

        Raises BudgetExceededError: the transaction must be rolled back.

        `watched`: whether a level that is reached raises an alert. Not within a batch, which is
        rolled back as a whole.

        `limits`: budgets by scope; a scope without one is charged as well, in case it gets one
        later.
        """
        line = {
            **ledger_line(context, bound, now_ms),
            "outcome": ORPHANED,
            "usage_unknown": True,
            "failed": True,
        }
        in_all = add_spend(connection, context, *amounts(bound), now_ms)
        for scope in context.scopes:
            for limit in limits.get(scope, ()):
                budget = current_budget(scope, limit, now_ms)
                period = budget.period
                spent = (
                    in_all[scope]
                    if period is None
                    else budget_days.spent(connection, scope, period)
                )
                # a key must not learn what all keys spend together
                show_left = scope != TOTAL or context.key is None
                self._check(budget, spent, bound, now_ms, show_left=show_left, watched=watched)
        lease = {"owner": self._owner, "lease_until_ms": self._clock.now(now_ms) + self._lease_ms}
        run(
            connection,
            _INSERT_RESERVATION,
            [{"id": reservation, **lease, "line": json.dumps(line)}],
        )

    def _check(
        self,
        budget: CurrentBudget,
        spent: tuple[int, int],
        bound: TeacherCall,
        now_ms: int,
        *,
        show_left: bool,
        watched: bool,
    ) -> None:
        """Raises BudgetExceededError.

        `spent`: nano-dollars and tokens in the budget's period, `bound` included.
        """
        limit, (nusd, tokens), (bound_nusd, bound_tokens) = budget.limit, spent, amounts(bound)
        if limit.usd is not None and bound.cost_usd is None:
            raise BudgetExceededError(
                budget.name, f"is in dollars, but {bound.model} has no price in teacher.prices"
            )
        why = None
        if limit.usd is not None and nusd > (maximum := round(limit.usd * 1e9)):
            why = _why_exceeded(maximum, nusd, bound_nusd, _dollars, show_left=show_left)
        elif limit.tokens is not None and tokens > limit.tokens:
            why = _why_exceeded(limit.tokens, tokens, bound_tokens, _tokens, show_left=show_left)
        if why is not None:
            if watched:
                self.watch.exhausted(budget, now_ms)
            raise BudgetExceededError(budget.name, why)
        if watched:
            self.watch.spent(budget, nusd, tokens, now_ms)

    def track(self, reservation: str) -> None:
        """Have `renew` renew this reservation until `untrack`."""
        self._open.add(reservation)

    def untrack(self, bills: Iterable[Settlement]) -> None:
        """Stop renewing these: what still exists is charged at its bound when its lease ends."""
        self._open.difference_update(bill.reservation for bill in bills)

    async def renew(self, now_ms: int) -> None:
        """Renew the reservations of calls in progress, and charge orphaned ones at their bound."""
        held, lease_now = tables.reservations.c, self._clock.now(now_ms)
        until_ms = lease_now + self._lease_ms
        mine = (
            update(tables.reservations)
            .where(held.id.in_(self._open))
            .values(lease_until_ms=until_ms)
        )
        expired = or_(
            held.lease_until_ms < lease_now, held.lease_until_ms > until_ms + TOLERANCE_MS
        )
        orphaned = and_(
            not_(held.owner.startswith(BATCH_OWNER)), expired
        )  # a batch continues without its process
        await self._database.write(lambda connection: connection.execute(mine))
        await self._database.write(lambda connection: write_orphans(connection, orphaned))

    async def close(self) -> None:
        """Charge this process's open reservations at their bound: their calls were cut off."""
        await self._database.write(
            lambda connection: write_orphans(connection, tables.reservations.c.owner == self._owner)
        )

    async def spent(self, viewer: Viewer) -> dict[str, tuple[int, int]]:
        """Nano-dollars and tokens by scope that the viewer may see, reservations included."""
        account = tables.accounts.c
        query = select(account.scope, account.nusd, account.tokens)
        return await self._database.read(
            lambda connection: {
                row.scope: (row.nusd, row.tokens)
                for row in connection.execute(query)
                if _is_shown(row.scope, viewer)
            }
        )

    async def spent_in(
        self, viewer: Viewer, per: Literal["day", "month"], now_ms: int
    ) -> dict[str, tuple[int, int]]:
        """The same of the current UTC day or month."""
        period = period_at(per, now_ms)
        found = await self._database.read(
            lambda connection: budget_days.spent_by_scope(connection, period)
        )
        return {scope: amounts for scope, amounts in found.items() if _is_shown(scope, viewer)}


def _is_shown(scope: str, viewer: Viewer) -> bool:
    """A key limited to some runs sees what these and itself have spent, not the total nor other
    keys.
    """
    if viewer.key is None or viewer.sees_all_runs:
        return True
    kind, _, name = scope.partition(" ")
    return viewer.may_use(name) if kind == "run" else scope == key_scope(viewer.key.name)


def _why_exceeded(
    limit: int, spent: int, bound: int, shown: Callable[[int], str], *, show_left: bool
) -> str:
    """Why a call is not made.

    `spent` includes its `bound`; `show_left`: whether to report the remainder.
    """
    left = limit - (spent - bound)
    if left <= 0:
        why = f"is exhausted (all {shown(limit)} spent)" if show_left else "is exhausted"
    elif show_left:
        why = (
            f"has {shown(left)} of {shown(limit)} left, and the next call may cost up to "
            f"{shown(bound)}"
        )
    else:
        why = f"has less left than the next call may cost, up to {shown(bound)}"
    return f"{why}: see budgets in /stats"


def _dollars(nusd: int) -> str:
    """Exact to the nano-dollar, with at least two decimals, so that what is left never looks
    sufficient.
    """
    whole, _, digits = f"{nusd / 10**9:,.9f}".partition(".")
    return f"${whole}.{digits.rstrip('0'):0<2}"


def _tokens(count: int) -> str:
    return f"{count:,} tokens"
