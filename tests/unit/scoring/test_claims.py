"""Claims on both databases: one of several replicas asks; leases, failures, and no gap between claim and mark."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.scoring.fingerprint import Fingerprint, fingerprint
from services.scoring.store import NewMark, Store
from services.scoring.store.claims import KEEP_FAILURES_MS
from services.scoring.teachers.base import Failure
from shared.contract import ErrorCode

PROFILE = "00" * 8
GROUP = "ab" * 8
MARKS = {"correctness": 0.5, "code_quality": 0.5, "efficiency": 0.5, "documentation": 0.5}
LEASE = 1_000
A, B, C = (fingerprint(PROFILE, "task", code, "python") for code in "abc")


@pytest.fixture
async def replicas(database_url: str) -> AsyncIterator[tuple[Store, Store]]:
    stores = Store(database_url, LEASE), Store(database_url, LEASE)
    for store in stores:
        store.open(PROFILE, {}, 0)
    yield stores
    for store in stores:
        await store.close()


async def bring(store: Store, *marked: Fingerprint, failures: dict[bytes, Failure] | None = None) -> None:
    marks = [NewMark(each, MARKS, [], 1, 1) for each in marked]
    await store.record_group(1, GROUP, marks, failures or {})


async def test_one_replica_gets_the_claim_and_the_other_what_is_left(replicas):
    one, two = replicas
    assert (await one.claims.take([A, B], 0)).owned == {A.digest, B.digest}
    assert (await two.claims.take([B, C], 0)).owned == {C.digest}
    seen = await two.claims.look([B.digest], 0)
    assert (seen.failures, seen.free) == ({}, frozenset())
    assert (await one.claims.take([], 0)).owned == frozenset()


async def test_a_mark_that_came_between_look_and_claim_is_found_and_not_asked_again(replicas):
    one, two = replicas
    await one.claims.take([A], 0)
    await bring(one, A)
    taken = await two.claims.take([A, B], 0)
    assert (taken.owned, list(taken.marks)) == ({B.digest}, [A.digest])
    assert (await one.claims.take([A], 0)).marks.keys() == {A.digest}


async def test_a_lease_ends_just_after_its_last_millisecond(replicas):
    one, two = replicas
    await one.claims.take([A], 0)
    assert (await two.claims.look([A.digest], LEASE)).free == frozenset()
    assert (await two.claims.take([A], LEASE)).owned == frozenset()
    assert (await two.claims.look([A.digest], LEASE + 1)).free == {A.digest}
    assert (await two.claims.take([A], LEASE + 1)).owned == {A.digest}
    await bring(one, A)  # the first owner was only slow: its mark counts, the second's claim is not its to drop
    assert (await two.claims.look([A.digest], LEASE + 2)).free == frozenset()
    await bring(two, A)
    assert (await two.claims.look([A.digest], LEASE + 2)).free == {A.digest}


async def test_a_renewed_lease_lasts_longer_and_only_ones_own_is_renewed(replicas):
    one, two = replicas
    await one.claims.take([A], 0)
    await two.claims.take([B], 0)
    await one.claims.renew(LEASE)
    assert (await two.claims.look([A.digest, B.digest], LEASE + 1)).free == {B.digest}
    assert (await two.claims.look([A.digest], 2 * LEASE + 1)).free == {A.digest}


async def test_a_failure_reaches_those_who_wait_and_is_claimed_anew(replicas):
    one, two = replicas
    failure = Failure(ErrorCode.TEACHER_UNAVAILABLE, "overloaded", 3.5)
    await one.claims.take([A], 0)
    await bring(one, failures={A.digest: failure})
    assert (await two.claims.look([A.digest], 1)).failures == {A.digest: failure}
    assert (await two.claims.take([A], 1)).owned == {A.digest}
    assert (await one.claims.look([A.digest], 1)).failures == {}
    await bring(two, failures={A.digest: failure})
    lease_end = 1 + LEASE
    await one.claims.renew(lease_end + KEEP_FAILURES_MS)
    assert (await two.claims.look([A.digest], 1)).failures == {A.digest: failure}
    await one.claims.renew(lease_end + KEEP_FAILURES_MS + 1)
    assert (await two.claims.look([A.digest], 1)).free == {A.digest}


async def test_claims_given_back_are_free(replicas):
    one, two = replicas
    await one.claims.take([A], 0)
    await two.claims.take([B], 0)
    await one.claims.release()
    assert (await two.claims.look([A.digest, B.digest], 0)).free == {A.digest}


async def test_many_replicas_at_once_own_each_claim_once(replicas):
    names = [fingerprint(PROFILE, "task", f"code {number}", "python") for number in range(40)]
    orders = [names, names[::-1], names[20:] + names[:20], names[::2] + names[1::2]] * 3
    taken = await asyncio.gather(*(replicas[turn % 2].claims.take(order, 0) for turn, order in enumerate(orders)))
    owned = [digest for each in taken for digest in each.owned]
    assert sorted(owned) == sorted(each.digest for each in names)


async def test_a_claim_that_is_asked_for_no_more_ends_with_its_lease(replicas):
    one, two = replicas
    await one.claims.take([A, B], 0)
    one.claims.forget([A.digest])
    await one.claims.renew(LEASE)
    assert (await two.claims.take([A, B], LEASE + 1)).owned == {A.digest}


async def test_writers_of_the_same_claims_in_different_orders_do_not_deadlock(replicas):
    names = [fingerprint(PROFILE, "task", f"code {number}", "python") for number in range(30)]

    async def work(store: Store, order: list[Fingerprint], turn: int) -> None:
        for step in range(6):
            taken = await store.claims.take(order, step * (LEASE + 1))
            mine = [each for each in order if each.digest in taken.owned]
            await store.claims.renew(step * (LEASE + 1))
            failures = {each.digest: Failure(ErrorCode.TEACHER_REFUSED, "no") for each in mine[turn::2]}
            await bring(store, failures=failures)

    orders = [names, names[::-1], names[10:] + names[:10], names[::2] + names[1::2]]
    await asyncio.gather(*(work(replicas[turn % 2], order, turn % 2) for turn, order in enumerate(orders)))
