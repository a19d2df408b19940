"""Claims on both databases: one of several replicas asks; leases, failures, and no gap between
claim and mark.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from markbook.config.settings import Budget
from markbook.contract import ErrorCode
from markbook.scoring.fingerprint import Fingerprint, fingerprint
from markbook.scoring.store import (
    OWNER,
    CallContext,
    ClaimConflictError,
    NewMark,
    Store,
    StoreObservers,
)
from markbook.scoring.store.budgets import BudgetExceededError
from markbook.scoring.store.claims import KEEP_FAILURES_MS
from markbook.scoring.store.lease_clock import TOLERANCE_MS, LeaseClock
from markbook.scoring.types import ScoringFailure, TeacherCall
from tests.unit.scoring.hands import Hands

PROFILE = "00" * 8
GROUP = "ab" * 8
MARKS = {"correctness": 0.5, "code_quality": 0.5, "efficiency": 0.5, "documentation": 0.5}
LEASE = 1_000
A, B, C = (fingerprint(PROFILE, "task", code, "python") for code in "abc")


BOUND = TeacherCall("m", "reserved", 100, 10, cost_usd=0.001)


@pytest.fixture
async def replicas(database_url: str) -> AsyncIterator[tuple[Store, Store]]:
    stores = Store(database_url, LEASE), Store(database_url, LEASE)
    for store in stores:
        store.open(PROFILE, {}, 0)
    yield stores
    for store in stores:
        await store.close()


async def take(store: Store, wanted: list[Fingerprint], now_ms: int, **limits: Budget) -> None:
    budgets = {scope: (limit,) for scope, limit in limits.items()}
    await store.reserve(wanted, CallContext("run", GROUP, len(wanted)), BOUND, budgets, now_ms)


async def takes(store: Store, wanted: list[Fingerprint], now_ms: int) -> bool:
    try:
        await take(store, wanted, now_ms)
    except ClaimConflictError:
        return False
    return True


async def bring(
    store: Store, *marked: Fingerprint, failures: dict[bytes, ScoringFailure] | None = None
) -> None:
    marks = [NewMark(each, MARKS, [], 1, 1) for each in marked]
    await store.record_group(1, GROUP, marks, failures or {})


async def test_one_replica_gets_the_claims_and_the_other_all_or_nothing(replicas):
    one, two = replicas
    await take(one, [A, B], 0)
    before = await one.money.spent(OWNER)
    with pytest.raises(ClaimConflictError) as found:
        await take(two, [B, C], 0)
    assert (found.value.asked, found.value.marks) == ({B.digest}, {})
    assert await one.money.spent(OWNER) == before  # no call, no money
    seen = await two.claims.poll([B.digest, C.digest], 0)
    assert (seen.failures, seen.free) == ({}, {C.digest})
    await take(two, [C], 0)


async def test_a_mark_that_came_between_look_and_claim_is_found_and_not_asked_again(replicas):
    one, two = replicas
    await take(one, [A], 0)
    await bring(one, A)
    for store in replicas:
        with pytest.raises(ClaimConflictError) as found:
            await take(store, [A, B], 0)
        assert (found.value.asked, list(found.value.marks)) == (frozenset(), [A.digest])
    assert (await two.claims.poll([A.digest, B.digest], 0)).free == {A.digest, B.digest}


async def test_who_cannot_pay_claims_nothing(replicas):
    one, two = replicas
    with pytest.raises(BudgetExceededError):
        await take(one, [A], 0, total=Budget(tokens=109))
    assert (await two.claims.poll([A.digest], 0)).free == {A.digest}
    await take(one, [A], 0, total=Budget(tokens=110))


async def test_a_process_takes_over_what_its_own_ended_call_has_left(replicas):
    """Its call ended while the database was away: no need to wait for the lease's end."""
    one, two = replicas
    await take(one, [A], 0)
    one.claims.untrack([A.digest])
    assert not await takes(two, [A], 0)
    await take(one, [A], 0)


async def test_a_lease_ends_just_after_its_last_millisecond(replicas):
    one, two = replicas
    await take(one, [A], 0)
    assert (await two.claims.poll([A.digest], LEASE)).free == frozenset()
    assert not await takes(two, [A], LEASE)
    assert (await two.claims.poll([A.digest], LEASE + 1)).free == {A.digest}
    await take(two, [A], LEASE + 1)
    await bring(
        one, A
    )  # the first owner was only slow: its mark counts, the second's claim is not its to drop
    assert (await two.claims.poll([A.digest], LEASE + 2)).free == frozenset()
    await bring(two, A)
    assert (await two.claims.poll([A.digest], LEASE + 2)).free == {A.digest}


async def test_a_renewed_lease_lasts_longer_and_only_ones_own_is_renewed(replicas):
    one, two = replicas
    await take(one, [A], 0)
    await take(two, [B], 0)
    await one.claims.renew(LEASE)
    assert (await two.claims.poll([A.digest, B.digest], LEASE + 1)).free == {B.digest}
    assert (await two.claims.poll([A.digest], 2 * LEASE + 1)).free == {A.digest}


async def test_a_failure_reaches_those_who_wait_and_is_claimed_anew(replicas):
    one, two = replicas
    failure = ScoringFailure(ErrorCode.TEACHER_UNAVAILABLE, "overloaded", 3.5)
    await take(one, [A], 0)
    await bring(one, failures={A.digest: failure})
    assert (await two.claims.poll([A.digest], 1)).failures == {A.digest: failure}
    await take(two, [A], 1)
    assert (await one.claims.poll([A.digest], 1)).failures == {}
    await bring(two, failures={A.digest: failure})
    lease_end = 1 + LEASE
    await one.claims.renew(lease_end + KEEP_FAILURES_MS)
    assert (await two.claims.poll([A.digest], 1)).failures == {A.digest: failure}
    await one.claims.renew(lease_end + KEEP_FAILURES_MS + 1)
    assert (await two.claims.poll([A.digest], 1)).free == {A.digest}


async def test_claims_given_back_are_free(replicas):
    one, two = replicas
    await take(one, [A], 0)
    await take(two, [B], 0)
    await one.claims.release()
    assert (await two.claims.poll([A.digest, B.digest], 0)).free == {A.digest}


async def test_many_replicas_at_once_own_each_claim_once(replicas):
    names = [fingerprint(PROFILE, "task", f"code {number}", "python") for number in range(12)]
    groups = [names[start : start + 4][::step] for step in (1, -1) for start in range(0, 10, 2)]
    asked = [(store, group) for group in groups for store in replicas]
    taken = await asyncio.gather(*(takes(store, group, 0) for store, group in asked))
    owners = {
        (each.digest, store)
        for (store, group), mine in zip(asked, taken, strict=True)
        if mine
        for each in group
    }
    assert len({digest for digest, _ in owners}) == len(owners) >= 4


async def test_a_claim_that_is_asked_for_no_more_ends_with_its_lease(replicas):
    one, two = replicas
    await take(one, [A, B], 0)
    one.claims.untrack([A.digest])
    await one.claims.renew(LEASE)
    assert await takes(two, [A], LEASE + 1)
    assert not await takes(two, [B], LEASE + 1)


async def test_writers_of_the_same_claims_in_different_orders_do_not_deadlock(replicas):
    names = [fingerprint(PROFILE, "task", f"code {number}", "python") for number in range(30)]

    async def work(store: Store, order: list[Fingerprint], turn: int) -> None:
        for step in range(6):
            mine = order if await takes(store, order, step * (LEASE + 1)) else []
            await store.claims.renew(step * (LEASE + 1))
            failures = {
                each.digest: ScoringFailure(ErrorCode.TEACHER_REFUSED, "no")
                for each in mine[turn::2]
            }
            await bring(store, failures=failures)

    orders = [names, names[::-1], names[10:] + names[:10], names[::2] + names[1::2]]
    await asyncio.gather(
        *(work(replicas[turn % 2], order, turn % 2) for turn, order in enumerate(orders))
    )


async def test_a_lease_further_away_than_any_can_be_is_none(replicas):
    """Its owner's clock was ahead, and it died: nobody renews it, and it would hold the others
    up for an hour.
    """
    one, two = replicas
    hour = 3_600_000
    await take(one, [A], hour)
    last = hour - TOLERANCE_MS  # from here on it may be the lease of a replica that lives
    assert (await two.claims.poll([A.digest], last)).free == frozenset()
    assert not await takes(two, [A], last)
    assert (await two.claims.poll([A.digest], last - 1)).free == {A.digest}
    assert await takes(two, [A], last - 1)


async def test_a_reservation_of_such_a_lease_is_booked_at_its_bound(replicas):
    one, two = replicas
    await take(one, [A], 3_600_000)
    await two.renew(3_600_000 - TOLERANCE_MS)
    assert await unknown_calls(two) == 0
    await two.renew(3_600_000 - TOLERANCE_MS - 1)
    assert await unknown_calls(two) == 1


async def unknown_calls(store: Store) -> int:
    return sum(
        tally.counts["unknown_calls"] for tally in (await store.ledger.sums(OWNER)).tallies.values()
    )


async def test_on_postgres_leases_are_kept_in_the_servers_time_whatever_the_replicas_clocks_say(
    postgres_url,
):
    stores = [Store(postgres_url, 60_000, server_time=True) for _ in range(2)]
    for store in stores:
        store.open(PROFILE, {"teacher": "x"}, 1)
    one, two = stores
    ahead, behind = 4_000_000_000_000, 1_000_000  # tens of years either way
    await take(one, [A], ahead)
    assert not await takes(two, [A], behind)
    assert (await two.claims.poll([A.digest], behind)).free == frozenset()
    await two.renew(behind)
    await one.renew(ahead)
    assert not await takes(two, [A], behind)
    for store in stores:
        await store.close()


def test_between_measurements_time_goes_on_by_the_monotonic_clock():
    class Server:
        dialect = type("Postgres", (), {"name": "postgresql"})
        now = 1_000_000

        def scalar(self, _statement: object) -> int:
            return self.now

    hands = Hands()
    clock = LeaseClock(from_server=True, monotonic=hands)
    assert clock.now(7) == 7  # not measured yet
    clock.measure(Server())  # type: ignore[arg-type]
    hands.now += 2.5
    assert clock.now(7) == 1_002_500
    own = LeaseClock(from_server=False, monotonic=hands)
    own.measure(Server())  # type: ignore[arg-type]
    assert own.now(7) == 7


async def test_marks_that_another_replica_brought_first_are_counted_as_paid_for_twice(database_url):
    counted: list[int] = []
    one, two = (
        Store(database_url, LEASE, observers=StoreObservers(counted.append)) for _ in range(2)
    )
    for store in (one, two):
        store.open(PROFILE, {"teacher": "x"}, 1)
    await take(one, [A, B], 0)
    await take(two, [A], LEASE + 1)  # one stood still for longer than its lease
    await bring(two, A)
    assert counted == []
    await bring(one, A, B)
    assert counted == [1]
    for store in (one, two):
        await store.close()
