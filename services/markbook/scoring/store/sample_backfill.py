"""Backfills the list of samples: marks older than the list, and scores after a change of
weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, case, func, literal, select

from markbook.scoring.fingerprint import read_row
from markbook.scoring.store import sample_rows, tables
from markbook.scoring.store.database import Database
from markbook.scoring.store.marks import Marks
from markbook.scoring.store.records import Records
from markbook.scoring.store.sample_rows import NewSample
from markbook.scoring.store.sample_tables import TEACHER, samples
from markbook.scoring.store.sample_texts import unpack
from markbook.scoring.store.samples import parse_tests

BATCH = 200
"""Marks per transaction: a request never waits long for one."""

_sample = samples.c
_mark = tables.marks.c
_text = tables.texts.c


class SampleBackfill:
    def __init__(self, database: Database, records: Records, marks: Marks) -> None:
        self._database = database
        self._records = records
        self._marks = marks

    async def run(self) -> int:
        """List the marks older than the list, and compute scores whose weights have changed;
        returns how many.

        Goes through all marks once: for the start of the service.
        """
        after: bytes | None = b""
        done = 0
        while after is not None:
            after, number = await self._database.write(partial(self._run_from, after=after))
            done += number
        return done

    def _run_from(self, connection: Connection, after: bytes) -> tuple[bytes | None, int]:
        weights = self._marks.weights
        self._records.load_profiles(connection)
        mine = literal(b"") if weights is None else literal(bytes.fromhex(weights.profile))
        stale = (func.substr(_mark.key, 1, 8) == mine) & (
            _sample.weights != ("" if weights is None else weights.id)
        )
        joined = tables.marks.outerjoin(samples, _sample.key == _mark.key).outerjoin(
            tables.texts, _text.key == _mark.key
        )
        query = (
            select(
                tables.marks, _text.code, _sample.key.label("listed"), _sample.source, _sample.tests
            )
            .add_columns(case((_sample.key.is_(None), 1), (stale, 1), else_=0).label("wanted"))
            .select_from(joined)
            .where(_mark.key > after)
            .order_by(_mark.key)
            .limit(BATCH)
        )
        rows = connection.execute(query).all()
        wanted = [row for row in rows if row.wanted]
        sample_rows.write(connection, [self._of_mark(row) for row in wanted if row.listed is None])
        scores = self._scores(
            [row for row in wanted if row.listed is not None and row.source == TEACHER]
        )
        if weights is not None:
            sample_rows.set_scores(connection, scores, weights.id)
        return (bytes(rows[-1].key) if len(rows) == BATCH else None), len(wanted)

    def _scores(self, rows: Sequence[Row[Any]]) -> dict[bytes, float]:
        found = {}
        for row in rows:
            score, _ = self._score(row)
            if score is not None:
                found[bytes(row.key)] = score
        return found

    def _of_mark(self, row: Row[Any]) -> NewSample:
        score, weights = self._score(row)
        return NewSample(
            read_row(row.key, row.digest),
            TEACHER,
            score,
            row.run,
            row.created_ms,
            None if row.code is None else unpack(row.code),
            weights=weights,
            group_id=row.group_id,
        )

    def _score(self, row: Row[Any]) -> tuple[float | None, str]:
        profile = read_row(row.key, row.digest).profile
        return self._marks.score(
            profile, self._marks.criteria(profile, row.criteria), parse_tests(row.tests)
        )
