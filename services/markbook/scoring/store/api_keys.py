"""API keys: who may ask, for which runs, within which budget. A key itself is never kept, only its hash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select, update

from markbook.config.settings import Budget
from markbook.scoring.store import tables
from markbook.scoring.store.database import Database
from markbook.scoring.store.statements import insert_into


@dataclass(frozen=True, slots=True)
class ApiKey:
    """`digest`: SHA-256 of the key. `runs`: a shell pattern of run names. Times are Unix milliseconds."""

    name: str
    digest: bytes
    runs: str
    budget: Budget
    created_ms: int
    revoked_ms: int | None = None


class ApiKeys:
    def __init__(self, database: Database) -> None:
        self._database = database
        self.any_for_some_runs = False
        """Whether there ever was a key for some runs only, when the keys were last read."""

    async def all(self) -> list[ApiKey]:
        """Every key that was ever made, the revoked ones too, oldest first."""
        key = tables.api_keys.c
        query = select(tables.api_keys).order_by(key.created_ms, key.name)
        keys = await self._database.read(lambda connection: [_key(row) for row in connection.execute(query)])
        self.any_for_some_runs = any(key.runs != "*" for key in keys)
        return keys

    async def add(self, key: ApiKey) -> bool:
        """False when the name is taken, be it by a revoked key: its name stays on what it has spent."""
        limit = key.budget
        row = {
            "name": key.name,
            "digest": key.digest,
            "runs": key.runs,
            "limit_nusd": None if limit.usd is None else round(limit.usd * 1e9),
            "limit_tokens": limit.tokens,
            "created_ms": key.created_ms,
        }

        def work(connection: Connection) -> bool:
            insert = insert_into(connection.dialect.name, tables.api_keys).values(row).on_conflict_do_nothing()
            return connection.execute(insert.returning(tables.api_keys.c.name)).first() is not None

        return await self._database.write(work)

    async def revoke(self, name: str, now_ms: int) -> bool:
        """False when there is no such valid key."""
        key = tables.api_keys.c
        statement = update(tables.api_keys).where(key.name == name, key.revoked_ms.is_(None))
        return await self._database.write(
            lambda connection: connection.execute(statement.values(revoked_ms=now_ms)).rowcount == 1
        )


def _key(row: Row[Any]) -> ApiKey:
    usd = None if row.limit_nusd is None else row.limit_nusd / 1e9
    budget = Budget(usd=usd, tokens=row.limit_tokens)
    return ApiKey(row.name, bytes(row.digest), row.runs, budget, row.created_ms, row.revoked_ms)
