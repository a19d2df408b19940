"""All details of one sample: its score and criteria, its texts, and its request to the teacher
with the reply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from markbook.contract import SampleTests
from markbook.scoring.fingerprint import Fingerprint, fingerprint, read_row
from markbook.scoring.store import exchanges, explanations, tables
from markbook.scoring.store.database import Database
from markbook.scoring.store.explanations import Explanation
from markbook.scoring.store.mark_access import runs_by_mark
from markbook.scoring.store.marks import Marks, parse_reasons
from markbook.scoring.store.permissions import Viewer
from markbook.scoring.store.records import Records
from markbook.scoring.store.sample_tables import exchanges as exchange_table
from markbook.scoring.store.sample_tables import explanations as explanation_table
from markbook.scoring.store.sample_tables import samples
from markbook.scoring.store.sample_texts import Texts, unpack
from markbook.scoring.store.samples import ListedSample, list_rows, parse_tests
from markbook.scoring.types import Exchange


@dataclass(frozen=True, slots=True)
class WholeSample:
    """`name`: its fingerprint; without texts its digest is empty.

    `run`: that it was first marked for.

    `criteria`: the teacher's, before tests; `reasons`: the teacher's; both None where a tier
    decided, as are `group`, the `place` it was shown at (from 1) and the `size` of the request.
    `exchange`: None where it is not kept, and where another run paid for it: it holds that run's
    other samples.
    """

    listed: ListedSample
    name: Fingerprint
    run: str
    texts: Texts | None
    tests: SampleTests | None
    criteria: Mapping[str, float] | None
    reasons: Sequence[str] | None
    group: bytes | None
    place: int | None
    size: int | None
    explanation: Explanation | None
    exchange: Exchange | None


class WholeSamples:
    def __init__(self, database: Database, records: Records, marks: Marks) -> None:
        self._database = database
        self._records = records
        self._marks = marks

    async def get(self, viewer: Viewer, key: bytes) -> WholeSample | None:
        """The sample with this row key, if the viewer may see it."""

        def work(connection: Connection) -> WholeSample | None:
            self._records.load_profiles(connection)
            row = connection.execute(_whole().where(samples.c.key == key)).one_or_none()
            listed = (
                list_rows(viewer, [row], runs_by_mark(connection, [row])) if row is not None else []
            )
            return self._read(viewer, row, listed[0]) if row is not None and listed else None

        return await self._database.read(work)

    def _read(self, viewer: Viewer, row: Row[Any], listed: ListedSample) -> WholeSample:
        texts = None
        if row.task_text is not None and row.code is not None:
            texts = Texts(unpack(row.task_text), unpack(row.code), row.tests_digest)
        name = read_row(row.key, b"")
        if texts is not None:
            name = fingerprint(
                name.profile, texts.task, texts.code, name.language, texts.tests_digest
            )
        is_marked = row.criteria is not None
        paid = viewer.sees_all_runs or (bool(row.run) and viewer.may_use(row.run))
        return WholeSample(
            listed=listed,
            name=name,
            run=row.run,
            texts=texts,
            tests=parse_tests(row.tests),
            criteria=self._marks.criteria(name.profile, row.criteria) if is_marked else None,
            reasons=parse_reasons(row.teacher_reasons) if is_marked else None,
            group=row.group_id,
            place=row.group_position,
            size=row.group_size,
            explanation=explanations.read(row),
            exchange=exchanges.read(row.request, row.reply)
            if paid and row.request is not None
            else None,
        )


def _whole() -> Select[Any]:
    sample, mark, text, task = samples.c, tables.marks.c, tables.texts.c, tables.tasks.c
    explanation, exchange = explanation_table.c, exchange_table.c
    joined = samples.outerjoin(tables.marks, mark.key == sample.key)
    joined = joined.outerjoin(tables.texts, text.key == sample.key).outerjoin(
        tables.tasks, task.hash == text.task
    )
    joined = joined.outerjoin(explanation_table, explanation.key == sample.key)
    joined = joined.outerjoin(exchange_table, exchange.id == sample.exchange)
    return select(
        samples,
        mark.criteria,
        mark.reasons.label("teacher_reasons"),
        mark.group_position,
        mark.group_size,
        text.code,
        text.tests_digest,
        task.task.label("task_text"),
        explanation.at_ms.label("explained_ms"),
        explanation.reason.label("explained_reason"),
        explanation.criteria.label("explained_criteria"),
        explanation.model.label("explained_model"),
        exchange.request,
        exchange.reply,
    ).select_from(joined)
