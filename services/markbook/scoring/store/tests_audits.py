"""Audits of samples that failed a test: what the teacher says of them is counted against their
tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from markbook.scoring.fingerprint import Fingerprint
from markbook.scoring.store import tables
from markbook.scoring.store.agreement_counts import JudgedKind, OnJudged, percent_of
from markbook.scoring.store.audits import AuditedMarks, AuditTable, build_row
from markbook.scoring.store.database import Database
from markbook.scoring.store.rollups import build_rollups
from markbook.scoring.store.statements import Row
from markbook.scoring.types import CORRECTNESS


@dataclass(frozen=True, slots=True)
class NewTestsAudit:
    """A sample that failed a test and that the teacher is to see as well.

    `tests_score`: its mark.
    """

    fingerprint: Fingerprint
    run: str
    language: str
    tests_score: float

    def row(self) -> Row:
        return build_row(self.fingerprint, self.run, self.language) | {
            "tests_score": self.tests_score
        }


class TestsAudits(AuditTable):
    """`on_judged` is called with what was counted, once it is durable."""

    __test__ = False  # pytest takes classes named Test* for tests

    def __init__(self, database: Database, on_judged: OnJudged) -> None:
        super().__init__(database, tables.tests_audits)
        self._on_judged = on_judged

    async def record(self, marks: AuditedMarks, failed: Sequence[bytes], at_ms: int) -> None:
        """As in AuditTable; judgments that are stored here first are counted in the rollups, as
        of `at_ms`.
        """
        kept = tables.tests_audits.c
        waiting = select(kept.digest, kept.run, kept.profile, kept.language).where(
            kept.digest.in_(list(marks)), kept.criteria.is_(None)
        )
        counted: list[JudgedKind] = []

        def work(connection: Connection) -> None:
            counted.clear()  # of a try that was not committed
            rows = connection.execute(waiting.order_by(kept.digest).with_for_update()).all()
            self._record(connection, marks, failed, at_ms)
            rollups = build_rollups()
            for row in rows:
                correctness = marks[bytes(row.digest)][0][CORRECTNESS]
                kind = JudgedKind(bytes(row.profile), row.language, False, percent_of(correctness))
                rollups.add_judged(at_ms, row.run, kind)
                counted.append(kind)
            rollups.write(connection)

        await self._database.write_with_retry(work)
        for kind in counted:
            self._on_judged(kind)
