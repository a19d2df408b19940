"""Settlements: a call's cost replaces its reserved bound, in the balances and in the ledger.

A reservation whose owner died becomes a ledger line of unknown usage, charged at its bound.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, bindparam, delete
from sqlalchemy.sql.dml import ReturningInsert

from markbook.scoring.store import budget_days, tables
from markbook.scoring.store.rollups import Rollups, build_rollups
from markbook.scoring.store.statements import insert_into, insert_new, run
from markbook.scoring.types import TeacherCall

TOTAL = "total"
ORPHANED = "killed"
"""The outcome of a call whose owner died before it was settled."""
_NEWER = {"duration_ms": None, "failed": True}
"""Columns that reservations of versions without call durations lack."""
_HELD, _CALL = tables.reservations.c, tables.calls.c
# module constants: building a statement takes longer than running it
_INSERT_CALL = tables.calls.insert()
_DELETE_RESERVATION: Any = (
    delete(tables.reservations).where(_HELD.id == bindparam("reservation")).returning(_HELD.line)
)
_DELETE_ORPHAN = (
    delete(tables.calls)
    .where(_CALL.id == bindparam("reservation"), _CALL.outcome == ORPHANED)
    .returning(*tables.calls.columns)
)


def run_scope(run: str) -> str:
    return f"run {run}"


def key_scope(name: str) -> str:
    return f"key {name}"


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a call is for, as the ledger records it, and the API key that it is charged to, if
    there are keys.
    """

    run: str
    group_id: str
    samples: int
    key: str | None = None

    @property
    def scopes(self) -> tuple[str, ...]:
        """The balances that it is charged to, in one order everywhere, against deadlocks."""
        keyed = () if self.key is None else (key_scope(self.key),)
        return (TOTAL, *keyed, run_scope(self.run))


@dataclass(frozen=True, slots=True)
class Settlement:
    """The cost of a call, `call`, which replaces its reserved `bound`.

    `reservation` is the reservation's id.
    """

    reservation: str
    context: CallContext
    bound: TeacherCall
    call: TeacherCall
    at_ms: int


def settle(connection: Connection, bill: Settlement, rollups: Rollups) -> None:
    """Replace the bound by the cost, in the balances and in the ledger; the caller writes
    `rollups`. Idempotent.

    If the reservation counted as orphaned meanwhile, the ledger holds the bound already: that line
    is replaced.
    """
    line = _row({"id": bill.reservation, **ledger_line(bill.context, bill.call, bill.at_ms)})
    if reserved := run(connection, _DELETE_RESERVATION, [{"reservation": bill.reservation}]).rows:
        reserved_ms: int = json.loads(reserved[0][0])["at_ms"]
    else:
        orphan = (
            connection.execute(_DELETE_ORPHAN, {"reservation": bill.reservation})
            .mappings()
            .one_or_none()
        )
        if orphan is None:
            return  # settled before, but the answer to that commit was lost
        rollups.add_call(dict(orphan), times=-1)
        reserved_ms = orphan["at_ms"]
    run(connection, _INSERT_CALL, [line])
    held, spent = amounts(bill.bound), amounts(bill.call)
    add_spend(connection, bill.context, spent[0] - held[0], spent[1] - held[1], reserved_ms)
    rollups.add_call(line)


def add_spend(
    connection: Connection, context: CallContext, nusd: int, tokens: int, reserved_ms: int
) -> dict[str, tuple[int, int]]:
    """Add nano-dollars and tokens to every scope, in all and on the day of the reservation.

    Returns the new balances in all, whose rows stay locked, and with them those of the days.
    """
    rows = [{"scope": scope, "nusd": nusd, "tokens": tokens} for scope in context.scopes]
    spent = run(connection, _add(connection.dialect.name), rows).rows
    budget_days.add(connection, context.scopes, nusd, tokens, reserved_ms)
    return {scope: (total_nusd, total_tokens) for scope, total_nusd, total_tokens in spent}


@cache
def _add(dialect: str) -> ReturningInsert[tuple[str, int, int]]:
    account, insert = tables.accounts.c, insert_into(dialect, tables.accounts)
    added = {name: account[name] + insert.excluded[name] for name in ("nusd", "tokens")}
    insert = insert.on_conflict_do_update(index_elements=[account.scope], set_=added)
    return insert.returning(account.scope, account.nusd, account.tokens)


def write_orphans(connection: Connection, which: Any) -> None:
    held = tables.reservations.c
    dead = connection.execute(
        delete(tables.reservations).where(which).returning(held.id, held.line)
    ).all()
    lines = [_row({"id": row.id, **_NEWER, **json.loads(row.line)}) for row in dead]
    insert_new(connection, tables.calls, lines)
    build_rollups(calls=lines).write(connection)


def ledger_line(context: CallContext, call: TeacherCall, now_ms: int) -> dict[str, Any]:
    """A ledger row in JSON types."""
    columns = asdict(call)
    del columns["cost_usd"]
    columns |= {"run": context.run, "group_id": context.group_id, "samples": context.samples}
    return {"at_ms": now_ms, **columns, "cost_nusd": _nusd(call)}


def _row(line: Mapping[str, Any]) -> dict[str, Any]:
    return {**line, "group_id": bytes.fromhex(line["group_id"])}


def amounts(call: TeacherCall) -> tuple[int, int]:
    """Nano-dollars (0 if the price is not known) and tokens of all kinds."""
    tokens = (
        call.input_tokens
        + call.output_tokens
        + call.cache_read_input_tokens
        + call.cache_creation_input_tokens
    )
    return _nusd(call) or 0, tokens


def _nusd(call: TeacherCall) -> int | None:
    return None if call.cost_usd is None else round(call.cost_usd * 1e9)
