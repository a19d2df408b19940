"""Verdicts of samples' tests in the store, on both databases; marks of samples with tests, exported and imported."""

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
    await store.verdicts.add({first: SampleTests(passed=3, total=3), other: SampleTests(passed=2, total=2)}, 2)
    assert await store.verdicts.get([first, other, b"c" * 32]) == {first: FAILED, other: SampleTests(passed=2, total=2)}
    assert await store.verdicts.get([]) == {}
    await store.verdicts.add({}, 3)


async def test_many_verdicts_come_in_one_look(store):
    many = {bytes([number]) * 32: SampleTests(passed=number, total=number) for number in range(100)}
    await store.verdicts.add(many, 1)
    assert await store.verdicts.get(list(many)) == many


async def test_verdicts_go_with_their_age(store):
    await store.verdicts.add({b"a" * 32: FAILED}, 4_000)
    await store.verdicts.add({b"b" * 32: FAILED}, 4_001)
    await store.upkeep.run_once(5_001)  # what was kept before 4,001
    assert set(await store.verdicts.get([b"a" * 32, b"b" * 32])) == {b"b" * 32}
