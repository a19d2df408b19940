"""Audits: the teacher's scores of samples that the heuristic tier rejected. They never become a sample's mark."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, bindparam, case, delete, func, select, update

from markbook.scoring.fingerprint import Fingerprint
from markbook.scoring.store import tables
from markbook.scoring.store.database import Database
from markbook.scoring.store.statements import insert_into
from markbook.scoring.store.viewer import Viewer


@dataclass(frozen=True, slots=True)
class NewAudit:
    """A rejected sample that the teacher is to see as well."""

    fingerprint: Fingerprint
    run: str
    language: str
    reason: str
    heuristic_score: float


@dataclass(frozen=True, slots=True)
class AuditSum:
    """What was rejected for one reason in one language: how often the teacher's score reached the threshold."""

    reason: str
    language: str
    audited: int
    at_or_above_threshold: int
    mean_score: float


class Audits:
    """A row without criteria is a call in progress since `at_ms`. Times are Unix milliseconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def acquire(self, audits: Sequence[NewAudit], now_ms: int, stale_ms: int) -> frozenset[bytes]:
        """The digests that are the caller's to ask for: neither audited, nor asked for in the last `stale_ms`."""
        # in one order everywhere, so that two replicas that want the same ones do not deadlock
        rows = [
            {
                "digest": audit.fingerprint.digest,
                "profile": bytes.fromhex(audit.fingerprint.profile),
                "key": audit.fingerprint.row,
                "run": audit.run,
                "language": audit.language,
                "reason": audit.reason,
                "heuristic_score": audit.heuristic_score,
                "at_ms": now_ms,
            }
            for audit in sorted(audits, key=lambda audit: audit.fingerprint.digest)
        ]

        def work(connection: Connection) -> frozenset[bytes]:
            kept = tables.audits.c
            insert = insert_into(connection.dialect.name, tables.audits).values(rows)
            insert = insert.on_conflict_do_update(
                index_elements=[kept.digest],
                set_={name: insert.excluded[name] for name in ("run", "at_ms")},
                where=and_(kept.criteria.is_(None), kept.at_ms < now_ms - stale_ms),
            )
            return frozenset(connection.execute(insert.returning(kept.digest)).scalars())

        return await self._database.write(work)

    async def record(
        self, marks: Mapping[bytes, tuple[Mapping[str, float], float]], failed: Sequence[bytes], at_ms: int
    ) -> None:
        """Keep the criteria and scores of one group, by digest; what failed may be asked for again at once."""
        kept = tables.audits.c
        fill = update(tables.audits).where(kept.digest == bindparam("of"), kept.criteria.is_(None))
        rows = [
            {"of": digest, "criteria": json.dumps(dict(criteria)), "teacher_score": score, "at_ms": at_ms}
            for digest, (criteria, score) in sorted(marks.items())
        ]

        def work(connection: Connection) -> None:
            if rows:
                connection.execute(fill, rows)
            if failed:
                connection.execute(delete(tables.audits).where(kept.digest.in_(failed), kept.criteria.is_(None)))

        await self._database.write_with_retry(work)

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
                func.sum(case((kept.teacher_score >= threshold, 1), else_=0)).label("at_or_above_threshold"),
                func.avg(kept.teacher_score).label("mean_score"),
            )
            .where(kept.profile == bytes.fromhex(profile), kept.criteria.is_not(None))
            .group_by(kept.reason, kept.language)
            .order_by(kept.reason, kept.language)
        )
        return await self._database.read(
            lambda connection: [AuditSum(**row) for row in connection.execute(query).mappings()]
        )
