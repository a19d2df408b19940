"""Marks: looked up many at a time, written once, never by a short hash alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, text

from services.scoring.fingerprint import Fingerprint
from services.scoring.store import tables
from services.scoring.store.database import Database, insert_new


@dataclass(frozen=True, slots=True)
class StoredMark:
    criteria: dict[str, float]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewMark:
    """A teacher's mark, and where its sample stood: `place`, from 1, of the `shown` samples judged in one request."""

    fingerprint: Fingerprint
    criteria: Mapping[str, float]
    reasons: Sequence[str]
    place: int
    shown: int


class Marks:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, fingerprints: Sequence[Fingerprint]) -> dict[bytes, StoredMark]:
        """The marks in the book, by digest, in one statement."""
        if not fingerprints:
            return {}
        return await self._database.read(lambda connection: find(connection, fingerprints))

    async def size(self) -> tuple[int, int]:
        """Marks in the book, and the bytes they take (on SQLite: the whole file)."""

        def work(connection: Connection) -> tuple[int, int]:
            entries = connection.scalar(select(func.count()).select_from(tables.marks))
            size = connection.scalar(
                text("SELECT pg_total_relation_size('marks')")
                if self._database.is_postgres
                else text("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
            )
            return int(entries or 0), int(size or 0)

        return await self._database.read(work)


def find(connection: Connection, fingerprints: Sequence[Fingerprint]) -> dict[bytes, StoredMark]:
    """Marks by digest. A row whose digest differs is a collision of short hashes: a miss."""
    wanted = {fingerprint.row: fingerprint.digest for fingerprint in fingerprints}
    marks = tables.marks.c
    query = select(marks.key, marks.digest, marks.criteria, marks.reasons).where(marks.key.in_(wanted))
    return {
        row.digest: StoredMark(json.loads(row.criteria), tuple(json.loads(row.reasons or "[]")))
        for row in connection.execute(query)
        if wanted[row.key] == row.digest
    }


def add(connection: Connection, at_ms: int, group_id: str, marks: Sequence[NewMark]) -> None:
    """Keep the marks of one group. The first mark written for a key stays."""
    rows = [
        {
            "key": mark.fingerprint.row,
            "digest": mark.fingerprint.digest,
            "criteria": json.dumps(dict(mark.criteria), separators=(",", ":")),
            "reasons": json.dumps(list(mark.reasons)) if mark.reasons else None,
            "created_ms": at_ms,
            "group_id": bytes.fromhex(group_id),
            "group_position": mark.place,
            "group_size": mark.shown,
        }
        for mark in marks
    ]
    insert_new(connection, tables.marks, sorted(rows, key=lambda row: bytes(row["key"])))
