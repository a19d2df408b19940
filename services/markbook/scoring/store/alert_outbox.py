"""Alerts that were raised, each once across replicas, and which of them have yet to be delivered to the webhook.

A delivery is claimed by setting the time of the next one: while a replica tries, the others leave it alone, and if it
dies, another tries at that time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from markbook.scoring.store.alert_tables import alerts
from markbook.scoring.store.database import Database
from markbook.scoring.store.statements import insert_into


@dataclass(frozen=True, slots=True)
class Alert:
    """`event`: what is raised once. `kind`: budget, outage, unscored or agreement. `text`: one line for people."""

    event: str
    kind: str
    text: str


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

    async def add(self, alert: Alert, now_ms: int, *, repeat_ms: int | None, deliver: bool) -> bool:
        """Whether it is new: not raised by any replica within `repeat_ms` (None: ever). `deliver`: to the webhook."""
        row = {
            "event": alert.event,
            "kind": alert.kind,
            "text": alert.text,
            "at_ms": now_ms,
            "attempts": 0,
            "next_attempt_ms": now_ms if deliver else None,
        }

        def work(connection: Connection) -> bool:
            insert = insert_into(connection.dialect.name, alerts).values(row)
            if repeat_ms is None:
                insert = insert.on_conflict_do_nothing()
            else:
                new = {name: insert.excluded[name] for name in row if name != "event"}
                is_old = alerts.c.at_ms <= now_ms - repeat_ms
                insert = insert.on_conflict_do_update(index_elements=[alerts.c.event], set_=new, where=is_old)
            return connection.execute(insert.returning(alerts.c.event)).first() is not None

        return await self._database.write(work)

    async def claim(self, now_ms: int, pauses_ms: Sequence[int]) -> Delivery | None:
        """The next alert to deliver; None if none is due. `pauses_ms`: from each attempt to the next; the last one
        is followed by none."""
        row = alerts.c
        due = select(alerts).where(row.next_attempt_ms <= now_ms).order_by(row.next_attempt_ms, row.event).limit(1)

        def work(connection: Connection) -> Delivery | None:
            found = connection.execute(due.with_for_update(skip_locked=True)).one_or_none()
            if found is None:
                return None
            attempt, is_last = found.attempts + 1, found.attempts >= len(pauses_ms)
            following = None if is_last else now_ms + pauses_ms[found.attempts]
            values = {"attempts": attempt, "next_attempt_ms": following}
            connection.execute(update(alerts).where(row.event == found.event).values(values))
            return Delivery(Alert(found.event, found.kind, found.text), found.at_ms, attempt, is_last)

        return await self._database.write(work)

    async def delivered(self, delivery: Delivery) -> None:
        """Try no more; of an alert that was raised again meanwhile, the new one is still delivered."""
        row = alerts.c
        same = row.event == delivery.alert.event, row.at_ms == delivery.at_ms
        await self._database.write(
            lambda connection: connection.execute(update(alerts).where(*same).values(next_attempt_ms=None))
        )
