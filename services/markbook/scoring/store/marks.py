"""Stored marks: looked up in batches, written once, never matched by a short hash alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from sqlalchemy import Connection, and_, bindparam, func, select, text, update
from sqlalchemy.sql.dml import ReturningInsert

from markbook.contract import SampleTests
from markbook.scoring.fingerprint import Fingerprint
from markbook.scoring.store import exchanges, sample_rows, sample_texts, tables
from markbook.scoring.store.database import Database
from markbook.scoring.store.permissions import Viewer
from markbook.scoring.store.retention import RetentionPolicy
from markbook.scoring.store.sample_rows import NewSample, Weights
from markbook.scoring.store.sample_tables import TEACHER
from markbook.scoring.store.sample_texts import Texts
from markbook.scoring.store.statements import Row, insert_into, run
from markbook.scoring.types import Exchange

COARSE_S = 60
"""Seconds by which a mark's last use may lag behind: a mark in constant use costs one write per
minute.
"""
_BATCH = 500


@dataclass(frozen=True, slots=True)
class StoredMark:
    criteria: dict[str, float]
    reasons: tuple[str, ...]
    last_used_s: int


@dataclass(frozen=True, slots=True)
class NewMark:
    """A teacher's mark; its sample was number `place`, from 1, of the `shown` samples scored in one
    request.

    `passed`: whether its tests all passed; None where it had none, or they showed nothing.
    `tests`: what came of the sample's tests, if it has any. `exchange`: the request that made it,
    if that is kept.
    """

    fingerprint: Fingerprint
    criteria: Mapping[str, float]
    reasons: Sequence[str]
    place: int
    shown: int
    texts: Texts | None = None
    passed: bool | None = None
    tests: SampleTests | None = None
    exchange: Exchange | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A mark with its time, group and run: all that is stored of it but its last use."""

    mark: NewMark
    created_ms: int
    group_id: str
    run: str = ""


_MARK = tables.marks.c
# a module constant: building the statement takes longer than running it
_FIND = select(_MARK.key, _MARK.digest, _MARK.criteria, _MARK.reasons, _MARK.last_used_s).where(
    _MARK.key.in_(bindparam("keys", expanding=True)), _MARK.created_ms >= bindparam("oldest_ms")
)


@cache
def _add(dialect: str) -> ReturningInsert[bytes]:
    insert = insert_into(dialect, tables.marks)
    insert = insert.on_conflict_do_update(
        index_elements=[_MARK.key],
        set_={
            column.name: insert.excluded[column.name] for column in _MARK if column is not _MARK.key
        },
        where=and_(
            _MARK.created_ms < bindparam("oldest_ms"), _MARK.created_ms < insert.excluded.created_ms
        ),
    )
    return insert.returning(_MARK.key)  # with RETURNING it is one statement for all rows


class Marks:
    """Marks of registered profiles. Times are Unix milliseconds unless the name ends in `_s`."""

    def __init__(self, database: Database, retention: RetentionPolicy) -> None:
        self._database = database
        self._retention = retention
        self._names: dict[str, Sequence[str]] = {}
        self._used: set[bytes] = set()
        self.weights: Weights | None = None
        """How marks are scored for the list of samples, once the store is opened."""

    def register_profile(self, profile: str, names: Sequence[str]) -> None:
        """Register the criteria of a profile's marks, in the order in which their numbers are
        stored.
        """
        self._names[profile] = names

    async def get(
        self, fingerprints: Sequence[Fingerprint], now_ms: int
    ) -> dict[bytes, StoredMark]:
        """Stored marks by digest, in one statement, without expired ones."""
        if not fingerprints:
            return {}
        found = await self._database.read_inline(
            lambda connection: self.find(connection, fingerprints, now_ms)
        )
        if self._retention.max_entries is not None:
            stale = {
                digest
                for digest, mark in found.items()
                if mark.last_used_s <= now_ms // 1000 - COARSE_S
            }
            self._used.update(each.row for each in fingerprints if each.digest in stale)
        return found

    def find(
        self, connection: Connection, fingerprints: Sequence[Fingerprint], now_ms: int
    ) -> dict[bytes, StoredMark]:
        """Marks by digest. A row with another digest is a collision of short hashes: a miss."""
        wanted = {each.row: each for each in fingerprints}
        asked = {"keys": list(wanted), "oldest_ms": self._retention.oldest_ms(now_ms)}
        found_rows = run(connection, _FIND, [asked]).rows
        rows = [row for row in found_rows if wanted[row[0]].digest == row[1]]
        numbers = json.loads(
            f"[{','.join(row[2] for row in rows)}]"
        )  # parsed at once, which is faster than per row
        found: dict[bytes, StoredMark] = {}
        for (key, digest, _, reasons, last_used_s), values in zip(rows, numbers, strict=True):
            criteria = dict(zip(self._names[wanted[key].profile], values, strict=True))
            found[digest] = StoredMark(criteria, parse_reasons(reasons), last_used_s)
        return found

    def add(
        self, connection: Connection, at_ms: int, records: Sequence[Record]
    ) -> frozenset[bytes]:
        """Store marks and their texts; returns the row keys of those that are new.

        The first one written stays, unless it has expired.
        """
        if not records:
            return frozenset()
        first = {each.mark.fingerprint.row: each for each in reversed(records)}
        records = [first[key] for key in sorted(first)]  # in one order, against deadlocks
        oldest = {"oldest_ms": self._retention.oldest_ms(at_ms)}
        rows = [{**self._row(at_ms, each), **oldest} for each in records]
        new = run(connection, _add(connection.dialect.name), rows).rows
        if self._retention.store_samples:
            sample_texts.add(
                connection,
                [
                    (each.mark.fingerprint.row, each.mark.texts, each.created_ms)
                    for each in records
                    if each.mark.texts
                ],
            )
        added = {bytes(row[0]) for row in new}
        self._list(
            connection, at_ms, [each for each in records if each.mark.fingerprint.row in added]
        )
        return frozenset(added)

    def _list(self, connection: Connection, at_ms: int, records: Sequence[Record]) -> None:
        kept = (
            [each.mark.exchange for each in records if each.mark.exchange]
            if self._retention.keep_exchanges
            else []
        )
        exchanges.add(connection, kept, at_ms)
        ids = {id(each): exchanges.identify(each) for each in kept}
        sample_rows.write(
            connection, [self._sample(each, ids.get(id(each.mark.exchange))) for each in records]
        )

    def _sample(self, record: Record, exchange: bytes | None) -> NewSample:
        mark = record.mark
        score, weights = self.score(mark.fingerprint.profile, mark.criteria, mark.tests)
        return NewSample(
            mark.fingerprint,
            TEACHER,
            score,
            record.run,
            record.created_ms,
            mark.texts.code if mark.texts and self._retention.store_samples else None,
            tests=mark.tests,
            weights=weights,
            group_id=bytes.fromhex(record.group_id),
            exchange=exchange,
        )

    def score(
        self, profile: str, criteria: Mapping[str, float], tests: SampleTests | None
    ) -> tuple[float | None, str]:
        """The score under the weights in use, and their id; None for marks of another profile."""
        if self.weights is None or self.weights.profile != profile:
            return None, ""
        return self.weights.score(criteria, tests), self.weights.id

    def _row(self, at_ms: int, record: Record) -> Row:
        mark = record.mark
        numbers = [mark.criteria[name] for name in self._names[mark.fingerprint.profile]]
        return {
            "key": mark.fingerprint.row,
            "digest": mark.fingerprint.digest,
            "criteria": json.dumps(numbers, separators=(",", ":")),
            "reasons": json.dumps(list(mark.reasons)) if mark.reasons else None,
            "group_id": bytes.fromhex(record.group_id),
            "created_ms": record.created_ms,
            "last_used_s": at_ms // 1000,
            "group_position": mark.place,
            "group_size": mark.shown,
            "run": record.run,
        }

    def criteria(self, profile: str, numbers: str) -> dict[str, float]:
        """A mark's criteria by name, from the numbers in its row."""
        return dict(zip(self._names[profile], json.loads(numbers), strict=True))

    async def size(self, viewer: Viewer) -> tuple[int, int] | None:
        """Number of marks and their bytes (on SQLite: of the whole file); None for viewers of
        some runs only.
        """
        if not viewer.sees_all_runs:
            return None

        def work(connection: Connection) -> tuple[int, int]:
            entries = connection.scalar(select(func.count()).select_from(tables.marks))
            size = connection.scalar(
                text("SELECT pg_total_relation_size('marks')")
                if self._database.is_postgres
                else text("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
            )
            return int(entries or 0), int(size or 0)

        return await self._database.read(work)

    async def flush_last_used(self, now_ms: int) -> None:
        """Write the last use of marks used since the last flush, but for rows that another
        replica has locked.
        """
        used, self._used = sorted(self._used), set()
        for start in range(0, len(used), _BATCH):
            note = partial(
                _write_last_used, keys=used[start : start + _BATCH], last_used_s=now_ms // 1000
            )
            await self._database.write(note)


def _write_last_used(connection: Connection, keys: Sequence[bytes], last_used_s: int) -> None:
    mark = tables.marks.c
    free = select(mark.key).where(mark.key.in_(keys)).with_for_update(skip_locked=True)
    locked = connection.execute(free).scalars().all()
    connection.execute(
        update(tables.marks).where(mark.key.in_(locked)).values(last_used_s=last_used_s)
    )


def parse_reasons(stored: str | None) -> tuple[str, ...]:
    return tuple(json.loads(stored)) if stored else ()
