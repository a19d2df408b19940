"""A book opened for tests: marks with known criteria, and what its tables hold."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from unittest.mock import patch

from sqlalchemy import Engine, event, text

from markbook.scoring.fingerprint import Fingerprint, fingerprint
from markbook.scoring.store import NewMark, RetentionPolicy, Store, Texts
from markbook.scoring.store import statements as prepared_statements
from tests.fakes import true_criteria

PROFILE = "00" * 8
GROUP = "ab" * 8
NOW = 1_700_000_000_000


@asynccontextmanager
async def opened(database_url: str, **life: int | bool | None) -> AsyncIterator[Store]:
    store = Store(database_url, 1_000, RetentionPolicy(**life))
    store.open(PROFILE, {"teacher": "x"}, NOW)
    yield store
    await store.close()


def named(code: str, task: str = "task") -> Fingerprint:
    return fingerprint(PROFILE, task, code, "python")


def marked(code: str, task: str = "task") -> NewMark:
    return NewMark(named(code, task), true_criteria(code), [], 1, 1, Texts(task, code))


async def keep(store: Store, *marks: NewMark, at_ms: int = NOW, run: str = "") -> None:
    await store.record_group(at_ms, GROUP, marks, {}, run=run)


async def count(store: Store, table: str) -> int:
    return await store._database.read(
        lambda connection: connection.scalar(text(f"SELECT count(*) FROM {table}"))
    )


async def held(store: Store, *codes: str, now_ms: int = NOW) -> set[str]:
    """Which of the codes have a mark."""
    names = {named(code).digest: code for code in codes}
    return {
        names[digest] for digest in await store.marks.get([named(code) for code in codes], now_ms)
    }


@contextmanager
def statements() -> Iterator[list[str]]:
    """What is sent to any database meanwhile, but for what a new connection is set up with."""
    sent: list[str] = []

    def note(_connection, _cursor, statement, parameters, _context, _executemany):
        # a list of parameters is a statement each; one statement with many rows has them in one
        if not statement.startswith("PRAGMA"):
            sent.extend([statement] * (len(parameters) if isinstance(parameters, list) else 1))

    def execute_raw(connection, text, values):
        if connection.dialect.name == "sqlite":  # of which SQLAlchemy does not hear
            sent.append(text)
        return send(connection, text, values)

    send = prepared_statements.execute_raw
    event.listen(Engine, "before_cursor_execute", note)
    try:
        with patch.object(prepared_statements, "execute_raw", execute_raw):
            yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@contextmanager
def commits() -> Iterator[list[object]]:
    """The transactions that end meanwhile, in any database."""
    ended: list[object] = []
    note = ended.append
    event.listen(Engine, "commit", note)
    try:
        yield ended
    finally:
        event.remove(Engine, "commit", note)
