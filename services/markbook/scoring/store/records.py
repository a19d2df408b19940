"""Whole records: marks with their texts and origin, for `/marks`, the page, export and import.

What only export and import use is synchronous: they are processes of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, Select, exists, func, or_, select

from markbook.scoring.fingerprint import prefix, read_key, read_row
from markbook.scoring.store import profiles, tables
from markbook.scoring.store.database import Database
from markbook.scoring.store.mark_access import runs_by_mark
from markbook.scoring.store.marks import Marks, NewMark, Record, parse_reasons
from markbook.scoring.store.permissions import Viewer
from markbook.scoring.store.profiles import Profile
from markbook.scoring.store.sample_texts import Texts, unpack

_END = b"\xff" * 32
"""Appended to a prefix, it sorts after every key with that prefix."""
_BATCH = 500


@dataclass(frozen=True, slots=True)
class MarkFilter:
    """Marks of one run, that it paid for or is recorded to have been given; made in a time, in Unix
    milliseconds.

    None: whatever it is.
    """

    run: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


ALL = MarkFilter()


class Records:
    def __init__(self, database: Database, marks: Marks) -> None:
        self._database = database
        self._marks = marks

    async def find_by_key(self, viewer: Viewer, profile: str, key: str) -> list[Record]:
        """Marks with a readable key: several where short hashes collide.

        Raises ValueError for what is no key.
        """
        prompt_hash, code_hash, language = read_key(key)
        start = prefix(profile, prompt_hash, code_hash)

        def work(connection: Connection) -> list[Record]:
            self.load_profiles(connection)
            rows = connection.execute(
                _whole().where(_mark.key > start, _mark.key < start + _END)
            ).all()
            runs = runs_by_mark(connection, rows)
            return [self.record(row) for row in rows if viewer.sees_mark(runs[bytes(row.key)])]

        records = await self._database.read(work)
        return [record for record in records if record.mark.fingerprint.language == language]

    async def read_profiles(self) -> list[Profile]:
        """All profiles, as `profiles`."""
        return await self._database.read(profiles.read_all)

    def profiles(self) -> list[Profile]:
        return self._database.read_sync(profiles.read_all)

    def count(self) -> int:
        return self._database.read_sync(
            lambda connection: (
                connection.scalar(select(func.count()).select_from(tables.marks)) or 0
            )
        )

    def page(
        self, profile: str, after: bytes, limit: int, chosen: MarkFilter = ALL
    ) -> list[Record]:
        """The next marks of a profile in key order, after the row key `after` (empty: from the
        first on).
        """
        query = _next(profile, after, limit, chosen)

        def work(connection: Connection) -> list[Record]:
            self.load_profiles(connection)
            return self._read(connection, query)

        return self._database.read_sync(work)

    def matching(
        self, profile: str, chosen: MarkFilter = ALL, batch: int = _BATCH
    ) -> Iterator[Record]:
        """The marks of a profile that the filter lets through, in key order, with their texts."""
        after = b""
        while page := self.page(profile, after, batch, chosen):
            yield from page
            after = page[-1].mark.fingerprint.row

    async def visible_page(
        self, viewer: Viewer, profile: str, after: bytes, limit: int, chosen: MarkFilter = ALL
    ) -> tuple[list[Record], bytes | None]:
        """As `page`, without those that the viewer may not see; and the key to continue after, None
        at the end.

        The run of a mark is left out of a record where the viewer may not use it.
        """
        query = _next(profile, after, limit, chosen)

        def work(connection: Connection) -> tuple[list[Record], bytes | None]:
            self.load_profiles(connection)
            rows = connection.execute(query).all()
            runs = runs_by_mark(connection, rows)
            records = [self.record(row) for row in rows if viewer.sees_mark(runs[bytes(row.key)])]
            shown = [
                each if viewer.may_use(each.run) else replace(each, run="") for each in records
            ]
            return shown, bytes(rows[-1].key) if len(rows) == limit else None

        return await self._database.read(work)

    def places(self, keys: Sequence[bytes]) -> dict[bytes, tuple[str, int, int]]:
        """Group id, place from 1 and number of samples of the request that each mark came from,
        by row key.
        """
        found: dict[bytes, tuple[str, int, int]] = {}

        def work(connection: Connection) -> None:
            for start in range(0, len(keys), _BATCH):
                query = select(_mark.key, _mark.group_id, _mark.group_position, _mark.group_size)
                for row in connection.execute(
                    query.where(_mark.key.in_(keys[start : start + _BATCH]))
                ):
                    found[bytes(row.key)] = row.group_id.hex(), row.group_position, row.group_size

        self._database.read_sync(work)
        return found

    def register_profile(self, profile: Profile) -> Profile:
        """Store a profile if it is new; returns it as stored."""
        known = self._database.write_sync(lambda connection: profiles.add(connection, profile))
        self._marks.register_profile(known.id, known.criteria)
        return known

    def add(self, records: Sequence[Record], at_ms: int) -> int:
        """Store marks of registered profiles; returns how many are new."""
        return len(
            self._database.write_sync(
                lambda connection: self._marks.add(connection, at_ms, records)
            )
        )

    def load_profiles(self, connection: Connection) -> None:
        """Register all stored profiles: `record` needs them."""
        for profile in profiles.read_all(connection):
            self._marks.register_profile(profile.id, profile.criteria)

    def _read(self, connection: Connection, query: Select[Any]) -> list[Record]:
        return [self.record(row) for row in connection.execute(query)]

    def record(self, row: Row[Any]) -> Record:
        """A record from a row of marks joined with its texts."""
        name = read_row(row.key, row.digest)
        texts = None
        if row.task is not None and row.code is not None:
            texts = Texts(unpack(row.task), unpack(row.code), row.tests_digest)
        mark = NewMark(
            name,
            self._marks.criteria(name.profile, row.criteria),
            parse_reasons(row.reasons),
            row.group_position,
            row.group_size,
            texts,
        )
        return Record(mark, row.created_ms, row.group_id.hex(), row.run)


_mark = tables.marks.c


def _next(profile: str, after: bytes, limit: int, chosen: MarkFilter) -> Select[Any]:
    start = prefix(profile)
    query = _whole().where(_mark.key > max(start, after), _mark.key < start + _END).limit(limit)
    if chosen.since_ms is not None:
        query = query.where(_mark.created_ms >= chosen.since_ms)
    if chosen.until_ms is not None:
        query = query.where(_mark.created_ms < chosen.until_ms)
    if chosen.run is not None:
        given = tables.given_marks.c
        was_given = exists().where(given.key == _mark.key, given.run == chosen.run)
        query = query.where(or_(_mark.run == chosen.run, was_given))
    return query


def _whole() -> Select[Any]:
    text, task = tables.texts.c, tables.tasks.c
    joined = tables.marks.outerjoin(tables.texts, text.key == _mark.key).outerjoin(
        tables.tasks, task.hash == text.task
    )
    return (
        select(tables.marks, text.code, text.tests_digest, task.task)
        .select_from(joined)
        .order_by(_mark.key)
    )
