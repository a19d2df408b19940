"""What each scope has spent by UTC day, for budgets per day and per month.

A new day is a new row, so no budget has to be reset. A call is charged to the day on which it was
reserved, also where it ends after midnight: its bound and its bill belong to one day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import Any, Literal

from sqlalchemy import BigInteger, Connection, bindparam, cast, func, select
from sqlalchemy.sql.dml import ReturningInsert

from markbook.config.settings import Budget
from markbook.scoring.store import alert_tables
from markbook.scoring.store.statements import insert_into, run

DAY_MS = 86_400_000
_EPOCH = date(1970, 1, 1)
_day = alert_tables.budget_days.c
_SUMS = tuple(
    cast(func.coalesce(func.sum(column), 0), BigInteger) for column in (_day.nusd, _day.tokens)
)


@dataclass(frozen=True, slots=True)
class Period:
    """The days from `first_day` up to `end_day`, which is not part of it, as days since 1970-01-01.

    `name`: `2026-11-28` or `2026-11`.
    """

    name: str
    first_day: int
    end_day: int

    @property
    def end_ms(self) -> int:
        return self.end_day * DAY_MS


def day_at(at_ms: int) -> int:
    return at_ms // DAY_MS


def period_at(per: Literal["day", "month"], at_ms: int) -> Period:
    """The UTC day or month of a time in Unix milliseconds."""
    today = datetime.fromtimestamp(at_ms / 1000, UTC).date()
    if per == "day":
        return Period(today.isoformat(), day_at(at_ms), day_at(at_ms) + 1)
    first = today.replace(day=1)
    following = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    return Period(f"{first:%Y-%m}", (first - _EPOCH).days, (following - _EPOCH).days)


@dataclass(frozen=True, slots=True)
class CurrentBudget:
    """A budget with the period that it is in; None: since the store was created.

    `name`: in messages, `/stats` and metrics, `run demo` or `total per day`.
    """

    name: str
    limit: Budget
    period: Period | None


def current_budget(scope: str, limit: Budget, now_ms: int) -> CurrentBudget:
    if limit.per is None:
        return CurrentBudget(scope, limit, None)
    return CurrentBudget(f"{scope} per {limit.per}", limit, period_at(limit.per, now_ms))


def add(connection: Connection, scopes: Sequence[str], nusd: int, tokens: int, at_ms: int) -> None:
    """Charge the day of `at_ms`.

    The caller holds the locks of the scopes' rows in budget_balances.
    """
    rows = [
        {"scope": scope, "day": day_at(at_ms), "nusd": nusd, "tokens": tokens} for scope in scopes
    ]
    run(connection, _add(connection.dialect.name), rows)


def spent(connection: Connection, scope: str, period: Period) -> tuple[int, int]:
    """Nano-dollars and tokens of a scope in a period, reservations included."""
    [(nusd, tokens)] = run(
        connection, _SPENT, [{"scope_is": scope, "first": period.first_day, "end": period.end_day}]
    ).rows
    return int(nusd), int(tokens)


def spent_by_scope(connection: Connection, period: Period) -> dict[str, tuple[int, int]]:
    within = (_day.day >= period.first_day, _day.day < period.end_day)
    query = select(_day.scope, *_SUMS).where(*within).group_by(_day.scope)
    return {scope: (int(nusd), int(tokens)) for scope, nusd, tokens in connection.execute(query)}


_SPENT: Any = select(*_SUMS).where(
    _day.scope == bindparam("scope_is"), _day.day >= bindparam("first"), _day.day < bindparam("end")
)


@cache
def _add(dialect: str) -> ReturningInsert[tuple[str]]:
    insert = insert_into(dialect, alert_tables.budget_days)
    added = {name: _day[name] + insert.excluded[name] for name in ("nusd", "tokens")}
    insert = insert.on_conflict_do_update(index_elements=[_day.scope, _day.day], set_=added)
    return insert.returning(_day.scope)
