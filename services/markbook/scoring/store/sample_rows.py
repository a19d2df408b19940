"""Writes the list of marked samples: a row per sample, in its mark's transaction or, where a
tier decided, later.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from sqlalchemy import Connection, delete, exists, select, update
from sqlalchemy.sql.dml import ReturningInsert

from markbook.contract import SampleTests
from markbook.scoring.fingerprint import Fingerprint
from markbook.scoring.store import sample_texts, tables
from markbook.scoring.store.sample_tables import TEACHER, explanations, samples
from markbook.scoring.store.sample_texts import Texts
from markbook.scoring.store.statements import Row, insert_into, insert_new, run

MAX_LINE_CHARS = 160

_sample = samples.c
_mark = tables.marks.c


@dataclass(frozen=True, slots=True)
class Weights:
    """How criteria of `profile` are made a score now, with the tests that ran.

    `id` differs with the weights.
    """

    profile: str
    id: str
    score: Callable[[Mapping[str, float], SampleTests | None], float]


@dataclass(frozen=True, slots=True)
class NewSample:
    """`reasons`: codes of the tier that decided.

    `weights`: the id of those that `score` was computed with.
    """

    fingerprint: Fingerprint
    source: str
    score: float | None
    run: str
    created_ms: int
    code: str | None = None
    reasons: Sequence[str] = ()
    tests: SampleTests | None = None
    weights: str = ""
    group_id: bytes | None = None
    exchange: bytes | None = None

    def row(self) -> Row:
        return {
            "key": self.fingerprint.row,
            "source": self.source,
            "score": self.score,
            "weights": self.weights,
            "language": self.fingerprint.language,
            "reason": self.reasons[0] if self.reasons else None,
            "reasons": json.dumps(list(self.reasons)) if self.reasons else None,
            "task": self.fingerprint.prompt_hash,
            "run": self.run,
            "group_id": self.group_id,
            "created_ms": self.created_ms,
            "first_line": None if self.code is None else first_line(self.code),
            "tests": None if self.tests is None else self.tests.model_dump_json(),
            "exchange": self.exchange,
        }


def first_line(code: str) -> str:
    """The first line with anything on it, of at most MAX_LINE_CHARS, without what a database
    does not take.
    """
    line = next((line for line in map(str.strip, code.splitlines()) if line), "")
    return line[:MAX_LINE_CHARS].replace("\x00", "\\x00")


def write(connection: Connection, new: Sequence[NewSample]) -> None:
    """List samples whose marks this transaction has stored, in the order of their keys; replaces
    what was listed.
    """
    if new:
        run(connection, _replace(connection.dialect.name), [each.row() for each in new])


@cache
def _replace(dialect: str) -> ReturningInsert[bytes]:
    insert = insert_into(dialect, samples)
    insert = insert.on_conflict_do_update(
        index_elements=[_sample.key],
        set_={
            column.name: insert.excluded[column.name]
            for column in _sample
            if column is not _sample.key
        },
    )
    return insert.returning(_sample.key)  # with RETURNING it is one statement for all rows


def add_decided(
    connection: Connection,
    new: Sequence[tuple[NewSample, Texts]],
    *,
    store_samples: bool,
    note_runs: bool,
) -> None:
    """List samples that a tier has decided, with their texts; what is listed already stays as it
    is.

    `note_runs`: also record the other runs that were given the same mark, as for marks of a
    teacher.
    """
    first: dict[bytes, tuple[NewSample, Texts]] = {}
    for each, texts in new:
        first.setdefault(each.fingerprint.row, (each, texts))
    rows = [first[key] for key in sorted(first)]  # in one order everywhere, against deadlocks
    if store_samples:
        sample_texts.add(
            connection, [(each.fingerprint.row, texts, each.created_ms) for each, texts in rows]
        )
    else:
        rows = [(replace(each, code=None), texts) for each, texts in rows]
    insert_new(connection, samples, [each.row() for each, _ in rows])
    if note_runs:
        known = select(_sample.key, _sample.run).where(_sample.key.in_(list(first)))
        runs = {bytes(key): name for key, name in connection.execute(known)}
        given = {
            (each.fingerprint.row, each.run)
            for each, _ in new
            if runs.get(each.fingerprint.row) != each.run
        }
        insert_new(
            connection,
            tables.given_marks,
            [{"key": key, "run": name} for key, name in sorted(given)],
        )


def drop(connection: Connection, keys: Sequence[bytes]) -> None:
    """Delete the rows of samples whose marks are deleted."""
    connection.execute(delete(samples).where(_sample.key.in_(keys)))
    connection.execute(delete(explanations).where(explanations.c.key.in_(keys)))


def find_decided_above(connection: Connection, most: int, limit: int) -> Sequence[bytes]:
    """At most `limit` keys of the oldest samples that tiers have decided, above `most`."""
    newest_first = select(_sample.key).where(_sample.source != TEACHER)
    newest_first = newest_first.order_by(_sample.created_ms.desc(), _sample.key.desc())
    return connection.execute(newest_first.offset(most).limit(limit)).scalars().all()


def drop_decided(connection: Connection, keys: Sequence[bytes]) -> None:
    """Delete samples that tiers have decided.

    One that a teacher has marked meanwhile stays, and its texts.
    """
    unmarked = select(_sample.key).where(
        _sample.key.in_(keys), ~exists().where(_mark.key == _sample.key)
    )
    unused = [bytes(key) for key in connection.execute(unmarked).scalars()]
    sample_texts.drop(connection, unused)
    connection.execute(delete(tables.given_marks).where(tables.given_marks.c.key.in_(unused)))
    told = explanations.c.key.in_(unused) & explanations.c.reason.is_not(
        None
    )  # not one that is being made
    connection.execute(delete(explanations).where(told))
    connection.execute(delete(samples).where(_sample.key.in_(keys), _sample.source != TEACHER))


def set_scores(connection: Connection, scores: Mapping[bytes, float], weights: str) -> None:
    for key, score in sorted(scores.items()):
        connection.execute(
            update(samples).where(_sample.key == key).values(score=score, weights=weights)
        )
