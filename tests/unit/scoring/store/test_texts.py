"""Task and code of what was judged, on both databases: kept once, apart, and dropped with the
last who has them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Connection, Engine, select, text

from markbook.scoring.store import Texts, sample_texts, tables
from markbook.scoring.store.engine import autocommit, migrate, open_engine, transaction
from markbook.scoring.store.maintenance import BATCH
from tests.unit.scoring.book import NOW, count, held, keep, marked, named, opened, statements

DAY = 86_400_000


async def rows(store, table) -> list:
    return await store._database.read(lambda connection: connection.execute(select(table)).all())


async def test_a_task_is_kept_once_and_each_sample_has_its_code(database_url):
    task = "Write it, naïvely. " * 50
    async with opened(database_url) as store:
        await keep(store, marked("a", task), marked("b", task))
        await keep(store, marked("c", task), marked("a", task), marked("a", "another"))
        codes, tasks = await rows(store, tables.texts), await rows(store, tables.tasks)
    assert sorted(zlib.decompress(row.code) for row in codes) == [b"a", b"a", b"b", b"c"]
    assert {row.key for row in codes} == {
        *(named(code, task).row for code in "abc"),
        named("a", "another").row,
    }
    assert sorted(zlib.decompress(row.task).decode() for row in tasks) == [task, "another"]
    assert len(max(tasks, key=lambda row: len(row.task)).task) < 60


async def test_without_texts_marks_are_kept_all_the_same(database_url):
    async with opened(database_url, store_samples=False) as store:
        await keep(store, marked("a"))
        assert await held(store, "a") == {"a"}
        assert (await count(store, "texts"), await count(store, "tasks")) == (0, 0)


async def test_a_lookup_reads_no_texts(database_url):
    async with opened(database_url) as store:
        await keep(store, marked("a"))
        with statements() as sent:
            assert await held(store, "a") == {"a"}
    assert len(sent) == 1
    assert "marks" in sent[0]
    assert "texts" not in sent[0]
    assert "tasks" not in sent[0]


async def test_texts_go_a_millisecond_after_their_age_and_their_marks_stay(database_url):
    async with opened(database_url, texts_max_age_ms=DAY) as store:
        await keep(store, marked("a", "old"), marked("b", "shared"))
        await keep(store, marked("c", "shared"), at_ms=NOW + 1)
        await store.maintenance.run_once(NOW + DAY)
        assert await count(store, "texts") == 3
        await store.maintenance.run_once(NOW + DAY + 1)
        assert [row.key for row in await rows(store, tables.texts)] == [named("c", "shared").row]
        assert [zlib.decompress(row.task) for row in await rows(store, tables.tasks)] == [b"shared"]
        assert await count(store, "marks") == 3
        await keep(store, marked("d", "old"), at_ms=NOW + DAY + 1)
        assert await count(store, "tasks") == 2


async def test_a_sample_judged_anew_keeps_its_text_for_as_long_again(database_url):
    async with opened(database_url, texts_max_age_ms=DAY, max_age_ms=1) as store:
        await keep(store, marked("a"))
        await keep(store, marked("a"), at_ms=NOW + DAY)
        await store.maintenance.run_once(NOW + DAY + 1)
        assert (await count(store, "texts"), await count(store, "tasks")) == (1, 1)


def test_a_task_that_somebody_needs_at_that_moment_is_there_afterwards(postgres_url):
    """One drops the last sample of a task while another brings a new one, in both orders."""
    engine = open_engine(postgres_url)
    migrate(engine)
    old, new = named("old").row, named("new").row

    def bring(key: bytes) -> Callable[[Connection], None]:
        return lambda connection: sample_texts.add(connection, [(key, Texts("task", "code"), NOW)])

    def take(key: bytes) -> Callable[[Connection], None]:
        return lambda connection: sample_texts.drop(connection, [key])

    for first, second in ((bring(new), take(old)), (take(old), bring(new))):
        with transaction(engine) as connection:
            bring(old)(connection)
            take(new)(connection)
        with ThreadPoolExecutor(1) as thread:
            with transaction(engine) as connection:
                first(connection)
                waiting = thread.submit(_in_transaction, engine, second)
                while not _waits(engine):
                    assert not waiting.done()
            waiting.result()
        with transaction(engine) as connection:
            assert connection.execute(select(tables.texts.c.key)).scalars().all() == [new]
            assert len(connection.execute(select(tables.tasks)).all()) == 1
    engine.dispose()


def _in_transaction(engine: Engine, work: Callable[[Connection], None]) -> None:
    with transaction(engine) as connection:
        work(connection)


def _waits(engine: Engine) -> bool:
    with autocommit(engine) as connection:
        return bool(connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))


async def test_many_texts_go_in_small_transactions(database_url):
    async with opened(database_url, texts_max_age_ms=DAY) as store:
        await keep(store, *(marked(f"code {number}") for number in range(BATCH + 1)))
        with statements() as sent:
            await store.maintenance.run_once(NOW + DAY + 1)
        assert (await count(store, "texts"), await count(store, "tasks")) == (0, 0)
    assert len([each for each in sent if each.startswith("DELETE FROM texts")]) == 2
