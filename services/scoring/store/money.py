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

from sqlalchemy import Connection, bindparam, delete, select, update

from services.scoring.errors import TeacherError
from services.scoring.store import tables
from services.scoring.store.database import Database, insert_new
from services.scoring.store.rollup import sums_of
from services.scoring.teachers.base import Call
from shared.contract import ErrorCode
from shared.settings import Budget

TOTAL = "total"
KILLED = "killed"
"""The outcome of a call whose owner died before it was settled."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a call is for, as the ledger has it, and the API key that pays for it, if there are keys."""

    run: str
    group_id: str
    samples: int
    key: str | None = None

    @property
    def scopes(self) -> tuple[str, ...]:
        """The accounts that it is charged to: in one order everywhere, against deadlocks."""
        keyed = () if self.key is None else (key_scope(self.key),)
        return (TOTAL, *keyed, scope_of(self.run))


class BudgetExhausted(TeacherError):
    """The call's bound does not fit into what a budget has left, so the call was not made."""

    def __init__(self, scope: str, why: str = "is spent: see budgets in /stats") -> None:
        super().__init__(ErrorCode.BUDGET_EXHAUSTED, f"the budget of {scope} {why}")


def scope_of(run: str) -> str:
    return f"run {run}"


def key_scope(name: str) -> str:
    return f"key {name}"


_NO_LIMIT = 2**62
_ACCOUNT, _HELD, _CALL = tables.accounts.c, tables.reservations.c, tables.calls.c
# made once: making them takes longer than running them
_ADD = (
    update(tables.accounts)
    .where(_ACCOUNT.scope == bindparam("charged"))
    .values(nusd=_ACCOUNT.nusd + bindparam("more_nusd"), tokens=_ACCOUNT.tokens + bindparam("more_tokens"))
)
_CHARGE = _ADD.where(
    _ACCOUNT.nusd + bindparam("more_nusd") <= bindparam("most_nusd"),
    _ACCOUNT.tokens + bindparam("more_tokens") <= bindparam("most_tokens"),
)
_HOLD, _BOOK = tables.reservations.insert(), tables.calls.insert()
_LET_GO = delete(tables.reservations).where(_HELD.id == bindparam("reservation"))
_TAKE_BACK = (
    delete(tables.calls)
    .where(_CALL.id == bindparam("reservation"), _CALL.outcome == KILLED)
    .returning(*tables.calls.columns)
)


class Money:
    """The reservations of one process, `owner`, and everybody's accounts. Times are Unix milliseconds."""

    def __init__(self, database: Database, owner: str, lease_ms: int) -> None:
        self._database = database
        self._owner = owner
        self._lease_ms = lease_ms
        self._open: set[str] = set()

    async def reserve(self, purpose: Purpose, bound: Call, limits: Mapping[str, Budget], now_ms: int) -> str:
        """Charge `bound` to every scope of `purpose`; returns the reservation's id. Raises BudgetExhausted.

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
            for scope in purpose.scopes:
                if not _charge(connection, scope, line, limits.get(scope, Budget())):
                    raise BudgetExhausted(scope)
            connection.execute(_HOLD, row)

        await self._database.write(work)
        self._open.add(reservation)
        return reservation

    async def settle(self, reservation: str, purpose: Purpose, bound: Call, bill: Call, now_ms: int) -> None:
        """Replace the bound by the bill, in the accounts and in the ledger.

        If this process was taken for dead in between, the ledger has the bound already: its line becomes the bill.
        """
        line = _row({"id": reservation, **_line(purpose, bill, now_ms)})
        held, spent = _amounts(_line(purpose, bound, now_ms)), _amounts(line)

        def work(connection: Connection) -> None:
            sums = sums_of(calls=[line])
            if not connection.execute(_LET_GO, {"reservation": reservation}).rowcount:
                killed = connection.execute(_TAKE_BACK, {"reservation": reservation}).mappings().one_or_none()
                if killed is None:
                    return  # settled before: the answer to that commit was lost
                sums.add_call(dict(killed), times=-1)
            connection.execute(_BOOK, line)
            more = {"more_nusd": spent[0] - held[0], "more_tokens": spent[1] - held[1]}
            connection.execute(_ADD, [{"charged": scope, **more} for scope in purpose.scopes])
            sums.write(connection)

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
    if limit.usd is not None and line["cost_nusd"] is None:
        raise BudgetExhausted(scope, f"is in dollars, but {line['model']} has no price in teacher.prices")
    insert_new(connection, tables.accounts, [{"scope": scope, "nusd": 0, "tokens": 0}])
    more_nusd, more_tokens = _amounts(line)
    values = {
        "charged": scope,
        "more_nusd": more_nusd,
        "more_tokens": more_tokens,
        "most_nusd": _NO_LIMIT if limit.usd is None else round(limit.usd * 1e9),
        "most_tokens": _NO_LIMIT if limit.tokens is None else limit.tokens,
    }
    return connection.execute(_CHARGE, values).rowcount == 1


def _book(connection: Connection, which: Any) -> None:
    held = tables.reservations.c
    dead = connection.execute(delete(tables.reservations).where(which).returning(held.id, held.line)).all()
    lines = [_row({"id": row.id, **json.loads(row.line)}) for row in dead]
    insert_new(connection, tables.calls, lines)
    sums_of(calls=lines).write(connection)


def _line(purpose: Purpose, call: Call, now_ms: int) -> dict[str, Any]:
    """A row of the ledger, in JSON's types."""
    columns = asdict(call)
    cost = columns.pop("cost_usd")
    nusd = None if cost is None else round(cost * 1e9)
    columns |= {"run": purpose.run, "group_id": purpose.group_id, "samples": purpose.samples}
    return {"at_ms": now_ms, **columns, "cost_nusd": nusd}


def _row(line: Mapping[str, Any]) -> dict[str, Any]:
    return {**line, "group_id": bytes.fromhex(line["group_id"])}


def _amounts(line: Mapping[str, Any]) -> tuple[int, int]:
    """Nano-dollars (none known: 0) and tokens of every kind."""
    kinds = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return line["cost_nusd"] or 0, sum(line[kind] for kind in kinds)
