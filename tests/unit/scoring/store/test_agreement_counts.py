"""What teacher and tests say of a sample is counted once, whatever happens to the write, on both
databases.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from markbook.config.settings import Budget
from markbook.scoring.store import OWNER, ApiKey, JudgedKind, NewTestsAudit, Store, Viewer
from tests.unit.scoring.book import GROUP, NOW, PROFILE, marked, named, opened

MINE = bytes.fromhex(PROFILE)
MINUTE = 60_000


def judged(code: str, correctness: float, passed: bool | None):
    mark = marked(code)
    return replace(mark, criteria={**mark.criteria, "correctness": correctness}, passed=passed)


def kind(passed: bool, percent: int, language: str = "python") -> JudgedKind:
    return JudgedKind(MINE, language, passed, percent)


async def counted(
    store: Store, run: str | None = None, viewer: Viewer = OWNER
) -> dict[str, Counter[JudgedKind]]:
    sums = await store.ledger.sums(viewer, run=run)
    return {name: totals.judged for (_, name), totals in sums.tallies.items() if totals.judged}


async def test_marks_of_samples_with_tests_are_counted_by_what_both_say(database_url):
    async with opened(database_url) as store:
        marks = [
            judged("a", 0.9, True),
            judged("b", 0.9, True),
            judged("c", 0.2, False),
            judged("d", 0.9, None),
        ]
        await store.record_group(NOW, GROUP, marks, {}, run="one")
        await store.record_group(NOW, GROUP, [judged("e", 0.5, True)], {}, run="two")
        assert await counted(store) == {
            "one": Counter({kind(True, 90): 2, kind(False, 20): 1}),
            "two": Counter({kind(True, 50): 1}),
        }
        assert await counted(store, "two") == {"two": Counter({kind(True, 50): 1})}


async def test_a_mark_that_was_stored_before_counts_once(database_url):
    seen: list[JudgedKind] = []
    async with opened(database_url) as store:
        store._on_judged = seen.append
        for run in ("one", "two"):  # another replica was paid for the same mark
            await store.record_group(NOW, GROUP, [judged("a", 0.9, True)], {}, run=run)
        assert await counted(store) == {"one": Counter({kind(True, 90): 1})}
    assert seen == [kind(True, 90)]


async def test_minutes_become_hours_and_nothing_is_lost(database_url):
    async with opened(database_url) as store:
        start = NOW - NOW % (60 * MINUTE)
        for minute, code in enumerate("abc"):
            at_ms = start + minute * MINUTE
            await store.record_group(at_ms, GROUP, [judged(code, 0.9, True)], {}, run="one")
        before = await store.ledger.judged(OWNER, 0, MINUTE)
        assert sorted(before.tallies) == [(start + minute * MINUTE, "one") for minute in range(3)]
        await store.maintenance.run_once(start + 26 * 60 * MINUTE)
        after = await store.ledger.judged(OWNER, 0, MINUTE)
        assert {place: totals.judged for place, totals in after.tallies.items()} == {
            (start, "one"): Counter({kind(True, 90): 3})
        }


async def test_a_key_sees_its_runs_only(database_url):
    async with opened(database_url) as store:
        for run in ("mine/1", "theirs"):
            await store.record_group(NOW, GROUP, [judged(run, 0.9, True)], {}, run=run)
        viewer = Viewer(ApiKey("ann", b"", "mine/*", Budget(), NOW))
        assert set(await counted(store, viewer=viewer)) == {"mine/1"}
        assert {run for _, run in (await store.ledger.judged(viewer, 0, MINUTE)).tallies} == {
            "mine/1"
        }


def audit(code: str, run: str = "one") -> NewTestsAudit:
    return NewTestsAudit(named(code), run, "python", 0.05)


class TestAudits:
    async def test_a_recorded_audit_counts_once_in_the_run_that_paid(self, database_url):
        seen: list[JudgedKind] = []
        async with opened(database_url) as store:
            store.tests_audits._on_judged = seen.append
            one, two = audit("x"), audit("y")
            digests = [each.fingerprint.digest for each in (one, two)]
            assert await store.tests_audits.acquire([one, two], NOW, 500) == set(digests)
            assert await store.tests_audits.acquire([one], NOW, 500) == frozenset()
            marks = {digests[0]: ({"correctness": 0.75, "style": 0.1}, 0.5)}
            for _ in range(2):
                await store.tests_audits.record(marks, [digests[1]], NOW)
            assert await counted(store) == {"one": Counter({kind(False, 75): 1})}
            assert await store.tests_audits.acquire([one, two], NOW + 10_000, 500) == {digests[1]}
        assert seen == [kind(False, 75)]

    async def test_replicas_that_want_the_same_ones_share_them(self, database_url):
        async with opened(database_url) as store:
            other = Store(database_url, lease_ms=1_000)
            audits = [audit(str(number)) for number in range(40)]
            taken = await asyncio.gather(
                *(
                    who.tests_audits.acquire(some, NOW, 500)
                    for who in (store, other)
                    for some in (audits, audits[::-1])
                )
            )
            await other.close()
        found = sorted(digest for some in taken for digest in some)
        assert found == sorted(each.fingerprint.digest for each in audits)

    @pytest.mark.parametrize(("later_ms", "is_free"), [(500, False), (501, True)])
    async def test_a_call_whose_asker_died_may_be_made_again(self, database_url, later_ms, is_free):
        async with opened(database_url) as store:
            await store.tests_audits.acquire([audit("x")], NOW, 500)
            again = await store.tests_audits.acquire([audit("x", "two")], NOW + later_ms, 500)
            assert bool(again) == is_free
