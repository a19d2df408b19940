"""Verdicts of samples' tests in the store, on both databases; marks of samples with tests,
exported and imported.
"""

from __future__ import annotations

import pytest

from markbook.contract import SampleTests
from markbook.scoring.store import RetentionPolicy, Store

PROFILE = "11" * 8
FAILED = SampleTests(passed=1, total=3, not_run=1, first_failure="assert f(1) == 2: got 3")


@pytest.fixture
async def store(database_url):
    store = Store(database_url, 1_000, RetentionPolicy(max_age_ms=1_000))
    store.open(PROFILE, {"teacher": "x"}, 1)
    yield store
    await store.close()


async def test_a_verdict_is_kept_as_it_is_and_the_first_one_stays(store):
    first, other = b"a" * 32, b"b" * 32
    await store.verdicts.add({first: FAILED}, 1)
    await store.verdicts.add(
        {first: SampleTests(passed=3, total=3), other: SampleTests(passed=2, total=2)}, 2
    )
    assert await store.verdicts.get([first, other, b"c" * 32]) == {
        first: FAILED,
        other: SampleTests(passed=2, total=2),
    }
    assert await store.verdicts.get([]) == {}
    await store.verdicts.add({}, 3)


async def test_many_verdicts_come_in_one_look(store):
    many = {bytes([number]) * 32: SampleTests(passed=number, total=number) for number in range(100)}
    await store.verdicts.add(many, 1)
    assert await store.verdicts.get(list(many)) == many


@pytest.mark.parametrize("entries", [1, 600])
async def test_the_oldest_verdicts_above_the_number_of_entries_are_deleted(database_url, entries):
    store = Store(database_url, 1_000, RetentionPolicy(max_entries=entries))
    store.open(PROFILE, {"teacher": "x"}, 1)
    digests = [
        number.to_bytes(32) for number in range(entries + 601)
    ]  # more than a batch is deleted
    for at_ms in (2, 1):  # those written first are the younger ones
        await store.verdicts.add(dict.fromkeys(digests[at_ms - 1 :: 2], FAILED), at_ms)
    await store.maintenance.run_once(10)
    by_age = [*digests[0::2], *digests[1::2]]
    assert set(await store.verdicts.get(digests)) == set(by_age[-entries:])
    await store.maintenance.run_once(10)
    assert len(await store.verdicts.get(digests)) == entries
    await store.close()


async def test_verdicts_go_with_their_age(store):
    await store.verdicts.add({b"a" * 32: FAILED}, 4_000)
    await store.verdicts.add({b"b" * 32: FAILED}, 4_001)
    await store.maintenance.run_once(5_001)  # what was kept before 4,001
    assert set(await store.verdicts.get([b"a" * 32, b"b" * 32])) == {b"b" * 32}
