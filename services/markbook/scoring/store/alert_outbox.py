"""Alerts that were raised, each once across replicas, and which of them have yet to be delivered to
the webhook.

A delivery is claimed by setting the time of the next one: while a replica tries, the others leave
it alone, and if it dies, another tries at that time.

The table has three kinds of rows, which differ in the start of `event`: the event as it was raised,
`active: CAUSE` while its cause lasts, and `resolved: CAUSE` for the message that it has ended. The
replica that deletes the second writes the third, so that there is one such message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, or_, select, update

from markbook.scoring.store.alert_tables import alerts
from markbook.scoring.store.database import Database
from markbook.scoring.store.statements import insert_into

_ACTIVE = "active: "
_RESOLVED = "resolved: "
_row = alerts.c


@dataclass(frozen=True, slots=True)
class Alert:
    """`event`: what is raised once.

    `kind`: budget, outage, unscored or agreement. `text`: one line for people.

    `is_resolved`: it says that the cause of `event` has ended.
    """

    event: str
    kind: str
    text: str
    is_resolved: bool = False


@dataclass(frozen=True, slots=True)
class ActiveAlert:
    """A cause that has raised an alert and lasts at least until `until_ms`.

    `cause`: names it; the events of one cause begin with it. `ended`: the text of the message that
    it has ended.
    """

    cause: str
    kind: str
    ended: str
    until_ms: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """An alert to post now. `attempt`: its number, from 1. `is_last`: there is no further one."""

    alert: Alert
    at_ms: int
    attempt: int
    is_last: bool


class AlertOutbox:
    """Times are Unix milliseconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        alert: Alert,
        now_ms: int,
        *,
        repeat_ms: int | None,
        deliver: bool,
        active: ActiveAlert | None = None,
    ) -> bool:
        """Whether it is new: not raised by any replica within `repeat_ms` (None: ever), or resolved
        since.

        `deliver`: to the webhook. `active`: its cause, which `active` lists until `resolve`.
        """
        row = _values(alert.event, alert, now_ms, now_ms if deliver else None)

        def work(connection: Connection) -> bool:
            insert = insert_into(connection.dialect.name, alerts).values(row)
            if repeat_ms is None:
                insert = insert.on_conflict_do_nothing()
            else:
                is_old = _row.at_ms <= now_ms - repeat_ms
                if active is not None:  # once its end was reported, a new start is news
                    ended_ms = connection.scalar(
                        select(_row.at_ms).where(_row.event == _RESOLVED + active.cause)
                    )
                    is_old = or_(is_old, _row.at_ms <= (ended_ms or 0))
                insert = insert.on_conflict_do_update(
                    index_elements=[_row.event], set_=_new(insert, row), where=is_old
                )
            is_new = connection.execute(insert.returning(_row.event)).first() is not None
            if is_new and active is not None:
                lasting = Alert(alert.event, active.kind, active.ended)
                _replace(
                    connection, _values(_ACTIVE + active.cause, lasting, active.until_ms, None)
                )
            return is_new

        return await self._database.write(work)

    async def active(self) -> list[ActiveAlert]:
        """The causes that last, as far as is known, in the order of their names."""
        query = select(alerts).where(_row.event.startswith(_ACTIVE)).order_by(_row.event)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [
            ActiveAlert(row.event.removeprefix(_ACTIVE), row.kind, row.text, row.at_ms)
            for row in rows
        ]

    async def renew(self, active: ActiveAlert) -> None:
        """Its cause lasts until `until_ms`; does nothing where it is not listed, or already
        until later.
        """
        listed = _row.event == _ACTIVE + active.cause, _row.at_ms < active.until_ms
        renewed = update(alerts).where(*listed).values(at_ms=active.until_ms)
        await self._database.write(lambda connection: connection.execute(renewed) and None)

    async def resolve(self, active: ActiveAlert, now_ms: int, *, deliver: bool) -> bool:
        """Whether this replica is to report the end: no other has, nor has one seen the cause
        meanwhile.

        `deliver`: to the webhook, after what is still to be delivered of the same cause.
        """
        unchanged = _row.event == _ACTIVE + active.cause, _row.at_ms == active.until_ms
        listed = delete(alerts).where(*unchanged).returning(_row.event)
        mine = _row.event.startswith(active.cause, autoescape=True)
        pending = select(func.max(_row.next_attempt_ms)).where(mine)
        ended = Alert(active.cause, active.kind, active.ended)

        def work(connection: Connection) -> bool:
            if connection.execute(listed).first() is None:
                return False
            next_ms = max(now_ms, (connection.scalar(pending) or 0) + 1) if deliver else None
            _replace(connection, _values(_RESOLVED + active.cause, ended, now_ms, next_ms))
            return True

        return await self._database.write(work)

    async def claim(self, now_ms: int, pauses_ms: Sequence[int]) -> Delivery | None:
        """The next alert to deliver; None if none is due. `pauses_ms`: from each attempt to the
        next; the last one is followed by none.
        """
        due = (
            select(alerts)
            .where(_row.next_attempt_ms <= now_ms)
            .order_by(_row.next_attempt_ms, _row.event)
            .limit(1)
        )

        def work(connection: Connection) -> Delivery | None:
            found = connection.execute(due.with_for_update(skip_locked=True)).one_or_none()
            if found is None:
                return None
            attempt, is_last = found.attempts + 1, found.attempts >= len(pauses_ms)
            following = None if is_last else now_ms + pauses_ms[found.attempts]
            values = {"attempts": attempt, "next_attempt_ms": following}
            connection.execute(update(alerts).where(_row.event == found.event).values(values))
            event = found.event.removeprefix(_RESOLVED)
            alert = Alert(event, found.kind, found.text, is_resolved=event != found.event)
            return Delivery(alert, found.at_ms, attempt, is_last)

        return await self._database.write(work)

    async def delivered(self, delivery: Delivery) -> None:
        """Try no more; of an alert that was raised again meanwhile, the new one is still
        delivered.
        """
        alert = delivery.alert
        event = _RESOLVED + alert.event if alert.is_resolved else alert.event
        same = _row.event == event, _row.at_ms == delivery.at_ms
        await self._database.write(
            lambda connection: connection.execute(
                update(alerts).where(*same).values(next_attempt_ms=None)
            )
        )


def _values(event: str, alert: Alert, at_ms: int, next_attempt_ms: int | None) -> dict[str, Any]:
    return {
        "event": event,
        "kind": alert.kind,
        "text": alert.text,
        "at_ms": at_ms,
        "attempts": 0,
        "next_attempt_ms": next_attempt_ms,
    }


def _replace(connection: Connection, row: dict[str, Any]) -> None:
    insert = insert_into(connection.dialect.name, alerts).values(row)
    connection.execute(
        insert.on_conflict_do_update(index_elements=[_row.event], set_=_new(insert, row))
    )


def _new(insert: Any, row: dict[str, Any]) -> dict[str, Any]:
    return {name: insert.excluded[name] for name in row if name != "event"}
