"""Task and code of scored samples, compressed, in tables apart from the marks: a lookup never reads
them.

A task is stored once for all its samples and deleted with the last of them. Writers write samples
before tasks, and lock the tasks they need until their end, so that no other writer deletes them in
between.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from sqlalchemy import Connection, delete, exists, false, select, update
from sqlalchemy.sql.dml import ReturningInsert

from markbook.scoring.store import tables
from markbook.scoring.store.sample_tables import samples
from markbook.scoring.store.statements import insert_into, run


@dataclass(frozen=True, slots=True)
class Texts:
    """The whole task and the extracted code of one sample.

    `tests_digest`: of its tests, None where it had none.
    """

    task: str
    code: str
    tests_digest: bytes | None = None


def pack(text: str) -> bytes:
    return zlib.compress(text.encode())


def unpack(data: bytes) -> str:
    return zlib.decompress(data).decode()


def add(connection: Connection, kept: Sequence[tuple[bytes, Texts, int]]) -> None:
    """Store texts in two statements.

    `kept`: row key, texts and time of the marks, ordered by key.
    """
    if not kept:
        return
    hashes = {texts.task: hashlib.sha256(texts.task.encode()).digest() for _, texts, _ in kept}
    samples, tasks = _add(connection.dialect.name)
    run(
        connection,
        samples,
        [
            {
                "key": key,
                "task": hashes[texts.task],
                "code": pack(texts.code),
                "created_ms": created_ms,
                "tests_digest": texts.tests_digest,
            }
            for key, texts, created_ms in kept
        ],
    )
    rows = [{"hash": digest, "task": pack(task)} for task, digest in hashes.items()]
    run(connection, tasks, sorted(rows, key=lambda row: row["hash"]))


@cache
def _add(dialect: str) -> tuple[ReturningInsert[bytes], ReturningInsert[bytes]]:
    """Statements for samples and tasks; with RETURNING each is one statement for all rows."""
    text, task = tables.texts.c, tables.tasks.c
    samples = insert_into(dialect, tables.texts)
    samples = samples.on_conflict_do_update(
        index_elements=[text.key],
        set_={"created_ms": samples.excluded.created_ms},
        where=text.created_ms < samples.excluded.created_ms,
    )
    whole = insert_into(dialect, tables.tasks)
    # changes nothing, but locks the row
    whole = whole.on_conflict_do_update(
        index_elements=[task.hash], set_={"hash": whole.excluded.hash}, where=false()
    )
    return samples.returning(text.key), whole.returning(task.hash)


def drop(connection: Connection, keys: Sequence[bytes]) -> None:
    """Delete the texts of marks, and the tasks that no sample has any more."""
    text, task = tables.texts.c, tables.tasks.c
    gone = connection.execute(
        delete(tables.texts).where(text.key.in_(keys)).returning(text.task)
    ).scalars()
    locked = select(task.hash).where(task.hash.in_(set(gone))).order_by(task.hash).with_for_update()
    hashes = connection.execute(locked).scalars().all()
    unused = ~exists().where(text.task == task.hash)
    # a separate statement: it sees what writers have committed for which the lock had to wait
    connection.execute(delete(tables.tasks).where(task.hash.in_(hashes), unused))
    connection.execute(update(samples).where(samples.c.key.in_(keys)).values(first_line=None))


def drop_older(connection: Connection, before_ms: int, limit: int) -> int:
    """Delete at most `limit` texts from before `before_ms`; returns how many."""
    text = tables.texts.c
    old = select(text.key).where(text.created_ms < before_ms).order_by(text.created_ms).limit(limit)
    keys = connection.execute(old.with_for_update(skip_locked=True)).scalars().all()
    drop(connection, keys)
    return len(keys)
