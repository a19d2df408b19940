"""Filter and order of the list of samples, the position where a page continues, and what a
viewer may see of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    UnaryExpression,
    exists,
    or_,
    select,
    tuple_,
)

from markbook.scoring.store import tables
from markbook.scoring.store.counted_runs import counted_runs
from markbook.scoring.store.permissions import Viewer
from markbook.scoring.store.sample_tables import samples

MAX_SAMPLES = 100_000
"""The latest samples among which a page sorts and filters, so that its time does not grow with
the store.
"""

_sample = samples.c
_given = tables.given_marks.c


class Order(StrEnum):
    """LATEST: newest first. The others are by score; what has none is left out."""

    LATEST = "latest"
    LOWEST = "lowest"
    HIGHEST = "highest"


@dataclass(frozen=True, slots=True)
class SampleFilter:
    """`task`: the 6 bytes of a key's prompt hash.

    Scores are in [0, 1], both ends included; None: any.
    """

    order: Order = Order.LATEST
    run: str | None = None
    source: str | None = None
    language: str | None = None
    reason: str | None = None
    task: bytes | None = None
    min_score: float | None = None
    max_score: float | None = None


@dataclass(frozen=True, slots=True)
class SampleCursor:
    """Where a list continues: behind this value (a time or a score) and this key, of the last
    one that was shown.
    """

    value: float
    key: bytes


def value_column(order: Order) -> Column[int] | Column[float]:
    return _sample.created_ms if order is Order.LATEST else _sample.score


def order_by(order: Order, *, reverse: bool = False) -> list[UnaryExpression[Any]]:
    value = value_column(order)
    if is_descending(order) != reverse:
        return [value.desc(), _sample.key.desc()]
    return [value.asc(), _sample.key.asc()]


def is_descending(order: Order) -> bool:
    return order is not Order.LOWEST


def behind(order: Order, cursor: SampleCursor, *, reverse: bool = False) -> ColumnElement[bool]:
    """After the cursor in this order; before it where `reverse`."""
    value = value_column(order)
    at: float = int(cursor.value) if order is Order.LATEST else cursor.value
    place, last = tuple_(value, _sample.key), (at, cursor.key)
    return place < last if is_descending(order) != reverse else place > last


def conditions(
    connection: Connection, viewer: Viewer, wanted: SampleFilter
) -> list[ColumnElement[bool]]:
    """What a sample must fulfil to be listed: that `viewer` may see it, and all that `wanted`
    names.
    """
    found = scope(connection, viewer)
    if wanted.run is not None:
        found.append(of_run(wanted.run))
    for column, value in (
        (_sample.source, wanted.source),
        (_sample.language, wanted.language),
        (_sample.reason, wanted.reason),
        (_sample.task, wanted.task),
    ):
        if value is not None:
            found.append(column == value)
    if wanted.min_score is not None:
        found.append(_sample.score >= wanted.min_score)
    if wanted.max_score is not None:
        found.append(_sample.score <= wanted.max_score)
    if wanted.order is not Order.LATEST:
        found.append(_sample.score.is_not(None))
    return found


def scope(connection: Connection, viewer: Viewer) -> list[ColumnElement[bool]]:
    """Among the latest MAX_SAMPLES, those of runs that `viewer` may use."""
    found: list[ColumnElement[bool]] = []
    oldest = (
        select(_sample.created_ms)
        .order_by(_sample.created_ms.desc())
        .offset(MAX_SAMPLES - 1)
        .limit(1)
    )
    oldest_ms = connection.scalar(oldest)
    if oldest_ms is not None:
        found.append(_sample.created_ms >= oldest_ms)
    if not viewer.sees_all_runs:
        found.append(_seen_by(connection, viewer, oldest_ms))
    return found


def _seen_by(connection: Connection, viewer: Viewer, oldest_ms: int | None) -> ColumnElement[bool]:
    """Samples that a run of the viewer's paid for or was given, as `mark_access` has it."""
    paying = select(_sample.run).distinct()
    if oldest_ms is not None:
        paying = paying.where(_sample.created_ms >= oldest_ms)
    runs = {*connection.execute(paying).scalars(), *counted_runs(connection)}
    mine = sorted(filter(viewer.may_use, runs))
    return or_(_sample.run.in_(mine), _given_to(mine))


def of_run(run: str) -> ColumnElement[bool]:
    """Samples that the run has paid for or was given."""
    return or_(_sample.run == run, _given_to([run]))


def _given_to(runs: Sequence[str]) -> ColumnElement[bool]:
    return exists(
        select(1).where(_given.key == _sample.key, _given.run.in_(runs)).correlate(samples)
    )
