"""API keys: who may ask, for which runs, within which budget, how fast and until when.

Only a key's hash is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, or_, select, update

from markbook.config.settings import Budget
from markbook.scoring.store import tables
from markbook.scoring.store.database import Database
from markbook.scoring.store.statements import insert_into

KEY_NAME = re.compile(r"[A-Za-z0-9._:/@+-]{1,128}")
RUN_PATTERN = re.compile(r"[A-Za-z0-9._:/@+*?\[\]!-]{1,128}")
USE_INTERVAL_MS = 60_000
"""Milliseconds between writes of a key's last use."""
_key = tables.api_keys.c


@dataclass(frozen=True, slots=True)
class ApiKey:
    """`digest`: SHA-256 of the key.

    `runs`: a shell pattern of run names. Times are Unix milliseconds.

    `is_admin`: may make, change and revoke keys. `expires_ms`: from then on it is refused.
    `rotated_ms`: when its secret was replaced last. `last_used_ms`: to within a minute.
    """

    name: str
    digest: bytes
    runs: str
    budget: Budget
    created_ms: int
    revoked_ms: int | None = None
    is_admin: bool = False
    requests_per_minute: int | None = None
    samples_per_minute: int | None = None
    expires_ms: int | None = None
    rotated_ms: int | None = None
    last_used_ms: int | None = None

    @property
    def issued_ms(self) -> int:
        """Since when its present secret is valid."""
        return self.created_ms if self.rotated_ms is None else self.rotated_ms

    def has_expired(self, now_ms: float) -> bool:
        return self.expires_ms is not None and now_ms >= self.expires_ms


class ApiKeys:
    def __init__(self, database: Database) -> None:
        self._database = database
        self.any_for_some_runs = False
        """Whether there ever was a key for some runs only, when the keys were last read."""
        self._used: dict[str, int] = {}
        self._written: dict[str, int] = {}

    async def all(self) -> list[ApiKey]:
        """Every key that was ever made, the revoked ones too, oldest first."""
        query = select(tables.api_keys).order_by(_key.created_ms, _key.name)
        keys = await self._database.read(
            lambda connection: [_read(row) for row in connection.execute(query)]
        )
        self.any_for_some_runs = any(key.runs != "*" for key in keys)
        return keys

    async def add(self, key: ApiKey) -> bool:
        """False when the name is taken, be it by a revoked key: its name stays on what it has
        spent.
        """
        row = {
            "name": key.name,
            "digest": key.digest,
            "created_ms": key.created_ms,
            **_settings(key),
        }

        def work(connection: Connection) -> bool:
            insert = (
                insert_into(connection.dialect.name, tables.api_keys)
                .values(row)
                .on_conflict_do_nothing()
            )
            return connection.execute(insert.returning(_key.name)).first() is not None

        return await self._database.write(work)

    async def change(self, key: ApiKey) -> bool:
        """Replace what a key may do; its secret stays. False when there is no such valid key."""
        return await self._update(key.name, _settings(key))

    async def rotate(self, name: str, digest: bytes, now_ms: int, issued_ms: int) -> bool:
        """Replace the secret issued at `issued_ms`; what the key may do and has spent stays.

        False when there is no such valid key, or its secret was replaced meanwhile: a form that is
        sent twice does not replace a secret that was just shown.
        """
        issued = func.coalesce(_key.rotated_ms, _key.created_ms) == issued_ms
        return await self._update(
            name, {"digest": digest, "rotated_ms": max(now_ms, issued_ms + 1)}, issued
        )

    async def revoke(self, name: str, now_ms: int) -> bool:
        """False when there is no such valid key."""
        return await self._update(name, {"revoked_ms": now_ms})

    def note_used(self, name: str, now_ms: int) -> None:
        """Have `flush_last_used` write it."""
        self._used[name] = now_ms

    async def flush_last_used(self) -> None:
        """Write the last uses that are USE_INTERVAL_MS newer than what this process wrote
        before.
        """
        late = {
            name: at_ms
            for name, at_ms in sorted(self._used.items())  # one order everywhere, against deadlocks
            if at_ms >= self._written.get(name, -USE_INTERVAL_MS) + USE_INTERVAL_MS
        }

        def work(connection: Connection) -> None:
            for name, at_ms in late.items():
                is_newer = or_(_key.last_used_ms.is_(None), _key.last_used_ms < at_ms)
                statement = update(tables.api_keys).where(_key.name == name, is_newer)
                connection.execute(statement.values(last_used_ms=at_ms))

        if late:
            await self._database.write(work)
            self._written |= late

    async def _update(self, name: str, values: Mapping[str, object], *conditions: Any) -> bool:
        statement = update(tables.api_keys).where(
            _key.name == name, _key.revoked_ms.is_(None), *conditions
        )
        return await self._database.write(
            lambda connection: connection.execute(statement.values(**values)).rowcount == 1
        )


def _settings(key: ApiKey) -> dict[str, object]:
    limit = key.budget
    return {
        "runs": key.runs,
        "limit_nusd": None if limit.usd is None else round(limit.usd * 1e9),
        "limit_tokens": limit.tokens,
        "limit_per": limit.per,
        "is_admin": key.is_admin,
        "requests_per_minute": key.requests_per_minute,
        "samples_per_minute": key.samples_per_minute,
        "expires_ms": key.expires_ms,
    }


def _read(row: Row[Any]) -> ApiKey:
    usd = None if row.limit_nusd is None else row.limit_nusd / 1e9
    return ApiKey(
        row.name,
        bytes(row.digest),
        row.runs,
        Budget(usd=usd, tokens=row.limit_tokens, per=row.limit_per),
        row.created_ms,
        row.revoked_ms,
        is_admin=bool(row.is_admin),
        requests_per_minute=row.requests_per_minute,
        samples_per_minute=row.samples_per_minute,
        expires_ms=row.expires_ms,
        rotated_ms=row.rotated_ms,
        last_used_ms=row.last_used_ms,
    )
