"""Audits: the teacher's scores of samples that the heuristic tier or their tests have decided.

They never become a sample's mark. A row without criteria is a call in progress since `at_ms`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection, Table, and_, bindparam, case, delete, func, select, update

from markbook.scoring.fingerprint import Fingerprint
from markbook.scoring.store import tables
from markbook.scoring.store.database import Database
from markbook.scoring.store.permissions import Viewer
from markbook.scoring.store.statements import Row, insert_into

AuditedMarks = Mapping[bytes, tuple[Mapping[str, float], float]]
"""The teacher's criteria and their score, by digest."""


class NewAuditRow(Protocol):
    """A sample that the teacher is to see as well, and its row but for the time."""

    @property
    def fingerprint(self) -> Fingerprint: ...

    def row(self) -> Row: ...


@dataclass(frozen=True, slots=True)
class NewAudit:
    """A sample that the heuristic tier rejected and that the teacher is to see as well."""

    fingerprint: Fingerprint
    run: str
    language: str
    reason: str
    heuristic_score: float

    def row(self) -> Row:
        more = {"reason": self.reason, "heuristic_score": self.heuristic_score}
        return build_row(self.fingerprint, self.run, self.language) | more


@dataclass(frozen=True, slots=True)
class AuditSum:
    """What was rejected for one reason in one language: how often the teacher's score reached
    the threshold.
    """

    reason: str
    language: str
    audited: int
    at_or_above_threshold: int
    mean_score: float


def build_row(fingerprint: Fingerprint, run: str, language: str) -> dict[str, object]:
    """The columns that every table of audits has."""
    return {
        "digest": fingerprint.digest,
        "profile": bytes.fromhex(fingerprint.profile),
        "key": fingerprint.row,
        "run": run,
        "language": language,
    }


class AuditTable:
    """Audits of one kind. Times are Unix milliseconds."""

    def __init__(self, database: Database, table: Table) -> None:
        self._database = database
        self._table = table

    async def acquire(
        self, audits: Sequence[NewAuditRow], now_ms: int, stale_ms: int
    ) -> frozenset[bytes]:
        """The digests that are the caller's to ask for: neither audited, nor asked for in the
        last `stale_ms`.
        """
        # in one order everywhere, so that two replicas that want the same ones do not deadlock
        ordered = sorted(audits, key=lambda audit: audit.fingerprint.digest)
        rows = [{**audit.row(), "at_ms": now_ms} for audit in ordered]
        kept = self._table.c

        def work(connection: Connection) -> frozenset[bytes]:
            insert = insert_into(connection.dialect.name, self._table).values(rows)
            insert = insert.on_conflict_do_update(
                index_elements=[kept.digest],
                set_={name: insert.excluded[name] for name in ("run", "at_ms")},
                where=and_(kept.criteria.is_(None), kept.at_ms < now_ms - stale_ms),
            )
            return frozenset(connection.execute(insert.returning(kept.digest)).scalars())

        return await self._database.write(work)

    async def record(self, marks: AuditedMarks, failed: Sequence[bytes], at_ms: int) -> None:
        """Keep the criteria and scores of one group, by digest; what failed may be asked for
        again at once.
        """
        await self._database.write_with_retry(
            lambda connection: self._record(connection, marks, failed, at_ms)
        )

    def _record(
        self, connection: Connection, marks: AuditedMarks, failed: Sequence[bytes], at_ms: int
    ) -> None:
        kept = self._table.c
        fill = update(self._table).where(kept.digest == bindparam("of"), kept.criteria.is_(None))
        rows = [
            {
                "of": digest,
                "criteria": json.dumps(dict(criteria)),
                "teacher_score": score,
                "at_ms": at_ms,
            }
            for digest, (criteria, score) in sorted(marks.items())
        ]
        if rows:
            connection.execute(fill, rows)
        if failed:
            connection.execute(
                delete(self._table).where(kept.digest.in_(failed), kept.criteria.is_(None))
            )


class Audits(AuditTable):
    """Of what the heuristic tier rejected."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, tables.audits)

    async def sums(self, viewer: Viewer, profile: str, threshold: float) -> list[AuditSum]:
        """By reason and language, under one profile: another teacher's opinion is another matter.

        Over all runs, so empty for a viewer that sees only some of them.
        """
        if not viewer.sees_all_runs:
            return []
        kept = tables.audits.c
        query = (
            select(
                kept.reason,
                kept.language,
                func.count().label("audited"),
                func.sum(case((kept.teacher_score >= threshold, 1), else_=0)).label(
                    "at_or_above_threshold"
                ),
                func.avg(kept.teacher_score).label("mean_score"),
            )
            .where(kept.profile == bytes.fromhex(profile), kept.criteria.is_not(None))
            .group_by(kept.reason, kept.language)
            .order_by(kept.reason, kept.language)
        )
        return await self._database.read(
            lambda connection: [AuditSum(**row) for row in connection.execute(query).mappings()]
        )
