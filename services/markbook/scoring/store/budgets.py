"""Money: an upper bound is set aside before each paid call and replaced by its bill after it, atomically.

So calls at the same time, in one process or in several, cannot overspend a budget together. A call whose owner dies
stays charged at its bound and becomes a line of `usage_unknown`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, bindparam, delete, or_, select, update
from sqlalchemy.sql.dml import ReturningInsert

from markbook.config.settings import Budget
from markbook.contract import ErrorCode
from markbook.scoring.errors import TeacherError
from markbook.scoring.store import tables
from markbook.scoring.store.budget_alerts import BudgetWatch
from markbook.scoring.store.database import Database
from markbook.scoring.store.lease_clock import TOLERANCE_MS, LeaseClock
from markbook.scoring.store.rollups import Rollups, build_rollups
from markbook.scoring.store.statements import insert_into, insert_new, run
from markbook.scoring.store.viewer import Viewer
from markbook.scoring.types import TeacherCall

TOTAL = "total"
ORPHANED = "killed"
"""The outcome of a call whose owner died before it was settled."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a call is for, as the ledger has it, and the API key that pays for it, if there are keys."""

    run: str
    group_id: str
    samples: int
    key: str | None = None

    @property
    def scopes(self) -> tuple[str, ...]:
        """The accounts that it is charged to: in one order everywhere, against deadlocks."""
        keyed = () if self.key is None else (key_scope(self.key),)
        return (TOTAL, *keyed, run_scope(self.run))


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a call has cost, to take the place of the `bound` that was set aside for it. `reservation` is its id."""

    reservation: str
    purpose: CallContext
    bound: TeacherCall
    call: TeacherCall
    at_ms: int


class BudgetExceededError(TeacherError):
    """The call's bound does not fit into what a budget has left, so the call was not made."""

    def __init__(self, scope: str, why: str) -> None:
        super().__init__(ErrorCode.BUDGET_EXHAUSTED, f"the budget of {scope} {why}")


def run_scope(run: str) -> str:
    return f"run {run}"


def key_scope(name: str) -> str:
    return f"key {name}"


_NEWER = {"duration_ms": None, "failed": True}
"""What a reservation does not have that was made before calls were timed."""
_HELD, _CALL = tables.reservations.c, tables.calls.c
# made once: making them takes longer than running them
_HOLD, _BOOK = tables.reservations.insert(), tables.calls.insert()
_LET_GO = delete(tables.reservations).where(_HELD.id == bindparam("reservation"))
_TAKE_BACK = (
    delete(tables.calls)
    .where(_CALL.id == bindparam("reservation"), _CALL.outcome == ORPHANED)
    .returning(*tables.calls.columns)
)


class BudgetStore:
    """The reservations of one process, `owner`, and everybody's accounts. Times are Unix milliseconds."""

    def __init__(self, database: Database, owner: str, lease_ms: int, clock: LeaseClock) -> None:
        self._database = database
        self._owner = owner
        self._lease_ms = lease_ms
        self._clock = clock
        self._open: set[str] = set()
        self.watch = BudgetWatch()

    def reserve(
        self,
        connection: Connection,
        reservation: str,
        purpose: CallContext,
        bound: TeacherCall,
        limits: Mapping[str, Budget],
        now_ms: int,
    ) -> None:
        """Charge `bound` to every scope of `purpose`. Raises BudgetExceededError: then the transaction must be undone.

        `limits`: budgets by scope; a scope without one is charged all the same, for the day it gets one.
        """
        line = {**_line(purpose, bound, now_ms), "outcome": ORPHANED, "usage_unknown": True, "failed": True}
        spent = _charge(connection, purpose, *_amounts(bound))
        for scope in purpose.scopes:
            limit, (nusd, tokens) = limits.get(scope, Budget()), spent[scope]
            if limit.usd is not None and bound.cost_usd is None:
                raise BudgetExceededError(scope, f"is in dollars, but {bound.model} has no price in teacher.prices")
            # a key may be for some runs only: what all spend together is not its to know
            told = scope != TOTAL or purpose.key is None
            if limit.usd is not None and nusd > (most := round(limit.usd * 1e9)):
                self.watch.exhausted(scope, now_ms)
                raise BudgetExceededError(scope, _short(most, nusd, _amounts(bound)[0], _dollars, told=told))
            if limit.tokens is not None and tokens > limit.tokens:
                self.watch.exhausted(scope, now_ms)
                raise BudgetExceededError(scope, _short(limit.tokens, tokens, _amounts(bound)[1], _tokens, told=told))
            self.watch.spent(scope, limit, nusd, tokens, now_ms)
        lease = {"owner": self._owner, "lease_until_ms": self._clock.now(now_ms) + self._lease_ms}
        run(connection, _HOLD, [{"id": reservation, **lease, "line": json.dumps(line)}])

    def keep(self, reservation: str) -> None:
        """It is written: `renew` keeps it until `forget`."""
        self._open.add(reservation)

    def forget(self, bills: Iterable[Settlement]) -> None:
        """These calls are over: a reservation that is still there is booked at its bound when its lease ends."""
        self._open.difference_update(bill.reservation for bill in bills)

    async def renew(self, now_ms: int) -> None:
        """Keep the reservations of calls in progress, and book those that nobody keeps at their bound."""
        held, lease_now = tables.reservations.c, self._clock.now(now_ms)
        until_ms = lease_now + self._lease_ms
        mine = update(tables.reservations).where(held.id.in_(self._open)).values(lease_until_ms=until_ms)
        nobodys = or_(held.lease_until_ms < lease_now, held.lease_until_ms > until_ms + TOLERANCE_MS)
        await self._database.write(lambda connection: connection.execute(mine))
        await self._database.write(lambda connection: _book(connection, nobodys))

    async def close(self) -> None:
        """Book what this process leaves behind at its bound: those calls were cut off."""
        await self._database.write(lambda connection: _book(connection, tables.reservations.c.owner == self._owner))

    async def spent(self, viewer: Viewer) -> dict[str, tuple[int, int]]:
        """Scope that the viewer sees -> nano-dollars and tokens, reservations included."""
        account = tables.accounts.c
        query = select(account.scope, account.nusd, account.tokens)
        return await self._database.read(
            lambda connection: {
                row.scope: (row.nusd, row.tokens) for row in connection.execute(query) if _is_shown(row.scope, viewer)
            }
        )


def _is_shown(scope: str, viewer: Viewer) -> bool:
    """A key for some runs sees what these spend and what it spends itself: not the total, nor other keys."""
    if viewer.key is None or viewer.sees_all_runs:
        return True
    kind, _, name = scope.partition(" ")
    return viewer.may_use(name) if kind == "run" else scope == key_scope(viewer.key.name)


def settle(connection: Connection, bill: Settlement, sums: Rollups) -> None:
    """Replace the bound by the bill, in the accounts and in the ledger; its `sums` are the caller's to write. Safe to
    repeat.

    If the caller was taken for dead in between, the ledger has the bound already: its line becomes the bill.
    """
    line = _row({"id": bill.reservation, **_line(bill.purpose, bill.call, bill.at_ms)})
    if not run(connection, _LET_GO, [{"reservation": bill.reservation}]).count:
        killed = connection.execute(_TAKE_BACK, {"reservation": bill.reservation}).mappings().one_or_none()
        if killed is None:
            return  # settled before: the answer to that commit was lost
        sums.add_call(dict(killed), times=-1)
    run(connection, _BOOK, [line])
    held, spent = _amounts(bill.bound), _amounts(bill.call)
    _charge(connection, bill.purpose, spent[0] - held[0], spent[1] - held[1])
    sums.add_call(line)


def _charge(connection: Connection, purpose: CallContext, nusd: int, tokens: int) -> dict[str, tuple[int, int]]:
    """What every scope of `purpose` has spent with these nano-dollars and tokens. Its accounts stay locked."""
    rows = [{"scope": scope, "nusd": nusd, "tokens": tokens} for scope in purpose.scopes]
    spent = run(connection, _add(connection.dialect.name), rows).rows
    return {scope: (total_nusd, total_tokens) for scope, total_nusd, total_tokens in spent}


@cache
def _add(dialect: str) -> ReturningInsert[tuple[str, int, int]]:
    account, insert = tables.accounts.c, insert_into(dialect, tables.accounts)
    added = {name: account[name] + insert.excluded[name] for name in ("nusd", "tokens")}
    insert = insert.on_conflict_do_update(index_elements=[account.scope], set_=added)
    return insert.returning(account.scope, account.nusd, account.tokens)


def _short(limit: int, spent: int, bound: int, shown: Callable[[int], str], *, told: bool) -> str:
    """Why a call is not made. `spent`: with this call's `bound`. `told`: whether what is left may be said."""
    left = limit - (spent - bound)
    if left <= 0:
        why = f"is spent, all {shown(limit)} of it" if told else "is spent"
    elif told:
        why = f"has {shown(left)} of {shown(limit)} left, and the next call may cost up to {shown(bound)}"
    else:
        why = f"has less left than the next call may cost, up to {shown(bound)}"
    return f"{why}: see budgets in /stats"


def _dollars(nusd: int) -> str:
    """To the nano-dollar, so that what is left never looks like enough; cents at least."""
    whole, _, digits = f"{nusd / 10**9:,.9f}".partition(".")
    return f"${whole}.{digits.rstrip('0'):0<2}"


def _tokens(count: int) -> str:
    return f"{count:,} tokens"


def _book(connection: Connection, which: Any) -> None:
    held = tables.reservations.c
    dead = connection.execute(delete(tables.reservations).where(which).returning(held.id, held.line)).all()
    lines = [_row({"id": row.id, **_NEWER, **json.loads(row.line)}) for row in dead]
    insert_new(connection, tables.calls, lines)
    build_rollups(calls=lines).write(connection)


def _line(purpose: CallContext, call: TeacherCall, now_ms: int) -> dict[str, Any]:
    """A row of the ledger, in JSON's types."""
    columns = asdict(call)
    del columns["cost_usd"]
    columns |= {"run": purpose.run, "group_id": purpose.group_id, "samples": purpose.samples}
    return {"at_ms": now_ms, **columns, "cost_nusd": _nusd(call)}


def _row(line: Mapping[str, Any]) -> dict[str, Any]:
    return {**line, "group_id": bytes.fromhex(line["group_id"])}


def _amounts(call: TeacherCall) -> tuple[int, int]:
    """Nano-dollars (none known: 0) and tokens of every kind."""
    tokens = call.input_tokens + call.output_tokens + call.cache_read_input_tokens + call.cache_creation_input_tokens
    return _nusd(call) or 0, tokens


def _nusd(call: TeacherCall) -> int | None:
    return None if call.cost_usd is None else round(call.cost_usd * 1e9)
