"""A teacher's reasons for the marks of single samples, given on request: one call per sample."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, and_, delete, update

from markbook.scoring.store.database import Database
from markbook.scoring.store.sample_tables import explanations
from markbook.scoring.store.statements import insert_into

_explanation = explanations.c


@dataclass(frozen=True, slots=True)
class Explanation:
    """`reasons` and `criteria` are None while the teacher is asked. `criteria`: what it gave with
    the reasons, which may differ from the mark: that one stays.
    """

    reasons: Sequence[str] | None
    criteria: Mapping[str, float] | None
    model: str
    at_ms: int


class Explanations:
    """A row without a reason is a call in progress since `at_ms`. Times are Unix milliseconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def acquire(self, key: bytes, run: str, model: str, now_ms: int, stale_ms: int) -> bool:
        """Whether the caller is to call the teacher: no other has, or its call was cut off
        `stale_ms` ago.
        """

        def work(connection: Any) -> bool:
            insert = insert_into(connection.dialect.name, explanations).values(
                key=key, run=run, model=model, at_ms=now_ms
            )
            insert = insert.on_conflict_do_update(
                index_elements=[_explanation.key],
                set_={name: insert.excluded[name] for name in ("run", "model", "at_ms")},
                where=and_(_explanation.reason.is_(None), _explanation.at_ms < now_ms - stale_ms),
            )
            return connection.execute(insert.returning(_explanation.key)).first() is not None

        return await self._database.write(work)

    async def record(
        self, key: bytes, reasons: Sequence[str], criteria: Mapping[str, float], at_ms: int
    ) -> None:
        fill = update(explanations).where(_explanation.key == key, _explanation.reason.is_(None))
        fill = fill.values(
            reason=json.dumps(list(reasons)), criteria=json.dumps(dict(criteria)), at_ms=at_ms
        )
        await self._database.write_with_retry(lambda connection: connection.execute(fill) and None)

    async def release(self, key: bytes) -> None:
        """The call failed: the next one may be made at once."""
        unfilled = delete(explanations).where(
            _explanation.key == key, _explanation.reason.is_(None)
        )
        await self._database.write(lambda connection: connection.execute(unfilled) and None)


def read(row: Row[Any]) -> Explanation | None:
    """From a row of samples joined with `explanations`, whose columns are prefixed."""
    if row.explained_ms is None:
        return None
    return Explanation(
        None if row.explained_reason is None else tuple(json.loads(row.explained_reason)),
        None if row.explained_criteria is None else json.loads(row.explained_criteria),
        row.explained_model,
        row.explained_ms,
    )
