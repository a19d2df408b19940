"""Money: an upper bound is set aside before each paid call and replaced by its bill after it, atomically.

So calls at the same time, in one process or in several, cannot overspend a budget together. A call whose owner dies
stays charged at its bound and becomes a line of `usage_unknown`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, delete, select, update

from services.scoring.errors import TeacherError
from services.scoring.store import tables
from services.scoring.store.database import Database, insert_new
from services.scoring.teachers.base import Call
from shared.contract import ErrorCode
from shared.settings import Budget

TOTAL = "total"
KILLED = "killed"
"""The outcome of a call whose owner died before it was settled."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a call is for, as the ledger has it."""

    run: str
    group_id: str
    samples: int


class BudgetExhausted(TeacherError):
    """The call's bound does not fit into what a budget has left, so the call was not made."""

    def __init__(self, scope: str) -> None:
        super().__init__(ErrorCode.BUDGET_EXHAUSTED, f"the budget of {scope} is spent: see budgets in /stats")


def scope_of(run: str) -> str:
    return f"run {run}"


class Money:
    """The reservations of one process, `owner`, and everybody's accounts. Times are Unix milliseconds."""

    def __init__(self, database: Database, owner: str, lease_ms: int) -> None:
        self._database = database
        self._owner = owner
        self._lease_ms = lease_ms
        self._open: set[str] = set()

    async def reserve(self, purpose: Purpose, bound: Call, limits: Mapping[str, Budget], now_ms: int) -> str:
        """Charge `bound` to the total and to the run; returns the reservation's id. Raises BudgetExhausted.

        `limits`: budgets by scope; a scope without one is charged all the same, for the day it gets one.
        """
        reservation = uuid.uuid4().hex
        line = {**_line(purpose, bound, now_ms), "outcome": KILLED, "usage_unknown": True}
        row = {
            "id": reservation,
            "owner": self._owner,
            "lease_until_ms": now_ms + self._lease_ms,
            "line": json.dumps(line),
        }

        def work(connection: Connection) -> None:
            for scope in (TOTAL, scope_of(purpose.run)):  # in one order everywhere, against deadlocks
                if not _charge(connection, scope, line, limits.get(scope, Budget())):
                    raise BudgetExhausted(scope)
            connection.execute(tables.reservations.insert(), row)

        await self._database.write(work)
        self._open.add(reservation)
        return reservation

    async def settle(self, reservation: str, purpose: Purpose, bound: Call, bill: Call, now_ms: int) -> None:
        """Replace the bound by the bill, in the accounts and in the ledger.

        If this process was taken for dead in between, the ledger has the bound already: its line becomes the bill.
        """
        line = {"id": reservation, **_line(purpose, bill, now_ms)}
        held, spent = _amounts(_line(purpose, bound, now_ms)), _amounts(line)
        ours, booked = tables.reservations.c.id == reservation, tables.calls.c.id == reservation

        def work(connection: Connection) -> None:
            if connection.execute(delete(tables.reservations).where(ours)).rowcount:
                connection.execute(tables.calls.insert(), _row(line))
            else:
                late = update(tables.calls).where(booked, tables.calls.c.outcome == KILLED)
                if not connection.execute(late.values(_row(line))).rowcount:
                    return  # settled before: the answer to that commit was lost
            for scope in (TOTAL, scope_of(purpose.run)):
                _add(connection, scope, spent[0] - held[0], spent[1] - held[1])

        try:
            await self._database.insist(work)
        finally:
            self._open.discard(reservation)

    async def renew(self, now_ms: int) -> None:
        """Keep the reservations of calls in progress, and book those that nobody keeps at their bound."""
        held = tables.reservations.c
        mine = update(tables.reservations).where(held.id.in_(self._open)).values(lease_until_ms=now_ms + self._lease_ms)
        await self._database.write(lambda connection: connection.execute(mine))
        await self._database.write(lambda connection: _book(connection, held.lease_until_ms < now_ms))

    async def close(self) -> None:
        """Book what this process leaves behind at its bound: those calls were cut off."""
        await self._database.write(lambda connection: _book(connection, tables.reservations.c.owner == self._owner))

    async def spent(self) -> dict[str, tuple[int, int]]:
        """Scope -> nano-dollars and tokens, reservations included."""
        account = tables.accounts.c
        query = select(account.scope, account.nusd, account.tokens)
        return await self._database.read(
            lambda connection: {row.scope: (row.nusd, row.tokens) for row in connection.execute(query)}
        )


def _charge(connection: Connection, scope: str, line: Mapping[str, Any], limit: Budget) -> bool:
    """Whether the amount fitted; checked and charged in one statement, so that nobody comes in between."""
    nusd, tokens = _amounts(line)
    account = tables.accounts.c
    insert_new(connection, tables.accounts, [{"scope": scope, "nusd": 0, "tokens": 0}])
    statement = update(tables.accounts).where(account.scope == scope)
    if limit.usd is not None:
        statement = statement.where(account.nusd + nusd <= round(limit.usd * 1e9))
    if limit.tokens is not None:
        statement = statement.where(account.tokens + tokens <= limit.tokens)
    changed = connection.execute(statement.values(nusd=account.nusd + nusd, tokens=account.tokens + tokens))
    return changed.rowcount == 1


def _add(connection: Connection, scope: str, nusd: int, tokens: int) -> None:
    account = tables.accounts.c
    values = {"nusd": account.nusd + nusd, "tokens": account.tokens + tokens}
    connection.execute(update(tables.accounts).where(account.scope == scope).values(**values))


def _book(connection: Connection, which: Any) -> None:
    held = tables.reservations.c
    dead = connection.execute(delete(tables.reservations).where(which).returning(held.id, held.line)).all()
    insert_new(connection, tables.calls, [_row({"id": row.id, **json.loads(row.line)}) for row in dead])


def _line(purpose: Purpose, call: Call, now_ms: int) -> dict[str, Any]:
    """A row of the ledger, in JSON's types."""
    columns = asdict(call)
    cost = columns.pop("cost_usd")
    nusd = None if cost is None else round(cost * 1e9)
    return {**asdict(purpose), "at_ms": now_ms, **columns, "cost_nusd": nusd}


def _row(line: Mapping[str, Any]) -> dict[str, Any]:
    return {**line, "group_id": bytes.fromhex(line["group_id"])}


def _amounts(line: Mapping[str, Any]) -> tuple[int, int]:
    """Nano-dollars (none known: 0) and tokens of every kind."""
    kinds = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return line["cost_nusd"] or 0, sum(line[kind] for kind in kinds)
