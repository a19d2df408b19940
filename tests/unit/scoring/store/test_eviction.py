"""Eviction of the marks longest unused, on both databases: which go, and that a hit writes
nothing.
"""

from __future__ import annotations

import asyncio

from markbook.scoring.lifespan import run_maintenance
from markbook.scoring.store.maintenance import BATCH
from markbook.scoring.store.marks import COARSE_S
from tests.fakes import StepClock
from tests.unit.scoring.book import NOW, count, held, keep, marked, opened, statements

LATER = NOW + 1000 * COARSE_S


async def test_what_was_not_used_for_longest_goes_with_its_texts(database_url):
    async with opened(database_url, max_entries=2) as store:
        for second, code in enumerate("abcd"):
            await keep(store, marked(code, f"task of {code}"), at_ms=NOW + 1000 * second)
        await store.marks.get([marked("a", "task of a").fingerprint], LATER)
        await store.marks.flush_last_used(LATER)
        await store.maintenance.run_once(LATER)
        names = {marked(code, f"task of {code}").fingerprint.digest: code for code in "abcd"}
        left = await store.marks.get(
            [marked(code, f"task of {code}").fingerprint for code in "abcd"], LATER
        )
        assert {names[digest] for digest in left} == {"a", "d"}
        assert (await count(store, "texts"), await count(store, "tasks")) == (2, 2)


async def test_a_full_book_is_left_alone_and_one_too_many_costs_one(database_url):
    async with opened(database_url, max_entries=3) as store:
        await store.maintenance.run_once(NOW)
        await keep(store, *(marked(code) for code in "abc"))
        await store.maintenance.run_once(NOW)
        assert await held(store, *"abc") == set("abc")
        await keep(store, marked("d"), at_ms=NOW + 1000)
        await store.maintenance.run_once(NOW)
        assert "d" in await held(store, *"abcd")
        assert (await count(store, "marks"), await count(store, "tasks")) == (3, 1)


async def test_marks_of_one_second_go_by_the_number(database_url):
    async with opened(database_url, max_entries=7) as store:
        await keep(store, *(marked(f"code {number}") for number in range(BATCH + 8)))
        await store.maintenance.run_once(NOW)
        assert (await count(store, "marks"), await count(store, "texts")) == (7, 7)


async def test_a_hit_writes_nothing_and_its_use_is_noted_once_a_minute(database_url):
    async with opened(database_url, max_entries=9) as store:
        await keep(store, marked("a"), marked("b"))
        just_before = LATER - 1
        with statements() as sent:
            for now in (NOW, just_before):
                await held(store, "a", now_ms=now)
                await store.marks.flush_last_used(now)
        assert len(sent) == 2
        assert all(each.startswith("SELECT") for each in sent)
        with statements() as sent:
            for _ in range(3):
                await held(store, "a", now_ms=LATER)
            await store.marks.flush_last_used(LATER)
            await store.marks.flush_last_used(LATER)
            await held(store, "a", now_ms=LATER)
            await store.marks.flush_last_used(LATER)
        assert len([each for each in sent if each.startswith("UPDATE")]) == 1


async def test_without_a_limit_no_use_is_noted(database_url):
    async with opened(database_url) as store:
        await keep(store, marked("a"))
        await held(store, "a", now_ms=LATER)
        with statements() as sent:
            await store.marks.flush_last_used(LATER)
            await store.maintenance.run_once(LATER)
    assert all(each.startswith("SELECT") for each in sent)  # a look at the ledger's minutes


async def test_replicas_that_sweep_together_drop_no_more_than_is_too_much(database_url):
    marks = [marked(f"code {number}") for number in range(3 * BATCH)]
    async with (
        opened(database_url, max_entries=40) as one,
        opened(database_url, max_entries=40) as two,
    ):
        await keep(one, *marks)
        names = [mark.fingerprint for mark in marks]
        await asyncio.gather(
            one.maintenance.run_once(LATER),
            two.maintenance.run_once(LATER),
            *(
                store.marks.get(names[start::7], LATER)
                for start in range(7)
                for store in (one, two)
            ),
            keep(one, *marks[::2]),
            keep(two, *marks[::3], at_ms=NOW + 1),
            one.marks.flush_last_used(LATER),
            two.marks.flush_last_used(LATER),
        )
        left = await count(one, "marks")
        assert left >= 40
        for store in (one, two):
            await store.maintenance.run_once(LATER)
        assert await count(two, "marks") == 40
        assert (await count(two, "texts"), await count(two, "tasks")) == (40, 1)


async def test_the_upkeep_notes_and_sweeps_until_it_is_cancelled(database_url, monkeypatch):
    monkeypatch.setattr("markbook.scoring.lifespan.NOTE_S", 0.0)
    async with opened(database_url, max_entries=1) as store:
        await keep(store, marked("a"), marked("b"))
        swept = asyncio.Event()
        sweep = store.maintenance.run_once

        async def telling(now_ms: int) -> None:
            await sweep(now_ms)
            swept.set()

        store.maintenance.run_once = telling
        task = asyncio.create_task(run_maintenance(store, StepClock()))
        await swept.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await count(store, "marks") == 1
